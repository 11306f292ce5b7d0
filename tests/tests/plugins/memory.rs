//! Tests the memory that all plugins share.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{self, Batch, Connection, Produced, error};
use sedge_tests::{http, plugin};

use crate::support::{MISBEHAVE, Place};

const MEMORY: &str = "sedge_plugins_memory_bytes";

fn send(at: &mut Connection, topic: &str, value: &str) -> Produced {
    let batch = Batch::of(&[value.as_bytes().to_vec()]).encode();
    wire::produce(at, topic, 0, &batch)
}

#[test]
fn all_instances_together_have_a_limit() {
    // An instance that grew by 8 MiB leaves room for two that did not, and not for a third.
    let options = Options::default().set("plugin.memory.total.bytes", "13000000");
    let mut place = Place::start("plugin-memory", options);
    place.deploy("misbehave", MISBEHAVE);
    let mut at = place.connect();
    for topic in ["a", "b", "c", "d", "e", "f"] {
        wire::create_topic(&mut at, topic, 1, &[("sedge.filter", "misbehave")]);
    }
    plugin::wait_taken(&mut at, "a", b"well");
    let used = |place: &Place| http::metric(place.sedge.console(), MEMORY) as u64;
    let one = used(&place);
    assert!(one > 1 << 20, "{one}");
    assert_eq!(send(&mut at, "a", "fill").error, error::NONE);
    let grown = used(&place);
    assert!(grown > 8 << 20 && grown <= 13_000_000, "{grown}");
    // An instance that grows beyond the limit ends, and one that does not fit is not started.
    assert_eq!(send(&mut at, "b", "well").error, error::NONE);
    let refused = send(&mut at, "b", "fill");
    assert_eq!(refused.error, error::POLICY_VIOLATION);
    let mut refusals = vec![refused];
    for topic in ["c", "d", "e", "f"] {
        refusals
            .extend(Some(send(&mut at, topic, "well")).filter(|sent| sent.error != error::NONE));
    }
    assert!(refusals.len() > 1, "no instance was refused");
    for refused in refusals {
        let why = refused.message.expect("a refusal says why");
        for part in ["filter misbehave", "plugin.memory.total.bytes", "raise it"] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
    assert!(used(&place) <= 13_000_000);
    // Instances give their memory back with their topics.
    wire::delete_topic(&mut at, "a");
    place.wait("memory is given back", |place| used(place) < 8 << 20);
    assert_eq!(send(&mut at, "f", "fill").error, error::NONE);
}
