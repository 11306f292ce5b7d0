//! Tests groups that change their protocol while their members run.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::{BufMut as _, Bytes};
use sedge_protocol::ErrorCode;
use sedge_protocol::wire::Write as _;

use crate::groups::assign::Assignment;
use crate::groups::config::{GroupConfig, MigrationPolicy};
use crate::groups::consumer::tests::{Bench, GROUP, content, restored};
use crate::groups::embedded;
use crate::groups::{
    Actions, ConsumerBeat, ConsumerHeartbeat, HeartbeatRequest, JoinRequest, Joined, LeaveRequest,
    LeavingMember, Protocol, ReplyBody, SyncRequest, Token,
};

/// A member of the classic protocol, as its client sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Classic {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
    pub owned: Assignment,
}

pub(super) struct Groups {
    pub bench: Bench,
    tokens: u64,
    pub replies: BTreeMap<Token, ReplyBody>,
}

pub(super) fn config() -> GroupConfig {
    GroupConfig {
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    }
}

fn metadata(topics: &[&str], owned: &[(&str, Vec<i32>)]) -> Bytes {
    let mut bytes = Vec::new();
    bytes.put_i16(1);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_string(topic).unwrap();
    }
    bytes.put_i32(-1);
    bytes.put_i32(owned.len() as i32);
    for (topic, partitions) in owned {
        bytes.put_string(topic).unwrap();
        bytes.put_i32(partitions.len() as i32);
        for partition in partitions {
            bytes.put_i32(*partition);
        }
    }
    bytes.into()
}

impl Groups {
    pub fn new(config: GroupConfig) -> Self {
        let mut bench = Bench::new(config);
        bench.create("t", 4);
        Self {
            bench,
            tokens: 0,
            replies: BTreeMap::new(),
        }
    }

    pub fn take(&mut self, actions: Actions) {
        self.bench.log.extend(actions.persist);
        for reply in actions.now.into_iter().chain(actions.then) {
            self.replies.insert(reply.token, reply.body);
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Sends a JoinGroup; its answer may come later.
    pub fn ask_join(&mut self, member: &Classic) -> Token {
        let token = self.token();
        let id = self.bench.id("t");
        let owned: Vec<i32> = member.owned.of_topic(id).collect();
        let request = JoinRequest {
            group_id: GROUP.to_string(),
            member_id: member.member_id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: "old".to_string(),
            client_host: "/127.0.0.1".to_string(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: "consumer".to_string(),
            protocols: vec![Protocol {
                name: "cooperative-sticky".to_string(),
                metadata: metadata(&["t"], &[("t", owned)]),
            }],
            requires_known_member_id: false,
            supports_skipping_assignment: true,
        };
        let suffix = token.0.to_string();
        let Bench {
            coordinator,
            metadata,
            now,
            ..
        } = &mut self.bench;
        let asker = crate::groups::tests::asker(*now, metadata.image());
        let actions = coordinator.handle_join(asker, request, token, &suffix);
        self.take(actions);
        token
    }

    fn joined(&mut self, token: Token, member: &mut Classic) -> Joined {
        match self.replies.remove(&token) {
            Some(ReplyBody::Join(Ok(joined))) => {
                member.member_id.clone_from(&joined.member_id);
                member.generation = joined.generation_id;
                joined
            }
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, member: &mut Classic) -> Joined {
        let token = self.ask_join(member);
        self.joined(token, member)
    }

    fn sync(
        &mut self,
        member: &mut Classic,
        assignments: Vec<(String, Bytes)>,
    ) -> Result<(), ErrorCode> {
        self.ask_sync(member, assignments).expect("an answer")
    }

    /// Sends a SyncGroup. Returns its answer, unless the leader has yet to send its own.
    pub fn ask_sync(
        &mut self,
        member: &mut Classic,
        assignments: Vec<(String, Bytes)>,
    ) -> Option<Result<(), ErrorCode>> {
        let token = self.token();
        let request = SyncRequest {
            group_id: GROUP.to_string(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance_id.clone(),
            protocol_type: None,
            protocol_name: None,
            assignments,
        };
        let Bench {
            coordinator,
            metadata,
            now,
            ..
        } = &mut self.bench;
        let actions = coordinator.handle_sync(*now, metadata.image(), request, token);
        self.take(actions);
        match self.replies.remove(&token)? {
            ReplyBody::Sync(Ok(synced)) => {
                let image = self.bench.metadata.image();
                member.owned = embedded::assigned(&synced.assignment, image).unwrap();
                Some(Ok(()))
            }
            ReplyBody::Sync(Err(error)) => Some(Err(error)),
            other => panic!("{other:?}"),
        }
    }

    pub fn heartbeat(&mut self, member: &Classic) -> Result<(), ErrorCode> {
        let request = HeartbeatRequest {
            group_id: GROUP.to_string(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            group_instance_id: member.instance_id.clone(),
        };
        let bench = &mut self.bench;
        bench.coordinator.handle_heartbeat(bench.now, &request)
    }

    pub fn leave(&mut self, member: &Classic) -> Result<(), ErrorCode> {
        let request = LeaveRequest {
            group_id: GROUP.to_string(),
            members: vec![LeavingMember {
                member_id: member.member_id.clone(),
                group_instance_id: member.instance_id.clone(),
            }],
        };
        let Bench {
            coordinator,
            metadata,
            now,
            ..
        } = &mut self.bench;
        let planned = coordinator.handle_leave(*now, metadata.image(), &request);
        self.take(planned.actions);
        planned.reply.unwrap()[0]
    }

    pub fn beat(&mut self, request: &ConsumerHeartbeat) -> Result<ConsumerBeat, ErrorCode> {
        let planned = self.bench.ask(request);
        self.take(planned.actions);
        planned.reply.map_err(|refused| refused.code)
    }

    /// A classic group with one member that has all partitions.
    fn with_one_classic(config: GroupConfig) -> (Self, Classic) {
        let mut groups = Self::new(config);
        let mut old = Classic::default();
        let joined = groups.join(&mut old);
        let id = groups.bench.id("t");
        let all: Assignment = (0..4).map(|partition| (id, partition)).collect();
        let bytes = embedded::assignment(1, &all, groups.bench.metadata.image());
        groups
            .sync(&mut old, vec![(joined.member_id, bytes)])
            .unwrap();
        assert_eq!(old.owned, all);
        (groups, old)
    }

    /// Lets a classic member join again as often as it is asked to, and a new one send heartbeats.
    fn settle(&mut self, old: &mut Classic, new: &mut ConsumerBeat) {
        for _ in 0..10 {
            if self.heartbeat(old) == Err(ErrorCode::RebalanceInProgress) {
                // What it does not keep it gives back before it joins again.
                self.join(old);
                self.sync(old, Vec::new()).unwrap();
            }
            let request = ConsumerHeartbeat {
                member_epoch: new.member_epoch,
                owned: new.assignment.clone(),
                topics: None,
                rebalance_timeout_ms: None,
                ..join()
            };
            let beat = self.beat(&request).unwrap();
            new.member_epoch = beat.member_epoch;
            new.assignment = beat.assignment.or(new.assignment.take());
        }
    }

    fn type_of(&self) -> &'static str {
        self.bench.coordinator.list(&[], &[])[0].group_type
    }

    pub fn restart(&mut self) {
        let Bench {
            now, log, metadata, ..
        } = &self.bench;
        self.bench.coordinator = restored(*now, log, metadata, config());
    }
}

pub(super) fn join() -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: GROUP.to_string(),
        member_id: "new".to_string(),
        client_id: "c".to_string(),
        client_host: "/127.0.0.1".to_string(),
        rebalance_timeout_ms: Some(30_000),
        topics: Some(vec!["t".to_string()]),
        owned: Some(Assignment::new()),
        requires_member_id: true,
        ..ConsumerHeartbeat::default()
    }
}

fn leave() -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_epoch: -1,
        topics: None,
        ..join()
    }
}

#[test]
fn a_group_is_upgraded_and_downgraded_while_its_members_run() {
    let (mut groups, mut old) = Groups::with_one_classic(config());
    let mut new = groups.beat(&join()).unwrap();
    assert_eq!(groups.type_of(), "consumer");
    assert_eq!(new.assignment, Some(Assignment::new()));
    groups.settle(&mut old, &mut new);
    let has = |of: &Option<Assignment>| of.as_ref().unwrap().len();
    assert_eq!((old.owned.len(), has(&new.assignment)), (2, 2));
    assert_eq!(groups.bench.state(), "Stable");

    let expected = content(&groups.bench.coordinator);
    groups.restart();
    assert_eq!(content(&groups.bench.coordinator), expected);
    assert_eq!(groups.heartbeat(&old), Ok(()));

    groups.beat(&leave()).unwrap();
    assert_eq!(groups.type_of(), "classic");
    assert_eq!(groups.heartbeat(&old), Err(ErrorCode::RebalanceInProgress));
    groups.restart();
    assert_eq!(groups.type_of(), "classic");
    let joined = groups.join(&mut old);
    assert_eq!(joined.leader, joined.member_id, "the clients assign again");
    groups.sync(&mut old, Vec::new()).unwrap();
}

#[test]
fn members_that_wait_for_a_classic_rebalance_join_the_new_kind_of_group() {
    let (mut groups, old) = Groups::with_one_classic(config());
    let mut second = Classic::default();
    let token = groups.ask_join(&second);
    assert!(
        !groups.replies.contains_key(&token),
        "it waits for the first"
    );
    groups.beat(&join()).unwrap();
    match groups.replies.remove(&token) {
        Some(ReplyBody::Join(Err(refused))) => {
            assert_eq!(refused.error, ErrorCode::RebalanceInProgress);
            second.member_id = refused.member_id;
        }
        other => panic!("{other:?}"),
    }
    groups.join(&mut second);
    groups.sync(&mut second, Vec::new()).unwrap();
    assert_eq!(groups.heartbeat(&old), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn what_the_policy_forbids_is_refused() {
    let forbidden = GroupConfig {
        migration_policy: MigrationPolicy {
            upgrades: false,
            downgrades: false,
        },
        ..config()
    };
    let (mut groups, old) = Groups::with_one_classic(forbidden);
    assert_eq!(groups.beat(&join()), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(groups.type_of(), "classic");
    assert_eq!(groups.heartbeat(&old), Ok(()), "nothing has changed");
    groups.leave(&old).unwrap();
    groups.beat(&join()).unwrap();
    let mut classic = Classic::default();
    groups.join(&mut classic);
    groups.beat(&leave()).unwrap();
    assert_eq!(groups.type_of(), "consumer", "it stays what it is");
    groups.leave(&classic).unwrap();
    groups.join(&mut Classic::default());
    assert_eq!(groups.type_of(), "classic", "an empty group is of any kind");
}

#[test]
fn a_foreign_assignment_is_not_upgraded() {
    let mut groups = Groups::new(config());
    let mut old = Classic::default();
    let joined = groups.join(&mut old);
    let bytes = Bytes::from_static(b"\0\x01\0\0\0\0\0\0\0\x01x");
    let token = groups.token();
    let request = SyncRequest {
        group_id: GROUP.to_string(),
        generation_id: old.generation,
        member_id: old.member_id.clone(),
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(joined.member_id, bytes)],
    };
    let bench = &mut groups.bench;
    let image = bench.metadata.image();
    let actions = bench
        .coordinator
        .handle_sync(bench.now, image, request, token);
    groups.take(actions);
    assert_eq!(groups.beat(&join()), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(groups.heartbeat(&old), Ok(()));
}

#[test]
fn a_classic_member_that_does_not_join_again_is_removed() {
    let (mut groups, old) = Groups::with_one_classic(config());
    let new = groups.beat(&join()).unwrap();
    for _ in 0..4 {
        assert_eq!(groups.heartbeat(&old), Err(ErrorCode::RebalanceInProgress));
        groups.bench.pass(8_000);
    }
    assert_eq!(groups.heartbeat(&old), Err(ErrorCode::UnknownMemberId));
    let request = ConsumerHeartbeat {
        member_epoch: new.member_epoch,
        ..leave()
    };
    let beat = groups.beat(&request).unwrap();
    assert_eq!(beat.assignment.unwrap().len(), 4);
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_partitions() {
    let mut groups = Groups::new(config());
    let mut old = Classic {
        instance_id: Some("one".to_string()),
        ..Classic::default()
    };
    let joined = groups.join(&mut old);
    let id = groups.bench.id("t");
    let all: Assignment = (0..4).map(|partition| (id, partition)).collect();
    let bytes = embedded::assignment(1, &all, groups.bench.metadata.image());
    groups
        .sync(&mut old, vec![(joined.member_id, bytes)])
        .unwrap();
    let request = ConsumerHeartbeat {
        instance_id: Some("one".to_string()),
        ..join()
    };
    let new = groups.beat(&request).unwrap();
    assert_eq!(new.assignment, Some(all.clone()));
    assert_eq!(groups.heartbeat(&old), Err(ErrorCode::FencedInstanceId));

    // And back: it is the only member, so the group is a classic one again.
    let mut back = Classic {
        instance_id: Some("one".to_string()),
        ..Classic::default()
    };
    let token = groups.ask_join(&back);
    assert_eq!(groups.type_of(), "classic");
    groups.joined(token, &mut back);
    let expected = content(&groups.bench.coordinator);
    groups.restart();
    assert_eq!(content(&groups.bench.coordinator), expected);
}
