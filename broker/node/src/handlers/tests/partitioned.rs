//! Tests produce to topics with a partitioner: Kafka's default one, which needs no plugin.

use std::collections::BTreeMap;

use futures_lite::future::block_on;
use sedge_core::partitioner::partition_of;
use sedge_protocol::batch::{Batch, HEADER_BYTES};
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use sedge_protocol::kafka::generated::produce_response::ProduceResponseData;
use sedge_protocol::records::{BatchBuilder, Compression, Producer, Records, decompress};
use sedge_protocol::{Bytes, ErrorCode};

use super::client::{Client, ask, code};
use super::records::produce_request;
use crate::test_broker::TestBroker;

const PARTITIONS: u32 = 4;
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn start(configs: &[(&str, &str)]) -> TestBroker {
    let node = TestBroker::start(&[]);
    let configs = [&[("sedge.partitioner", "murmur2")], configs].concat();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let configs = configs.iter().map(owned).collect();
    block_on(node.broker.create_topic("t", PARTITIONS as i32, configs)).unwrap();
    node
}

fn bytes(batch: &Batch) -> Bytes {
    [batch.header.as_bytes().as_slice(), &batch.body]
        .concat()
        .into()
}

fn keyed(codec: Compression, sequence: Option<i32>, keys: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    if let Some(base_sequence) = sequence {
        builder = builder.producer(Producer {
            id: ProducerId(7),
            epoch: ProducerEpoch(0),
            base_sequence,
        });
    }
    for (time, key) in (1_000..).zip(keys) {
        let headers = [("header", Some(&b"h"[..]))];
        builder.push(time, Some(key.as_bytes()), Some(b"value"), &headers);
    }
    bytes(&builder.build().unwrap())
}

/// Returns the error and the base offset.
fn produce(client: &Client, index: i32, records: Bytes) -> (ErrorCode, i64) {
    let request = produce_request(-1, "t", index, records);
    let answer = ask!(client, Produce 9, request => ProduceResponseData);
    let partition = &answer.responses[0].partition_responses[0];
    (code(partition.error_code), partition.base_offset)
}

fn batches(node: &TestBroker, index: usize) -> Vec<Batch> {
    let image = node.broker.log.metadata.load();
    let id = image.topic("t").unwrap().partitions().nth(index).unwrap();
    let store = &*node.broker.log.store;
    let end = store.bounds(id).unwrap().next_offset;
    let mut found = Vec::new();
    for mut bytes in store.read(id, Offset::ZERO, end, 1 << 20).unwrap() {
        while let Some(batch) = Batch::split_from(&mut bytes) {
            found.push(batch);
        }
    }
    found
}

/// Returns the keys of each partition with their timestamps, in order.
fn keys(node: &TestBroker) -> BTreeMap<u32, Vec<(String, i64)>> {
    let of = |index: u32| {
        let mut keys = Vec::new();
        for batch in batches(node, index as usize) {
            let header = &batch.header;
            assert_eq!(header.crc(), header.computed_crc(&batch.body));
            let body = decompress(header, &batch.body, 1 << 20).unwrap();
            for record in Records::new(header, &body) {
                let record = record.unwrap();
                assert_eq!(
                    (record.value, record.headers.count()),
                    (Some(&b"value"[..]), 1)
                );
                let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                keys.push((key, header.base_timestamp() + record.timestamp_delta));
            }
        }
        (index, keys)
    };
    (0..PARTITIONS).map(of).collect()
}

fn numbered(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

/// Keys that go to a partition, or to another one.
fn some(of: u32, is_there: bool, count: usize) -> Vec<String> {
    let all = (0..).map(|number: u32| number.to_string());
    let found = all.filter(|key| (partition_of(key.as_bytes(), PARTITIONS) == of) == is_there);
    found.take(count).collect()
}

fn strs(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

#[test]
fn records_of_every_codec_go_where_their_keys_belong() {
    for codec in CODECS {
        let node = start(&[]);
        let client = Client::new(&node);
        let sent = numbered(0, 100);
        let produced = produce(&client, 1, keyed(codec, None, &strs(&sent)));
        assert_eq!(produced, (ErrorCode::None, -1), "{codec:?}");
        let mut expected: BTreeMap<u32, Vec<(String, i64)>> = BTreeMap::new();
        for (time, key) in (1_000..).zip(sent) {
            let index = partition_of(key.as_bytes(), PARTITIONS);
            expected.entry(index).or_default().push((key, time));
        }
        assert_eq!(keys(&node), expected, "{codec:?}");
        for index in 0..PARTITIONS as usize {
            let [batch] = &batches(&node, index)[..] else {
                panic!("one batch")
            };
            assert_eq!(batch.header.compression(), codec as i16);
            assert_eq!(batch.header.producer_id(), None);
        }
    }
}

#[test]
fn a_batch_whose_records_all_stay_is_written_as_it_came() {
    for codec in CODECS {
        let node = start(&[]);
        let client = Client::new(&node);
        let stay = some(2, true, 50);
        let sent = keyed(codec, Some(0), &strs(&stay));
        assert_eq!(produce(&client, 2, sent.clone()), (ErrorCode::None, 0));
        // A record without a key stays as well.
        let mut builder = BatchBuilder::new(codec);
        builder.push(1, None, Some(b"value"), &[]);
        let unkeyed = bytes(&builder.build().unwrap());
        assert_eq!(produce(&client, 2, unkeyed.clone()), (ErrorCode::None, 50));
        let written = batches(&node, 2);
        assert_eq!(written.len(), 2);
        for (sent, written) in [sent, unkeyed].iter().zip(written) {
            assert_eq!(sent[HEADER_BYTES..], written.body[..], "{codec:?}");
            let from = sedge_protocol::batch::CRC_COVERS_FROM;
            assert_eq!(sent[from..HEADER_BYTES], written.header.as_bytes()[from..]);
        }
    }
}

/// The batch is known by its sequence, which only the partition that it was sent to has.
#[test]
fn a_batch_that_is_sent_again_is_written_to_no_partition_again() {
    for (stay, codec) in [(0, Compression::None), (3, Compression::Zstd)] {
        let mut node = start(&[]);
        let mixed = [some(0, true, stay), some(0, false, 7)].concat();
        let first = keyed(codec, Some(0), &strs(&mixed));
        let client = Client::new(&node);
        assert_eq!(produce(&client, 0, first.clone()), (ErrorCode::None, -1));
        // It holds the broker, which is about to be restarted.
        drop(client);
        let written = keys(&node);
        let count: usize = written.values().map(Vec::len).sum();
        assert_eq!(count, mixed.len());
        // With the state in memory, with that of the views, and with that of the log alone.
        for restart in [None, Some(false), Some(true)] {
            if let Some(without_views) = restart {
                node = node.restart(without_views);
            }
            let client = Client::new(&node);
            assert_eq!(produce(&client, 0, first.clone()), (ErrorCode::None, -1));
            assert_eq!(keys(&node), written, "{stay} stay, {restart:?}");
        }
        // The next batch continues, and one after a gap does not.
        let next = mixed.len() as i32;
        let client = Client::new(&node);
        let late = keyed(codec, Some(next + 1), &["late"]);
        let (error, _) = produce(&client, 0, late);
        assert_eq!(error, ErrorCode::OutOfOrderSequenceNumber);
        let moved = some(0, false, 1);
        let then = keyed(codec, Some(next), &strs(&moved));
        assert_eq!(produce(&client, 0, then.clone()), (ErrorCode::None, -1));
        assert_eq!(produce(&client, 0, then), (ErrorCode::None, -1));
        let count: usize = keys(&node).values().map(Vec::len).sum();
        assert_eq!(count, mixed.len() + 1);
    }
}

/// A batch of which no record stays leaves one offset, so that consumers see no long gap.
#[test]
fn what_stands_in_for_a_batch_has_one_offset_and_no_record() {
    let node = start(&[]);
    let client = Client::new(&node);
    let moved = some(0, false, 20);
    produce(
        &client,
        0,
        keyed(Compression::Gzip, Some(40), &strs(&moved)),
    );
    let [stand_in] = &batches(&node, 0)[..] else {
        panic!("one batch")
    };
    let header = &stand_in.header;
    assert_eq!((header.record_count(), header.last_offset_delta()), (0, 0));
    assert_eq!(header.producer_id(), Some(ProducerId(7)));
    assert_eq!((header.base_sequence(), header.compression()), (59, 0));
    assert_eq!(header.crc(), header.computed_crc(&[]));
    // A producer without a sequence leaves nothing.
    produce(&client, 0, keyed(Compression::Gzip, None, &strs(&moved)));
    assert_eq!(batches(&node, 0).len(), 1);
}

#[test]
fn moved_records_get_the_append_time_of_the_topic() {
    let node = start(&[("message.timestamp.type", "LogAppendTime")]);
    let client = Client::new(&node);
    let mixed = numbered(0, 40);
    produce(&client, 0, keyed(Compression::Lz4, Some(0), &strs(&mixed)));
    for index in 0..PARTITIONS as usize {
        let [batch] = &batches(&node, index)[..] else {
            panic!("one batch")
        };
        assert!(batch.header.is_log_append_time());
        assert!(batch.header.max_timestamp() > 1_000_000);
    }
}

#[test]
fn a_batch_that_would_become_too_large_ones_is_refused() {
    let node = start(&[("max.message.bytes", "1000")]);
    let client = Client::new(&node);
    // A thousand records compress to less than the limit, and spread over partitions to more than
    // twice as much.
    let keys: Vec<String> = (0..1_000)
        .map(|number| format!("{:04}", number % 500))
        .collect();
    let sent = keyed(Compression::Zstd, Some(0), &strs(&keys));
    let (error, _) = produce(&client, 0, sent.clone());
    assert_eq!(error, ErrorCode::MessageTooLarge, "{} bytes", sent.len());
    assert!(self::keys(&node).values().all(Vec::is_empty));
    // The producer splits the batch and goes on with the same sequences.
    let sent = keyed(Compression::Zstd, Some(0), &strs(&numbered(0, 9)));
    assert_eq!(produce(&client, 0, sent), (ErrorCode::None, -1));
}
