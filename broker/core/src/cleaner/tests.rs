//! Tests whole passes over small logs, and the selection of what a pass covers.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use sedge_protocol::records::{BatchBuilder, Compression, Producer, Records, decompress};

use super::*;

const RETENTION_MS: i64 = 1000;

/// A record: its key, and its value or a tombstone.
type Record<'a> = (&'a str, Option<&'a str>);

/// A log that is compacted repeatedly.
struct Log {
    batches: Vec<Batch>,
    end: i64,
    compacted_until: i64,
    last_batches: LastBatches,
    codec: Compression,
}

impl Log {
    fn new(codec: Compression) -> Self {
        Self {
            batches: Vec::new(),
            end: 0,
            compacted_until: 0,
            last_batches: LastBatches::new(),
            codec,
        }
    }

    fn put(&mut self, builder: BatchBuilder) -> &mut Self {
        let mut batch = builder.build().unwrap();
        batch.header.set_base_offset(Offset(self.end));
        self.end = batch.header.next_offset().get();
        self.batches.push(batch);
        self
    }

    fn write(&mut self, records: &[Record<'_>]) -> &mut Self {
        let builder = filled(BatchBuilder::new(self.codec), records);
        self.put(builder)
    }

    fn write_as(&mut self, producer: i64, sequence: i32, records: &[Record<'_>]) -> &mut Self {
        let builder = BatchBuilder::new(self.codec).producer(of(producer, sequence));
        self.put(filled(builder, records))
    }

    fn transactional(&mut self, producer: i64, records: &[Record<'_>]) -> &mut Self {
        let builder = BatchBuilder::new(self.codec).producer(of(producer, 0));
        self.put(filled(builder.transactional(), records))
    }

    fn marker(&mut self, producer: i64, commits: bool) -> &mut Self {
        let mut builder = BatchBuilder::new(Compression::None)
            .producer(of(producer, -1))
            .transactional()
            .control();
        let key = [0, 0, 0, u8::from(commits)];
        builder.push(5, Some(&key), Some(&[0; 6]), &[]);
        self.put(builder)
    }

    /// Compacts with a map of `bytes_max` bytes and returns the offset it reached.
    fn compact(&mut self, now_ms: i64, bytes_max: usize) -> i64 {
        let dirty = |batch: &&Batch| batch.header.base_offset().get() >= self.compacted_until;
        let mut scan = TransactionScan::default();
        for batch in self.batches.iter().filter(dirty) {
            assert!(scan.see(batch));
        }
        let mut end = scan.first_undecided().map_or(self.end, Offset::get);
        let transactions = scan.finish();
        let mut keys = KeyOffsets::new(bytes_max, 3);
        let mut met = transactions.clone();
        for batch in self.batches.iter().filter(dirty) {
            let base = batch.header.base_offset().get();
            if base >= end || !keys.put_batch(batch, &mut met) {
                end = end.min(base);
                break;
            }
        }
        let mut filter = Filter {
            keys: &keys,
            transactions,
            last_batches: &self.last_batches,
            log_end: Offset(self.end),
            now_ms,
            delete_retention_ms: RETENTION_MS,
            records_removed: 0,
            unreadable_batches: 0,
        };
        let mut left = Vec::new();
        for batch in &self.batches {
            if batch.header.base_offset().get() >= end {
                left.push(batch.clone());
                continue;
            }
            match filter.filter(batch).unwrap() {
                Filtered::Whole => left.push(batch.clone()),
                Filtered::Part(batch) => {
                    check_crc(&batch).unwrap();
                    left.push(batch);
                }
                Filtered::Nothing => {}
            }
        }
        self.batches = left;
        self.compacted_until = end;
        end
    }

    /// Renders batches as `base..next[offset:key=value,…]`, markers as `!`.
    fn show(&self) -> String {
        let mut text = Vec::new();
        for Batch { header, body } in &self.batches {
            let mut records = Vec::new();
            if header.record_count() > 0 {
                let body = decompress(header, body, 1 << 20).unwrap();
                for record in Records::new(header, &body) {
                    let record = record.unwrap();
                    let key = core::str::from_utf8(record.key.unwrap()).unwrap();
                    let value = record
                        .value
                        .map(|value| core::str::from_utf8(value).unwrap());
                    let offset = header.base_offset().get() + i64::from(record.offset_delta);
                    if header.is_control() {
                        records.push(format!("{offset}:!"));
                    } else {
                        records.push(format!("{offset}:{key}={}", value.unwrap_or("-")));
                    }
                }
            }
            text.push(format!("[{}]", records.join(",")));
        }
        text.join(" ")
    }
}

fn of(producer: i64, base_sequence: i32) -> Producer {
    Producer {
        id: ProducerId(producer),
        epoch: ProducerEpoch(2),
        base_sequence,
    }
}

fn filled(mut builder: BatchBuilder, records: &[Record<'_>]) -> BatchBuilder {
    for (key, value) in records {
        let value = value.map(str::as_bytes);
        builder.push(7, Some(key.as_bytes()), value, &[("h", Some(b"x"))]);
    }
    builder
}

const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];
const AMPLE: usize = 1 << 20;

#[test]
fn the_latest_value_of_each_key_stays_where_it_was() {
    for codec in CODECS {
        let mut log = Log::new(codec);
        log.write(&[("a", Some("1")), ("b", Some("1"))])
            .write(&[("c", Some("1"))])
            .write(&[("a", Some("2"))])
            .write(&[("b", Some("2")), ("b", Some("3")), ("d", Some("1"))]);
        let untouched = log.batches[1].body.clone();
        assert_eq!(log.compact(0, AMPLE), 7);
        let once = "[2:c=1] [3:a=2] [5:b=3,6:d=1]";
        assert_eq!(log.show(), once);
        assert_eq!(log.batches[0].body, untouched, "byte for byte");
        assert_eq!(log.batches[2].header.base_offset(), Offset(4));
        log.compact(0, AMPLE);
        assert_eq!(log.show(), once, "nothing is left to do");
        log.write(&[("c", Some("2"))]);
        log.compact(0, AMPLE);
        assert_eq!(log.show(), "[3:a=2] [5:b=3,6:d=1] [7:c=2]");
    }
}

#[test]
fn a_removal_stays_for_its_time_and_takes_the_values_before_it() {
    for codec in CODECS {
        let mut log = Log::new(codec);
        log.write(&[("a", Some("1")), ("b", Some("1"))])
            .write(&[("a", None)])
            .write(&[("c", Some("1"))]);
        log.compact(500, AMPLE);
        assert_eq!(log.show(), "[1:b=1] [2:a=-] [3:c=1]");
        let horizon = |log: &Log| {
            let header = &log.batches[1].header;
            header.has_delete_horizon().then(|| header.base_timestamp())
        };
        assert_eq!(horizon(&log), Some(500 + RETENTION_MS));
        log.compact(500 + RETENTION_MS - 1, AMPLE);
        assert_eq!(horizon(&log), Some(500 + RETENTION_MS), "set once");
        log.compact(500 + RETENTION_MS, AMPLE);
        assert_eq!(log.show(), "[1:b=1] [3:c=1]");
    }
}

#[test]
fn the_end_of_the_log_stays_even_without_records() {
    let mut log = Log::new(Compression::None);
    log.write(&[("a", Some("1"))]).write(&[("a", None)]);
    log.compact(0, AMPLE);
    log.compact(RETENTION_MS, AMPLE);
    assert_eq!(log.show(), "[]");
    assert_eq!(log.batches[0].header.next_offset(), Offset(2));
    log.write(&[("b", Some("1"))]);
    log.compact(RETENTION_MS, AMPLE);
    assert_eq!(log.show(), "[2:b=1]");
}

#[test]
fn a_small_map_takes_more_passes_and_comes_to_the_same() {
    let fill = |log: &mut Log| {
        for batch in 0..40 {
            let keys: Vec<String> = (0..500)
                .map(|key| format!("{}", key * (batch % 7 + 1)))
                .collect();
            let value = format!("{batch}");
            let records: Vec<Record<'_>> = keys
                .iter()
                .map(|key| (key.as_str(), Some(value.as_str())))
                .collect();
            log.write(&records);
        }
    };
    let (mut one, mut many) = (Log::new(Compression::None), Log::new(Compression::None));
    fill(&mut one);
    fill(&mut many);
    one.compact(0, AMPLE);
    let mut passes = 0;
    while many.compacted_until < many.end {
        let before = many.compacted_until;
        // The map holds some 3,700 keys.
        assert!(many.compact(0, 1) > before, "each pass gets on");
        passes += 1;
    }
    assert_eq!(passes, 1, "keys repeat: they fit");
    assert_eq!(one.show(), many.show());

    let (mut one, mut many) = (Log::new(Compression::None), Log::new(Compression::None));
    for log in [&mut one, &mut many] {
        for round in 0..3 {
            for batch in 0..20 {
                let keys: Vec<String> = (0..500).map(|key| format!("{batch}-{key}")).collect();
                let value = format!("{round}");
                let records: Vec<Record<'_>> = keys
                    .iter()
                    .map(|key| (key.as_str(), Some(value.as_str())))
                    .collect();
                log.write(&records);
            }
        }
    }
    one.compact(0, AMPLE);
    let mut passes = 0;
    while many.compacted_until < many.end {
        let before = many.compacted_until;
        assert!(many.compact(0, 1) > before, "each pass gets on");
        passes += 1;
    }
    assert!(passes > 5, "{passes} passes");
    assert_eq!(one.show(), many.show());
}

#[test]
fn a_producers_last_batch_stays_as_long_as_it_is_known() {
    let mut log = Log::new(Compression::Zstd);
    log.write_as(1, 0, &[("a", Some("1"))])
        .write_as(2, 0, &[("a", Some("2"))])
        .write_as(1, 1, &[("b", Some("1")), ("a", Some("3"))])
        .write(&[("a", Some("4")), ("b", Some("2"))]);
    let epoch = ProducerEpoch(2);
    log.last_batches = LastBatches::from([
        (ProducerId(1), (epoch, Some(Offset(2)))),
        (ProducerId(2), (epoch, Some(Offset(1)))),
    ]);
    log.compact(0, AMPLE);
    assert_eq!(log.show(), "[] [] [4:a=4,5:b=2]");
    let header: &BatchHeader = &log.batches[1].header;
    assert_eq!(header.producer_id(), Some(ProducerId(1)));
    assert_eq!((header.base_sequence(), header.last_offset_delta()), (1, 1));
    log.last_batches.remove(&ProducerId(2));
    log.compact(0, AMPLE);
    assert_eq!(log.show(), "[] [4:a=4,5:b=2]");
}

#[test]
fn aborted_data_goes_and_markers_outlive_it() {
    let mut log = Log::new(Compression::None);
    log.write(&[("a", Some("1"))])
        .transactional(7, &[("a", Some("aborted"))])
        .transactional(8, &[("b", Some("committed"))])
        .marker(7, false)
        .marker(8, true)
        .write(&[("z", Some("1"))]);
    log.compact(0, AMPLE);
    // The aborted value superseded nothing; both markers had data before them in this pass.
    assert_eq!(log.show(), "[0:a=1] [2:b=committed] [3:!] [4:!] [5:z=1]");
    assert!(
        log.batches
            .iter()
            .all(|batch| !batch.header.has_delete_horizon())
    );
    log.write(&[("b", Some("2"))]);
    log.compact(10, AMPLE);
    // The abort marker's horizon has started; the commit marker still had data in the last pass.
    assert_eq!(log.show(), "[0:a=1] [3:!] [4:!] [5:z=1] [6:b=2]");
    let clocks = |log: &Log| -> Vec<bool> {
        let markers = log.batches.iter().filter(|batch| batch.header.is_control());
        markers
            .map(|batch| batch.header.has_delete_horizon())
            .collect()
    };
    assert_eq!(clocks(&log), [true, false]);
    log.compact(20, AMPLE);
    assert_eq!(clocks(&log), [true, true]);
    log.compact(10 + RETENTION_MS, AMPLE);
    assert_eq!(log.show(), "[0:a=1] [4:!] [5:z=1] [6:b=2]");
    log.compact(20 + RETENTION_MS, AMPLE);
    assert_eq!(log.show(), "[0:a=1] [5:z=1] [6:b=2]");
}

#[test]
fn an_open_transaction_holds_compaction_back() {
    let mut log = Log::new(Compression::None);
    log.write(&[("a", Some("1"))])
        .write(&[("a", Some("2"))])
        .transactional(7, &[("a", Some("open"))])
        .write(&[("a", Some("4"))]);
    assert_eq!(log.compact(0, AMPLE), 2);
    assert_eq!(log.show(), "[1:a=2] [2:a=open] [3:a=4]");
    log.marker(7, false);
    assert_eq!(log.compact(0, AMPLE), 5);
    assert_eq!(log.show(), "[3:a=4] [4:!]");
}

#[test]
fn a_marker_is_the_last_word_of_a_producer_without_data() {
    let mut log = Log::new(Compression::None);
    log.marker(7, true)
        .marker(8, true)
        .write(&[("z", Some("1"))]);
    log.last_batches = LastBatches::from([(ProducerId(7), (ProducerEpoch(2), None))]);
    log.compact(0, AMPLE);
    log.compact(RETENTION_MS, AMPLE);
    assert_eq!(log.show(), "[] [2:z=1]");
    assert!(log.batches[0].header.is_control());
}

#[test]
fn a_record_without_a_key_goes() {
    let mut log = Log::new(Compression::None);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, None, Some(b"x"), &[]);
    builder.push(1, Some(b"a"), Some(b"1"), &[]);
    log.put(builder).write(&[("b", Some("1"))]);
    log.compact(0, AMPLE);
    assert_eq!(log.show(), "[1:a=1] [2:b=1]");
}

#[test]
fn a_damaged_batch_is_an_error() {
    let mut log = Log::new(Compression::Lz4);
    log.write(&[("a", Some("1"))]);
    let batch = &mut log.batches[0];
    batch.body = vec![1; batch.body.len()].into();
    assert!(check_crc(batch).is_err());
    let keys = KeyOffsets::new(0, 0);
    let mut filter = Filter {
        keys: &keys,
        transactions: Transactions::default(),
        last_batches: &BTreeMap::new(),
        log_end: Offset(9),
        now_ms: 0,
        delete_retention_ms: 0,
        records_removed: 0,
        unreadable_batches: 0,
    };
    // The checksum is checked earlier; with a correct one, a batch like this stays.
    assert!(matches!(filter.filter(batch), Ok(Filtered::Whole)));
    assert_eq!(filter.unreadable_batches, 1);
}

fn slice(at: i64, bytes: u64, newest_ms: i64) -> SliceFacts {
    SliceFacts {
        first_offset: Offset(at * 10),
        next_offset: Offset(at * 10 + 10),
        bytes,
        oldest_ms: newest_ms - 5,
        newest_ms,
        is_active: false,
    }
}

const POLICY: CompactionPolicy = CompactionPolicy {
    min_dirty_ratio: 0.5,
    min_lag_ms: 0,
    max_lag_ms: i64::MAX,
};

#[test]
fn what_is_dirty_is_what_came_since_and_may_be_looked_at() {
    let mut slices = [
        slice(0, 100, 10),
        slice(1, 100, 20),
        slice(2, 50, 30),
        slice(3, 7, 40),
    ];
    slices[3].is_active = true;
    let check =
        |compacted_until, stable, policy: CompactionPolicy, expected: (i64, i64, u64, u64)| {
            let log = LogFacts {
                slices: &slices,
                log_start: Offset(3),
                compacted_until: Offset(compacted_until),
                last_stable_offset: Offset(stable),
            };
            let found = assess(&log, &policy, 50);
            let facts = (
                found.first_dirty.get(),
                found.end.get(),
                found.clean_bytes,
                found.dirty_bytes,
            );
            assert_eq!(facts, expected, "{compacted_until} {stable} {policy:?}");
            assert_eq!(found.start, Offset(0));
        };
    check(0, 40, POLICY, (3, 30, 0, 250));
    check(10, 40, POLICY, (10, 30, 100, 150));
    check(30, 40, POLICY, (30, 30, 250, 0));
    check(10, 25, POLICY, (10, 25, 100, 150));
    check(10, 20, POLICY, (10, 20, 100, 100));
    let lag = |min_lag_ms| CompactionPolicy {
        min_lag_ms,
        ..POLICY
    };
    check(0, 40, lag(25), (3, 20, 0, 200));
    check(0, 40, lag(20), (3, 30, 0, 250));
    check(0, 40, lag(1000), (3, 3, 0, 0));
}

#[test]
fn what_is_dirty_enough_or_overdue_is_due() {
    let of = |clean_bytes, dirty_bytes, is_overdue| Compactable {
        start: Offset(0),
        first_dirty: Offset(0),
        end: Offset(0),
        clean_bytes,
        dirty_bytes,
        is_overdue,
        needs_roll: false,
    };
    let due = |compactable| is_due(&compactable, &POLICY);
    assert!(!due(of(0, 0, false)) && !due(of(0, 0, true)));
    assert!(!due(of(50, 50, false)));
    assert!(due(of(49, 50, false)));
    assert!(due(of(1000, 1, true)));
}

#[test]
fn the_longest_lag_forces_a_compaction_or_a_new_segment() {
    let policy = CompactionPolicy {
        max_lag_ms: 30,
        ..POLICY
    };
    let mut slices = vec![slice(0, 100, 10), slice(1, 100, 20)];
    let assessed = |slices: &[SliceFacts], now| {
        let log = LogFacts {
            slices,
            log_start: Offset(0),
            compacted_until: Offset(10),
            last_stable_offset: Offset(20),
        };
        let found = assess(&log, &policy, now);
        (found.is_overdue, found.needs_roll)
    };
    assert_eq!(assessed(&slices, 45), (false, false));
    assert_eq!(assessed(&slices, 46), (true, false));
    slices[1].is_active = true;
    assert_eq!(assessed(&slices, 45), (false, false));
    assert_eq!(assessed(&slices, 46), (false, true));
}

/// A single such batch once excluded the whole partition from compaction until the next start.
#[test]
fn a_batch_that_cannot_be_read_stays_and_hides_nothing() {
    let break_body: [fn(&mut Batch); 3] = [
        // Not the codec's format; cut short; offsets that belong to later batches.
        |batch| batch.body = alloc::vec![0x5a; 40].into(),
        |batch| batch.body = batch.body.slice(..batch.body.len() - 5),
        |batch| {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(5, Some(b"k"), Some(b"x"), &[]);
            builder.push(5, Some(b"k"), Some(b"x"), &[]);
            let body = builder.build().unwrap().body;
            let mut body = body.to_vec();
            let second = body.len() / 2;
            body[second + 3] = 2 * 40;
            let mut header = *batch.header.as_bytes();
            header[22] = 0;
            batch.header = BatchHeader::read(&header).unwrap();
            batch.body = body.into();
        },
    ];
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        for break_body in break_body {
            let mut log = Log::new(codec);
            log.write(&[("k", Some("1")), ("only", Some("1"))])
                .write(&[("k", Some("poisoned")), ("only", Some("poisoned"))])
                .write(&[("k", Some("2"))])
                .write(&[("z", Some("1"))]);
            break_body(&mut log.batches[1]);
            let poisoned = log.batches[1].clone();
            log.compact(10, 1 << 20);
            assert_eq!(log.batches[1].body, poisoned.body);
            assert_eq!(log.batches[1].header, poisoned.header);
            log.batches.remove(1);
            assert_eq!(log.show(), "[1:only=1] [4:k=2] [5:z=1]");
        }
    }
}
