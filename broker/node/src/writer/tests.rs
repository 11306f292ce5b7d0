//! Tests the writer's rounds on a store in memory that accepts only what was reserved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::{block_on, poll_once};
use sedge_core::log::{AppendError, SequenceRange};
use sedge_core::metadata::{Command, CommandReply, TopicName};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};
use sedge_protocol::records::{BatchBuilder, Compression, Producer};
use sedge_storage::{
    LogBounds, LogStore, MemoryStore, Room, Urgency, View, ViewReader, ViewUpdate,
};

use super::flushes::Flushes;
use super::round::Round;
use super::settlement::Settlement;
use super::thread::in_one_commit;
use super::{AppendPart, AppendReply, Appended, Awaited, Request, State, Unit, Writer, reply};
use crate::broker::Broker;
use crate::limits::WRITE_AHEAD_BYTES;
use crate::log::views;
use crate::process::random::random_uuid;
use crate::test_broker::on_store;

const FULL: ErrorCode = ErrorCode::KafkaStorageError;

struct Node {
    store: Arc<MemoryStore>,
    broker: Arc<Broker>,
    state: State,
    flushes: Arc<Flushes>,
}

/// The receiver of a reply, which must have arrived when the round is over.
struct Asked<T>(Awaited<T>);

impl<T> Asked<T> {
    fn answer(self) -> T {
        let reply = block_on(poll_once(self.0)).expect("it was answered");
        reply.expect("the writer is there")
    }
}

impl Node {
    fn new(store: MemoryStore) -> Self {
        let store = Arc::new(store);
        let (broker, state) = on_store(Arc::clone(&store) as Arc<dyn LogStore>);
        Self {
            store,
            broker,
            state,
            flushes: Arc::default(),
        }
    }

    /// With a topic of sync durability, `flushed`, and one of interval durability, `t`.
    fn of_two_durabilities() -> Self {
        let mut node = Self::new(MemoryStore::new());
        node.create("flushed", 1).unwrap();
        node.create("t", 1).unwrap();
        node.alter("sedge.durability", "interval").unwrap();
        node
    }

    fn high_watermark(&self, topic: &str) -> i64 {
        let id = self.partitions(topic)[0];
        self.broker
            .log
            .partition(id)
            .unwrap()
            .high_watermark()
            .get()
    }

    /// Runs all requests in one commit, and a flush if one of them waits for that. Returns whether
    /// there was one.
    fn round(&mut self, requests: Vec<Request>) -> bool {
        let flushed = self.write(requests);
        let waits = flushed.is_some();
        if let Some(flushed) = flushed {
            self.flushes.flush(&*self.store);
            flushed.settle(&self.broker.log);
        }
        waits
    }

    /// Runs all requests in one commit. Returns what is to be settled after a flush.
    fn write(&mut self, requests: Vec<Request>) -> Option<Settlement> {
        let round = Round::new(&self.broker.log, &mut self.state, &self.flushes);
        round.run(requests.into_iter())
    }

    fn append(&mut self, units: Vec<Unit>) -> AppendReply {
        let (request, asked) = append(units);
        self.round(vec![request]);
        asked.answer()
    }

    fn command(&mut self, command: Command) -> Result<CommandReply, ErrorCode> {
        let (request, asked) = metadata(command);
        self.round(vec![request]);
        asked.answer().map_err(|error| error.code)
    }

    fn create(&mut self, name: &str, partitions: i32) -> Result<CommandReply, ErrorCode> {
        self.command(Command::CreateTopic {
            name: name.to_owned(),
            id: random_uuid(),
            partitions,
            configs: Vec::new(),
            validate_only: false,
        })
    }

    fn alter(&mut self, key: &str, value: &str) -> Result<CommandReply, ErrorCode> {
        self.command(Command::AlterTopicConfigs {
            name: "t".to_owned(),
            changes: vec![(key.to_owned(), Some(value.to_owned()))],
        })
    }

    fn delete_records(&mut self, id: PartitionId) -> Result<Offset, ErrorCode> {
        let (done, reply) = reply::channel();
        self.round(vec![Request::DeleteRecords {
            partition: id,
            before: None,
            done,
        }]);
        Asked(reply).answer().map_err(|error| error.code)
    }

    fn retain(&mut self, log_starts: Vec<(PartitionId, Offset)>) -> usize {
        let (done, reply) = reply::channel();
        self.round(vec![Request::Retain { log_starts, done }]);
        Asked(reply).answer()
    }

    fn partitions(&self, topic: &str) -> Vec<PartitionId> {
        let topic = self.state.controller.image().topic(topic).unwrap();
        topic.partitions().collect()
    }

    fn part(&self, topic: &str, index: usize, batch: Batch) -> AppendPart {
        let found = self.state.controller.image().topic(topic).unwrap();
        AppendPart {
            partition: self.partitions(topic)[index],
            topic: Arc::clone(found),
            write: SequenceRange::of(&batch.header).into(),
            batch: Ok(Some(batch)),
            elsewhere: Vec::new(),
            awaits: None,
        }
    }

    fn end(&self, id: PartitionId) -> Offset {
        self.store.bounds(id).unwrap().next_offset
    }
}

fn append(units: Vec<Unit>) -> (Request, Asked<AppendReply>) {
    let (done, reply) = reply::channel();
    (Request::Append { units, done }, Asked(reply))
}

fn metadata(
    command: Command,
) -> (
    Request,
    Asked<Result<CommandReply, sedge_core::metadata::CommandError>>,
) {
    let (done, reply) = reply::channel();
    (Request::Metadata { command, done }, Asked(reply))
}

fn alone(part: AppendPart) -> Unit {
    Unit {
        parts: vec![part],
        updates: Vec::new(),
    }
}

fn batch(bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, None, Some(&vec![7; bytes]), &[]);
    builder.build().unwrap()
}

fn of_producer(sequence: i32) -> Batch {
    of_producer_with(sequence, 1)
}

fn of_producer_with(sequence: i32, bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None).producer(Producer {
        id: ProducerId(7),
        epoch: ProducerEpoch(0),
        base_sequence: sequence,
    });
    builder.push(1, None, Some(&vec![7; bytes]), &[]);
    builder.build().unwrap()
}

fn codes(reply: &[Result<Appended, AppendError>]) -> Vec<Option<ErrorCode>> {
    let code = |of: &Result<Appended, AppendError>| of.as_ref().err().map(|error| error.code);
    reply.iter().map(code).collect()
}

/// The store makes the test fail if more is written than was reserved.
#[test]
fn a_full_disk_refuses_and_what_frees_space_goes_on() {
    const PARTITIONS: usize = 600;
    let mut node = Node::new(MemoryStore::with_room(1 << 20));
    node.create("t", PARTITIONS as i32).unwrap();
    let ids = node.partitions("t");
    // Many small parts, whose rows are a large share.
    let full = loop {
        let parts = (0..PARTITIONS).map(|index| alone(node.part("t", index, batch(10))));
        let reply = node.append(parts.collect());
        if let Some(Err(refused)) = reply.into_iter().find(Result::is_err) {
            break refused;
        }
    };
    assert_eq!(full.code, FULL);
    assert_eq!(node.broker.log.storage.refusing(), Some("the disk is full"));
    for (id, active) in ids.iter().map(|id| (*id, node.end(*id))) {
        let published = node.broker.log.partition(id).unwrap();
        assert_eq!(
            published.high_watermark(),
            active,
            "nothing is half applied"
        );
    }

    assert_eq!(node.create("u", 600), Err(FULL));
    let growing = node.command(Command::CreatePartitions {
        name: "t".to_owned(),
        total: 1_200,
        assigned: None,
        validate_only: false,
    });
    assert_eq!(growing, Err(FULL));
    assert_eq!(node.alter("max.message.bytes", "1000"), Err(FULL));
    let mut log_starts: Vec<_> = ids.iter().map(|id| (*id, node.end(*id))).collect();
    let first = log_starts.remove(0).0;
    assert_eq!(node.delete_records(first), Ok(node.end(first)));
    assert_eq!(node.alter("retention.ms", "1000"), Ok(CommandReply::Done));
    assert_eq!(node.retain(log_starts.clone()), log_starts.len());
    assert_eq!(node.retain(log_starts), 599, "they are there already");
    let topic = TopicName::Name("t".to_owned());
    let deleted = node.command(Command::DeleteTopic { topic }).unwrap();
    assert!(matches!(deleted, CommandReply::Deleted { name, .. } if name == "t"));
    for id in ids {
        assert_eq!(node.store.bounds(id).unwrap(), LogBounds::default());
    }
    assert_eq!(
        node.broker.log.storage.refusing(),
        Some("the disk is full"),
        "that these go says nothing of produce"
    );
}

/// Retention moves as many log starts as its share of the headroom allows.
#[test]
fn retention_moves_what_there_is_room_for_and_leaves_some_to_commands() {
    let mut node = Node::new(MemoryStore::with_room(256 << 10));
    node.create("t", 900).unwrap();
    let ids = node.partitions("t");
    let parts = (0..900).map(|index| alone(node.part("t", index, batch(1))));
    let parts: Vec<Unit> = parts.collect();
    assert_eq!(codes(&node.append(parts)), vec![None; 900]);
    let fill = |node: &Node| alone(node.part("t", 0, batch(1)));
    while codes(&node.append(vec![fill(&node)])) == [None] {}
    let log_starts: Vec<_> = ids.iter().map(|id| (*id, Offset(1))).collect();
    let moved = node.retain(log_starts.clone());
    assert!(moved > 100 && moved < 900, "{moved}");
    for (id, offset) in &log_starts {
        let start = node.store.bounds(*id).unwrap().log_start;
        let active = node.state.partitions.known(*id).log.log_start();
        assert_eq!(start, active, "{id:?}");
        assert_eq!(start == *offset, id.get() - ids[0].get() < moved as u32);
    }
    assert_eq!(node.delete_records(ids[899]), Ok(Offset(1)));
}

#[test]
fn one_request_that_is_refused_refuses_no_other() {
    let mut node = Node::new(MemoryStore::with_room(64 << 10));
    node.create("t", 2).unwrap();
    let (large, large_asked) = append(vec![alone(node.part("t", 0, batch(1 << 20)))]);
    let (small, small_asked) = append(vec![alone(node.part("t", 1, batch(10)))]);
    node.round(vec![large, small]);
    assert_eq!(codes(&large_asked.answer()), [Some(FULL)]);
    assert_eq!(codes(&small_asked.answer()), [None]);
    // Nor is a part of a request.
    let units = [1 << 20, 10].map(|bytes| alone(node.part("t", 1, batch(bytes))));
    assert_eq!(codes(&node.append(units.into())), [Some(FULL), None]);
    assert_eq!(node.end(node.partitions("t")[1]), Offset(2));
}

#[test]
fn a_unit_of_which_a_part_is_refused_changes_nothing() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 1).unwrap();
    node.create("gone", 1).unwrap();
    let id = node.partitions("t")[0];
    let key = b"offset".to_vec();
    let unit = |node: &Node| Unit {
        parts: vec![node.part("t", 0, batch(1)), node.part("gone", 0, batch(1))],
        updates: vec![ViewUpdate {
            view: View::Offsets,
            key: key.clone(),
            value: Some(b"1".to_vec()),
        }],
    };
    let (late, asked) = append(vec![unit(&node)]);
    let whole = unit(&node);
    let topic = TopicName::Name("gone".to_owned());
    node.command(Command::DeleteTopic { topic }).unwrap();
    node.round(vec![late]);
    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(codes(&asked.answer()), [unknown, unknown]);
    assert_eq!(node.end(id), Offset(0));
    assert_eq!(node.store.view_get(View::Offsets, &key).unwrap(), None);
    let parts = whole.parts.into_iter().take(1).collect();
    let updates = whole.updates;
    assert_eq!(codes(&node.append(vec![Unit { parts, updates }])), [None]);
    assert!(node.store.view_get(View::Offsets, &key).unwrap().is_some());
}

#[test]
fn a_partition_that_was_dropped_leaves_nothing_in_the_writer() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 1).unwrap();
    let id = node.partitions("t")[0];
    let (appending, asked) = append(vec![alone(node.part("t", 0, batch(1)))]);
    let topic = TopicName::Name("t".to_owned());
    let (deleting, deleted) = metadata(Command::DeleteTopic { topic });
    node.round(vec![appending, deleting]);
    assert_eq!(codes(&asked.answer()), [None]);
    assert!(deleted.answer().is_ok());
    assert!(node.state.partitions.find(id).is_none());
    // Nor does what retention or a client had asked for before.
    assert_eq!(node.retain(vec![(id, Offset(1))]), 1);
    assert_eq!(node.delete_records(id), Ok(Offset(0)));
    assert!(node.state.partitions.find(id).is_none());
}

#[test]
fn a_follower_hears_when_its_partition_grows_or_goes_and_of_no_other() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 1).unwrap();
    node.create("other", 1).unwrap();
    let follower = node.broker.log.follower();
    let partition = node.broker.log.partition(node.partitions("t")[0]);
    partition.unwrap().add_follower(&follower);
    let mut check = |act: &dyn Fn(&mut Node, &str)| {
        let mut listener = follower.listen();
        act(&mut node, "other");
        assert!(block_on(poll_once(&mut listener)).is_none());
        act(&mut node, "t");
        assert!(block_on(poll_once(&mut listener)).is_some());
    };
    check(&|node, topic| {
        let unit = alone(node.part(topic, 0, batch(1)));
        assert_eq!(codes(&node.append(vec![unit])), [None]);
    });
    check(&|node, topic| {
        let topic = TopicName::Name(topic.to_owned());
        node.command(Command::DeleteTopic { topic }).unwrap();
    });
}

/// The views kept entries of the partition for ever: the commit removed those from before it, and
/// not those that it added itself.
#[test]
fn a_partition_that_is_dropped_by_the_commit_that_wrote_to_it_leaves_nothing_in_the_views() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 1).unwrap();
    node.create("stays", 1).unwrap();
    let [id, stays] = ["t", "stays"].map(|topic| node.partitions(topic)[0]);
    let units = ["t", "stays"].map(|topic| alone(node.part(topic, 0, of_producer(0))));
    let (appending, asked) = append(units.into());
    let topic = TopicName::Name("t".to_owned());
    let (deleting, deleted) = metadata(Command::DeleteTopic { topic });
    node.round(vec![appending, deleting]);
    assert_eq!(codes(&asked.answer()), [None, None]);
    assert!(deleted.answer().is_ok());
    let left = |id| views::removals(&*node.store, id);
    assert_eq!(left(id), []);
    assert_eq!(left(stays).len(), 2, "its producer and its epoch");
}

#[test]
fn a_repeat_is_flushed_where_the_topic_asks_for_it_by_now() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 1).unwrap();
    node.alter("sedge.durability", "interval").unwrap();
    let (first, asked) = append(vec![alone(node.part("t", 0, of_producer(0)))]);
    assert!(!node.round(vec![first]));
    assert_eq!(codes(&asked.answer()), [None]);
    // As for a batch in flight when the topic was changed: the change itself is flushed.
    let mut repeat = node.part("t", 0, of_producer(0));
    node.alter("sedge.durability", "sync").unwrap();
    node.flushes.note_written();
    let (again, asked) = append(vec![alone(repeat.clone())]);
    repeat.topic = Arc::clone(node.state.controller.image().topic("t").unwrap());
    assert!(!node.round(vec![again]));
    assert_eq!(asked.answer()[0].as_ref().unwrap().base_offset, Offset(0));
    let (again, asked) = append(vec![alone(repeat)]);
    assert!(node.round(vec![again]), "it is not flushed");
    assert_eq!(asked.answer()[0].as_ref().unwrap().base_offset, Offset(0));
}

#[test]
fn the_writer_goes_on_while_another_thread_flushes() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 1).unwrap();
    node.alter("sedge.durability", "interval").unwrap();
    let write = |node: &mut Node, number| {
        let (request, asked) = append(vec![alone(node.part("t", 0, of_producer(number)))]);
        assert!(!node.round(vec![request]));
        assert_eq!(codes(&asked.answer()), [None]);
    };
    write(&mut node, 0);
    let (store, flushes) = (Arc::clone(&node.store), Arc::clone(&node.flushes));
    let slow = store.hold_syncs();
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| flushes.flush(&*store));
        for number in 1..100 {
            write(&mut node, number);
        }
        assert!(!flush.is_finished() && flushes.is_dirty());
        drop(slow);
    });
    // The flush may have begun before the last commit or after it; the next one has all of them.
    flushes.flush(&*store);
    assert!(!flushes.is_dirty());
    write(&mut node, 100);
    assert!(flushes.is_dirty());
}

#[test]
fn in_one_commit_a_request_that_waits_for_no_flush_is_answered_before_one_that_does() {
    let mut node = Node::of_two_durabilities();
    let parts = ["flushed", "t"].map(|topic| node.part(topic, 0, batch(1)));
    let [(one, mut flushed), (other, written)] = parts.map(|part| append(vec![alone(part)]));
    let left = node.write(vec![one, other]).expect("one waits for a flush");
    assert_eq!(codes(&written.answer()), [None]);
    assert!(block_on(poll_once(&mut flushed.0)).is_none());
    assert_eq!(
        [node.high_watermark("flushed"), node.high_watermark("t")],
        [0, 1]
    );
    left.settle(&node.broker.log);
    assert_eq!(codes(&flushed.answer()), [None]);
    assert_eq!(node.high_watermark("flushed"), 1);
}

/// A flush took all that came meanwhile with it, for as long as it lasted.
#[test]
fn the_writer_goes_on_while_a_request_waits_for_its_flush() {
    let node = Node::of_two_durabilities();
    let large = || node.part("flushed", 0, batch(WRITE_AHEAD_BYTES));
    let flushed = [large(), large()];
    let written: Vec<AppendPart> = (0..100).map(|_| node.part("t", 0, batch(1))).collect();
    let id = flushed[0].partition;
    let Node {
        store,
        broker,
        state,
        ..
    } = node;
    let high_watermark = || broker.log.partition(id).unwrap().high_watermark();
    let (writer, queue) = Writer::new();
    let thread = writer.start(Arc::clone(&broker.log), state, queue);
    let slow = store.hold_syncs();
    let mut flushed = flushed.map(|part| block_on(writer.start_append(vec![part])).unwrap());
    for part in written {
        let reply = block_on(writer.append(vec![part], Vec::new())).unwrap();
        assert_eq!(codes(&reply), [None]);
    }
    // Both are written, and neither is acknowledged or seen.
    assert_eq!(store.bounds(id).unwrap().next_offset, Offset(2));
    let mut awaited = flushed.iter_mut();
    assert!(awaited.all(|reply| block_on(poll_once(reply)).is_none()));
    assert_eq!(high_watermark(), Offset(0));
    drop(slow);
    for reply in flushed {
        assert_eq!(codes(&block_on(reply).unwrap()), [None]);
    }
    assert_eq!(high_watermark(), Offset(2));
    block_on(writer.stop());
    thread.unwrap().join().unwrap();
}

#[test]
fn a_repeat_needs_no_room() {
    let mut node = Node::new(MemoryStore::with_room(64 << 10));
    node.create("t", 1).unwrap();
    let part = node.part("t", 0, of_producer(0));
    assert_eq!(codes(&node.append(vec![alone(part.clone())])), [None]);
    let fill = |node: &Node| alone(node.part("t", 0, batch(1)));
    while codes(&node.append(vec![fill(&node)])) == [None] {}
    assert_eq!(codes(&node.append(vec![alone(part)])), [None]);
}

#[test]
fn what_goes_elsewhere_is_in_the_commit_of_its_batch_or_nowhere() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 3).unwrap();
    let ids = node.partitions("t");
    let ends = |node: &Node| {
        let end = |id: &PartitionId| node.end(*id).get();
        ids.iter().map(end).collect::<Vec<_>>()
    };
    let routed = |node: &Node, sequence: i32| {
        let mut part = node.part("t", 0, of_producer(sequence));
        part.elsewhere = vec![(ids[1], batch(10)).into(), (ids[2], batch(20)).into()];
        alone(part)
    };
    let first = routed(&node, 0);
    assert_eq!(codes(&node.append(vec![first])), [None]);
    assert_eq!(ends(&node), [1, 1, 1]);
    // A repeat, in a commit with the next batch.
    let (repeat, next) = (routed(&node, 0), routed(&node, 1));
    let reply = node.append(vec![repeat, next]);
    assert_eq!(codes(&reply), [None, None]);
    assert_eq!(reply[0].as_ref().unwrap().base_offset, Offset(0));
    assert_eq!(ends(&node), [2, 2, 2]);
    let out_of_order = Some(ErrorCode::OutOfOrderSequenceNumber);
    let late = routed(&node, 3);
    assert_eq!(codes(&node.append(vec![late])), [out_of_order]);
    assert_eq!(ends(&node), [2, 2, 2]);
    // Nothing stays, and the producer has no sequence.
    let mut moved = node.part("t", 0, batch(1));
    (moved.batch, moved.elsewhere) = (Ok(None), vec![(ids[2], batch(1)).into()]);
    assert_eq!(codes(&node.append(vec![alone(moved)])), [None]);
    assert_eq!(ends(&node), [2, 2, 3]);
}

#[test]
fn a_full_disk_refuses_a_batch_with_what_goes_elsewhere() {
    let mut node = Node::new(MemoryStore::with_room(64 << 10));
    node.create("t", 2).unwrap();
    let ids = node.partitions("t");
    let mut part = node.part("t", 0, of_producer(0));
    part.elsewhere = vec![(ids[1], batch(256 << 10)).into()];
    assert_eq!(codes(&node.append(vec![alone(part)])), [Some(FULL)]);
    assert_eq!(ids.iter().map(|id| node.end(*id).get()).sum::<i64>(), 0);
}

/// A later batch of the same producer for which there was room took the place of one for which
/// there was none, and the refused one stayed out of order for ever.
#[test]
fn a_full_disk_lets_no_batch_pass_the_one_before_it() {
    let mut node = Node::new(MemoryStore::with_room(64 << 10));
    node.create("t", 1).unwrap();
    let large = node.part("t", 0, of_producer_with(0, 1 << 20));
    let small = node.part("t", 0, of_producer(1));
    let out_of_order = Some(ErrorCode::OutOfOrderSequenceNumber);
    let both = [large, small.clone()].map(alone);
    assert_eq!(codes(&node.append(both.into())), [Some(FULL), out_of_order]);
    let smaller = node.part("t", 0, of_producer(0));
    let both = [smaller, small].map(alone);
    assert_eq!(codes(&node.append(both.into())), [None, None]);
}

/// The same for a batch that is refused before it reaches the writer, because its filter was not
/// ready.
#[test]
fn a_batch_that_is_refused_before_lets_none_pass() {
    let mut node = Node::new(MemoryStore::new());
    node.create("t", 1).unwrap();
    let [first, second] = [0, 1].map(|sequence| node.part("t", 0, of_producer(sequence)));
    let mut refused = first.clone();
    let not_ready = ErrorCode::NotEnoughReplicas;
    refused.batch = Err(not_ready.into());
    let out_of_order = Some(ErrorCode::OutOfOrderSequenceNumber);
    let both = [refused.clone(), second.clone()].map(alone);
    let answered = codes(&node.append(both.into()));
    assert_eq!(answered, [Some(not_ready), out_of_order]);
    assert_eq!(node.end(first.partition), Offset(0));
    let both = [first, second.clone()].map(alone);
    assert_eq!(codes(&node.append(both.into())), [None, None]);
    // What is in the log is not removed.
    let both = [refused, second].map(alone);
    assert_eq!(codes(&node.append(both.into())), [Some(not_ready), None]);
    assert_eq!(node.end(node.partitions("t")[0]), Offset(2));
}

#[test]
fn a_probe_learns_whether_produce_goes_again() {
    let mut node = Node::new(MemoryStore::with_room(64 << 10));
    node.create("t", 1).unwrap();
    let large = alone(node.part("t", 0, batch(1 << 20)));
    assert_eq!(codes(&node.append(vec![large])), [Some(FULL)]);
    let room = node.broker.log.storage.probe_room().unwrap();
    assert_eq!(room.urgency, Urgency::Ordinary);
    node.round(vec![Request::Probe { room }]);
    assert!(node.broker.log.storage.refusing().is_some());
    let room = Room::ordinary(10, 1);
    node.round(vec![Request::Probe { room }]);
    assert_eq!(node.broker.log.storage.refusing(), None);
}

#[test]
fn a_rotten_copy_of_a_snapshot_takes_nothing_with_it_as_its_commit_has_nothing_else() {
    let snapshot = || Request::AppendSnapshot {
        partition: PartitionId::RESERVED_FROM,
        batches: vec![batch(10)],
        done: reply::channel().0,
    };
    let room = Room::ordinary(10, 1);
    let mut requests = vec![
        Request::Probe { room },
        Request::Probe { room },
        snapshot(),
        snapshot(),
        Request::Probe { room },
    ];
    let mut commits = Vec::new();
    while !requests.is_empty() {
        let count = in_one_commit(&requests);
        commits.push(requests.drain(..count).count());
    }
    assert_eq!(commits, [2, 1, 1, 1]);
}

/// What a part waits with, for a test.
#[derive(Debug, Default)]
struct Told(AtomicBool);

impl super::Awaits for Told {
    fn applied(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_awaits_a_part_is_told_if_and_only_if_the_part_is_written() {
    let mut node = Node::new(MemoryStore::with_room(64 << 10));
    node.create("t", 2).unwrap();
    let elsewhere = node.partitions("t")[1];
    let write = |node: &mut Node, mut part: AppendPart| {
        let told = Arc::new(Told::default());
        part.awaits = Some(Arc::<Told>::clone(&told));
        part.elsewhere = vec![(elsewhere, batch(10)).into()];
        let end = node.end(elsewhere);
        let reply = codes(&node.append(vec![alone(part)]));
        assert_eq!(Arc::strong_count(&told), 1, "nothing waits any more");
        let is_written = told.0.load(Ordering::Relaxed);
        assert_eq!(node.end(elsewhere) > end, is_written);
        (reply[0], is_written)
    };
    let first = node.part("t", 0, of_producer(0));
    assert_eq!(write(&mut node, first.clone()), (None, true));
    assert_eq!(write(&mut node, first), (None, false), "a repeat");
    let mut refused = node.part("t", 0, batch(1));
    refused.batch = Err(ErrorCode::InvalidRecord.into());
    let invalid = Some(ErrorCode::InvalidRecord);
    assert_eq!(write(&mut node, refused), (invalid, false));
    let mut emptied = node.part("t", 0, batch(1));
    emptied.batch = Ok(None);
    assert_eq!(write(&mut node, emptied), (None, true));
    let large = node.part("t", 0, batch(1 << 20));
    assert_eq!(write(&mut node, large), (Some(FULL), false));
    let late = node.part("t", 0, batch(1));
    let topic = TopicName::Name("t".to_owned());
    node.command(Command::DeleteTopic { topic }).unwrap();
    let told = Arc::new(Told::default());
    let late = AppendPart {
        awaits: Some(Arc::<Told>::clone(&told)),
        ..late
    };
    let unknown = Some(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(codes(&node.append(vec![alone(late)])), [unknown]);
    assert!(!told.0.load(Ordering::Relaxed) && Arc::strong_count(&told) == 1);
}
