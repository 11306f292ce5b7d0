//! Tests what a topic may be bound to, and what is reported about a binding that cannot work.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, plugin};

use crate::support::{APPEND, MISBEHAVE, Place, RANGE, SET, alter, command, replace, validate};

const INVALID_CONFIG: i16 = 40;

fn reading(celsius: &str) -> Vec<u8> {
    Batch::of(&[format!(r#"{{"celsius":{celsius}}}"#).into_bytes()]).encode()
}

#[test]
fn a_topic_is_not_bound_to_a_filter_that_is_not_deployed() {
    let place = Place::start("not-deployed", Options::default());
    let mut at = place.connect();
    let bound = ("sedge.filter", "nosuch");
    let refused = |(code, why): (i16, String), what: &str| {
        assert_eq!(code, INVALID_CONFIG, "{what}: {why}");
        let says =
            why.contains("no plugin named nosuch is deployed") && why.contains("plugin deploy");
        assert!(says, "{what}: {why}");
    };
    let (code, why) = wire::try_create_topic(&mut at, "t", 1, &[bound]);
    refused((code, why.unwrap_or_default()), "CreateTopics");
    refused(validate(&mut at, "t", bound), "CreateTopics, to be checked");
    assert_eq!(
        wire::fetch(&mut at, "t", 0, 0).error,
        error::UNKNOWN_TOPIC,
        "a refused topic is not created"
    );
    place.deploy("range", RANGE);
    // At once: the filter is already compiled.
    wire::create_topic(&mut at, "t", 1, &[("sedge.filter", "range")]);
    for validate_only in [true, false] {
        let set = alter(
            &mut at,
            "t",
            SET,
            ("sedge.filter", "range,nosuch"),
            validate_only,
        );
        refused(set, "IncrementalAlterConfigs, set");
        let appended = alter(&mut at, "t", APPEND, bound, validate_only);
        refused(appended, "IncrementalAlterConfigs, append");
    }
    refused(replace(&mut at, "t", bound), "AlterConfigs");
    let (done, said) = command(
        &place,
        &["topic", "alter", "t", "--set", "sedge.filter=nosuch"],
    );
    assert!(
        !done && said.contains("no plugin named nosuch is deployed"),
        "{said}"
    );
    plugin::wait_filtered(&mut at, "t");
    let (done, said) = command(&place, &["topic", "describe", "t"]);
    assert!(done && said.contains("filters: range: ready"), "{said}");
}

#[test]
fn a_topic_whose_plugin_was_deleted_says_so_everywhere() {
    let mut place = Place::start("deleted-plugin", Options::default());
    place.deploy("range", RANGE);
    let mut at = place.connect();
    wire::create_topic(&mut at, "orders", 1, &[("sedge.filter", "range")]);
    wire::create_topic(&mut at, "others", 1, &[]);
    plugin::wait_filtered(&mut at, "orders");
    let is_ready = |place: &mut Place| {
        let metric = r#"sedge_topic_filter_ready{topic="orders",filter="range"}"#;
        http::metric(place.sedge.console(), metric) > 0.5
    };
    assert!(is_ready(&mut place));
    assert_eq!(
        http::get(place.sedge.console(), "/readyz"),
        (200, "ok\n".into())
    );

    plugin::delete(&place.sedge.bootstrap(), "range");
    let unready = "the filter range of topic orders is not ready: not deployed";
    place.wait("the metric", |place| !is_ready(place));
    for restarted in [false, true] {
        let ready = http::get(place.sedge.console(), "/readyz");
        assert_eq!(
            ready,
            (200, format!("ok\n{unready}\n")),
            "the others are served"
        );
        let (_, page) = http::get(place.sedge.console(), "/");
        assert!(page.contains("topic orders is not ready: filter range (not deployed)"));
        let (done, said) = command(&place, &["topic", "describe", "orders"]);
        assert!(
            done && said.contains("filters: range: not deployed"),
            "{said}"
        );
        let mut at = place.connect();
        for _ in 0..20 {
            let produced = wire::produce(&mut at, "orders", 0, &reading("1"));
            assert_eq!(produced.error, error::NOT_ENOUGH_REPLICAS, "{produced:?}");
        }
        let produced = wire::produce(&mut at, "others", 0, &reading("1"));
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        let log = place.sedge.process().tail();
        let (before, after) = log.rsplit_once(unready).expect("the log says it");
        assert!(
            !before.contains(unready),
            "once, restarted: {restarted}\n{log}"
        );
        let refused = after.matches("orders: 1 batch refused").count();
        assert_eq!(refused, 1, "once a minute, restarted: {restarted}\n{log}");
        // Existing bindings stay, whatever else is altered.
        for (name, value) in [("retention.ms", "1000000"), ("sedge.filter", "range")] {
            let altered = alter(&mut at, "orders", SET, (name, value), false);
            assert_eq!(altered, (error::NONE, String::new()));
        }
        if !restarted {
            place.sedge.terminate();
            place.sedge.start_again();
        }
    }
    place.deploy("range", RANGE);
    let mut at = place.connect();
    plugin::wait_filtered(&mut at, "orders");
    place.wait("ready again", is_ready);
    assert_eq!(
        http::get(place.sedge.console(), "/readyz"),
        (200, "ok\n".into())
    );
}

/// A batch behind one that the missing filter had refused took its place, and the refused one
/// stayed out of order for ever.
#[test]
fn after_a_restart_no_batch_passes_one_that_the_missing_filter_refused() {
    let mut place = Place::start("passed", Options::default());
    place.deploy("range", RANGE);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 1, &[("sedge.filter", "range")]);
    plugin::wait_filtered(&mut at, "t");
    let produce = |at: &mut Connection, sequence: i32| {
        let batch = Batch {
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: sequence,
            ..Batch::of(&[br#"{"celsius":1}"#.to_vec()])
        };
        wire::produce(at, "t", 0, &batch.encode()).error
    };
    assert_eq!(produce(&mut at, 0), error::NONE);
    plugin::delete(&place.sedge.bootstrap(), "range");
    place.sedge.terminate();
    place.sedge.start_again();
    let mut at = place.connect();
    assert_eq!(produce(&mut at, 1), error::NOT_ENOUGH_REPLICAS);
    place.deploy("range", RANGE);
    plugin::wait_filtered(&mut at, "t");
    assert_eq!(produce(&mut at, 2), error::OUT_OF_ORDER_SEQUENCE);
    for sequence in [1, 2] {
        assert_eq!(produce(&mut at, sequence), error::NONE, "{sequence}");
    }
}

#[test]
fn what_a_filter_drops_is_said_once_a_minute() {
    let mut place = Place::start("drops", Options::default());
    place.deploy("range", RANGE);
    let mut at = place.connect();
    wire::create_topic(&mut at, "readings", 1, &[("sedge.filter", "range")]);
    plugin::wait_filtered(&mut at, "readings");
    for _ in 0..20 {
        let produced = wire::produce(&mut at, "readings", 0, &reading("999"));
        assert_eq!(produced.error, error::NONE, "{produced:?}");
    }
    let said = "readings: the filter range dropped 1 of 1 records";
    place.wait("the log says it", |place| {
        place.sedge.process().tail().contains(said)
    });
    let log = place.sedge.process().tail();
    assert_eq!(log.matches("the filter range dropped").count(), 1, "{log}");
}

/// The second filter sees a batch from which the first has dropped records.
#[test]
fn a_rejected_record_has_the_number_that_its_producer_knows() {
    let mut place = Place::start("rejected", Options::default());
    place.deploy("range", RANGE);
    place.deploy("tell", MISBEHAVE);
    let mut at = place.connect();
    let configs = [
        ("sedge.filter", "range,tell"),
        ("sedge.plugin.tell.output", "all-verdicts"),
    ];
    wire::create_topic(&mut at, "t", 1, &configs);
    let record = |verdict: u8, celsius: i32| {
        let value = format!(r#"{{"celsius":{celsius}}}"#).into_bytes();
        (vec![verdict], Some(value))
    };
    let (keep, reject) = (0, 3);
    let kept = Batch::keyed(&[record(keep, 0)]).encode();
    place.wait("both are compiled", |_| {
        wire::produce(&mut at, "t", 0, &kept).error == error::NONE
    });
    let records = [
        record(keep, 999),
        record(keep, 1),
        record(reject, 999),
        record(reject, 2),
        record(keep, 3),
        record(reject, 4),
    ];
    let batch = Batch::keyed(&records).encode();
    let (code, named) = crate::support::produce(&mut at, "t", &batch);
    let numbers: Vec<i32> = named.iter().map(|(number, _)| *number).collect();
    assert_eq!((code, &*numbers), (error::INVALID_RECORD, &[3, 5][..]));
    assert!(
        named.iter().all(|(_, why)| why.starts_with("t-0")),
        "{named:?}"
    );

    let many: Vec<_> = (0..3000).map(|n| record(reject, n % 50)).collect();
    let (code, named) = crate::support::produce(&mut at, "t", &Batch::keyed(&many).encode());
    assert_eq!(
        (code, named.len()),
        (error::INVALID_RECORD, 1000),
        "bounded"
    );
    assert_eq!(named[999].0, 999);
}
