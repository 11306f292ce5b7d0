//! Tests what links keep in step on the other side: partitions and configurations of topics.

use std::time::Instant;

use sedge_tests::limits;
use sedge_tests::link::Site;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tools;
use sedge_tests::wire::{self, Batch, Connection, error};

const HOUR: &str = "3600000";
const DAY: &str = "86400000";
const WEEK: &str = "604800000";

/// Waits until a topic upstream has a configuration.
fn wait_config(site: &mut Site, topic: &str, key: &str, expected: &str) {
    site.wait(
        &format!("{key} of {topic} upstream is {expected}"),
        |site| {
            wire::topics(&mut site.there).contains_key(topic)
                && wire::topic_config(&mut site.there, topic, key).as_deref() == Some(expected)
        },
    );
}

fn produce(site: &mut Site, topic: &str, value: &str) {
    site.produce_values(topic, &[value.to_owned()]);
}

/// Pauses the link, and returns when it rests.
fn pause(site: &mut Site) {
    tools::must(site.mirror(&["pause", "hq"]), "pause");
    site.wait("the link is paused", |site| {
        site.describe()["state"] == "paused"
    });
}

fn what_changes_here_is_changed_upstream(site: &mut Site) {
    const TOPIC: &str = "kept";
    let configs = [("retention.ms", HOUR), ("max.message.bytes", "2000000")];
    wire::create_topic(&mut site.here, TOPIC, 1, &configs);
    produce(site, TOPIC, "a");
    wait_config(site, TOPIC, "retention.ms", HOUR);
    site.wait("the cursor is committed", |site| {
        site.cursor(TOPIC) == Some(1)
    });
    wire::alter_topic(&mut site.here, TOPIC, ("retention.ms", DAY));
    wait_config(site, TOPIC, "retention.ms", DAY);

    // The operator upstream decides otherwise. Other keys stay in step.
    wire::alter_topic(&mut site.there, TOPIC, ("retention.ms", WEEK));
    wire::alter_topic(&mut site.here, TOPIC, ("cleanup.policy", "compact"));
    wait_config(site, TOPIC, "cleanup.policy", "compact");
    wait_config(site, TOPIC, "retention.ms", WEEK);

    // Excluded keys, and those of a sedge, stay here.
    wire::alter_topic(&mut site.here, TOPIC, ("flush.ms", "77"));
    wire::alter_topic(&mut site.here, TOPIC, ("sedge.retention.priority", "low"));
    wire::reset_topic_config(&mut site.here, TOPIC, "cleanup.policy");
    wait_config(site, TOPIC, "cleanup.policy", "delete");
    let flush = wire::topic_config(&mut site.there, TOPIC, "flush.ms");
    assert_ne!(flush.as_deref(), Some("77"));

    // What changes while the link rests is shown by the plan, and changed then.
    pause(site);
    wire::reset_topic_config(&mut site.here, TOPIC, "max.message.bytes");
    wire::alter_topic(&mut site.here, TOPIC, ("segment.ms", "123456"));
    site.kill_and_start();
    let plan = tools::must(site.mirror(&["plan", "hq"]), "plan").stdout;
    for change in [
        "segment.ms becomes 123456 upstream",
        "max.message.bytes is reset upstream",
    ] {
        assert!(plan.contains(change), "{change}: {plan}");
    }
    assert!(!plan.contains("retention.ms"), "{plan}");
    tools::must(site.mirror(&["resume", "hq"]), "resume");
    wait_config(site, TOPIC, "segment.ms", "123456");
    wait_config(site, TOPIC, "retention.ms", WEEK);
    let bytes = wire::topic_config(&mut site.there, TOPIC, "max.message.bytes");
    assert_ne!(bytes.as_deref(), Some("2000000"));
}

fn partitions_added_here_are_added_upstream(site: &mut Site) {
    const TOPIC: &str = "grows";
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    produce(site, TOPIC, "a");
    site.wait_upstream(TOPIC, &["a".to_owned()]);
    wire::grow_topic(&mut site.here, TOPIC, 3);
    let batch = Batch::of(&[b"c".to_vec()]).encode();
    let produced = wire::produce(&mut site.here, TOPIC, 2, &batch);
    assert_eq!(produced.error, error::NONE);
    site.wait("the record of the new partition is upstream", |site| {
        wire::topics(&mut site.there)[TOPIC].partitions == 3
            && wire::fetch(&mut site.there, TOPIC, 2, 0).high_watermark > 0
    });
}

#[test]
fn topics_of_apache_kafka_are_kept_in_step() {
    let mut site = Site::with_kafka("", Options::default());
    what_changes_here_is_changed_upstream(&mut site);
    partitions_added_here_are_added_upstream(&mut site);
}

#[test]
fn topics_of_a_sedge_are_kept_in_step() {
    let mut site = Site::with_sedge("", Options::default());
    what_changes_here_is_changed_upstream(&mut site);
    partitions_added_here_are_added_upstream(&mut site);
}

/// The link's keys leave some keys, or all of them, to the operator upstream.
#[test]
fn what_the_link_leaves_to_the_operator_upstream_stays_as_it_is() {
    let leaves = "\"config.properties.exclude\" = [\"retention\\\\..*\"]";
    let mut site = Site::with_sedge(leaves, Options::default());
    let configs = [("retention.ms", HOUR), ("segment.ms", "123456")];
    wire::create_topic(&mut site.here, "some", 1, &configs);
    produce(&mut site, "some", "a");
    wait_config(&mut site, "some", "segment.ms", "123456");
    wait_config(&mut site, "some", "retention.ms", WEEK);
    wire::alter_topic(&mut site.here, "some", ("retention.ms", DAY));
    wire::alter_topic(&mut site.here, "some", ("segment.ms", "654321"));
    wait_config(&mut site, "some", "segment.ms", "654321");
    wait_config(&mut site, "some", "retention.ms", WEEK);

    let leaves = "\"sync.topic.configs.enabled\" = false";
    let mut site = Site::with_sedge(leaves, Options::default());
    wire::create_topic(&mut site.here, "all", 1, &[("retention.ms", HOUR)]);
    wait_config(&mut site, "all", "retention.ms", HOUR);
    wire::alter_topic(&mut site.here, "all", ("retention.ms", DAY));
    // The link has seen the change when it has begun a later topic.
    wire::create_topic(&mut site.here, "later", 1, &[]);
    produce(&mut site, "later", "a");
    site.wait_upstream("later", &["a".to_owned()]);
    wait_config(&mut site, "all", "retention.ms", HOUR);
}

/// Waits until a topic here has a configuration, as changed upstream.
fn wait_here(here: &Sedge, topic: &str, key: &str, expected: &str) {
    let mut at = Connection::open(&here.bootstrap());
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let is_known = wire::topics(&mut at).contains_key(topic);
        let value = is_known.then(|| wire::topic_config(&mut at, topic, key));
        if value.as_ref().and_then(|value| value.as_deref()) == Some(expected) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{key} of {topic}: {value:?}, not {expected}"
        );
        std::thread::sleep(limits::POLL);
    }
}

#[test]
fn copies_of_a_pull_link_follow_the_topics_upstream() {
    const TOPIC: &str = "commands";
    let directory = TempDir::new("mirror-sync-pull");
    let there = Sedge::start(&directory.join("hq"), Options::default());
    let mut at = Connection::open(&there.bootstrap());
    let configs = [("retention.ms", HOUR), ("max.message.bytes", "2000000")];
    wire::create_topic(&mut at, TOPIC, 1, &configs);
    let link = format!(
        "[mirror.hq]\ndirection = \"pull\"\nbootstrap.servers = \"{}\"\n\
         topics = [\"commands.*\"]\n",
        there.bootstrap()
    );
    let mut here = Sedge::start(&directory.join("edge"), Options::default().config(link));
    wait_here(&here, TOPIC, "retention.ms", HOUR);

    // The operator here wants another size, and keeps it.
    let mut own = Connection::open(&here.bootstrap());
    wire::alter_topic(&mut own, TOPIC, ("max.message.bytes", "3000000"));
    wire::alter_topic(&mut at, TOPIC, ("retention.ms", DAY));
    wire::alter_topic(&mut at, TOPIC, ("cleanup.policy", "compact"));
    wire::grow_topic(&mut at, TOPIC, 2);
    // A start compares at once.
    here.kill();
    here.start_again();
    wait_here(&here, TOPIC, "retention.ms", DAY);
    wait_here(&here, TOPIC, "cleanup.policy", "compact");
    wait_here(&here, TOPIC, "max.message.bytes", "3000000");
    let mut own = Connection::open(&here.bootstrap());
    assert_eq!(wire::topics(&mut own)[TOPIC].partitions, 2);

    wire::reset_topic_config(&mut at, TOPIC, "cleanup.policy");
    here.kill();
    here.start_again();
    wait_here(&here, TOPIC, "cleanup.policy", "delete");
    wait_here(&here, TOPIC, "max.message.bytes", "3000000");
}
