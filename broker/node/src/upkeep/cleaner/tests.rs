//! Tests compaction on a real log: of batches that no client may write yet, transactions and their
//! markers; and the cleaning that is postponed when the day's write budget is spent.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};
use sedge_protocol::records::{BatchBuilder, Compression, Producer, Records};

use super::*;
use crate::test_broker::TestBroker;

/// Each pass covers everything appended since the last.
const COMPACTED: [(&str, &str); 2] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0"),
];

fn batch(producer: Option<(i64, i32)>, records: &[(&str, &str)]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((id, base_sequence)) = producer {
        builder = builder.producer(Producer {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence,
        });
    }
    for (key, value) in records {
        builder.push(7, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    builder
}

/// A compacted partition.
struct Log {
    node: TestBroker,
    id: PartitionId,
    pace: Pace,
    set_aside: SetAside,
}

fn pace_of(node: &TestBroker) -> Pace {
    let broker = &node.broker;
    Pace::new(
        Arc::clone(&broker.log),
        broker.writer.clone(),
        Arc::clone(&broker.logbook),
        &broker.config,
    )
}

impl Log {
    fn new(configs: &[(&str, &str)]) -> Self {
        let node = TestBroker::start(&[]);
        let configs: Vec<_> = COMPACTED.iter().chain(configs).copied().collect();
        node.create_topic("t", &configs);
        Self::of(node)
    }

    fn of(node: TestBroker) -> Self {
        Self {
            id: node.partition("t"),
            pace: pace_of(&node),
            set_aside: SetAside::default(),
            node,
        }
    }

    fn restart(self, without_views: bool) -> Self {
        let Self { node, pace, .. } = self;
        drop(pace);
        Self::of(node.restart(without_views))
    }

    fn put(&self, builder: BatchBuilder) -> &Self {
        self.node.write_past(self.id, builder.build().unwrap());
        self
    }

    fn write(&self, records: &[(&str, &str)]) -> &Self {
        self.put(batch(None, records))
    }

    fn transactional(&self, producer: i64, sequence: i32, records: &[(&str, &str)]) -> &Self {
        self.put(batch(Some((producer, sequence)), records).transactional())
    }

    /// Appends the end of a transaction: version and type are the key, and the coordinator's epoch
    /// is in the value.
    fn marker(&self, producer: i64, commits: bool) -> &Self {
        let mut builder = batch(Some((producer, -1)), &[]).transactional().control();
        builder.push(5, Some(&[0, 0, 0, u8::from(commits)]), Some(&[0; 6]), &[]);
        self.put(builder)
    }

    /// Compacts everything once.
    fn compact(&mut self) {
        self.node.broker.log.store.roll().unwrap();
        self.pace.begin_round();
        compaction::round(&self.pace, &mut self.set_aside);
        assert!(self.set_aside.partitions.is_empty(), "it failed");
    }

    fn batches(&self) -> Vec<Batch> {
        let store = &self.node.broker.log.store;
        let read = store.read(self.id, Offset::ZERO, Offset(i64::MAX), usize::MAX >> 1);
        let mut bytes = Bytes::from(read.unwrap().concat());
        std::iter::from_fn(|| Batch::split_from(&mut bytes)).collect()
    }

    /// Renders batches as `[offset:key=value,…]`, a marker as `!`, or `!!` if its delete horizon is
    /// set (KIP-534).
    fn show(&self) -> String {
        let batches = self.batches();
        let shown: Vec<String> = batches.iter().map(show).collect();
        shown.join(" ")
    }
}

fn show(batch: &Batch) -> String {
    let header = &batch.header;
    let mut records = Vec::new();
    for record in Records::new(header, &batch.body).take(header.record_count() as usize) {
        let record = record.unwrap();
        let offset = header.base_offset().get() + i64::from(record.offset_delta);
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        records.push(match (header.is_control(), header.has_delete_horizon()) {
            (true, true) => format!("{offset}:!!"),
            (true, false) => format!("{offset}:!"),
            (false, _) => format!("{offset}:{}={}", text(record.key), text(record.value)),
        });
    }
    format!("[{}]", records.join(","))
}

/// Producers 7 and 8 end a transaction each, 7 by aborting it, and continue with another one, so
/// that the batches of the first are not their last, which would stay.
fn two_transactions(log: &Log) {
    log.write(&[("a", "1")])
        .transactional(7, 0, &[("a", "aborted")])
        .transactional(8, 0, &[("b", "committed")])
        .marker(7, false)
        .marker(8, true)
        .transactional(7, 1, &[("c", "1")])
        .transactional(8, 1, &[("d", "1")])
        .marker(7, true)
        .marker(8, true)
        .write(&[("z", "1")]);
}

#[test]
fn aborted_records_go_and_markers_outlive_them_for_their_time() {
    let mut log = Log::new(&[("delete.retention.ms", "3600000")]);
    two_transactions(&log);
    log.compact();
    // The aborted value superseded nothing, and each marker had data before it in this pass.
    let rest = "[5:c=1] [6:d=1] [7:!] [8:!]";
    let expected = format!("[0:a=1] [2:b=committed] [3:!] [4:!] {rest} [9:z=1]");
    assert_eq!(log.show(), expected);
    log.write(&[("b", "2")]);
    log.compact();
    // The abort marker's horizon has started; the commit marker still had data in the last pass.
    let expected = format!("[0:a=1] [3:!!] [4:!] {rest} [9:z=1] [10:b=2]");
    assert_eq!(log.show(), expected);
    log.write(&[("z", "2")]);
    log.compact();
    let expected = format!("[0:a=1] [3:!!] [4:!!] {rest} [10:b=2] [11:z=2]");
    assert_eq!(log.show(), expected);
    for without_views in [false, true] {
        log = log.restart(without_views);
        assert_eq!(log.show(), expected, "without views: {without_views}");
    }
    log.write(&[("y", "1")]);
    log.compact();
    let found = log.show();
    assert!(
        found.starts_with("[0:a=1] [3:!!] [4:!!]"),
        "an hour has not passed: {found}"
    );
}

#[test]
fn markers_whose_time_is_over_go() {
    let mut log = Log::new(&[("delete.retention.ms", "0")]);
    two_transactions(&log);
    let expected = "[0:a=1] [5:c=1] [6:d=1] [7:!] [8:!]";
    // One pass for each condition that they wait for: the data, the clock, and its end.
    for pass in 0..20 {
        log.write(&[("b", "2"), ("z", "2")]);
        log.compact();
        if log.show().starts_with(expected) {
            return;
        }
        let found = log.show();
        assert!(pass < 19, "{found}");
        assert!(
            found.starts_with("[0:a=1]") && !found.contains("aborted"),
            "{found}"
        );
    }
}

#[test]
fn an_open_transaction_holds_compaction_back() {
    let mut log = Log::new(&[]);
    log.write(&[("a", "1")])
        .write(&[("a", "2")])
        .transactional(7, 0, &[("a", "open")])
        .write(&[("a", "4")])
        .transactional(7, 1, &[("b", "open")])
        .write(&[("b", "6")]);
    for without_views in [false, true] {
        log.compact();
        let expected = "[1:a=2] [2:a=open] [3:a=4] [4:b=open] [5:b=6]";
        assert_eq!(log.show(), expected);
        let bounds = log.node.broker.log.store.bounds(log.id).unwrap();
        assert_eq!(
            bounds.compacted_until,
            Offset(2),
            "not behind what is undecided"
        );
        log = log.restart(without_views);
        assert_eq!(log.show(), expected, "without views: {without_views}");
    }
    log.marker(7, false);
    log.compact();
    // Its second batch is the producer's last, and stays without records.
    assert_eq!(log.show(), "[3:a=4] [] [5:b=6] [6:!]");
    let empty = &log.batches()[1].header;
    assert_eq!((empty.base_offset(), empty.base_sequence()), (Offset(4), 1));
}

/// After overdue records in the active segment had caused it to be rolled, they waited for the
/// backoff once more.
#[test]
fn what_is_overdue_in_the_active_segment_is_compacted_in_the_round_that_ends_it() {
    let mut log = Log::new(&[("max.compaction.lag.ms", "1")]);
    log.write(&[("a", "1")]).write(&[("a", "2")]);
    let clock = &log.node.broker.log.clock;
    let written_ms = clock.append_ms();
    while clock.append_ms() <= written_ms + 1 {
        std::thread::yield_now();
    }
    let written_to = log.node.broker.log.store.active_segment();
    compaction::round(&log.pace, &mut log.set_aside);
    assert_ne!(log.node.broker.log.store.active_segment(), written_to);
    assert_eq!(log.show(), "[1:a=2]");
    // A segment is not rolled again without a reason.
    let written_to = log.node.broker.log.store.active_segment();
    compaction::round(&log.pace, &mut log.set_aside);
    assert_eq!(log.node.broker.log.store.active_segment(), written_to);
}

const BUDGET: &str = "sedge.disk.write.budget.bytes.per.day";

/// A single such batch, of an older version or under `sedge.produce.validation=relaxed`, excluded
/// its whole partition from compaction until the next start.
#[test]
fn a_batch_that_cannot_be_read_does_not_stop_compaction() {
    let mut log = Log::new(&[]);
    log.write(&[("a", "1"), ("b", "1")]);
    let mut poisoned = batch(None, &[("a", "unread")]).build().unwrap();
    let mut header = *poisoned.header.as_bytes();
    // The header says gzip, and the body is not.
    header[22] = 1;
    poisoned.header = BatchHeader::read(&header)
        .unwrap()
        .with_computed_crc(&poisoned.body);
    log.node.write_past(log.id, poisoned.clone());
    log.write(&[("b", "2")]).write(&[("z", "1")]);
    log.compact();
    let batches = log.batches();
    assert_eq!(batches[1].body, poisoned.body, "it stays as it is");
    assert_eq!(batches[1].header.crc(), poisoned.header.crc());
    let others = [&batches[0], &batches[2], &batches[3]];
    let others: Vec<String> = others.into_iter().map(show).collect();
    assert_eq!(others.join(" "), "[0:a=1] [3:b=2] [4:z=1]");
    let metrics = &log.node.broker.log.metrics.cleaner;
    assert_eq!(metrics.unreadable_batches.get(), 1);
}

fn set_budget(node: &mut TestBroker, bytes: &str) {
    node.settings.retain(|(key, _)| key != BUDGET);
    node.settings.push((BUDGET.to_owned(), bytes.to_owned()));
}

/// Returns whether the kernel counts writes to the test's file system; tmpfs does not. Without that
/// no budget can be spent, so the test is skipped and says so.
fn counts_writes(node: &TestBroker) -> bool {
    let logbook = &node.broker.logbook;
    let entry = logbook.enter(&node.broker.log.clock, &*node.broker.log.store);
    let counts = entry.written_here_bytes > 0;
    if !counts {
        let said = "skipped: the kernel counts nothing written to this file system";
        // Written to standard error itself, which the test runner shows even for tests that pass.
        writeln!(std::io::stderr(), "{said}").unwrap();
    }
    counts
}

#[test]
fn what_is_not_overdue_waits_when_the_budget_is_spent() {
    let mut log = Log::new(&[]);
    set_budget(&mut log.node, "1");
    log = log.restart(false);
    log.node
        .create_topic("overdue", &[COMPACTED[0], ("max.compaction.lag.ms", "1")]);
    let overdue = log.node.partition("overdue");
    for value in ["1", "2", "3"] {
        log.write(&[("a", value)]);
        log.node
            .write_past(overdue, batch(None, &[("a", value)]).build().unwrap());
    }
    if !counts_writes(&log.node) {
        return;
    }
    let compacted_until = |log: &Log, id| {
        log.node
            .broker
            .log
            .store
            .bounds(id)
            .unwrap()
            .compacted_until
    };
    // It waits until it is overdue.
    while compacted_until(&log, overdue) == Offset::ZERO {
        log.compact();
    }
    assert_eq!(compacted_until(&log, log.id), Offset::ZERO);
    assert_eq!(log.show(), "[0:a=1] [1:a=2] [2:a=3]");
    let waits = |log: &Log| log.node.broker.log.metrics.cleaner.waits_for_budget.get();
    assert_eq!(waits(&log), 1);
    set_budget(&mut log.node, "1000000000000");
    log = log.restart(false);
    log.compact();
    assert_eq!((log.show().as_str(), waits(&log)), ("[2:a=3]", 0));
}

/// Builds segments with a little of one topic, `stays`, and much of another, `goes`.
fn mixed_segments(settings: &[(&str, &str)]) -> (TestBroker, PartitionId, PartitionId) {
    let segments = ("sedge.segment.bytes", "1048576");
    let settings: Vec<_> = settings.iter().copied().chain([segments]).collect();
    let node = TestBroker::start(&settings);
    let stays = node.create_topic("stays", &[]);
    let goes = node.create_topic("goes", &[]);
    let large = "x".repeat(200 << 10);
    for _ in 0..30 {
        node.write_past(stays, batch(None, &[("a", "1")]).build().unwrap());
        node.write_past(goes, batch(None, &[("a", &large)]).build().unwrap());
    }
    (node, stays, goes)
}

fn has_cold_segment(node: &TestBroker) -> bool {
    let segments = node.broker.log.store.segments().unwrap();
    segments.iter().any(|segment| segment.is_cold)
}

/// Space freed by retention was returned up to `log.cleaner.backoff.ms` late, because a record of
/// the metadata was in the same segment.
#[test]
fn what_is_deleted_is_cleaned_up_after_at_once() {
    let (node, _, goes) = mixed_segments(&[("log.cleaner.backoff.ms", "86400000")]);
    let emptied = async {
        let moved = node.broker.writer.delete_records(goes, None).await;
        moved.unwrap().unwrap();
        while !has_cold_segment(&node) {
            Timer::after(Duration::from_millis(10)).await;
        }
    };
    let too_long = async {
        Timer::after(Duration::from_mins(1)).await;
        panic!("it waits for the backoff");
    };
    let cleaning = run(pace_of(&node));
    future::block_on(future::or(cleaning, future::or(emptied, too_long)));
    assert!(has_cold_segment(&node), "the cleaner ended");
}

#[test]
fn segments_are_emptied_over_the_budget_only_where_room_is_short() {
    let (mut node, stays, goes) = mixed_segments(&[]);
    if !counts_writes(&node) {
        return;
    }
    let emptied = |node: &TestBroker| -> bool {
        let pace = pace_of(node);
        pace.begin_round();
        sweep::round(&pace, &mut SetAside::default());
        has_cold_segment(node)
    };
    let moved = node.broker.writer.delete_records(goes, None);
    future::block_on(moved).unwrap().unwrap();
    set_budget(&mut node, "1");
    node = node.restart(false);
    node.write_past(stays, batch(None, &[("a", "1")]).build().unwrap());
    assert!(!emptied(&node), "there is room");
    node.settings
        .push(("sedge.disk.max.bytes".to_owned(), "1".to_owned()));
    node = node.restart(false);
    node.write_past(stays, batch(None, &[("a", "1")]).build().unwrap());
    assert!(emptied(&node), "the cap is reached");
    let read = node
        .broker
        .log
        .store
        .read(stays, Offset::ZERO, Offset(i64::MAX), 1 << 20);
    let mut bytes = Bytes::from(read.unwrap().concat());
    assert_eq!(
        std::iter::from_fn(|| Batch::split_from(&mut bytes)).count(),
        32
    );
}
