//! Versions that are kept, and the return to one of them. No content here is a component, so each
//! version that is deployed while the broker runs fails at once.

use futures_lite::future::block_on;

use super::super::watch;
use sedge_protocol::ids::Offset;

use super::*;
use crate::limits::PLUGIN_VERSIONS_KEPT;
use crate::test_broker::TestBroker;

/// A record of the topic: the version that it keeps, its content, and whether it is a rollback.
type Record = (Option<i64>, Option<Vec<u8>>, bool);

fn deploy(node: &TestBroker, content: Option<&[u8]>) {
    let broker = &node.broker;
    let topic = Arc::clone(broker.log.metadata.load().topic(TOPIC).unwrap());
    let batch = batch_of(&Change::of("range", content, 5)).unwrap();
    block_on(append(&broker.writer, topic, node.partition(TOPIC), batch)).unwrap();
    watch::apply(&broker.plugins, &broker.log);
    write_all(node);
}

/// Writes what is due, and reads it.
fn write_all(node: &TestBroker) {
    let broker = &node.broker;
    while block_on(write_next(&broker.plugins, &broker.log, &broker.writer)) {
        watch::apply(&broker.plugins, &broker.log);
    }
}

fn records(node: &TestBroker) -> Vec<Record> {
    let (store, partition) = (&node.broker.log.store, node.partition(TOPIC));
    let end = store.bounds(partition).unwrap().next_offset;
    let mut all = Vec::new();
    for mut bytes in store.read(partition, Offset(0), end, 1 << 20).unwrap() {
        while let Some(batch) = Batch::split_from(&mut bytes) {
            sedge_protocol::plugin_records::each_change(&batch, |change| {
                assert_eq!(change.name, "range");
                let version = match change.subject {
                    Subject::Version(version) => Some(version.get()),
                    _ => None,
                };
                all.push((
                    version,
                    change.content.map(<[u8]>::to_vec),
                    change.is_rollback,
                ));
            })
            .unwrap();
        }
    }
    all
}

fn node(settings: &[(&str, &str)]) -> TestBroker {
    let node = TestBroker::start(settings);
    watch::start(&node.broker.plugins, &node.broker.log).unwrap();
    node.create_topic(TOPIC, &[]);
    node
}

fn has(version: Option<i64>, content: &str) -> Record {
    (version, Some(content.as_bytes().to_vec()), false)
}

#[test]
fn a_version_that_fails_gives_way_to_the_one_before() {
    let node = node(&[]);
    deploy(&node, Some(b"good"));
    assert_eq!(records(&node).len(), 1, "there is none to go back to");
    deploy(&node, Some(b"bad"));
    let expected = [
        has(None, "good"),
        has(None, "bad"),
        has(Some(0), "good"),
        (None, Some(b"good".to_vec()), true),
        // Kept as well, so that an operator can look at what failed.
        has(Some(1), "bad"),
    ];
    assert_eq!(records(&node), expected);
    // The version that it went back to fails too, and is not on trial.
    write_all(&node);
    assert_eq!(records(&node).len(), expected.len());
    assert!(!node.broker.plugins.has_trials());
}

#[test]
fn with_0_failures_no_version_gives_way() {
    let node = node(&[("plugin.rollback.failures", "0")]);
    deploy(&node, Some(b"good"));
    deploy(&node, Some(b"bad"));
    assert_eq!(records(&node).last(), Some(&has(Some(0), "good")));
}

#[test]
fn some_versions_are_kept_also_over_a_restart_and_none_of_a_plugin_that_is_deleted() {
    let mut node = node(&[("plugin.rollback.failures", "0")]);
    let count = PLUGIN_VERSIONS_KEPT + 3;
    for number in 0..count {
        deploy(&node, Some(number.to_string().as_bytes()));
        if number == PLUGIN_VERSIONS_KEPT {
            node = node.restart(false);
            watch::start(&node.broker.plugins, &node.broker.log).unwrap();
        }
    }
    let kept = |node: &TestBroker| {
        let mut kept = std::collections::BTreeMap::new();
        for (version, content, _) in records(node) {
            match (version, content) {
                (Some(version), Some(content)) => kept.insert(version, content),
                (Some(version), None) => kept.remove(&version),
                (None, _) => None,
            };
        }
        kept.into_values().collect::<Vec<_>>()
    };
    let newest = (0..count - 1).rev().take(PLUGIN_VERSIONS_KEPT).rev();
    let newest: Vec<_> = newest
        .map(|number| number.to_string().into_bytes())
        .collect();
    assert_eq!(kept(&node), newest);
    deploy(&node, None);
    assert_eq!(kept(&node), [[0; 0]; 0]);
}
