//! Tests a link's handling of topics: those that are created again, their timestamps, their
//! configuration. Each case runs against Apache Kafka and against a second sedge.

use sedge_tests::link::Site;
use sedge_tests::sedge::Options;
use sedge_tests::soak;
use sedge_tests::wire::{self, Batch};

const ROUNDS: usize = 20;
const ROUNDS_LONG: usize = 500;
const DAY_MS: i64 = 86_400_000;

fn values(topic: &str, round: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{topic} {round} {n}")).collect()
}

/// The upstream would take the new topic's records for the old one's if they came under the same
/// producer and sequence: it would acknowledge and drop them.
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

/// The new topic upstream has the records produced since, without a loss.
fn a_topic_that_was_created_again_upstream_goes_on(site: &mut Site) {
    const TOPIC: &str = "again-upstream";
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let old = values(TOPIC, "old", 3);
    site.produce_values(TOPIC, &old);
    site.wait_upstream(TOPIC, &old);
    wire::delete_topic(&mut site.there, TOPIC);
    let new = values(TOPIC, "new", 3);
    site.produce_values(TOPIC, &new);
    site.wait("the new topic upstream has the new records", |site| {
        let mut there = site.upstream(TOPIC);
        // A batch may be sent twice: its first acknowledgement is not believed.
        there.dedup();
        there == new
    });
}

/// Consumers upstream see the timestamps that local consumers see, whatever the producer's clock
/// said: an upstream's retention acts on them, and it refuses timestamps in the future.
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

/// Computes the timestamp of the first record of fetched batches, as consumers do.
fn first_time(batches: &[u8]) -> i64 {
    let number = |at: usize| i64::from_be_bytes(batches[at..at + 8].try_into().expect("8 bytes"));
    let is_append_time = batches[22] & 8 != 0;
    if is_append_time {
        number(35)
    } else {
        // The first record of the batches produced here has a delta of 0.
        number(27)
    }
}

/// A compacted topic that is not compacted upstream would lose its unchanged keys there, and a
/// lower limit there would stop the link.
fn topics_are_created_upstream_with_their_configuration(site: &mut Site) {
    const TOPIC: &str = "configured";
    let configs = [
        ("cleanup.policy", "compact"),
        ("max.message.bytes", "5000000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("sedge.retention.priority", "high"),
    ];
    wire::create_topic(&mut site.here, TOPIC, 1, &configs);
    let record = (b"key".to_vec(), Some(vec![b'x'; 2_000_000]));
    site.produce(TOPIC, &Batch::keyed(&[record]));
    site.wait("a batch of 2 MB is upstream", |site| {
        wire::fetch(&mut site.there, TOPIC, 0, 0).high_watermark == 1
    });
    let mut check = |key: &str, expected: &str| {
        let value = wire::topic_config(&mut site.there, TOPIC, key);
        assert_eq!(value.as_deref(), Some(expected), "{key} upstream");
    };
    check("cleanup.policy", "compact");
    check("max.message.bytes", "5000000");
    check("message.timestamp.type", "CreateTime");
}

/// The upstream has a topic whose name differs only by a dot. The conflict is logged once, with
/// advice.
fn a_topic_that_the_upstream_refuses_is_said_once(site: &mut Site) {
    wire::create_topic(&mut site.there, "co.lide", 1, &[]);
    wire::create_topic(&mut site.here, "co_lide", 1, &[]);
    site.wait("the refused topic is described", |site| {
        let described = site.describe();
        let rows = described["partitions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        rows.iter().any(|row| {
            let state = row["state"].as_str().unwrap_or_default();
            row["topic"] == "co_lide" && state.contains("topics.exclude")
        })
    });
    assert_eq!(site.metric("sedge_mirror_link_up"), 1);
    // Each change of topics makes the link check all of them again.
    for other in ["other-1", "other-2", "other-3"] {
        wire::create_topic(&mut site.here, other, 1, &[]);
        let values = values(other, "", 1);
        site.produce_values(other, &values);
        site.wait_upstream(other, &values);
    }
    assert_eq!(site.logged("co_lide is held"), 1);
    assert_eq!(site.logged("created co_lide"), 0);
}

/// Each batch travels alone, so that its times can be read from its header.
const ALONE: &str = "\"batch.size\" = 0";

#[test]
fn to_apache_kafka() {
    check_all(&mut Site::with_kafka(ALONE, Options::default()));
}

#[test]
fn to_sedge() {
    check_all(&mut Site::with_sedge(ALONE, Options::default()));
}

/// The topic is deleted as soon as all of it is upstream, repeatedly.
#[test]
fn a_topic_that_is_created_again_and_again_arrives_whole() {
    const TOPIC: &str = "rounds";
    let mut site = Site::with_sedge("", Options::default());
    let mut all = Vec::new();
    for round in 0..if soak::is_long() { ROUNDS_LONG } else { ROUNDS } {
        wire::create_topic(&mut site.here, TOPIC, 1, &[]);
        let new = values(TOPIC, &round.to_string(), 1 + round % 4);
        site.produce_values(TOPIC, &new);
        all.extend(new);
        site.wait_upstream(TOPIC, &all);
        wire::delete_topic(&mut site.here, TOPIC);
    }
}

fn check_all(site: &mut Site) {
    records_of_a_topic_that_was_created_again_arrive(site);
    a_topic_that_was_created_again_upstream_goes_on(site);
    records_of_an_append_time_topic_have_the_append_time(site);
    topics_are_created_upstream_with_their_configuration(site);
    a_topic_that_the_upstream_refuses_is_said_once(site);
}

const RENAMES: &str = r#"
"topics.prefix" = "site7."
"topics.rename" = ["sensors:all.sensors", "other:site7.twin"]
"#;

/// Two topics that would become one upstream: the one that is copied goes on, the other waits.
fn topics_are_renamed(site: &mut Site) {
    for (here, there) in [
        ("plain", "site7.plain"),
        ("sensors", "all.sensors"),
        ("other", "site7.twin"),
    ] {
        wire::create_topic(&mut site.here, here, 1, &[]);
        let all = values(here, "", 2);
        site.produce_values(here, &all);
        site.wait_upstream(there, &all);
        assert!(site.upstream(here).is_empty(), "{here} upstream");
    }
    wire::create_topic(&mut site.here, "twin", 1, &[]);
    site.wait("the topic whose name is taken is described", |site| {
        let rows = site.describe()["partitions"].clone();
        let rows = rows.as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| {
            let state = row["state"].as_str().unwrap_or_default();
            row["topic"] == "twin" && state.contains("would all be site7.twin upstream")
        })
    });
    let more = values("other", "more", 1);
    site.produce_values("other", &more);
    site.wait("the topic that was copied before goes on", |site| {
        site.upstream("site7.twin").ends_with(&more)
    });
}

#[test]
fn renamed_topics_to_apache_kafka() {
    topics_are_renamed(&mut Site::with_kafka(RENAMES, Options::default()));
}

#[test]
fn renamed_topics_to_sedge() {
    topics_are_renamed(&mut Site::with_sedge(RENAMES, Options::default()));
}
