//! Tests real, unchanged clients against a real broker. Each produces with every codec, consumes as
//! a group with a rebalance between two members, commits, resumes after a restart of the broker and
//! seeks by time.
//!
//! `SEDGE_TEST_BROKER=kafka` runs the same against Apache Kafka.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sedge_tests::broker::Broker;
use sedge_tests::client::{self, Client, Topic, check_all_in_order};
use sedge_tests::report;
use sedge_tests::wire::{self, Batch, Codec, Connection};

const PARTITIONS: i64 = 4;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Records per codec.
const COUNT: i64 = 200;

#[test]
fn kcat() {
    check(client::KCAT);
}

#[test]
fn confluent_kafka() {
    check(client::CONFLUENT);
}

#[test]
fn franz_go() {
    check(client::FRANZ_GO);
}

#[test]
fn sarama() {
    check(client::SARAMA);
}

#[test]
fn kafkajs() {
    check(client::KAFKAJS);
}

#[test]
fn kafka_python() {
    check(client::KAFKA_PYTHON);
}

#[test]
fn aiokafka() {
    check(client::AIOKAFKA);
}

#[test]
fn java() {
    check(client::JAVA);
}

fn check(client: Client) {
    report::line(format_args!("{}", client.version()));
    let partitions = PARTITIONS.to_string();
    let settings = [
        ("num.partitions", &*partitions),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let mut broker = Broker::start(client.name, &settings);
    let topic = Topic {
        bootstrap: broker.bootstrap(),
        name: format!("readings-{}", client.name),
        partitions: PARTITIONS,
        base_ms: now_ms() - 2 * 3_600_000,
    };
    if client.creates_topics() {
        client.create(&topic);
    }
    let (middle, middle_ms) = produce_each_codec(client, &topic);
    let produced = rebalance_and_resume(client, &topic, &mut broker);
    read_all_again(client, &topic, produced);
    seek_by_time(client, &topic, middle, middle_ms);
}

/// Produces with every codec. Returns a record in the middle, namely the first at or after a time,
/// and that time.
fn produce_each_codec(client: Client, topic: &Topic) -> (i64, i64) {
    let middle = 2 * COUNT;
    let mut middle_ms = topic.base_ms + middle * client::STEP_MS;
    for (i, codec) in CODECS.iter().enumerate() {
        let first = i as i64 * COUNT;
        if first == middle && !client.sets_timestamps() {
            // Timestamps have steps of a millisecond: the next record must be later than the last
            // one.
            std::thread::sleep(Duration::from_millis(5));
            middle_ms = now_ms();
        }
        client.produce(topic, codec, first, COUNT);
    }
    (middle, middle_ms)
}

/// Two members share the work and hand it over; after a restart the group resumes where it was.
fn rebalance_and_resume(client: Client, topic: &Topic, broker: &mut Broker) -> i64 {
    let mut produced = CODECS.len() as i64 * COUNT;
    let mut first = client.join(topic, "workers");
    first.wait_assigned(PARTITIONS as usize);
    let records = first.wait_records(produced as usize);
    check_all_in_order(&records, 0..produced, topic);

    let mut second = client.join(topic, "workers");
    let mine = second.wait_assigned(PARTITIONS as usize / 2);
    let others = first.wait_assigned(PARTITIONS as usize / 2);
    assert!(
        mine.iter().all(|p| !others.contains(p)),
        "{mine:?} and {others:?} overlap"
    );
    client.produce(topic, "none", produced, 2 * COUNT);
    let by_second = second.wait_records(COUNT as usize);
    let by_first = first.wait_records((produced + COUNT) as usize);
    let both = [&by_first[produced as usize..], &by_second[..]].concat();
    check_all_in_order(&both, produced..produced + 2 * COUNT, topic);
    assert!(
        by_second.iter().all(|r| mine.contains(&r.partition)),
        "each reads what it was given"
    );
    produced += 2 * COUNT;

    second.close();
    first.wait_assigned(PARTITIONS as usize);
    client.produce(topic, "none", produced, COUNT);
    let all = first.wait_records((produced) as usize);
    let last = &all[(produced - COUNT) as usize..];
    check_all_in_order(last, produced..produced + COUNT, topic);
    produced += COUNT;
    let all = first.close();
    assert_eq!(all.len() as i64, produced - COUNT, "nothing came twice");

    broker.restart();
    client.produce(topic, "none", produced, COUNT);
    let mut third = client.join(topic, "workers");
    third.wait_records(COUNT as usize);
    check_all_in_order(&third.close(), produced..produced + COUNT, topic);
    produced + COUNT
}

fn read_all_again(client: Client, topic: &Topic, produced: i64) {
    let mut reader = client.join(topic, "auditors");
    reader.wait_records(produced as usize);
    let records = reader.close();
    check_all_in_order(&records, 0..produced, topic);
    for record in records.iter().filter(|_| client.sets_timestamps()) {
        let wanted = topic.base_ms + record.number() * client::STEP_MS;
        assert_eq!(record.timestamp, wanted, "timestamp of {record:?}");
    }
}

fn seek_by_time(client: Client, topic: &Topic, middle: i64, middle_ms: i64) {
    let found = client.seek(topic, middle_ms);
    let mut numbers: Vec<i64> = found.iter().map(client::Seen::number).collect();
    numbers.sort_unstable();
    let wanted: Vec<i64> = (middle..middle + PARTITIONS).collect();
    assert_eq!(
        numbers, wanted,
        "the first record at or after {middle_ms} of each partition"
    );
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set");
    since.as_millis() as i64
}

/// Rare but valid bodies: what is acknowledged, other clients can read too.
#[test]
fn unusual_bodies_are_read() {
    let broker = Broker::start("unusual", &[("group.initial.rebalance.delay.ms", "0")]);
    let mut connection = Connection::open(&broker.bootstrap());
    for (what, codec, pack) in UNUSUAL {
        let topic = Topic {
            bootstrap: broker.bootstrap(),
            name: what.replace(' ', "-"),
            partitions: 1,
            base_ms: now_ms(),
        };
        wire::create_topic(&mut connection, &topic.name, 1, &[]);
        wire::wait_known(&mut connection, &topic.name, 0);
        let record = |n: i64| {
            let (key, value) = (format!("k{n}"), client::value(n));
            (key.into_bytes(), Some(value.into_bytes()))
        };
        let records: Vec<_> = (0..COUNT).map(record).collect();
        let batch = Batch::keyed(&records);
        let packed = pack(&batch.payload);
        let bytes = batch.compressed(*codec, packed).encode();
        let answer = wire::produce(&mut connection, &topic.name, 0, &bytes);
        assert_eq!(answer.error, 0, "{what}: {answer:?}");
        for client in [client::KCAT, client::KAFKA_PYTHON, client::JAVA] {
            // librdkafka's decoder stops after the first member, whichever broker sent it.
            if what.contains("members") && client.name == client::KCAT.name {
                continue;
            }
            report::line(format_args!("{what}: {}", client.name));
            let mut reader = client.join(&topic, client.name);
            reader.wait_records(COUNT as usize);
            check_all_in_order(&reader.close(), 0..COUNT, &topic);
        }
    }
}

type Pack = fn(&[u8]) -> Vec<u8>;

const UNUSUAL: &[(&str, Codec, Pack)] = &[
    ("gzip of three members", Codec::Gzip, |plain| {
        let members = plain.chunks(plain.len() / 3 + 1).map(|part| {
            let level = flate2::Compression::new(6);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(part).expect("into a Vec");
            encoder.finish().expect("into a Vec")
        });
        members.flatten().collect()
    }),
    ("raw snappy", Codec::Snappy, |plain| {
        let packed = snap::raw::Encoder::new().compress_vec(plain);
        packed.expect("it is small")
    }),
    ("snappy in blocks of 1 KiB", Codec::Snappy, |plain| {
        let mut packed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in plain.chunks(1 << 10) {
            let block = snap::raw::Encoder::new().compress_vec(block);
            let block = block.expect("it is small");
            packed.extend((block.len() as u32).to_be_bytes());
            packed.extend(block);
        }
        packed
    }),
    ("lz4 with checksums", Codec::Lz4, |plain| {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        let info = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .block_size(BlockSize::Max256KB)
            .block_checksums(true)
            .content_checksum(true);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(plain).expect("into a Vec");
        encoder.finish().expect("into a Vec")
    }),
    ("zstd with a checksum", Codec::Zstd, |plain| {
        let mut context = zstd_safe::CCtx::create();
        let checksum = zstd_safe::CParameter::ChecksumFlag(true);
        context.set_parameter(checksum).expect("it is known");
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
        context
            .compress2(&mut packed, plain)
            .expect("there is room");
        packed
    }),
];
