//! What of a produced batch can be judged without the partition's state (gotchas 13 to 15; Kafka's
//! `ProduceRequest.validateRecords` and `LogValidator`).

use alloc::format;

use bytes::Bytes;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{self, BodyFacts, Compression};

use super::{AppendError, RecordError};
use crate::config::TopicConfig;
use crate::groups::limits::CLOCK_PLAUSIBLE_FROM_MS;

const MAGIC: i8 = 2;

/// Kafka 2.1 brought zstd with Produce v7; older clients cannot mean it.
const FIRST_PRODUCE_VERSION_WITH_ZSTD: i16 = 7;

/// The one batch of a partition in a Produce request, where it is fit to be written.
///
/// Uncompressed records are walked; compressed ones are opened only where the topic needs their
/// keys.
///
/// # Errors
/// INVALID_RECORD, CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, INVALID_TIMESTAMP,
/// UNSUPPORTED_COMPRESSION_TYPE, INVALID_TXN_STATE.
pub fn check_batch(
    mut records: Bytes,
    produce_version: i16,
    config: &TopicConfig,
    now_ms: i64,
) -> Result<Batch, AppendError> {
    let batch = split_one(&mut records, config)?;
    // Before anything that the CRC covers is judged: CORRUPT_MESSAGE has the producer send again.
    if batch.header.computed_crc(&batch.body) != batch.header.crc() {
        return Err(corrupt(
            "Record is corrupt: the stored CRC does not match the computed one.",
        ));
    }
    check_header(&batch, produce_version)?;
    let facts = check_body(&batch, config)?;
    check_timestamps(&batch.header, facts.as_ref(), config, now_ms)?;
    Ok(batch)
}

fn split_one(records: &mut Bytes, config: &TopicConfig) -> Result<Batch, AppendError> {
    let Some(header) = BatchHeader::read(records) else {
        // Formats 0 and 1 have shorter headers, with the magic at the same place.
        return Err(match records.get(16) {
            Some(magic) if *magic != MAGIC as u8 => wrong_magic(*magic as i8),
            _ if records.is_empty() => {
                invalid("A partition must have exactly one record batch, and has none.")
            }
            _ => corrupt("The record batch is shorter than its header."),
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
        return Err(corrupt(
            "The record batch's length exceeds the bytes that came.",
        ));
    };
    if !records.is_empty() {
        return Err(invalid(
            "A partition must have exactly one record batch, and has more.",
        ));
    }
    Ok(batch)
}

fn check_header(batch: &Batch, produce_version: i16) -> Result<(), AppendError> {
    let header = &batch.header;
    let count = header.record_count();
    if count <= 0 || header.last_offset_delta() != count - 1 {
        return Err(invalid(
            "The record batch's count and its range of offsets do not agree.",
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
    if header.is_transactional() {
        return Err(AppendError::new(
            ErrorCode::InvalidTxnState,
            "This broker does not take part in transactions yet.",
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

fn check_body(batch: &Batch, config: &TopicConfig) -> Result<Option<BodyFacts>, AppendError> {
    let facts = if batch.header.compression() == 0 {
        walk(&batch.header, &batch.body)?
    } else if config.is_compacted() {
        let body = records::decompress(&batch.header, &batch.body, DECOMPRESSED_BYTES_MAX)
            .map_err(|error| corrupt(&format!("The records cannot be decompressed: {error}.")))?;
        walk(&batch.header, &body)?
    } else {
        return Ok(None);
    };
    match facts.first_without_key {
        Some(index) if config.is_compacted() => Err(record_error(
            ErrorCode::InvalidRecord,
            index,
            "Compacted topic cannot accept message without key.",
        )),
        _ => Ok(Some(facts)),
    }
}

fn walk(header: &BatchHeader, body: &[u8]) -> Result<BodyFacts, AppendError> {
    records::validate_uncompressed(header, body).map_err(|(index, error)| {
        record_error(ErrorCode::InvalidRecord, index, &format!("{error}."))
    })
}

fn check_timestamps(
    header: &BatchHeader,
    facts: Option<&BodyFacts>,
    config: &TopicConfig,
    now_ms: i64,
) -> Result<(), AppendError> {
    if config.is_log_append_time() {
        return Ok(());
    }
    if header.is_log_append_time() {
        return Err(AppendError::new(
            ErrorCode::InvalidTimestamp,
            "A producer must not set the timestamp type to LogAppendTime.",
        ));
    }
    if now_ms < CLOCK_PLAUSIBLE_FROM_MS {
        // A device whose clock was not set yet cannot judge anybody else's.
        return Ok(());
    }
    let earliest = now_ms.saturating_sub(config.timestamp_before_max_ms());
    let latest = now_ms.saturating_add(config.timestamp_after_max_ms());
    let oldest = facts.map_or(header.base_timestamp(), |facts| facts.min_timestamp);
    let newest = facts.map_or(header.max_timestamp(), |facts| facts.max_timestamp);
    // -1 is "no timestamp", and stands outside of any window.
    if (newest > latest) || (oldest != -1 && oldest < earliest) {
        return Err(record_error(
            ErrorCode::InvalidTimestamp,
            0,
            &format!(
                "A timestamp is outside of {earliest} to {latest}: it lies from {oldest} to \
                 {newest}."
            ),
        ));
    }
    Ok(())
}

fn wrong_magic(magic: i8) -> AppendError {
    invalid(&format!(
        "Only record batches of magic 2 are taken; this one has {magic}."
    ))
}

fn invalid(message: &str) -> AppendError {
    AppendError::new(ErrorCode::InvalidRecord, message)
}

fn corrupt(message: &str) -> AppendError {
    AppendError::new(ErrorCode::CorruptMessage, message)
}

fn record_error(code: ErrorCode, index: i32, message: &str) -> AppendError {
    AppendError {
        code,
        message: Some("One or more records have been rejected.".into()),
        record_errors: alloc::vec![RecordError {
            index,
            message: Some(message.into())
        }],
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use sedge_protocol::batch::HEADER_BYTES;
    use sedge_protocol::ids::{ProducerEpoch, ProducerId};
    use sedge_protocol::records::{BatchBuilder, Producer};

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

    /// With bytes put at a place, and the CRC made good again.
    fn forged(at: usize, field: &[u8]) -> Vec<u8> {
        let mut forged = plain();
        forged[at..at + field.len()].copy_from_slice(field);
        let body = forged.split_off(HEADER_BYTES);
        let header = BatchHeader::read(&forged).unwrap().with_computed_crc(&body);
        [header.as_bytes().as_slice(), &body].concat()
    }

    fn check_with(
        records: Vec<u8>,
        version: i16,
        configs: &[(&str, &str)],
    ) -> Result<(), AppendError> {
        let own: BTreeMap<_, _> = configs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let config = TopicConfig::effective(&own, &BrokerDefaults::default());
        check_batch(records.into(), version, &config, NOW_MS).map(|_| ())
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
            CorruptMessage, InvalidRecord, InvalidTimestamp, InvalidTxnState, MessageTooLarge,
            UnsupportedCompressionType,
        };
        let producer = Producer {
            id: ProducerId(1),
            epoch: ProducerEpoch(0),
            base_sequence: 0,
        };
        let transactional = builder(Compression::None)
            .producer(producer)
            .transactional();
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
                CorruptMessage,
            ),
            (
                "cut in the body",
                plain()[..70].to_vec(),
                9,
                none,
                CorruptMessage,
            ),
            (
                "two batches",
                [plain(), plain()].concat(),
                9,
                none,
                InvalidRecord,
            ),
            ("magic 1", forged(16, &[1]), 9, none, InvalidRecord),
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
                InvalidTxnState,
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
            (
                "a clock of its own",
                forged(21, &[0, 8]),
                9,
                none,
                InvalidTimestamp,
            ),
            ("no key", bytes(keyless), 9, compact, InvalidRecord),
            ("not gzip", garbage, 9, compact, CorruptMessage),
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
        let config = TopicConfig::effective(&BTreeMap::new(), &BrokerDefaults::default());
        let boots_in_1970 =
            check_batch(bytes(builder(Compression::None)).into(), 9, &config, 7_000);
        assert!(boots_in_1970.is_ok(), "{boots_in_1970:?}");
        let years_behind = check_batch(
            bytes(builder(Compression::None)).into(),
            9,
            &config,
            CLOCK_PLAUSIBLE_FROM_MS,
        );
        assert!(years_behind.is_err(), "{years_behind:?}");
    }

    #[test]
    fn the_record_at_fault_is_named() {
        let mut keyless = builder(Compression::None);
        keyless.push(NOW_MS, None, Some(b"x"), &[]);
        let error = check_with(bytes(keyless), 9, &[("cleanup.policy", "compact")]).unwrap_err();
        assert_eq!(error.record_errors.len(), 1);
        assert_eq!(error.record_errors[0].index, 2);
    }
}
