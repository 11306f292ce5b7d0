//! Requests of members of groups, of either protocol, that cannot be members, and first joins.

use sedge_protocol::Bytes;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated as messages;

use messages::consumer_group_heartbeat_request as consumer;
use messages::heartbeat_request as heartbeat;
use messages::join_group_request as join;
use messages::leave_group_request as leave;
use messages::sync_group_request as sync;

use crate::TOPIC;
use crate::case::{Case, case, text};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    of_joins(&mut cases);
    of_strangers(&mut cases);
    of_consumers(&mut cases);
    cases
}

/// A join, and what is wrong with it.
struct Join {
    what: &'static str,
    group: &'static str,
    session_ms: i32,
    member: &'static str,
    protocol_type: &'static str,
    protocols: &'static [&'static str],
}

const FIRST: Join = Join {
    what: "first",
    group: "joined",
    session_ms: 30_000,
    member: "",
    protocol_type: "consumer",
    protocols: &["range"],
};

const JOINS: [Join; 9] = [
    FIRST,
    Join {
        what: "without a group",
        group: "",
        ..FIRST
    },
    Join {
        what: "short session",
        session_ms: 1,
        ..FIRST
    },
    Join {
        what: "no session",
        session_ms: 0,
        ..FIRST
    },
    Join {
        what: "long session",
        session_ms: i32::MAX,
        ..FIRST
    },
    Join {
        what: "stranger",
        member: "stranger",
        ..FIRST
    },
    Join {
        what: "without a type",
        protocol_type: "",
        ..FIRST
    },
    Join {
        what: "without protocols",
        protocols: &[],
        ..FIRST
    },
    Join {
        what: "stranger without protocols",
        member: "stranger",
        protocols: &[],
        ..FIRST
    },
];

fn of_joins(cases: &mut Vec<Case>) {
    for of in &JOINS {
        // Before version 4, a first join waits for the others and is answered with a generation.
        let first = if of.what == "first" { 4 } else { 1 };
        case!(cases, &format!("join: {}", of.what), JoinGroup first..=9, |_| {
            let protocol = |name: &&str| {
                join::JoinGroupRequestProtocol::default()
                    .with_name(text(name))
                    .with_metadata(Bytes::from_static(b"any"))
            };
            join::JoinGroupRequestData::default()
                .with_group_id(text(of.group))
                .with_session_timeout_ms(of.session_ms)
                .with_rebalance_timeout_ms(60_000)
                .with_member_id(text(of.member))
                .with_protocol_type(text(of.protocol_type))
                .with_protocols(of.protocols.iter().map(protocol).collect())
        } => messages::join_group_response::JoinGroupResponseData);
    }
}

/// Members that are in no group.
fn of_strangers(cases: &mut Vec<Case>) {
    for group in ["", "nobody", "g"] {
        for (generation, member) in [(1, "stranger"), (-1, ""), (0, "")] {
            let named = format!("{group:?} {generation} {member:?}");
            case!(cases, &format!("heartbeat: {named}"), Heartbeat 0..=4, |_| {
                heartbeat::HeartbeatRequestData::default()
                    .with_group_id(text(group))
                    .with_generation_id(generation)
                    .with_member_id(text(member))
            } => messages::heartbeat_response::HeartbeatResponseData);
            case!(cases, &format!("sync: {named}"), SyncGroup 0..=5, |_| {
                sync::SyncGroupRequestData::default()
                    .with_group_id(text(group))
                    .with_generation_id(generation)
                    .with_member_id(text(member))
            } => messages::sync_group_response::SyncGroupResponseData);
        }
        let named = format!("leave: {group:?}");
        case!(cases, &named, LeaveGroup 0..=2, |_| {
            leave::LeaveGroupRequestData::default()
                .with_group_id(text(group))
                .with_member_id(text("stranger"))
        } => messages::leave_group_response::LeaveGroupResponseData);
        case!(cases, &named, LeaveGroup 3..=5, |_| {
            let member = |id, instance: Option<&str>| {
                leave::MemberIdentity::default()
                    .with_member_id(text(id))
                    .with_group_instance_id(instance.map(text))
            };
            leave::LeaveGroupRequestData::default()
                .with_group_id(text(group))
                .with_members(vec![member("stranger", None), member("", Some("static"))])
        } => messages::leave_group_response::LeaveGroupResponseData);
        case!(cases, &format!("nobody leaves: {group:?}"), LeaveGroup 3..=5, |_| {
            leave::LeaveGroupRequestData::default().with_group_id(text(group))
        } => messages::leave_group_response::LeaveGroupResponseData);
    }
}

/// A heartbeat of the consumer protocol, and what is wrong with it.
struct Beat {
    what: &'static str,
    group: &'static str,
    member: &'static str,
    epoch: i32,
    timeout_ms: i32,
    topics: Option<&'static [&'static str]>,
    regex: Option<&'static str>,
    assignor: Option<&'static str>,
    instance: Option<&'static str>,
}

const ENTERS: Beat = Beat {
    what: "enters",
    group: "consumers",
    member: "member",
    epoch: 0,
    timeout_ms: 60_000,
    topics: Some(&[TOPIC]),
    regex: None,
    assignor: None,
    instance: None,
};

const BEATS: [Beat; 20] = [
    Beat {
        what: "without a group",
        group: "",
        ..ENTERS
    },
    Beat {
        what: "without a member",
        member: "",
        ..ENTERS
    },
    Beat {
        what: "without a timeout",
        timeout_ms: -1,
        ..ENTERS
    },
    Beat {
        what: "without time",
        timeout_ms: 0,
        ..ENTERS
    },
    Beat {
        what: "without topics",
        topics: None,
        ..ENTERS
    },
    Beat {
        what: "unknown assignor",
        assignor: Some("no-assignor"),
        ..ENTERS
    },
    Beat {
        what: "empty assignor",
        assignor: Some(""),
        ..ENTERS
    },
    Beat {
        what: "empty instance",
        instance: Some(""),
        ..ENTERS
    },
    Beat {
        what: "static leaves without an instance",
        epoch: -2,
        ..ENTERS
    },
    Beat {
        what: "epoch below all",
        epoch: -3,
        ..ENTERS
    },
    Beat {
        what: "stranger",
        epoch: 5,
        ..ENTERS
    },
    Beat {
        what: "stranger leaves",
        epoch: -1,
        ..ENTERS
    },
    Beat {
        what: "static stranger leaves",
        epoch: -2,
        instance: Some("i"),
        ..ENTERS
    },
    Beat {
        what: "static stranger",
        epoch: 5,
        instance: Some("i"),
        ..ENTERS
    },
    Beat {
        what: "bad expression",
        topics: None,
        regex: Some("("),
        ..ENTERS
    },
    Beat {
        what: "topics and an expression",
        regex: Some("a.*"),
        ..ENTERS
    },
    Beat {
        what: "enters",
        ..ENTERS
    },
    Beat {
        what: "enters without topics to have",
        member: "idle",
        topics: Some(&[]),
        ..ENTERS
    },
    Beat {
        what: "leaves",
        epoch: -1,
        ..ENTERS
    },
    Beat {
        what: "leaves again",
        epoch: -1,
        ..ENTERS
    },
];

fn of_consumers(cases: &mut Vec<Case>) {
    for of in &BEATS {
        case!(cases, &format!("consumer: {}", of.what), ConsumerGroupHeartbeat 1..=1, |_| {
            let names = |topics: &[&str]| topics.iter().map(|name| text(name)).collect();
            let some = |name: Option<&str>| name.map(|name| -> KafkaString { text(name) });
            consumer::ConsumerGroupHeartbeatRequestData::default()
                .with_group_id(text(of.group))
                .with_member_id(text(of.member))
                .with_member_epoch(of.epoch)
                .with_rebalance_timeout_ms(of.timeout_ms)
                .with_subscribed_topic_names(of.topics.map(names))
                .with_subscribed_topic_regex(some(of.regex))
                .with_server_assignor(some(of.assignor))
                .with_instance_id(some(of.instance))
                .with_topic_partitions(Some(Vec::new()))
        } => messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponseData);
    }
    // Version 0 lets the coordinator choose the member id.
    case!(cases, "consumer: without a member", ConsumerGroupHeartbeat 0..=0, |_| {
        consumer::ConsumerGroupHeartbeatRequestData::default()
            .with_group_id(text("consumers"))
            .with_member_epoch(5)
    } => messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponseData);
}
