//! Tests `sedge plugin logs`.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, error};
use sedge_tests::{http, plugin};

use crate::support::{MISBEHAVE, Place, REROUTE, command, produce};

fn batch(value: &str) -> Vec<u8> {
    wire::Batch::of(&[value.as_bytes().to_vec()]).encode()
}

#[test]
fn the_last_lines_of_a_plugin_are_shown_by_name() {
    let place = Place::start("plugin-logs", Options::default());
    place.deploy("talk", REROUTE);
    place.deploy("chatter", MISBEHAVE);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", 1, &[("sedge.filter", "talk")]);
    wire::create_topic(&mut at, "u", 1, &[("sedge.filter", "chatter")]);
    plugin::wait_taken(&mut at, "t", b"drop");
    plugin::wait_taken(&mut at, "u", b"well");
    let logs = |name: &str| command(&place, &["plugin", "logs", name]);
    assert_eq!(logs("talk"), (true, String::new()));
    for word in ["one", "two"] {
        assert_eq!(
            produce(&mut at, "t", &batch(&format!("log {word}"))).0,
            error::NONE
        );
    }
    let (_, said) = logs("talk");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].ends_with(" INFO  one") && lines[1].ends_with(" INFO  two"),
        "{said}"
    );
    let (_, json) = command(&place, &["plugin", "logs", "talk", "-o", "json"]);
    assert!(
        json.contains(r#""level":"INFO""#) && json.contains(r#""text":"two""#),
        "{json}"
    );
    // 10,000 lines at once are cut off by the rate, and do not displace those of another plugin.
    produce(&mut at, "u", &batch("chatter"));
    let (_, chatter) = logs("chatter");
    assert!(chatter.contains(" line 0\n"), "{chatter}");
    assert!(chatter.lines().count() <= 20, "{chatter}");
    assert_eq!(logs("talk").1, said);
    let (succeeded, why) = logs("nosuch");
    assert!(
        !succeeded && why.contains("no plugin named nosuch is deployed"),
        "{why}"
    );
    // What is deleted is forgotten, and another plugin of its name begins anew.
    wire::alter_topic(&mut at, "t", ("sedge.filter", ""));
    plugin::delete(&place.sedge.bootstrap(), "talk");
    place.deploy("talk", REROUTE);
    assert_eq!(logs("talk"), (true, String::new()));
    let page = http::get(place.sedge.console(), "/metrics").1;
    assert!(!page.contains("line 0"), "lines are no metric");
}
