//! Tests CreateTopics, DeleteTopics and Metadata.

use super::{Asked, Batch, Decoder, Encoder, error, key, wire};

const TOPIC_ALREADY_EXISTS: i16 = 36;

pub fn existing_and_missing(asked: &mut Asked) {
    asked.create(1, &[]);
    let again = wire::try_create_topic(&mut asked.connection, &asked.topic, 1, &[]);
    assert_eq!(again.0, TOPIC_ALREADY_EXISTS, "{again:?}");
    let batch = Batch::filled(1, 10).encode();
    let missing = wire::produce(&mut asked.connection, "missing", 0, &batch);
    assert_eq!(missing.error, error::UNKNOWN_TOPIC);
    let missing = wire::produce(&mut asked.connection, &asked.topic, 7, &batch);
    assert_eq!(missing.error, error::UNKNOWN_TOPIC);
    assert_eq!(
        wire::fetch(&mut asked.connection, "missing", 0, 0).error,
        error::UNKNOWN_TOPIC
    );
    for name in ["", "a/b", "..", &"x".repeat(250)] {
        let refused = wire::try_create_topic(&mut asked.connection, name, 1, &[]);
        assert_eq!(refused.0, 17, "the name {name:?}: {refused:?}");
    }
    let refused = wire::try_create_topic(&mut asked.connection, "zero", 0, &[]);
    assert_eq!(refused.0, 37, "no partitions: {refused:?}");
    let configs = [("no.such.config", "1")];
    let refused = wire::try_create_topic(&mut asked.connection, "odd", 1, &configs);
    assert_eq!(refused.0, 40, "an unknown config: {refused:?}");
}

pub fn created_again(asked: &mut Asked) {
    asked.create(1, &[]);
    assert_eq!(asked.produce(&Batch::filled(7, 10)).error, error::NONE);
    wire::delete_topic(&mut asked.connection, &asked.topic);
    asked.create(1, &[]);
    assert_eq!(
        asked.produce(&Batch::filled(1, 10)).base_offset,
        0,
        "the new topic is empty"
    );
    assert_eq!(
        wire::fetch(&mut asked.connection, &asked.topic, 0, 0).high_watermark,
        1
    );
}

/// Returns the names that Metadata lists.
fn listed(asked: &mut Asked, version: i16, body: &[u8]) -> Vec<String> {
    let reply = asked.connection.ask(key::METADATA, version, body);
    let mut d = Decoder(&reply);
    for _ in 0..d.i32() {
        d.i32();
        d.string();
        d.i32();
        if version >= 1 {
            d.string();
        }
    }
    if version >= 1 {
        assert!(d.i32() >= 0, "a controller");
    }
    let mut names = Vec::new();
    for _ in 0..d.i32() {
        assert_eq!(d.i16(), error::NONE);
        names.push(d.string().expect("a name"));
        if version >= 1 {
            d.take(1);
        }
        for _ in 0..d.i32() {
            d.i16();
            d.i32();
            d.i32();
            for _ in 0..2 {
                let count = d.i32();
                d.take(4 * count as usize);
            }
        }
    }
    names
}

pub fn metadata_of_all_and_of_none(asked: &mut Asked) {
    asked.create(1, &[]);
    let topic = asked.topic.clone();
    let empty = Encoder::default().i32(0).0;
    let null = Encoder::default().i32(-1).0;
    assert!(
        listed(asked, 0, &empty).contains(&topic),
        "v0: an empty list is all"
    );
    assert!(listed(asked, 1, &null).contains(&topic), "v1: null is all");
    assert_eq!(
        listed(asked, 1, &empty),
        Vec::<String>::new(),
        "v1: an empty list is none"
    );
}
