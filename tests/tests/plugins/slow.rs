//! Tests a slow filter.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use sedge_tests::http;
use sedge_tests::plugin;
use sedge_tests::report;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, PRODUCE_VERSION, error, key};

use crate::support::{MISBEHAVE, Place, RANGE};

/// More than there are threads for blocking work.
const PRODUCERS: usize = 520;

/// Longest time of any other request meanwhile: waiting behind the slow batches takes half a minute
/// or more.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// Least number of rounds; they continue until the slow filter has run meanwhile.
const ROUNDS: usize = 20;

/// The filter takes tenths of a second for each batch, one after the other.
#[test]
fn a_slow_filter_costs_its_own_topic_alone() {
    let options = Options::default()
        .set("plugin.deadline.ms", "60000")
        .set("sedge.segment.bytes", "1048576");
    let place = Place::start("slow-filter", options);
    place.deploy("slow", MISBEHAVE);
    place.deploy("range", RANGE);
    let mut connection = place.connect();
    wire::create_topic(&mut connection, "slow", 1, &[("sedge.filter", "slow")]);
    wire::create_topic(&mut connection, "quick", 1, &[("sedge.filter", "range")]);
    wire::create_topic(&mut connection, "plain", 1, &[]);
    plugin::wait_taken(&mut connection, "slow", b"keep");
    plugin::wait_filtered(&mut connection, "quick");
    let rows = Batch::filled(100, 1000).encode();
    for _ in 0..30 {
        let produced = wire::produce(&mut connection, "plain", 0, &rows);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
    }

    let slow = Batch::of(&[b"slow".to_vec()]).encode();
    let request = wire::produce_request("slow", 0, -1, &slow);
    let producers = (0..PRODUCERS).map(|_| {
        let mut producer = place.connect();
        producer.send(key::PRODUCE, PRODUCE_VERSION, &request);
        producer
    });
    let producers: Vec<Connection> = producers.collect();

    let mut worst = [Duration::ZERO; 4];
    let mut rounds = 0;
    let mut taken = 0;
    while rounds < ROUNDS || taken < 3 {
        rounds += 1;
        let produced = timed(&mut worst[0], || {
            wire::produce(&mut connection, "plain", 0, &slow)
        });
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        let reading = Batch::of(&[br#"{"celsius":21.4}"#.to_vec()]).encode();
        let produced = timed(&mut worst[1], || {
            wire::produce(&mut connection, "quick", 0, &reading)
        });
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        evict(&place);
        let fetched = timed(&mut worst[2], || {
            wire::fetch(&mut connection, "plain", 0, 0)
        });
        assert_eq!(fetched.error, error::NONE, "{fetched:?}");
        assert!(fetched.records.len() >= rows.len(), "a cold fetch");
        let (status, _) = timed(&mut worst[3], || {
            http::get(place.sedge.console(), "/metrics")
        });
        assert_eq!(status, 200);
        taken = wire::fetch(&mut connection, "slow", 0, 0).high_watermark;
    }
    report::line(format_args!(
        "slow filter, {PRODUCERS} producers wait: worst of {rounds}: produce {:?}, through another \
         filter {:?}, cold fetch {:?}, metrics {:?}; {taken} slow batches taken",
        worst[0], worst[1], worst[2], worst[3]
    ));
    assert!(taken < PRODUCERS as i64, "producers waited to the end");
    drop(producers);
}

/// Runs `what`, and records its time if it is the worst.
fn timed<T>(worst: &mut Duration, what: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = what();
    let took = began.elapsed();
    assert!(took < LATENCY_MAX, "it took {took:?}");
    *worst = took.max(*worst);
    done
}

/// Evicts stored data from the page cache.
fn evict(place: &Place) {
    let listed = std::fs::read_dir(place.sedge.data().join("segments")).expect("there are some");
    for entry in listed.flatten() {
        let file = File::open(entry.path()).expect("a segment can be read");
        fadvise(&file, 0, None, Advice::DontNeed).expect("a file takes advice");
    }
}
