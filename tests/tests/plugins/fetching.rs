//! Tests filters of what consumers read: what they leave of a batch, for whom, and what follows if
//! they fail.

use sedge_protocol::Bytes;
use std::time::{Duration, Instant};

use sedge_protocol::batch::{Batch as Whole, BatchHeader};
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::records::{BatchBuilder, Compression, Producer};
use sedge_tests::client::{self, FRANZ_GO, JAVA, KAFKA_PYTHON, KCAT, Topic};
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, plugin, soak};

use crate::origin::{connect_as, free, with_users};
use crate::support::{JUDGE, MISBEHAVE, Place, RANGE, SET, alter, validate};

const FETCH: &str = "sedge.filter.fetch";
const INVALID_CONFIG: i16 = 40;
const OFFSET_NOT_AVAILABLE: i16 = 78;

fn reading(celsius: &str) -> Vec<u8> {
    format!(r#"{{"celsius":{celsius}}}"#).into_bytes()
}

fn readings(celsius: &[&str]) -> Vec<u8> {
    let values: Vec<_> = celsius.iter().map(|celsius| reading(celsius)).collect();
    Batch::of(&values).encode()
}

fn produce(at: &mut Connection, topic: &str, batch: &[u8]) {
    let produced = wire::produce(at, topic, 0, batch);
    assert_eq!(produced.error, error::NONE, "{produced:?}");
}

fn set(at: &mut Connection, topic: &str, key: &str, value: &str) {
    let altered = alter(at, topic, SET, (key, value), false);
    assert_eq!(altered, (error::NONE, String::new()), "{key}={value}");
}

/// Binds a topic to a filter of fetches, and waits until the filter is compiled.
fn bind(place: &mut Place, at: &mut Connection, topic: &str, filter: &str) {
    set(at, topic, FETCH, filter);
    place.wait("the filter is compiled", |_| {
        wire::fetch(at, topic, 0, 0).error == error::NONE
    });
}

/// Returns the records that a consumer would show.
fn values(bytes: &[u8]) -> Vec<(i64, String)> {
    let text = |value: Vec<u8>| String::from_utf8(value).expect("readings are text");
    let shown = batches(bytes.to_vec()).into_iter();
    let shown = shown.filter(|batch| !batch.header.is_control());
    let records = shown
        .flat_map(|batch| wire::records(&[&batch.header.as_bytes()[..], &batch.body].concat()));
    records
        .map(|record| (record.offset, text(record.value)))
        .collect()
}

fn batches(bytes: Vec<u8>) -> Vec<Whole> {
    let mut bytes = Bytes::from(bytes);
    std::iter::from_fn(|| Whole::split_from(&mut bytes)).collect()
}

/// What a topic's filters leave of batches of all codecs.
#[test]
fn what_stays_keeps_its_offsets_and_a_whole_batch_its_bytes() {
    let mut place = Place::start("fetch-filter", Options::default());
    place.deploy("range", RANGE);
    let mut at = place.connect();
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for (number, codec) in codecs.into_iter().enumerate() {
        let topic = &format!("t-{number}");
        wire::create_topic(&mut at, topic, 1, &[]);
        wire::wait_known(&mut at, topic, 0);
        let mut sequence = 0;
        // Each batch has five records, of 1 KiB so that they are sent from the file otherwise.
        for good in [
            "11111", "10110", "00000", "11111", "00001", "00000", "00000",
        ] {
            let mut builder = BatchBuilder::new(codec).producer(Producer {
                id: ProducerId(77),
                epoch: ProducerEpoch(0),
                base_sequence: sequence,
            });
            sequence += 5;
            for (index, good) in good.chars().enumerate() {
                let celsius = if good == '1' { "1" } else { "999" };
                let pad = "x".repeat(1000);
                let value = format!(r#"{{"celsius":{celsius},"pad":"{pad}"}}"#);
                builder.push(1000 + index as i64, None, Some(value.as_bytes()), &[]);
            }
            let batch = builder.build().expect("has records");
            let bytes = [&batch.header.as_bytes()[..], &batch.body].concat();
            produce(&mut at, topic, &bytes);
        }
        let stored = batches(wire::fetch(&mut at, topic, 0, 0).records);
        assert_eq!(stored.len(), 7);
        bind(&mut place, &mut at, topic, "range");
        let fetched = wire::fetch(&mut at, topic, 0, 0);
        assert_eq!((fetched.error, fetched.high_watermark), (error::NONE, 35));
        let left = batches(fetched.records.clone());
        let facts = |header: &BatchHeader| {
            assert_eq!(header.compression(), codec as i16);
            facts_of(header)
        };
        let kept = [0, 1, 3, 4];
        for (left, kept) in left.iter().zip(kept) {
            let stored = &stored[kept];
            assert_eq!(facts(&left.header), facts(&stored.header), "{codec:?}");
            let crc = left.header.computed_crc(&left.body);
            assert_eq!(left.header.crc(), crc);
            if [0, 3].contains(&kept) {
                assert_eq!(left.header, stored.header, "{codec:?}");
                assert!(left.body == stored.body, "{codec:?}");
            }
        }
        // Behind the last batches there is something that gets a consumer past them.
        let gap = &left[4];
        assert_eq!(left.len(), 5);
        assert!(gap.header.is_control());
        assert_eq!(facts_of(&gap.header), facts_of(&stored[6].header));
        assert_eq!(wire::next_offset(&fetched.records), Some(35));
        // From within a batch.
        let within = wire::fetch(&mut at, topic, 0, 12);
        let next = batches(within.records);
        assert_eq!(next[0].header.base_offset().get(), 15);
        // The log itself is as it was.
        set(&mut at, topic, FETCH, "");
        let again = batches(wire::fetch(&mut at, topic, 0, 0).records);
        assert!(again.iter().zip(&stored).all(|(a, b)| a.body == b.body));
    }
}

fn facts_of(header: &BatchHeader) -> (i64, i64, Option<ProducerId>, ProducerEpoch, i32) {
    (
        header.base_offset().get(),
        header.next_offset().get(),
        header.producer_id(),
        header.producer_epoch(),
        header.base_sequence(),
    )
}

/// librdkafka took each answer without a record for a message that does not fit, and after some ten
/// of them reported an error.
#[test]
fn clients_get_past_answers_of_which_nothing_stays() {
    let place = Place::start("fetch-emptied", Options::default());
    place.deploy("range", RANGE);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 1, &[(FETCH, "range")]);
    wire::wait_known(&mut at, "t", 0);
    let mut clients = vec![KCAT, JAVA, KAFKA_PYTHON, FRANZ_GO];
    if soak::is_long() {
        clients.extend([
            client::SARAMA,
            client::CONFLUENT,
            client::AIOKAFKA,
            client::KAFKAJS,
        ]);
    }
    let topic = Topic {
        bootstrap: place.sedge.bootstrap(),
        name: "t".to_owned(),
        partitions: 1,
        base_ms: 0,
    };
    let join = |client: &client::Client| client.join(&topic, client.name);
    let mut members: Vec<_> = clients.iter().map(join).collect();
    for member in &mut members {
        member.wait_assigned(1);
    }
    let dropped = |place: &Place| {
        let metric = r#"sedge_plugin_records_total{plugin="range",verdict="drop"}"#;
        http::metric(place.sedge.console(), metric) as usize
    };
    let mut place = place;
    for number in 1..=15 {
        produce(&mut at, "t", &readings(&["999"]));
        let all = number * clients.len();
        place.wait("each client has read the batch", |place| {
            dropped(place) >= all
        });
    }
    let record = (b"k1".to_vec(), Some(client::value(1).into_bytes()));
    produce(&mut at, "t", &Batch::keyed(&[record]).encode());
    for member in &mut members {
        let seen = member.wait_records(1);
        assert_eq!((seen.len(), seen[0].offset, seen[0].number()), (1, 15, 1));
        let said = member.tail();
        assert!(!said.contains("too large"), "{said}");
    }
    // While the filter is away, clients wait, and go on when it is back.
    plugin::delete(&place.sedge.bootstrap(), "range");
    place.wait("the filter is away", |_| {
        wire::fetch(&mut at, "t", 0, 15).error == OFFSET_NOT_AVAILABLE
    });
    let record = (b"k2".to_vec(), Some(client::value(2).into_bytes()));
    produce(&mut at, "t", &Batch::keyed(&[record]).encode());
    for _ in 0..3 {
        let withheld = wire::fetch(&mut at, "t", 0, 16);
        assert_eq!(withheld.error, OFFSET_NOT_AVAILABLE);
    }
    let shown: usize = members.iter().map(|member| member.seen().len()).sum();
    assert_eq!(shown, members.len(), "no client gets the record");
    place.deploy("range", RANGE);
    for member in &mut members {
        let seen = member.wait_records(2);
        assert_eq!((seen.len(), seen[1].offset, seen[1].number()), (2, 16, 2));
    }
    let reread = dropped(&place) > 15 * clients.len() + 2 * clients.len();
    assert!(!reread, "no client reads batches again and again");
    for member in members {
        member.close();
    }
}

#[test]
fn only_the_named_principals_are_filtered() {
    let address = free();
    let mut place = Place::start("fetch-principals", with_users(&address));
    place.deploy("range", RANGE);
    place.deploy("tell", MISBEHAVE);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 1, &[]);
    wire::wait_known(&mut at, "t", 0);
    produce(&mut at, "t", &readings(&["1", "999"]));
    bind(&mut place, &mut at, "t", "range");
    set(
        &mut at,
        "t",
        "sedge.filter.fetch.principals",
        "User:carol, User:bob",
    );
    let (mut bob, mut carol) = (connect_as("bob", &address), connect_as("carol", &address));
    let read = |at: &mut Connection| values(&wire::fetch(at, "t", 0, 0).records).len();
    assert_eq!((read(&mut bob), read(&mut carol), read(&mut at)), (1, 1, 2));
    set(&mut at, "t", "sedge.filter.fetch.principals", "User:bob");
    assert_eq!((read(&mut bob), read(&mut carol), read(&mut at)), (1, 2, 2));
    set(&mut at, "t", "sedge.filter.fetch.principals", "");
    assert_eq!((read(&mut bob), read(&mut carol), read(&mut at)), (1, 1, 1));
    let wrong = ("sedge.filter.fetch.principals", "bob");
    let (code, why) = alter(&mut at, "t", SET, wrong, false);
    assert!(
        code == INVALID_CONFIG && why.contains("User:alice"),
        "{why}"
    );

    // The filter is told who reads; what it rejects is left out, and the log has the reason.
    set(&mut at, "t", "sedge.plugin.tell.output", "origin");
    set(&mut at, "t", "sedge.filter.fetch.principals", "User:bob");
    bind(&mut place, &mut bob, "t", "tell");
    for _ in 0..3 {
        assert_eq!(read(&mut bob), 0);
    }
    let said = "t: the fetch filter tell rejected 2 records: User:bob as";
    place.wait("the log says it", |place| {
        place.sedge.process().tail().contains(said)
    });
    let log = place.sedge.process().tail();
    assert_eq!(log.matches("tell rejected").count(), 1, "{log}");
}

#[test]
fn a_filter_that_fails_on_a_fetch_follows_its_policy() {
    let mut place = Place::start("fetch-failing", Options::default());
    place.deploy("tell", MISBEHAVE);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 1, &[]);
    wire::wait_known(&mut at, "t", 0);
    for value in ["good", "panic", "good"] {
        produce(&mut at, "t", &Batch::of(&[value.into()]).encode());
    }
    bind(&mut place, &mut at, "t", "tell");
    let read = |at: &mut Connection, offset: i64| {
        let fetched = wire::fetch(at, "t", 0, offset);
        (fetched.error, values(&fetched.records).len())
    };
    // Fail-closed: what comes before is sent, and what cannot be filtered is withheld.
    assert_eq!(read(&mut at, 0), (error::NONE, 1));
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(read(&mut at, 1), (OFFSET_NOT_AVAILABLE, 0));
        // A client that gets an error asks again at once, so it gets the error late.
        assert!(asked.elapsed() >= Duration::from_millis(400));
    }
    assert_eq!(read(&mut at, 2), (error::NONE, 1));
    let log = place.sedge.process().tail();
    let failed = "the fetch filter tell failed on topic t";
    assert_eq!(log.matches(failed).count(), 1, "{log}");
    set(&mut at, "t", "sedge.filter.fetch.on.error", "fail-open");
    assert_eq!(read(&mut at, 0), (error::NONE, 3));
    set(&mut at, "t", "sedge.filter.fetch.on.error", "quarantine");
    assert_eq!(read(&mut at, 0), (error::NONE, 3));
    // Without the plugin.
    set(&mut at, "t", "sedge.filter.fetch.on.error", "fail-closed");
    plugin::delete(&place.sedge.bootstrap(), "tell");
    place.wait("the plugin is gone", |_| {
        read(&mut at, 0) == (OFFSET_NOT_AVAILABLE, 0)
    });
    set(&mut at, "t", FETCH, "");
    assert_eq!(read(&mut at, 0), (error::NONE, 3));
}

#[test]
fn filters_run_one_after_the_other_and_not_on_internal_topics() {
    let mut place = Place::start("fetch-chain", Options::default());
    place.deploy("cold", RANGE);
    place.deploy("warm", RANGE);
    let mut at = place.connect();
    let configs = [
        (FETCH, "cold,warm"),
        ("sedge.plugin.cold.max", "30"),
        ("sedge.plugin.warm.min", "10"),
    ];
    wire::create_topic(&mut at, "t", 1, &configs);
    wire::wait_known(&mut at, "t", 0);
    for celsius in [&["5", "20", "50"][..], &["5"], &["20"], &["50"], &["5"]] {
        produce(&mut at, "t", &readings(celsius));
    }
    place.wait("both are compiled", |_| {
        wire::fetch(&mut at, "t", 0, 0).error == error::NONE
    });
    let fetched = wire::fetch(&mut at, "t", 0, 0);
    let expected: [(i64, String); 2] = [1, 4].map(|offset| {
        let value = String::from_utf8(reading("20"));
        (offset, value.expect("is text"))
    });
    assert_eq!(values(&fetched.records), expected);
    assert_eq!(wire::next_offset(&fetched.records), Some(7));

    set(&mut at, "__sedge_plugins", FETCH, "cold");
    let whole = wire::fetch(&mut at, "__sedge_plugins", 0, 0);
    assert_eq!(whole.error, error::NONE);
    let whole = batches(whole.records);
    assert!(!whole.is_empty() && whole.iter().all(|batch| !batch.header.is_control()));
}

#[test]
fn filters_may_be_of_some_partitions() {
    let mut place = Place::start("filter-partitions", Options::default());
    place.deploy("range", RANGE);
    let mut at = place.connect();
    let writes = [
        ("sedge.filter", "range"),
        ("sedge.filter.partitions", "0,2-3"),
    ];
    let reads = [(FETCH, "range"), ("sedge.filter.fetch.partitions", "1")];
    for (topic, configs, filtered) in [("w", writes, [0, 2, 3].as_slice()), ("r", reads, &[1])] {
        wire::create_topic(&mut at, topic, 4, &configs);
        for partition in 0..4 {
            place.wait("the filter is compiled", |_| {
                let good = readings(&["1"]);
                wire::produce(&mut at, topic, partition, &good).error == error::NONE
                    && wire::fetch(&mut at, topic, partition, 0).error == error::NONE
            });
            let produced = wire::produce(&mut at, topic, partition, &readings(&["999"]));
            assert_eq!(produced.error, error::NONE, "{produced:?}");
            let fetched = wire::fetch(&mut at, topic, partition, 0);
            let records = values(&fetched.records);
            let bad = records
                .iter()
                .filter(|(_, value)| value.contains("999"))
                .count();
            let is_filtered = filtered.contains(&partition);
            assert_eq!(bad, usize::from(!is_filtered), "{topic}-{partition}");
        }
    }
    for key in ["sedge.filter.partitions", "sedge.filter.fetch.partitions"] {
        let (code, why) = alter(&mut at, "w", SET, (key, "5-3"), false);
        assert!(
            code == INVALID_CONFIG && why.contains("such as 0 or 3-5"),
            "{why}"
        );
    }
}

#[test]
fn only_a_deployed_filter_is_bound_to_fetches() {
    let place = Place::start("fetch-binding", Options::default());
    let mut at = place.connect();
    let missing = "no plugin named nosuch is deployed";
    let (code, why) = validate(&mut at, "t", (FETCH, "nosuch"));
    assert!(code == INVALID_CONFIG && why.contains(missing), "{why}");
    wire::create_topic(&mut at, "t", 1, &[]);
    let (code, why) = alter(&mut at, "t", SET, (FETCH, "nosuch"), false);
    assert!(code == INVALID_CONFIG && why.contains(missing), "{why}");
    place.deploy("judge", JUDGE);
    let (code, why) = alter(&mut at, "t", SET, (FETCH, "judge"), false);
    let world = "is a quota-policy, not a record-filter";
    assert!(code == INVALID_CONFIG && why.contains(world), "{why}");
}
