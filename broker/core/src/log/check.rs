//! Checks produced batches as far as the partition's state is not needed (Kafka's
//! `ProduceRequest.validateRecords` and `LogValidator`).
//!
//! There are two steps, because the second may take long: first the header and the checksum, then
//! the records.
//!
//! **Invariant:** a batch that passes can be read by everything that reads bodies, since all of it
//! opens them with the same [`Opener`]. With `sedge.produce.validation=relaxed` the records of a
//! compressed body are not opened here, and the producer is trusted.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{
    self, Compression, Opener, Unreadable, check_records, opened_bytes_max,
};

use super::{AppendError, RecordError};
use crate::config::TopicConfig;
use crate::limits::{CLOCK_PLAUSIBLE_FROM_MS, RECORD_ERRORS_MAX};

const MAGIC: i8 = 2;

/// Kafka 2.1 introduced zstd with Produce v7; older clients cannot mean it.
const FIRST_PRODUCE_VERSION_WITH_ZSTD: i16 = 7;

/// Returns the one batch of a partition in a Produce request, if its header is valid.
///
/// # Errors
/// INVALID_RECORD, CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, UNSUPPORTED_COMPRESSION_TYPE,
/// INVALID_TXN_STATE.
pub fn check_header(
    mut records: Bytes,
    produce_version: i16,
    config: &TopicConfig,
) -> Result<Batch, AppendError> {
    let batch = split_one(&mut records, config)?;
    // Checked before any field that the CRC covers: after CORRUPT_MESSAGE the producer sends again.
    if batch.header.computed_crc(&batch.body) != batch.header.crc() {
        return Err(corrupt(
            "Record is corrupt: the stored CRC does not match the computed one.",
        ));
    }
    judge_header(&batch, produce_version)?;
    Ok(batch)
}

/// Returns whether [`check_body`] opens the batch.
#[must_use]
pub fn is_opened(batch: &Batch, config: &TopicConfig) -> bool {
    batch.header.compression() == 0 || config.is_compacted() || !config.trusts_compressed()
}

/// The result of [`check_body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The batch is valid, and its header agrees with its records.
    Fit,
    /// The body decompresses to more than `bytes_max`. Its records have not been judged.
    TooMuch,
}

/// Checks the records of a batch, decompressing at most `bytes_max` bytes of them, and corrects the
/// header to agree with them: their largest timestamp, and that timestamps are the producer's.
///
/// If `bytes_max` is `None`, the limit is the most that a body may contain.
///
/// # Errors
/// INVALID_RECORD, also for a body that cannot be decompressed: unlike CORRUPT_MESSAGE, clients
/// treat it as final, and the same bytes would fail again. INVALID_TIMESTAMP.
pub fn check_body(
    batch: &mut Batch,
    config: &TopicConfig,
    now_ms: i64,
    opener: &mut Opener,
    bytes_max: Option<usize>,
) -> Result<Checked, AppendError> {
    let window = Window::of(config, now_ms);
    let header = batch.header;
    if !is_opened(batch, config) {
        for time in [header.base_timestamp(), header.max_timestamp()] {
            if window.excludes(time) {
                return Err(refused(alloc::vec![window.error(0, time)]));
            }
        }
        put_right(batch, header.max_timestamp(), config);
        return Ok(Checked::Fit);
    }
    let most = if config.is_compacted() {
        // The cleaner has to hold the whole body.
        DECOMPRESSED_BYTES_MAX
    } else {
        opened_bytes_max(batch.body.len())
    };
    let bytes_max = bytes_max.unwrap_or(most);
    let needs_keys = config.is_compacted();
    let base = header.base_timestamp();
    let mut largest = i64::MIN;
    let mut index = 0;
    let mut errors = Errors::default();
    let checked = check_records(&header, &batch.body, opener, bytes_max.min(most), |facts| {
        let time = base.saturating_add(facts.timestamp_delta);
        largest = largest.max(time);
        if needs_keys && !facts.has_key {
            errors.push(|| keyless(index));
        } else if window.excludes(time) {
            errors.push(|| window.error(index, time));
        }
        index += 1;
    });
    match checked {
        Ok(()) => {}
        Err(Unreadable::TooLarge { .. }) if bytes_max < most => return Ok(Checked::TooMuch),
        Err(Unreadable::Record { index, error }) => {
            return Err(refused(alloc::vec![(
                ErrorCode::InvalidRecord,
                index,
                format!("{error}.")
            )]));
        }
        Err(error) => return Err(invalid(&format!("This batch cannot be read: {error}."))),
    }
    if !errors.found.is_empty() {
        return Err(refused(errors.found));
    }
    put_right(batch, largest, config);
    Ok(Checked::Fit)
}

/// Sets CreateTime and the largest timestamp in the header, as Kafka does. (For LogAppendTime the
/// writer does it.)
fn put_right(batch: &mut Batch, largest: i64, config: &TopicConfig) {
    let header = &mut batch.header;
    let is_right = header.max_timestamp() == largest
        && !header.is_log_append_time()
        && !header.has_delete_horizon();
    if !config.is_log_append_time() && !is_right {
        header.set_create_time(largest, &batch.body);
    }
}

/// A refused record: error code, index, and message.
type Refused = (ErrorCode, i32, String);

/// Errors of the first refused records. The others are not worth their memory.
#[derive(Default)]
struct Errors {
    found: Vec<Refused>,
}

impl Errors {
    #[cold]
    fn push(&mut self, error: impl FnOnce() -> Refused) {
        if self.found.len() < RECORD_ERRORS_MAX {
            self.found.push(error());
        }
    }
}

fn keyless(index: i32) -> Refused {
    (
        ErrorCode::InvalidRecord,
        index,
        "Compacted topic cannot accept message without key.".into(),
    )
}

/// The timestamps that a topic accepts.
#[derive(Clone, Copy)]
struct Window {
    earliest: i64,
    latest: i64,
}

impl Window {
    fn of(config: &TopicConfig, now_ms: i64) -> Self {
        // A device whose clock has not been set cannot judge timestamps.
        if config.is_log_append_time() || now_ms < CLOCK_PLAUSIBLE_FROM_MS {
            return Self {
                earliest: i64::MIN,
                latest: i64::MAX,
            };
        }
        Self {
            earliest: now_ms.saturating_sub(config.timestamp_before_max_ms()),
            latest: now_ms.saturating_add(config.timestamp_after_max_ms()),
        }
    }

    /// -1 means "no timestamp" and is outside every window.
    const fn excludes(self, time: i64) -> bool {
        (time < self.earliest || time > self.latest) && time != -1
    }

    fn error(self, index: i32, time: i64) -> Refused {
        let Self { earliest, latest } = self;
        (
            ErrorCode::InvalidTimestamp,
            index,
            format!(
                "Timestamp {time} of the record is out of range: the topic accepts {earliest} to \
                 {latest}."
            ),
        )
    }
}

/// Builds the answer for a batch with these refused records, at least one. The first decides the
/// code, as in Kafka.
fn refused(records: Vec<Refused>) -> AppendError {
    let code = records
        .first()
        .map_or(ErrorCode::InvalidRecord, |(code, ..)| *code);
    let record_errors = records
        .into_iter()
        .map(|(_, index, message)| RecordError {
            index,
            message: Some(message),
        })
        .collect();
    AppendError {
        code,
        message: Some("One or more records have been rejected.".into()),
        record_errors,
    }
}

fn split_one(records: &mut Bytes, config: &TopicConfig) -> Result<Batch, AppendError> {
    let Some(header) = BatchHeader::read(records) else {
        // Formats 0 and 1 have shorter headers, with the magic at the same offset.
        return Err(match records.get(16) {
            Some(magic) if *magic != MAGIC as u8 => wrong_magic(*magic as i8),
            _ if records.is_empty() => {
                invalid("A partition must have exactly one record batch, and has none.")
            }
            // As in Kafka, where bytes without a whole batch are no batch.
            _ => invalid("The record batch is shorter than its header."),
        });
    };
    if header.magic() != MAGIC {
        return Err(wrong_magic(header.magic()));
    }
    let Some(bytes) = header.batch_bytes() else {
        return Err(corrupt(
            "The record batch's length is less than its header.",
        ));
    };
    if bytes > config.max_message_bytes() {
        return Err(AppendError::new(
            ErrorCode::MessageTooLarge,
            format!(
                "The record batch has {bytes} bytes, which exceeds max.message.bytes={}.",
                config.max_message_bytes()
            ),
        ));
    }
    let Some(batch) = Batch::split_from(records) else {
        return Err(invalid(
            "The record batch's length exceeds the bytes that were received.",
        ));
    };
    if !records.is_empty() {
        return Err(invalid(
            "A partition must have exactly one record batch, and has more.",
        ));
    }
    Ok(batch)
}

fn judge_header(batch: &Batch, produce_version: i16) -> Result<(), AppendError> {
    let header = &batch.header;
    let count = header.record_count();
    if count <= 0 || header.last_offset_delta() != count - 1 {
        return Err(invalid(
            "The record batch's record count does not match its range of offsets.",
        ));
    }
    if header.is_control() {
        return Err(invalid("Clients are not allowed to write control records."));
    }
    if header.producer_id().is_some() && header.base_sequence() < 0 {
        return Err(invalid(
            "The record batch has a producer id, but no sequence.",
        ));
    }
    if header.is_transactional() && header.producer_id().is_none() {
        return Err(invalid(
            "The record batch is part of a transaction, and has no producer id.",
        ));
    }
    let codec = records::compression_of(header).map_err(|error| {
        AppendError::new(ErrorCode::UnsupportedCompressionType, format!("{error}."))
    })?;
    if codec == Compression::Zstd && produce_version < FIRST_PRODUCE_VERSION_WITH_ZSTD {
        return Err(AppendError::new(
            ErrorCode::UnsupportedCompressionType,
            "Produce requests below version 7 are not allowed to use ZStandard compression.",
        ));
    }
    if codec == Compression::None && batch.body.len() < count as usize {
        return Err(invalid("The record batch has more records than bytes."));
    }
    Ok(())
}

/// Older formats are known and refused; as in Kafka, bytes of no known format are damaged ones.
fn wrong_magic(magic: i8) -> AppendError {
    let message =
        format!("Only record batches of magic 2 are accepted; this one has magic {magic}.");
    if (0..MAGIC).contains(&magic) {
        invalid(&message)
    } else {
        corrupt(&message)
    }
}

fn invalid(message: &str) -> AppendError {
    AppendError::new(ErrorCode::InvalidRecord, message)
}

fn corrupt(message: &str) -> AppendError {
    AppendError::new(ErrorCode::CorruptMessage, message)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use sedge_protocol::batch::HEADER_BYTES;

    use sedge_protocol::records::BatchBuilder;

    use super::*;
    use crate::config::BrokerDefaults;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn builder(codec: Compression) -> BatchBuilder {
        let mut builder = BatchBuilder::new(codec);
        builder.push(NOW_MS, Some(b"key"), Some(b"one"), &[]);
        builder.push(NOW_MS + 1, Some(b"key"), Some(b"two"), &[]);
        builder
    }

    fn bytes(builder: BatchBuilder) -> Vec<u8> {
        let batch = builder.build().unwrap();
        [batch.header.as_bytes().as_slice(), &batch.body].concat()
    }

    fn plain() -> Vec<u8> {
        bytes(builder(Compression::None))
    }

    /// Returns a batch with `field` written at `at` and the CRC recomputed.
    fn forged(at: usize, field: &[u8]) -> Vec<u8> {
        let mut forged = plain();
        forged[at..at + field.len()].copy_from_slice(field);
        let body = forged.split_off(HEADER_BYTES);
        let header = BatchHeader::read(&forged).unwrap().with_computed_crc(&body);
        [header.as_bytes().as_slice(), &body].concat()
    }

    fn check_at(
        records: Vec<u8>,
        version: i16,
        configs: &[(&str, &str)],
        now_ms: i64,
    ) -> Result<Batch, AppendError> {
        let own: BTreeMap<_, _> = configs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let config = TopicConfig::effective(&own, &BrokerDefaults::default());
        let mut batch = check_header(records.into(), version, &config)?;
        let mut opener = Opener::new();
        let checked = check_body(&mut batch, &config, now_ms, &mut opener, None)?;
        assert_eq!(checked, Checked::Fit);
        let crc = batch.header.computed_crc(&batch.body);
        assert_eq!(batch.header.crc(), crc, "the CRC of what is stored");
        Ok(batch)
    }

    fn check_with(
        records: Vec<u8>,
        version: i16,
        configs: &[(&str, &str)],
    ) -> Result<Batch, AppendError> {
        check_at(records, version, configs, NOW_MS)
    }

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// A batch of raw records, each including its length, under a header that may lie.
    struct Raw {
        codec: Compression,
        body: Vec<u8>,
        count: i32,
        base_timestamp: i64,
        max_timestamp: i64,
        attributes: i16,
    }

    impl Raw {
        fn bytes(&self) -> Vec<u8> {
            let plain = builder(Compression::None).build().unwrap();
            let mut header = *plain.header.as_bytes();
            let mut put = |at: usize, field: &[u8]| {
                header[at..at + field.len()].copy_from_slice(field);
            };
            put(8, &(49 + self.body.len() as i32).to_be_bytes());
            put(21, &(self.codec as i16 | self.attributes).to_be_bytes());
            put(23, &(self.count - 1).to_be_bytes());
            put(27, &self.base_timestamp.to_be_bytes());
            put(35, &self.max_timestamp.to_be_bytes());
            put(57, &self.count.to_be_bytes());
            let header = BatchHeader::read(&header)
                .unwrap()
                .with_computed_crc(&self.body);
            [header.as_bytes().as_slice(), &self.body].concat()
        }

        fn of(codec: Compression, records: &[&[u8]]) -> Self {
            Self {
                codec,
                body: records::compress(codec, records.concat()).unwrap(),
                count: records.len() as i32,
                base_timestamp: NOW_MS,
                max_timestamp: NOW_MS,
                attributes: 0,
            }
        }
    }

    /// Builds length, attributes, timestamp delta, offset delta, key `k`, value `v`, header count.
    fn record(offset_delta: u8, headers: &[u8]) -> Vec<u8> {
        let mut fields = alloc::vec![0, 0, 2 * offset_delta, 2, b'k', 2, b'v'];
        fields.extend(headers);
        fields.insert(0, 2 * fields.len() as u8);
        fields
    }

    /// A client's codec once sent a header count of -597.
    #[test]
    fn what_cannot_be_read_is_not_acknowledged() {
        let (one, two) = (record(0, &[0]), record(1, &[0]));
        let negative = record(0, &[0xa9, 0x09]);
        let gap = record(5, &[0]);
        for codec in CODECS.into_iter().skip(1) {
            let mut garbage = Raw::of(codec, &[&one]);
            garbage.body = b"nonsense".to_vec();
            let mut cut = Raw::of(codec, &[&one, &two]);
            cut.body.truncate(cut.body.len() - 9);
            let mut more = Raw::of(codec, &[&one, &two]);
            more.count = 3;
            let mut fewer = Raw::of(codec, &[&one, &two]);
            fewer.count = 1;
            let cases = [
                ("not the codec's", garbage),
                ("cut short", cut),
                ("a header count of -597", Raw::of(codec, &[&negative])),
                ("two records, said three", more),
                ("two records, said one", fewer),
                ("offset deltas 0 and 5", Raw::of(codec, &[&one, &gap])),
                ("offset deltas 0 and 0", Raw::of(codec, &[&one, &one])),
                ("a record in half", Raw::of(codec, &[&one, &two[..4]])),
            ];
            for (what, raw) in cases {
                for policy in ["delete", "compact"] {
                    let configs = &[("cleanup.policy", policy)];
                    let error = check_with(raw.bytes(), 9, configs).unwrap_err();
                    assert_eq!(error.code, ErrorCode::InvalidRecord, "{codec:?} {what}");
                    assert!(error.message.is_some());
                }
                // The operator chose to trust the producer.
                let relaxed = &[("sedge.produce.validation", "relaxed")];
                assert!(
                    check_with(raw.bytes(), 9, relaxed).is_ok(),
                    "{codec:?} {what}"
                );
            }
            let mut far = builder(codec);
            far.push(NOW_MS + 1_000_000_000, None, None, &[]);
            let mut far = bytes(far);
            // The header claims the current time.
            far[35..43].copy_from_slice(&NOW_MS.to_be_bytes());
            let body = far.split_off(HEADER_BYTES);
            let header = BatchHeader::read(&far).unwrap().with_computed_crc(&body);
            let far = [header.as_bytes().as_slice(), &body].concat();
            let error = check_with(far, 9, &[]).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidTimestamp);
            assert_eq!(error.record_errors[0].index, 2);
        }
    }

    #[test]
    fn what_a_body_opens_to_is_bounded() {
        let zeros = alloc::vec![0; DECOMPRESSED_BYTES_MAX + 1];
        for codec in CODECS.into_iter().skip(1) {
            let mut builder = BatchBuilder::new(codec);
            builder.push(NOW_MS, Some(b"key"), Some(&zeros), &[]);
            let built = builder.build().unwrap();
            let max_bytes = &[("max.message.bytes", "100000000")][..];
            let compacted = &[max_bytes[0], ("cleanup.policy", "compact")];
            let whole = [built.header.as_bytes().as_slice(), &built.body].concat();
            // A compacted topic refuses a batch that the cleaner could not hold.
            let error = check_with(whole.clone(), 9, compacted).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRecord);
            let taken = check_with(whole.clone(), 9, max_bytes);
            let is_bomb = opened_bytes_max(built.body.len()) <= zeros.len();
            // A snappy block is opened at once; xerial's blocks are small.
            assert_eq!(taken.is_err(), is_bomb, "{codec:?}: {taken:?}");
            // A first check that ends early has judged nothing yet.
            let config = TopicConfig::default();
            let mut batch = Batch {
                header: built.header,
                body: built.body,
            };
            let few = check_body(
                &mut batch,
                &config,
                NOW_MS,
                &mut Opener::new(),
                Some(1 << 20),
            );
            assert_eq!(few, Ok(Checked::TooMuch));
        }
    }

    /// Some clients leave the field unset, or set the last record's timestamp.
    #[test]
    fn the_header_gets_its_records_largest_timestamp() {
        for codec in CODECS {
            let mut builder = BatchBuilder::new(codec);
            for delta in [0, 5000, 3000] {
                builder.push(NOW_MS + delta, Some(b"k"), Some(b"v"), &[]);
            }
            let built = builder.build().unwrap();
            let largest = NOW_MS + 5000;
            let said = [
                -1,
                0,
                NOW_MS + 3000,
                NOW_MS,
                NOW_MS + 1_000_000_000,
                largest,
            ];
            for max_timestamp in said {
                let raw = Raw {
                    codec,
                    body: built.body.to_vec(),
                    count: 3,
                    base_timestamp: NOW_MS,
                    max_timestamp,
                    attributes: 0,
                };
                let sent = raw.bytes();
                let stored = check_with(sent.clone(), 9, &[]).unwrap();
                assert_eq!(
                    stored.header.max_timestamp(),
                    largest,
                    "{codec:?} {max_timestamp}"
                );
                if max_timestamp == largest {
                    assert_eq!(stored.header.as_bytes()[..], sent[..HEADER_BYTES]);
                }
            }
        }
    }

    /// Kafka 4.3 accepts such a batch and ignores the bits.
    #[test]
    fn a_producer_s_word_for_the_broker_s_clock_is_passed_over() {
        const LOG_APPEND_TIME: i16 = 1 << 3;
        const DELETE_HORIZON: i16 = 1 << 6;
        for validation in ["strict", "relaxed"] {
            for codec in CODECS {
                let mut raw = Raw::of(codec, &[&record(0, &[0])]);
                raw.attributes = LOG_APPEND_TIME | DELETE_HORIZON;
                let configs = &[("sedge.produce.validation", validation)];
                let stored = check_with(raw.bytes(), 9, configs).unwrap();
                assert_eq!(stored.header.attributes(), codec as i16);
                assert_eq!(stored.header.max_timestamp(), NOW_MS);
            }
        }
    }

    #[test]
    fn every_bad_record_is_named() {
        let indices = |error: &AppendError| -> Vec<i32> {
            let errors = error.record_errors.iter();
            errors.map(|error| error.index).collect()
        };
        let compact: &[_] = &[("cleanup.policy", "compact")];
        for codec in CODECS {
            let batch_of = |is_bad: &dyn Fn(i32) -> bool, count: i32| {
                let mut keys = BatchBuilder::new(codec);
                let mut times = BatchBuilder::new(codec);
                for n in 0..count {
                    let key = (!is_bad(n)).then_some(&b"key"[..]);
                    keys.push(NOW_MS, key, Some(b"value"), &[]);
                    let time = if is_bad(n) { NOW_MS + 7_200_000 } else { -1 };
                    times.push(time, None, Some(b"value"), &[]);
                }
                (bytes(keys), bytes(times))
            };
            let bad: [&dyn Fn(i32) -> bool; 3] = [&|_| false, &|n| n == 57, &|n| n % 10 == 3];
            for is_bad in bad {
                let expected: Vec<i32> = (0..100).filter(|n| is_bad(*n)).collect();
                let (keys, times) = batch_of(is_bad, 100);
                let found = [
                    (check_with(keys, 9, compact), ErrorCode::InvalidRecord),
                    (check_with(times, 9, &[]), ErrorCode::InvalidTimestamp),
                ];
                for (result, code) in found {
                    match result {
                        Ok(_) => assert!(expected.is_empty(), "{codec:?}"),
                        Err(error) => {
                            assert_eq!(error.code, code);
                            assert_eq!(indices(&error), expected, "{codec:?}");
                        }
                    }
                }
            }
            let more = RECORD_ERRORS_MAX as i32 + 7;
            let (keys, _) = batch_of(&|_| true, more);
            let error = check_with(keys, 9, compact).unwrap_err();
            assert!(indices(&error).into_iter().eq(0..RECORD_ERRORS_MAX as i32));
        }
    }

    #[test]
    fn the_first_bad_record_says_which_code() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(NOW_MS, Some(b"key"), None, &[]);
        builder.push(NOW_MS + 7_200_000, Some(b"key"), None, &[]);
        builder.push(NOW_MS, None, Some(b"x"), &[]);
        let error = check_with(bytes(builder), 9, &[("cleanup.policy", "compact")]).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidTimestamp);
        let indices: Vec<i32> = error
            .record_errors
            .iter()
            .map(|error| error.index)
            .collect();
        assert_eq!(indices, [1, 2]);
    }

    #[test]
    fn what_is_fit_is_taken() {
        let codecs = [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ];
        for codec in codecs {
            for configs in [&[][..], &[("cleanup.policy", "compact")][..]] {
                check_with(bytes(builder(codec)), 9, configs).unwrap();
            }
        }
        let far = &[
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.after.max.ms", "0"),
        ];
        check_with(plain(), 9, far).unwrap();
    }

    #[test]
    fn what_is_unfit_is_refused_with_kafka_s_codes() {
        use ErrorCode::{
            CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge,
            UnsupportedCompressionType,
        };
        let transactional = builder(Compression::None).transactional();
        let mut damaged = plain();
        *damaged.last_mut().unwrap() ^= 1;
        let mut keyless = builder(Compression::Zstd);
        keyless.push(NOW_MS, None, Some(b"x"), &[]);
        let mut garbage = builder(Compression::Gzip).build().unwrap();
        garbage.body = Bytes::from_static(b"not gzip");
        let mut header = *garbage.header.as_bytes();
        header[8..12].copy_from_slice(&((49 + garbage.body.len()) as i32).to_be_bytes());
        let header = BatchHeader::read(&header)
            .unwrap()
            .with_computed_crc(&garbage.body);
        let garbage = [header.as_bytes().as_slice(), &garbage.body].concat();
        let compact: &[_] = &[("cleanup.policy", "compact")];
        let none: &[(&str, &str)] = &[];

        let table = [
            ("nothing", Vec::new(), 9, none, InvalidRecord),
            (
                "cut in the header",
                plain()[..40].to_vec(),
                9,
                none,
                InvalidRecord,
            ),
            (
                "cut in the body",
                plain()[..70].to_vec(),
                9,
                none,
                InvalidRecord,
            ),
            (
                "two batches",
                [plain(), plain()].concat(),
                9,
                none,
                InvalidRecord,
            ),
            ("magic 1", forged(16, &[1]), 9, none, InvalidRecord),
            ("magic 3", forged(16, &[3]), 9, none, CorruptMessage),
            (
                "magic 0, short",
                forged(16, &[0])[..30].to_vec(),
                9,
                none,
                InvalidRecord,
            ),
            (
                "a negative length",
                forged(8, &[0xff; 4]),
                9,
                none,
                CorruptMessage,
            ),
            (
                "a length of a header's part",
                forged(8, &[0, 0, 0, 10]),
                9,
                none,
                CorruptMessage,
            ),
            ("a wrong CRC", damaged, 9, none, CorruptMessage),
            (
                "a count of three",
                forged(57, &[0, 0, 0, 3]),
                9,
                none,
                InvalidRecord,
            ),
            (
                "a count of none",
                forged(57, &[0; 4]),
                9,
                none,
                InvalidRecord,
            ),
            (
                "a wide range of offsets",
                forged(23, &[0x7f, 0xff, 0xff, 0xff]),
                9,
                none,
                InvalidRecord,
            ),
            (
                "control",
                bytes(builder(Compression::None).control()),
                9,
                none,
                InvalidRecord,
            ),
            (
                "transactional",
                bytes(transactional),
                9,
                none,
                InvalidRecord,
            ),
            (
                "a codec that is none",
                forged(21, &[0, 7]),
                9,
                none,
                UnsupportedCompressionType,
            ),
            (
                "zstd too early",
                bytes(builder(Compression::Zstd)),
                6,
                none,
                UnsupportedCompressionType,
            ),
            (
                "too large",
                plain(),
                9,
                &[("max.message.bytes", "60")],
                MessageTooLarge,
            ),
            (
                "too new",
                plain(),
                9,
                &[("message.timestamp.after.max.ms", "0")],
                InvalidTimestamp,
            ),
            ("no key", bytes(keyless), 9, compact, InvalidRecord),
            ("not gzip", garbage, 9, compact, InvalidRecord),
        ];
        for (what, records, version, configs, expected) in table {
            let result = check_with(records, version, configs);
            assert_eq!(
                result.as_ref().err().map(|error| error.code),
                Some(expected),
                "{what}: {result:?}"
            );
        }
    }

    #[test]
    fn a_clock_that_was_not_set_yet_judges_nobody() {
        let boots_in_1970 = check_at(plain(), 9, &[], 7_000);
        assert!(boots_in_1970.is_ok(), "{boots_in_1970:?}");
        let years_behind = check_at(plain(), 9, &[], CLOCK_PLAUSIBLE_FROM_MS);
        assert!(years_behind.is_err(), "{years_behind:?}");
    }
}
