//! Tests OffsetCommit, OffsetFetch and JoinGroup.

use std::time::{Duration, Instant};

use super::{Asked, Decoder, Encoder, error, key};

/// Version 0, no topics, no user data.
const SUBSCRIPTION: &[u8] = &[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
const MEMBER_ID_REQUIRED: i16 = 79;

pub fn wait_coordinator(asked: &mut Asked, group: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let body = Encoder::default().string(group).i8(0).0;
    loop {
        let reply = asked.connection.ask(key::FIND_COORDINATOR, 1, &body);
        let mut d = Decoder(&reply);
        d.i32();
        let code = d.i16();
        if code == error::NONE && offset_of(asked, group, "none", 0).0 == error::NONE {
            return;
        }
        assert!(
            error::NOT_YET.contains(&code) || code == error::NONE,
            "FindCoordinator: {code}"
        );
        assert!(Instant::now() < deadline, "a coordinator");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends `OffsetFetch` v3 of one partition. Returns the error, the offset, the metadata.
fn offset_of(asked: &mut Asked, group: &str, topic: &str, partition: i32) -> (i16, i64, String) {
    let body = Encoder::default()
        .string(group)
        .i32(1)
        .string(topic)
        .i32(1)
        .i32(partition)
        .0;
    let reply = asked.connection.ask(key::OFFSET_FETCH, 3, &body);
    let mut d = Decoder(&reply);
    d.i32();
    if d.i32() == 0 {
        return (d.i16(), -1, String::new());
    }
    d.string();
    d.i32();
    d.i32();
    let (offset, metadata) = (d.i64(), d.string().unwrap_or_default());
    let partition_error = d.i16();
    let whole = d.i16();
    (
        if whole == error::NONE {
            partition_error
        } else {
            whole
        },
        offset,
        metadata,
    )
}

pub fn commit_comes_back(asked: &mut Asked) {
    asked.create(2, &[]);
    wait_coordinator(asked, "simple");
    let topic = asked.topic.clone();
    assert_eq!(
        offset_of(asked, "simple", &topic, 0),
        (0, -1, String::new()),
        "none yet"
    );
    // A consumer outside any group: generation -1, no member id.
    let body = Encoder::default()
        .string("simple")
        .i32(-1)
        .string("")
        .i64(-1);
    let body = body
        .i32(1)
        .string(&*topic)
        .i32(1)
        .i32(0)
        .i64(42)
        .string("where I was")
        .0;
    let reply = asked.connection.ask(key::OFFSET_COMMIT, 3, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    d.string();
    d.i32();
    d.i32();
    assert_eq!(d.i16(), error::NONE);
    let committed = (0, 42, "where I was".to_string());
    assert_eq!(offset_of(asked, "simple", &topic, 0), committed);
    assert_eq!(
        offset_of(asked, "simple", &topic, 1),
        (0, -1, String::new()),
        "another partition"
    );
    asked.broker.restart();
    asked.reconnect();
    wait_coordinator(asked, "simple");
    assert_eq!(
        offset_of(asked, "simple", &topic, 0),
        committed,
        "after a restart"
    );
}

pub fn member_id_required(asked: &mut Asked) {
    wait_coordinator(asked, "joined");
    let join = |member: &str| {
        let body = Encoder::default()
            .string("joined")
            .i32(10_000)
            .i32(10_000)
            .string(member);
        body.string("consumer")
            .i32(1)
            .string("range")
            .bytes(SUBSCRIPTION)
            .0
    };
    let reply = asked.connection.ask(key::JOIN_GROUP, 4, &join(""));
    let mut d = Decoder(&reply);
    d.i32();
    assert_eq!(d.i16(), MEMBER_ID_REQUIRED);
    d.i32();
    d.string();
    d.string();
    let member = d.string().expect("a member id");
    assert!(!member.is_empty());
    let reply = asked.connection.ask(key::JOIN_GROUP, 4, &join(&member));
    let mut d = Decoder(&reply);
    d.i32();
    assert_eq!(d.i16(), error::NONE);
    assert_eq!(d.i32(), 1, "the first generation");
    assert_eq!(d.string().as_deref(), Some("range"));
    assert_eq!(d.string().as_deref(), Some(&*member), "the leader");
}
