//! Versions of a plugin: what is replaced is kept, and deployed again when it is asked for or when
//! the new version fails.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, plugin};

use crate::support::{MISBEHAVE, Place, RANGE, command, produce};

/// Returns the versions that `plugin describe` shows, as state and hash.
fn versions(place: &Place, name: &str) -> Vec<(String, String)> {
    let described = run(place, &["plugin", "describe", name, "-o", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&described).expect("JSON");
    let text = |row: &serde_json::Value, column: &str| {
        row[column].as_str().expect("each row has it").to_owned()
    };
    let each = rows.iter();
    each.map(|row| (text(row, "state"), text(row, "sha256")))
        .collect()
}

/// Returns the output of a command that must succeed.
fn run(place: &Place, arguments: &[&str]) -> String {
    let (succeeded, said) = command(place, arguments);
    assert!(succeeded, "{said}");
    said
}

fn states(versions: &[(String, String)]) -> Vec<&str> {
    versions.iter().map(|(state, _)| state.as_str()).collect()
}

/// Waits for these states of the versions, the oldest first.
fn wait_for(place: &mut Place, expected: &[&str]) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    place.wait(&format!("{expected:?}"), |place| {
        seen = versions(place, "range");
        states(&seen) == expected
    });
    seen
}

fn bound(place: &Place, settings: &[(&str, &str)]) -> Connection {
    let mut connection = place.connect();
    let filter = [("sedge.filter", "range")];
    wire::create_topic(&mut connection, "t", 1, &[&filter, settings].concat());
    connection
}

#[test]
fn a_version_that_fails_is_replaced_by_the_one_before() {
    let mut place = Place::start("rolled-back", Options::default());
    place.deploy("range", RANGE);
    let mut connection = bound(&place, &[("sedge.filter.on.error", "fail-closed")]);
    plugin::wait_taken(&mut connection, "t", b"1");
    place.deploy("range", MISBEHAVE);
    let before = wait_for(&mut place, &["kept", "deployed"]);
    let panic = Batch::of(&[b"panic".to_vec()]).encode();
    // Each batch is refused until the version has failed ten times.
    place.wait("the version before takes batches", |_| {
        produce(&mut connection, "t", &panic).0 == error::NONE
    });
    let after = wait_for(&mut place, &["kept", "kept", "deployed again"]);
    assert_eq!(after[2].1, before[0].1, "the content of the first version");
    assert_eq!(after[1].1, before[1].1, "the failed one is kept");
    let traps = r#"sedge_plugin_traps_total{plugin="range"}"#;
    assert!(http::metric(place.sedge.console(), traps) >= 10.0);
}

#[test]
fn a_version_is_deployed_again_when_it_is_asked_for() {
    let mut place = Place::start("rollback", Options::default());
    place.deploy("range", RANGE);
    place.deploy("range", MISBEHAVE);
    let before = wait_for(&mut place, &["kept", "deployed"]);
    run(&place, &["plugin", "rollback", "range"]);
    let after = wait_for(&mut place, &["kept", "kept", "deployed"]);
    assert_eq!(after[2].1, before[0].1);
    // The filter runs as the version says.
    let mut connection = bound(&place, &[]);
    plugin::wait_filtered(&mut connection, "t");

    let (succeeded, told) = command(&place, &["plugin", "rollback", "range", "--to", "99"]);
    assert!(
        !succeeded && told.contains("these are kept: 0, 1"),
        "{told}"
    );
}

#[test]
fn a_paused_plugin_is_not_called_until_it_is_resumed_also_over_a_new_version() {
    let mut place = Place::start("paused", Options::default());
    place.deploy("range", RANGE);
    let mut connection = bound(&place, &[]);
    plugin::wait_filtered(&mut connection, "t");
    let reading = br#"{"sensor":"s0","celsius":999}"#;
    let out_of_range = Batch::of(&[reading.to_vec()]).encode();
    let dropped = |connection: &mut Connection| {
        let produced = wire::produce(connection, "t", 0, &out_of_range);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        produced.base_offset == -1
    };
    run(&place, &["plugin", "pause", "range"]);
    place.wait("it is not called", |_| !dropped(&mut connection));
    place.deploy("range", MISBEHAVE);
    wait_for(&mut place, &["kept", "paused"]);
    place.deploy("range", RANGE);
    wait_for(&mut place, &["kept", "kept", "paused"]);
    assert!(!dropped(&mut connection));
    run(&place, &["plugin", "resume", "range"]);
    place.wait("it is called again", |_| dropped(&mut connection));
    plugin::delete(&place.sedge.bootstrap(), "range");
    let (succeeded, told) = command(&place, &["plugin", "pause", "range"]);
    assert!(
        !succeeded && told.contains("no plugin named range"),
        "{told}"
    );
}
