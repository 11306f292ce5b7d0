//! Tests that instances of unbound or replaced filters are dropped.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, plugin, proc, report};

use crate::support::{MISBEHAVE, Place, RANGE};

const TOPICS: usize = 12;
/// Memory that the guest has filled, in KiB.
const FILLED_KIB: u64 = 8 << 10;
const INSTANCES: &str = r#"sedge_plugin_instances{plugin="held"}"#;

fn instances(place: &Place) -> f64 {
    http::metric(place.sedge.console(), INSTANCES)
}

fn topics() -> impl Iterator<Item = String> {
    (0..TOPICS).map(|number| format!("held-{number}"))
}

/// Binds and uses the filter on each topic, so that each has a large instance.
fn fill(place: &Place, connection: &mut Connection) {
    for topic in topics() {
        wire::create_topic(connection, &topic, 1, &[("sedge.filter", "held")]);
        plugin::wait_taken(connection, &topic, b"fill");
    }
    assert_eq!(instances(place) as usize, TOPICS, "one instance a topic");
}

/// Waits until the number of instances and the memory are down again.
fn wait_let_go(place: &mut Place, full_kib: u64, what: &str) {
    place.wait(what, |place| instances(place) == 0.0);
    let wanted = full_kib - TOPICS as u64 * FILLED_KIB * 3 / 4;
    place.wait("the memory comes back", |place| {
        proc::resident_kib(place.sedge.process().pid()) < wanted
    });
    let left = proc::resident_kib(place.sedge.process().pid());
    report::line(format_args!(
        "{what}: {full_kib} KiB with {TOPICS} instances, {left} KiB without"
    ));
}

fn start(name: &str) -> (Place, Connection, u64) {
    let mut place = Place::start(name, Options::default());
    place.deploy("held", MISBEHAVE);
    let mut connection = place.connect();
    fill(&place, &mut connection);
    let full_kib = proc::resident_kib(place.sedge.process().pid());
    (place, connection, full_kib)
}

#[test]
fn an_unbound_filter_is_let_go() {
    let (mut place, mut connection, full_kib) = start("unbound");
    for topic in topics() {
        wire::alter_topic(&mut connection, &topic, ("sedge.filter", ""));
    }
    wait_let_go(&mut place, full_kib, "unbound");
}

#[test]
fn a_filter_of_a_deleted_topic_is_let_go() {
    let (mut place, mut connection, full_kib) = start("deleted");
    for topic in topics() {
        wire::delete_topic(&mut connection, &topic);
    }
    wait_let_go(&mut place, full_kib, "deleted");
    // The same with another binding.
    let setting = ("sedge.plugin.held.output", "no-reason");
    let bound = ("sedge.filter", "held");
    wire::create_topic(&mut connection, "held-0", 1, &[bound, setting]);
    let batch = Batch::of(&[b"keep".to_vec()]).encode();
    let produced = wire::produce(&mut connection, "held-0", 0, &batch);
    assert_eq!(produced.error, error::POLICY_VIOLATION, "{produced:?}");
    assert_eq!(
        instances(&place) as usize,
        1,
        "an instance with the new settings"
    );
}

#[test]
fn a_replaced_or_removed_filter_is_let_go() {
    let (mut place, _connection, full_kib) = start("replaced");
    place.deploy("held", RANGE);
    wait_let_go(&mut place, full_kib, "replaced");
    let mut connection = place.connect();
    for topic in topics() {
        let reading = Batch::of(&[br#"{"celsius":1}"#.to_vec()]).encode();
        let produced = wire::produce(&mut connection, &topic, 0, &reading);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
    }
    assert_eq!(instances(&place) as usize, TOPICS, "of the new one");
    plugin::delete(&place.sedge.bootstrap(), "held");
    place.wait("removed", |place| instances(place) == 0.0);
}
