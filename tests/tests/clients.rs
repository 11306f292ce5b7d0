//! Real clients, unchanged, against a real broker: each produces with every codec, consumes by
//! group with a rebalance between two members, commits, resumes after a restart of the broker and
//! seeks by time.
//!
//! `SEDGE_TEST_BROKER=kafka` runs the same against Apache Kafka.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sedge_tests::broker::Broker;
use sedge_tests::client::{self, Client, Topic, check_all_in_order};
use sedge_tests::report;

const PARTITIONS: i64 = 4;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Records a codec.
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

/// Produces with every codec. Returns a record in the middle, the first at or after a time, and the
/// time.
fn produce_each_codec(client: Client, topic: &Topic) -> (i64, i64) {
    let middle = 2 * COUNT;
    let mut middle_ms = topic.base_ms + middle * client::STEP_MS;
    for (i, codec) in CODECS.iter().enumerate() {
        let first = i as i64 * COUNT;
        if first == middle && !client.sets_timestamps() {
            // Timestamps have millisecond steps: the next record's shall be later than the last
            // one's.
            std::thread::sleep(Duration::from_millis(5));
            middle_ms = now_ms();
        }
        client.produce(topic, codec, first, COUNT);
    }
    (middle, middle_ms)
}

/// Two members share the work and hand it over; after a restart the group goes on where it was.
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
