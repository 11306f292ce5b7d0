//! What a link makes of topics: those that are created again, their times, their configuration.
//! Each case against Apache Kafka and against a second sedge.

use std::time::Instant;

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{limits, soak};

const DAY_MS: i64 = 86_400_000;

/// A broker with a link named `hq` to an upstream.
struct Site {
    here: Connection,
    there: Connection,
    sedge: Sedge,
    // Last, so that the processes end before their directories go.
    _upstream: Upstream,
    _directory: TempDir,
}

enum Upstream {
    Kafka(ApacheKafka),
    Sedge(Sedge),
}

impl Upstream {
    fn bootstrap(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.bootstrap(),
            Self::Sedge(sedge) => sedge.bootstrap(),
        }
    }
}

impl Site {
    fn with_kafka() -> Self {
        Self::start(|directory| Upstream::Kafka(ApacheKafka::start(&directory.join("kafka"), &[])))
    }

    fn with_sedge() -> Self {
        Self::start(|directory| {
            Upstream::Sedge(Sedge::start(&directory.join("hq"), Options::default()))
        })
    }

    fn start(upstream: impl FnOnce(&TempDir) -> Upstream) -> Self {
        let directory = TempDir::new("mirror-topics");
        let upstream = upstream(&directory);
        let bootstrap = upstream.bootstrap();
        let config =
            format!("[mirror.hq]\nbootstrap.servers = \"{bootstrap}\"\ntopics = [\".*\"]\n");
        let sedge = Sedge::start(&directory.join("edge"), Options::default().config(config));
        Self {
            here: Connection::open(&sedge.bootstrap()),
            there: Connection::open(&bootstrap),
            sedge,
            _upstream: upstream,
            _directory: directory,
        }
    }

    fn produce(&mut self, topic: &str, batch: &Batch) {
        let produced = wire::produce(&mut self.here, topic, 0, &batch.encode());
        assert_eq!(produced.error, error::NONE, "produce to {topic}");
    }

    /// Batches of one record each.
    fn produce_values(&mut self, topic: &str, values: &[String]) {
        for value in values {
            self.produce(topic, &Batch::of(&[value.clone().into_bytes()]));
        }
    }

    /// Waits until `values` are upstream, in their order.
    fn wait_upstream(&mut self, topic: &str, values: &[String]) {
        let deadline = Instant::now() + limits::CONDITION;
        loop {
            let there = self.upstream(topic);
            if there == values {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{topic} upstream has {there:?}, not {values:?}\n{}",
                self.sedge.process().tail()
            );
            std::thread::sleep(limits::POLL);
        }
    }

    fn upstream(&mut self, topic: &str) -> Vec<String> {
        if wire::fetch(&mut self.there, topic, 0, 0).error != error::NONE {
            return Vec::new();
        }
        let records = soak::read_partition(&mut self.there, topic, 0);
        let text = |record: wire::Record| String::from_utf8_lossy(&record.value).into_owned();
        records.into_iter().map(text).collect()
    }
}

fn values(topic: &str, round: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{topic} {round} {n}")).collect()
}

/// The upstream takes records of the new topic for those of the old one, where they come under the
/// same producer and sequence: it acknowledges and drops them.
fn records_of_a_topic_that_was_created_again_arrive(site: &mut Site) {
    for (old, new) in [(1, 1), (3, 3), (5, 8), (8, 3)] {
        let topic = format!("again-{old}-{new}");
        wire::create_topic(&mut site.here, &topic, 1, &[]);
        let mut all = values(&topic, "old", old);
        site.produce_values(&topic, &all);
        site.wait_upstream(&topic, &all);
        wire::delete_topic(&mut site.here, &topic);
        wire::create_topic(&mut site.here, &topic, 1, &[]);
        let more = values(&topic, "new", new);
        site.produce_values(&topic, &more);
        all.extend(more);
        site.wait_upstream(&topic, &all);
    }
}

/// The new topic upstream has what was produced since, without a loss.
fn a_topic_that_was_created_again_upstream_goes_on(site: &mut Site) {
    const TOPIC: &str = "again-upstream";
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let old = values(TOPIC, "old", 3);
    site.produce_values(TOPIC, &old);
    site.wait_upstream(TOPIC, &old);
    wire::delete_topic(&mut site.there, TOPIC);
    let new = values(TOPIC, "new", 3);
    site.produce_values(TOPIC, &new);
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let mut there = site.upstream(TOPIC);
        // One batch may be sent twice: its first acknowledgement is not believed.
        there.dedup();
        if there == new {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{there:?}\n{}",
            site.sedge.process().tail()
        );
        std::thread::sleep(limits::POLL);
    }
}

/// Consumers upstream see the time that consumers here see, whatever the producer's clock said: an
/// upstream's retention acts on it, and it refuses times that lie ahead.
fn records_of_an_append_time_topic_have_the_append_time(site: &mut Site) {
    const TOPIC: &str = "append-time";
    let configs = [("message.timestamp.type", "LogAppendTime")];
    wire::create_topic(&mut site.here, TOPIC, 1, &configs);
    let now_ms = Batch::of(&[]).base_timestamp;
    let all = values(TOPIC, "at", 2);
    for (value, clock_ms) in all
        .iter()
        .zip([now_ms - 1000 * DAY_MS, now_ms + 10 * DAY_MS])
    {
        let mut batch = Batch::of(&[value.clone().into_bytes()]);
        batch.base_timestamp = clock_ms;
        site.produce(TOPIC, &batch);
    }
    site.wait_upstream(TOPIC, &all);
    for (offset, value) in all.iter().enumerate() {
        let [here, there] = [&mut site.here, &mut site.there]
            .map(|at| first_time(&wire::fetch(at, TOPIC, 0, offset as i64).records));
        assert_eq!(there, here, "the time of {value:?} upstream and here");
        assert!((now_ms - DAY_MS..now_ms + DAY_MS).contains(&there));
    }
}

/// The time of the first record of fetched batches, as consumers work it out.
fn first_time(batches: &[u8]) -> i64 {
    let number = |at: usize| i64::from_be_bytes(batches[at..at + 8].try_into().expect("8 bytes"));
    let is_append_time = batches[22] & 8 != 0;
    if is_append_time {
        number(35)
    } else {
        // The first record of the batches that are produced here has a delta of 0.
        number(27)
    }
}

#[test]
fn to_apache_kafka() {
    let mut site = Site::with_kafka();
    records_of_a_topic_that_was_created_again_arrive(&mut site);
    a_topic_that_was_created_again_upstream_goes_on(&mut site);
    records_of_an_append_time_topic_have_the_append_time(&mut site);
}

#[test]
fn to_sedge() {
    let mut site = Site::with_sedge();
    records_of_a_topic_that_was_created_again_arrive(&mut site);
    a_topic_that_was_created_again_upstream_goes_on(&mut site);
    records_of_an_append_time_topic_have_the_append_time(&mut site);
}
