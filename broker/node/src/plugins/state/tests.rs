//! Tests the state with the log and the writer, without plugins: a test changes the tables itself.

use std::collections::BTreeMap;

use async_io::block_on;
use futures_lite::future::poll_once;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use sedge_protocol::records::{BatchBuilder, Compression, Producer};
use sedge_protocol::state_records::each_change;

use super::*;
use crate::test_broker::TestBroker;
use crate::writer::{AppendPart, AppendReply};

/// Keys and values of the plugin `p` in partition 0 of `t`.
type Content = BTreeMap<String, String>;

fn batch(sequence: Option<i32>) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some(base_sequence) = sequence {
        builder = builder.producer(Producer {
            id: ProducerId(7),
            epoch: ProducerEpoch(0),
            base_sequence,
        });
    }
    builder.push(1, None, Some(b"value"), &[]);
    builder.build().unwrap()
}

fn sequence_of(batch: &Batch) -> Option<SequenceRange> {
    let header: &BatchHeader = &batch.header;
    SequenceRange::of(header).map(|range| range.filtered(true))
}

fn topic(node: &TestBroker) -> Arc<Topic> {
    Arc::clone(node.broker.log.metadata.load().topic("t").unwrap())
}

fn states(node: &TestBroker) -> &States {
    &node.broker.plugins.states
}

async fn enter(node: &TestBroker, batch: &Batch) -> Result<(Held, Verdict), AppendError> {
    let topic = topic(node);
    let entering = Entering {
        topic: &topic,
        index: 0,
        partition: topic.partition(0).unwrap(),
        bytes: batch.bytes(),
        sequence: sequence_of(batch),
    };
    let plugins = &node.broker.plugins;
    let waiting = (&plugins.waiting, usize::MAX, usize::MAX);
    let (log, writer) = (&node.broker.log, &node.broker.writer);
    plugins
        .states
        .enter((log, writer), waiting, &entering)
        .await
}

fn next(node: &TestBroker, batch: &Batch) -> Held {
    let (held, verdict) = block_on(enter(node, batch)).unwrap();
    assert_eq!(verdict, Verdict::Next);
    held
}

fn put(held: &mut Held, key: &str, value: &str) {
    let table = held.table("p").content().as_mut().unwrap();
    table.put(key.as_bytes(), value.as_bytes()).unwrap();
}

fn delete(held: &mut Held, key: &str) {
    let table = held.table("p").content().as_mut().unwrap();
    table.delete(key.as_bytes());
}

/// Writes a batch and the changes that `held` has.
fn write(node: &TestBroker, mut held: Held, batch: Option<Batch>) -> AppendReply {
    let topic = topic(node);
    let part = AppendPart {
        partition: topic.partition(0).unwrap(),
        write: batch.as_ref().and_then(sequence_of).into(),
        topic,
        batch: Ok(batch),
        elsewhere: held.seal(1).unwrap(),
        awaits: Some(held.into_awaits()),
    };
    let queued = block_on(node.broker.writer.start_append(vec![part])).unwrap();
    block_on(queued).unwrap()
}

fn content(node: &TestBroker) -> Content {
    let mut held = next(node, &batch(None));
    let table = held.table("p").content().as_ref().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    table
        .iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

/// Returns the state that the log has, tombstones applied.
fn in_log(node: &TestBroker) -> Content {
    let id = partition(&node.broker.log).unwrap();
    let store = &*node.broker.log.store;
    let end = store.bounds(id).unwrap().next_offset;
    let mut found = Content::new();
    for mut bytes in store.read(id, Offset::ZERO, end, 1 << 20).unwrap() {
        while let Some(batch) = Batch::split_from(&mut bytes) {
            each_change(&batch, |change| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                match change.value {
                    Some(value) => found.insert(text(change.key), text(value)),
                    None => found.remove(&text(change.key)),
                };
            })
            .unwrap();
        }
    }
    found
}

fn of(pairs: &[(&str, &str)]) -> Content {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn start() -> TestBroker {
    let node = TestBroker::start(&[]);
    node.create_topic("t", &[]);
    node
}

#[test]
fn what_is_written_is_there_after_a_start_with_and_without_views() {
    let mut node = start();
    let mut held = next(&node, &batch(None));
    put(&mut held, "a", "1");
    put(&mut held, "b", "2");
    assert!(write(&node, held, Some(batch(None)))[0].is_ok());
    let mut held = next(&node, &batch(None));
    put(&mut held, "a", "3");
    delete(&mut held, "b");
    put(&mut held, "c", "4");
    // No record is left of this batch.
    assert!(write(&node, held, None)[0].is_ok());
    let expected = of(&[("a", "3"), ("c", "4")]);
    for without_views in [false, true] {
        assert_eq!(content(&node), expected);
        assert_eq!(in_log(&node), expected);
        node = node.restart(without_views);
    }
    assert_eq!(content(&node), expected);
    let bytes = node.broker.metrics.plugin("p").state.bytes.get();
    assert_eq!(bytes as usize, states(&node).budget.bytes());
}

#[test]
fn what_is_not_written_is_undone() {
    let node = start();
    let mut held = next(&node, &batch(None));
    put(&mut held, "a", "1");
    assert!(write(&node, held, Some(batch(None)))[0].is_ok());
    let before = states(&node).budget.bytes();
    let change = |held: &mut Held| {
        put(held, "a", "2");
        put(held, "b", "2");
    };
    // The batch is dropped before it reaches the writer, and by the writer.
    let mut held = next(&node, &batch(None));
    change(&mut held);
    drop(held);
    let gap = batch(Some(5));
    let mut held = next(&node, &batch(Some(0)));
    change(&mut held);
    let first = batch(Some(0));
    assert!(write(&node, held, Some(first))[0].is_ok());
    let mut held = next(&node, &batch(None));
    put(&mut held, "a", "3");
    delete(&mut held, "b");
    let reply = write(&node, held, Some(gap));
    let error = reply[0].as_ref().unwrap_err();
    assert_eq!(error.code, ErrorCode::OutOfOrderSequenceNumber);
    let expected = of(&[("a", "2"), ("b", "2")]);
    assert_eq!(content(&node), expected);
    assert_eq!(in_log(&node), expected);
    assert!(states(&node).budget.bytes() > before);
}

#[test]
fn a_batch_that_the_partition_has_is_recognised_before_a_filter_sees_it() {
    let mut node = start();
    for number in 0..3 {
        let sent = batch(Some(number));
        let mut held = next(&node, &sent);
        put(&mut held, "last", &number.to_string());
        assert!(write(&node, held, Some(sent))[0].is_ok());
    }
    for without_views in [None, Some(false), Some(true)] {
        if let Some(without_views) = without_views {
            node = node.restart(without_views);
        }
        for number in 0..3 {
            let (held, verdict) = block_on(enter(&node, &batch(Some(number)))).unwrap();
            assert_eq!(verdict, Verdict::Repeat, "{number}, {without_views:?}");
            drop(held);
        }
        drop(next(&node, &batch(Some(3))));
    }
    let late = block_on(enter(&node, &batch(Some(i32::MAX - 1))));
    let code = late.map(|_| ()).unwrap_err().code;
    assert_eq!(code, ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn a_batch_waits_until_the_one_before_is_settled() {
    let node = start();
    let first = batch(Some(0));
    let mut held = next(&node, &first);
    put(&mut held, "a", "1");
    let again = batch(Some(0));
    let mut waiting = std::pin::pin!(enter(&node, &again));
    assert!(block_on(poll_once(&mut waiting)).is_none());
    assert!(write(&node, held, Some(first))[0].is_ok());
    let (_held, verdict) = block_on(waiting).unwrap();
    assert_eq!(verdict, Verdict::Repeat, "it is judged when its turn comes");
}

/// A batch waited until the one before was flushed.
#[test]
fn a_batch_waits_only_until_the_one_before_is_applied() {
    let node = start();
    let first = batch(Some(0));
    let mut held = next(&node, &first);
    put(&mut held, "a", "1");
    let writer_has = held.into_awaits();
    let second = batch(Some(1));
    let mut waiting = std::pin::pin!(enter(&node, &second));
    assert!(block_on(poll_once(&mut waiting)).is_none());
    writer_has.applied();
    let entered = block_on(poll_once(&mut waiting)).expect("the lane is free");
    let (mut held, verdict) = entered.unwrap();
    assert_eq!(verdict, Verdict::Next, "it follows one that no view has");
    let table = held.table("p").content().as_mut().unwrap();
    assert_eq!(table.get(b"a").as_deref(), Some(&b"1"[..]));
    drop(held);
    let mut again = std::pin::pin!(enter(&node, &first));
    assert!(block_on(poll_once(&mut again)).is_none(), "a repeat waits");
    drop(writer_has);
    assert!(block_on(again).is_ok());
}

#[test]
fn state_goes_with_its_topic_and_with_its_plugin() {
    let node = start();
    let id = node.create_topic("other", &[]);
    let sweep = |deployed: bool| {
        let (log, writer) = (&node.broker.log, &node.broker.writer);
        block_on(states(&node).sweep(log, writer, move |_| deployed));
    };
    let fill = |node: &TestBroker| {
        let mut held = next(node, &batch(None));
        put(&mut held, "a", "1");
        assert!(write(node, held, Some(batch(None)))[0].is_ok());
    };
    fill(&node);
    sweep(true);
    assert_eq!(content(&node), of(&[("a", "1")]));
    sweep(false);
    assert_eq!(content(&node), of(&[]));
    assert_eq!(in_log(&node), of(&[]));
    fill(&node);
    let deleted = sedge_core::metadata::Command::DeleteTopic {
        topic: sedge_core::metadata::TopicName::Name("t".to_owned()),
    };
    block_on(node.broker.writer.metadata(deleted))
        .unwrap()
        .unwrap();
    sweep(true);
    assert_eq!(in_log(&node), of(&[]));
    assert_eq!(states(&node).budget.bytes(), 0);
    assert!(states(&node).lock().is_empty(), "the lane is gone");
    assert_eq!(node.partition("other"), id);
}
