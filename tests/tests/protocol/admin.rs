//! Tests edge cases of administration: what a request may not contain, what is judged as a whole,
//! and what a single broker answers to requests about many.

use super::{Asked, Decoder, Encoder, error, key, wire};

const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const ELECTION_NOT_NEEDED: i16 = 84;

const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
const TIMEOUT_MS: i32 = 30_000;

/// Returns the names and codes of a response that has them in an array.
fn results(reply: &[u8], has_message: bool) -> Vec<(String, i16)> {
    let mut d = Decoder(reply);
    d.i32();
    (0..d.i32())
        .map(|_| {
            let result = (d.string().expect("a name"), d.i16());
            if has_message {
                d.string();
            }
            result
        })
        .collect()
}

/// Sends CreateTopics v4: topics with one configuration each.
fn create(asked: &mut Asked, topics: &[(&str, &str, Option<&str>)]) -> Vec<(String, i16)> {
    let mut body = Encoder::default().i32(topics.len() as i32);
    for (topic, name, value) in topics {
        body = body.string(*topic).i32(1).i16(1).i32(0).i32(1);
        body = body.string(*name).string(*value);
    }
    let body = body.i32(TIMEOUT_MS).i8(0).0;
    let reply = asked.connection.ask(key::CREATE_TOPICS, 4, &body);
    results(&reply, true)
}

pub fn configurations_of_a_new_topic(asked: &mut Asked) {
    let topic = asked.topic.clone();
    let refused = [
        ("retention.ms", None),
        ("preallocate", Some("yes")),
        ("message.timestamp.type", Some("logappendtime")),
    ];
    for (name, value) in refused {
        let created = create(asked, &[(&topic, name, value)]);
        assert_eq!(
            created,
            [(topic.clone(), INVALID_CONFIG)],
            "{name}={value:?}"
        );
    }
    for (at, value) in ["True", "FALSE", " true "].into_iter().enumerate() {
        let topic = format!("{topic}-{at}");
        let created = create(asked, &[(&topic, "preallocate", Some(value))]);
        assert_eq!(created, [(topic, error::NONE)], "preallocate={value}");
    }
    let lags = [
        ("min.compaction.lag.ms", "10"),
        ("max.compaction.lag.ms", "5"),
    ];
    let refused = wire::try_create_topic(&mut asked.connection, &topic, 1, &lags);
    assert_eq!(refused.0, INVALID_CONFIG, "{refused:?}");
    let refused = wire::try_create_topic(&mut asked.connection, "__cluster_metadata", 1, &[]);
    assert_eq!(refused.0, INVALID_REQUEST, "{refused:?}");
}

/// Sends IncrementalAlterConfigs v0 of one topic.
fn alter(asked: &mut Asked, times: i32, name: &str, op: i8, value: Option<&str>) -> Vec<i16> {
    let mut body = Encoder::default().i32(times);
    for _ in 0..times {
        body = body.i8(TOPIC).string(asked.topic.as_str()).i32(1);
        body = body.string(name).i8(op).string(value);
    }
    let body = body.i8(0).0;
    let reply = asked
        .connection
        .ask(key::INCREMENTAL_ALTER_CONFIGS, 0, &body);
    let mut d = Decoder(&reply);
    d.i32();
    (0..d.i32())
        .map(|_| {
            let code = d.i16();
            d.string();
            d.take(1);
            d.string();
            code
        })
        .collect()
}

pub fn configurations_of_a_topic(asked: &mut Asked) {
    asked.create(1, &[("max.compaction.lag.ms", "5")]);
    let unknown = "from.another.version";
    assert_eq!(alter(asked, 1, unknown, DELETE, None), [error::NONE]);
    assert_eq!(alter(asked, 1, unknown, SET, Some("1")), [INVALID_CONFIG]);
    assert_eq!(
        alter(asked, 1, "min.compaction.lag.ms", SET, Some("10")),
        [INVALID_CONFIG],
        "it would be above the largest"
    );
    assert_eq!(
        alter(asked, 2, "retention.ms", SET, Some("1")),
        [INVALID_REQUEST; 2],
        "a topic that is named twice is altered not once"
    );
}

/// Sends CreatePartitions v1: each topic with its new count, and its number of assignments.
fn grow(asked: &mut Asked, topics: &[(&str, i32, Option<i32>)]) -> Vec<(String, i16)> {
    let mut body = Encoder::default().i32(topics.len() as i32);
    for (topic, total, assigned) in topics {
        body = body.string(*topic).i32(*total).i32(assigned.unwrap_or(-1));
        for _ in 0..assigned.unwrap_or(0) {
            body = body.i32(1).i32(asked.node());
        }
    }
    let body = body.i32(TIMEOUT_MS).i8(0).0;
    let reply = asked.connection.ask(key::CREATE_PARTITIONS, 1, &body);
    results(&reply, true)
}

pub fn partitions_with_assignments(asked: &mut Asked) {
    asked.create(1, &[]);
    let topic = asked.topic.clone();
    let outcome = |code| [(topic.clone(), code)];
    assert_eq!(
        grow(asked, &[(&topic, 3, Some(1))]),
        outcome(INVALID_REPLICA_ASSIGNMENT)
    );
    assert_eq!(
        grow(asked, &[(&topic, 2, None), (&topic, 4, None)]),
        outcome(INVALID_REQUEST)
    );
    assert_eq!(grow(asked, &[(&topic, 3, Some(2))]), outcome(error::NONE));
}

pub fn topics_named_twice(asked: &mut Asked) {
    let topic = asked.topic.clone();
    let config = ("retention.ms", Some("60000"));
    let twice = [(topic.as_str(), config.0, config.1); 2];
    assert_eq!(
        create(asked, &twice),
        [(topic.clone(), INVALID_REQUEST)],
        "created"
    );
    asked.create(1, &[]);
    let body = Encoder::default().i32(2).string(topic.as_str());
    let body = body.string(topic.as_str()).i32(TIMEOUT_MS).0;
    let reply = asked.connection.ask(key::DELETE_TOPICS, 3, &body);
    assert_eq!(
        results(&reply, false),
        [(topic.clone(), INVALID_REQUEST)],
        "deleted"
    );
    assert_eq!(
        wire::fetch(&mut asked.connection, &topic, 0, 0).error,
        error::NONE,
        "it is still there"
    );
}

pub fn elections_are_not_needed(asked: &mut Asked) {
    asked.create(2, &[]);
    let body = Encoder::default().i8(0).i32(1).string(asked.topic.as_str());
    let body = body.i32(3).i32(0).i32(1).i32(2).i32(TIMEOUT_MS).0;
    let reply = asked.connection.ask(key::ELECT_LEADERS, 1, &body);
    let mut d = Decoder(&reply);
    d.i32();
    assert_eq!((d.i16(), d.i32()), (error::NONE, 1));
    assert_eq!(d.string().as_ref(), Some(&asked.topic));
    let mut codes: Vec<(i32, i16)> = (0..d.i32())
        .map(|_| {
            let result = (d.i32(), d.i16());
            d.string();
            result
        })
        .collect();
    codes.sort_unstable();
    let expected = [
        (0, ELECTION_NOT_NEEDED),
        (1, ELECTION_NOT_NEEDED),
        (2, error::UNKNOWN_TOPIC),
    ];
    assert_eq!(codes, expected);

    let all = Encoder::default().i8(0).i32(-1).i32(TIMEOUT_MS).0;
    let reply = asked.connection.ask(key::ELECT_LEADERS, 1, &all);
    let mut d = Decoder(&reply);
    d.i32();
    assert_eq!(d.i16(), error::NONE);
    for _ in 0..d.i32() {
        d.string();
        assert_eq!(d.i32(), 0, "of all partitions no leader changed");
    }
}

pub fn resources_without_configurations(asked: &mut Asked) {
    // Client metrics and groups have no configuration.
    for (resource_type, name) in [(16, "metrics"), (32, "group")] {
        let body = Encoder::default().i32(1).i8(resource_type).string(name);
        let body = body.i32(-1).i8(0).0;
        let reply = asked.connection.ask(key::DESCRIBE_CONFIGS, 1, &body);
        let mut d = Decoder(&reply);
        d.i32();
        assert_eq!((d.i32(), d.i16()), (1, error::NONE), "type {resource_type}");
    }
}

pub fn authorized_operations(asked: &mut Asked) {
    const VERSION: i16 = 8;
    asked.create(1, &[]);
    let metadata = |asked: &mut Asked, is_asked: i8| {
        let body = Encoder::default().i32(1).string(asked.topic.as_str());
        let body = body.i8(0).i8(is_asked).i8(is_asked).0;
        let reply = asked.connection.ask(key::METADATA, VERSION, &body);
        let last = |end: usize| {
            let bytes = &reply[reply.len() - end..];
            i32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
        };
        // The topic's operations are its last field, and the cluster's are the last of the
        // response.
        (last(8).count_ones(), last(4).count_ones())
    };
    let not_asked = i32::MIN.count_ones();
    assert_eq!(metadata(asked, 0), (not_asked, not_asked));
    assert_eq!(metadata(asked, 1), (8, 7), "of the topic, of the cluster");
}
