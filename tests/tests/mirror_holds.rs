//! Tests that a link that makes no progress reports why, and that its obstacle can be skipped.

use sedge_tests::link::Site;
use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Codec};

const TOPIC: &str = "held";

fn row(site: &Site) -> serde_json::Value {
    let described = site.describe();
    let rows = described["partitions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = rows.into_iter().find(|row| row["topic"] == TOPIC);
    found.unwrap_or_default()
}

fn state(site: &Site) -> String {
    row(site)["state"].as_str().unwrap_or_default().to_owned()
}

fn values(round: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{round} {n}")).collect()
}

/// A body that cannot be decompressed, and that the edge is configured not to open. Kafka keeps
/// answering `UNKNOWN_SERVER_ERROR`, an error that is usually transient.
#[test]
fn a_partition_that_never_gets_on_is_held_and_can_be_skipped() {
    let options = Options::default().set("sedge.produce.validation", "relaxed");
    let mut site = Site::with_kafka("delivery.timeout.ms = 2000", options);
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    wire::create_topic(&mut site.here, "other", 1, &[]);
    let poison = Batch::of(&[b"x".to_vec()]).compressed(Codec::Gzip, vec![7; 100]);
    site.produce(TOPIC, &poison);
    let all = values("held", 3);
    site.produce_values(TOPIC, &all);
    site.wait("one partition is held", |site| {
        site.metric("sedge_mirror_held_partitions") == 1
    });
    assert_eq!(site.metric("sedge_mirror_link_up"), 1);
    let described = site.describe();
    assert_eq!(described["state"], "running");
    assert_eq!(described["held"], 1);
    let why = state(&site);
    assert!(why.contains("UNKNOWN_SERVER_ERROR"), "{why}");
    let advice = format!("sedge mirror skip hq {TOPIC}:0 --to 1");
    assert!(why.contains(&advice), "{why}");
    let (_, page) = sedge_tests::http::get(site.sedge.console(), "/");
    let is_on_page = page.contains("held-0") && page.contains("UNKNOWN_SERVER_ERROR");
    assert!(is_on_page, "{page}");
    // The other partitions make progress.
    let others = values("other", 3);
    site.produce_values("other", &others);
    site.wait_upstream("other", &others);
    assert_eq!(site.logged("held-0 is held"), 1);

    let skipped = site.mirror(&["skip", "hq", "held:0", "--to", "1"]);
    assert!(skipped.status.success(), "{}", skipped.stderr);
    site.wait_upstream(TOPIC, &all);
    site.wait("one record is counted as skipped", |site| {
        site.metric("sedge_mirror_records_skipped_total") == 1
    });
    assert_eq!(site.logged("1 records are skipped"), 1);
    site.wait("all is copied", |site| state(site) == "copied");
    site.wait("nothing is held", |site| {
        site.metric("sedge_mirror_held_partitions") == 0
    });
}

#[test]
fn a_skip_names_what_is_wrong_with_it() {
    let mut site = Site::with_sedge("", Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let check = |arguments: &[&str], expected: &str| {
        let refused = site.mirror(arguments);
        assert!(!refused.status.success(), "{arguments:?}");
        assert!(
            refused.stderr.contains(expected),
            "{arguments:?}: {}",
            refused.stderr
        );
    };
    check(
        &["skip", "nosuch", "held:0", "--to", "0"],
        "no link named nosuch",
    );
    check(&["skip", "hq", "held:7", "--to", "0"], "no partition 7");
    check(
        &["skip", "hq", "held:0", "--to", "9"],
        "offset 9 is outside the log of held-0, which starts at 0 and ends at 0",
    );
    check(&["skip", "hq", "held", "--to", "0"], "TOPIC:PARTITION");
}

/// With `on.topic.recreated = hold` an operator decides about the new topic's records, also after a
/// kill.
#[test]
fn a_topic_that_was_created_again_waits_where_it_is_to() {
    let mut site = Site::with_sedge("on.topic.recreated = \"hold\"", Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let mut all = values("old", 2);
    site.produce_values(TOPIC, &all);
    site.wait_upstream(TOPIC, &all);
    site.wait("the cursor is committed", |site| {
        site.cursor(TOPIC) == Some(2)
    });
    wire::delete_topic(&mut site.here, TOPIC);
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let new = values("new", 3);
    site.produce_values(TOPIC, &new);
    let is_held = |site: &mut Site| state(site).contains("created again");
    site.wait("the new topic is held", is_held);
    site.kill_and_start();
    site.wait("the new topic is held after a kill", is_held);
    assert_eq!(site.upstream(TOPIC), all);
    let skipped = site.mirror(&["skip", "hq", "held:0", "--to", "0"]);
    assert!(skipped.status.success(), "{}", skipped.stderr);
    all.extend(new);
    site.wait_upstream(TOPIC, &all);
}

/// The upstream topic is deleted with `on.topic.recreated = hold`: it is not silently created
/// again.
#[test]
fn a_topic_that_was_deleted_upstream_waits_where_it_is_to() {
    let mut site = Site::with_sedge("on.topic.recreated = \"hold\"", Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let old = values("old", 2);
    site.produce_values(TOPIC, &old);
    site.wait_upstream(TOPIC, &old);
    site.wait("the cursor is committed", |site| {
        site.cursor(TOPIC) == Some(2)
    });
    wire::delete_topic(&mut site.there, TOPIC);
    let new = values("new", 3);
    site.produce_values(TOPIC, &new);
    site.wait("the partition is held", |site| {
        state(site).contains("upstream was deleted")
    });
    assert!(site.upstream(TOPIC).is_empty());
    let skipped = site.mirror(&["skip", "hq", "held:0", "--to", "2"]);
    assert!(skipped.status.success(), "{}", skipped.stderr);
    site.wait_upstream(TOPIC, &new);
}

/// One client has all the connections that the broker accepts. The broker's links need none.
#[test]
fn a_broker_without_free_connections_commits_its_cursors() {
    let options = Options::default().set("max.connections", "1");
    let mut site = Site::with_sedge("", options);
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let all = values("full", 3);
    site.produce_values(TOPIC, &all);
    site.wait_upstream(TOPIC, &all);
    site.wait("the cursor is committed", |site| {
        site.cursor(TOPIC) == Some(3)
    });
}
