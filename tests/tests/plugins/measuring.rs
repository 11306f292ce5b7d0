//! Tests the metrics that plugins show of their own.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, PRODUCE_VERSION, frame_of, key, produce_request};
use sedge_tests::{http, plugin};

use crate::support::{JUDGE, MISBEHAVE, Place, alter_broker};

/// Returns the samples of metrics of the plugins' own.
fn own(place: &Place) -> Vec<String> {
    let (_, text) = http::get(place.sedge.console(), "/metrics");
    let own = text
        .lines()
        .filter(|line| line.starts_with("sedge_plugin_own_"));
    own.map(str::to_owned).collect()
}

fn produce_as(at: &mut Connection, client: &str) {
    let batch = Batch::of(&[b"keep".to_vec()]).encode();
    let body = produce_request("t", 0, -1, &batch);
    at.send_raw(&frame_of(client, (key::PRODUCE, PRODUCE_VERSION), 7, &body));
    at.reply().frame();
}

#[test]
fn a_plugin_shows_numbers_as_long_as_its_topic_and_its_deployment_are_there() {
    // A thousand calls in a broker that is not optimised, on a busy machine.
    let patient = Options::default().set("plugin.deadline.ms", "60000");
    let mut place = Place::start("measuring", patient);
    place.deploy("meter", MISBEHAVE);
    place.deploy("judge", JUDGE);
    let mut at = place.connect();
    for topic in ["t", "u"] {
        wire::create_topic(&mut at, topic, 1, &[("sedge.filter", "meter")]);
        plugin::wait_taken(&mut at, topic, b"measure");
    }
    plugin::wait_taken(&mut at, "t", b"measure");
    let has = |place: &Place, line: &str| own(place).iter().any(|own| own == line);
    let of_t = r#"sedge_plugin_own_batches_total{plugin="meter",topic="t"} 2"#;
    let of_u = r#"sedge_plugin_own_batches_total{plugin="meter",topic="u"} 1"#;
    let level = r#"sedge_plugin_own_level{plugin="meter",topic="u"} -1.5"#;
    for line in [of_t, of_u, level] {
        assert!(has(&place, line), "{line} in {:?}", own(&place));
    }
    // Of the thousand others, as many as there may be; no gauge without a number, no wrong name.
    assert_eq!(own(&place).len(), 2 * 64);
    let told = "the metric Not a name is left out: the name is not allowed";
    place.wait("the refusal is logged", |place| {
        place.sedge.process().tail().contains(told)
    });
    let altered = alter_broker(&mut at, ("sedge.quota.policy", "judge"), false);
    assert_eq!(altered.0, 0, "{altered:?}");
    let of_policy = r#"sedge_plugin_own_measured{plugin="judge"} 0.25"#;
    place.wait("a quota policy's", |place| {
        produce_as(&mut at, "measure");
        has(place, of_policy)
    });
    wire::delete_topic(&mut at, "t");
    place.wait("a deleted topic's are gone", |place| !has(place, of_t));
    assert!(has(&place, of_u) && has(&place, of_policy));
    plugin::delete(&place.sedge.bootstrap(), "meter");
    place.wait("a deleted plugin's are gone", |place| {
        own(place) == [of_policy]
    });
}
