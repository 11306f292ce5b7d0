//! Tests the coordinator by example. Each test is one rule of Kafka's classic protocol.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::offsets::OffsetToCommit;
use sedge_protocol::coordinator::{OffsetKey, OffsetValue};
use sedge_protocol::ids::PartitionIndex;
use sedge_protocol::kafka::KafkaUuid;

const MINUTE: u64 = 60_000;

/// A coordinator with a manual clock, whose records are durable at once.
struct Bench {
    coordinator: Coordinator,
    now: Now,
    tokens: u64,
    log: Vec<CoordinatorRecord>,
    replies: BTreeMap<Token, ReplyBody>,
}

/// A member's next request in a test.
#[derive(Clone)]
struct Client {
    request: JoinRequest,
}

impl Client {
    fn new(client_id: &str) -> Self {
        Self {
            request: JoinRequest {
                group_id: "g".to_string(),
                member_id: String::new(),
                group_instance_id: None,
                client_id: client_id.to_string(),
                client_host: "/127.0.0.1".to_string(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 30_000,
                protocol_type: "consumer".to_string(),
                protocols: vec![protocol("range", "m")],
                requires_known_member_id: false,
                supports_skipping_assignment: true,
            },
        }
    }

    fn fixed(client_id: &str, instance_id: &str) -> Self {
        let mut client = Self::new(client_id);
        client.request.group_instance_id = Some(instance_id.to_string());
        client
    }

    fn offering(mut self, names: &[&str]) -> Self {
        self.request.protocols = names.iter().map(|name| protocol(name, "m")).collect();
        self
    }

    fn subscribed(mut self, topics: &[&str]) -> Self {
        let mut bytes = vec![0, 0];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for topic in topics {
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend(topic.as_bytes());
        }
        self.request.protocols = vec![Protocol {
            name: "range".to_string(),
            metadata: bytes.into(),
        }];
        self
    }

    fn named(mut self, member_id: &str) -> Self {
        self.request.member_id = member_id.to_string();
        self
    }
}

fn protocol(name: &str, metadata: &'static str) -> Protocol {
    Protocol {
        name: name.to_string(),
        metadata: bytes::Bytes::from_static(metadata.as_bytes()),
    }
}

/// The metadata of a broker without topics.
pub(super) fn image() -> Image {
    use crate::config::BrokerDefaults;
    use crate::metadata::MetadataMachine;
    use sedge_protocol::ids::NodeId;

    let machine = MetadataMachine::new(NodeId(1), BrokerDefaults::default());
    machine.image().clone()
}

pub(super) fn asker(now: Now, image: &Image) -> Asker<'_> {
    Asker {
        now,
        image,
        may_describe: None,
    }
}

fn config() -> GroupConfig {
    GroupConfig {
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    }
}

impl Bench {
    fn new(config: GroupConfig) -> Self {
        let now = Now {
            wall_ms: 1_800_000_000_000,
            monotonic_ms: 1_000,
            append_ms: 1_700_000_000_000,
        };
        Self {
            coordinator: Coordinator::new(config, now),
            now,
            tokens: 0,
            log: Vec::new(),
            replies: BTreeMap::new(),
        }
    }

    fn take(&mut self, actions: Actions) {
        for record in actions.persist {
            self.coordinator.apply(self.now, &record);
            self.log.push(record);
        }
        for reply in actions.now.into_iter().chain(actions.then) {
            assert!(
                self.replies.insert(reply.token, reply.body).is_none(),
                "answered twice"
            );
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn join(&mut self, client: &Client) -> Token {
        let token = self.token();
        let suffix = alloc::format!("{}", token.0);
        let request = client.request.clone();
        let actions =
            self.coordinator
                .handle_join(asker(self.now, &image()), request, token, &suffix);
        self.take(actions);
        token
    }

    fn joined(&mut self, token: Token) -> Joined {
        match self.replies.remove(&token) {
            Some(ReplyBody::Join(Ok(joined))) => joined,
            other => panic!("{token:?}: {other:?}"),
        }
    }

    fn refused(&mut self, token: Token) -> JoinRefused {
        match self.replies.remove(&token) {
            Some(ReplyBody::Join(Err(refused))) => refused,
            other => panic!("{token:?}: {other:?}"),
        }
    }

    fn waits(&self, token: Token) -> bool {
        !self.replies.contains_key(&token)
    }

    fn sync(&mut self, member: &Joined, assignments: &[(&str, &'static str)]) -> Token {
        let token = self.token();
        let request = SyncRequest {
            group_id: "g".to_string(),
            generation_id: member.generation_id,
            member_id: member.member_id.clone(),
            group_instance_id: None,
            protocol_type: member.protocol_type.clone(),
            protocol_name: member.protocol_name.clone(),
            assignments: assignments
                .iter()
                .map(|(id, bytes)| (id.to_string(), bytes::Bytes::from_static(bytes.as_bytes())))
                .collect(),
        };
        let actions = self
            .coordinator
            .handle_sync(self.now, &image(), request, token);
        self.take(actions);
        token
    }

    fn synced(&mut self, token: Token) -> Result<String, ErrorCode> {
        match self.replies.remove(&token) {
            Some(ReplyBody::Sync(reply)) => {
                reply.map(|synced| String::from_utf8(synced.assignment.to_vec()).unwrap())
            }
            other => panic!("{token:?}: {other:?}"),
        }
    }

    fn heartbeat(&mut self, member: &Joined) -> Result<(), ErrorCode> {
        let request = HeartbeatRequest {
            group_id: "g".to_string(),
            generation_id: member.generation_id,
            member_id: member.member_id.clone(),
            group_instance_id: None,
        };
        self.coordinator.handle_heartbeat(self.now, &request)
    }

    fn leave(&mut self, member_id: &str, instance_id: Option<&str>) -> LeaveReply {
        let request = LeaveRequest {
            group_id: "g".to_string(),
            members: vec![LeavingMember {
                member_id: member_id.to_string(),
                group_instance_id: instance_id.map(ToString::to_string),
            }],
        };
        let planned = self.coordinator.handle_leave(self.now, &image(), &request);
        self.take(planned.actions);
        planned.reply
    }

    fn commit(&mut self, committer: &Committer, topic: &str, offset: i64) -> Result<(), ErrorCode> {
        let commit = OffsetToCommit {
            topic: topic.to_string(),
            offset: Offset(offset),
            ..Default::default()
        };
        let planned = self
            .coordinator
            .handle_offset_commit(self.now, committer, vec![commit]);
        self.take(planned.actions);
        planned.reply[0]
    }

    /// Advances the clock, with a tick at each deadline on the way.
    fn wait(&mut self, ms: u64) {
        let end = self.now.monotonic_ms + ms;
        loop {
            let next = self
                .coordinator
                .next_deadline()
                .max(self.now.monotonic_ms)
                .min(end);
            let passed_ms = (next - self.now.monotonic_ms) as i64;
            self.now.wall_ms += passed_ms;
            self.now.append_ms += passed_ms;
            self.now.monotonic_ms = next;
            let actions = self.coordinator.tick(self.now, &image());
            self.take(actions);
            if next == end {
                return;
            }
        }
    }

    fn state(&self) -> &'static str {
        self.coordinator
            .describe("g")
            .map_or("Dead", |group| group.state)
    }

    /// Brings a single member through to Stable.
    fn settle(&mut self, client: &Client) -> Joined {
        let token = self.join(client);
        let joined = self.joined(token);
        let token = self.sync(&joined, &[(&joined.member_id, "all")]);
        assert_eq!(self.synced(token), Ok("all".to_string()));
        joined
    }

    /// Returns the state of a broker that starts now.
    fn restarted(&self) -> Self {
        let mut next = Self::new(self.coordinator.config.clone());
        next.now = self.now;
        next.log.clone_from(&self.log);
        next.tokens = self.tokens;
        for record in &self.log {
            next.coordinator.restore(next.now, record);
        }
        next.coordinator.finish_restore(next.now, &image());
        next
    }
}

fn outsider() -> Committer {
    Committer {
        group_id: "g".to_string(),
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
        knows_member_epochs: true,
    }
}

fn member_of(joined: &Joined) -> Committer {
    Committer {
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..outsider()
    }
}

#[test]
fn two_members_share_and_the_second_makes_the_group_go_round() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a"));
    assert_eq!((first.generation_id, first.leader.as_str()), (1, "a-1"));
    let second = bench.join(&Client::new("b"));
    assert!(bench.waits(second));
    assert_eq!(bench.heartbeat(&first), Err(ErrorCode::RebalanceInProgress));
    let again = bench.join(&Client::new("a").named("a-1"));
    let (first, second) = (bench.joined(again), bench.joined(second));
    assert_eq!(first.generation_id, 2);
    assert_eq!(first.members.len(), 2);
    assert_eq!((second.members.len(), second.leader.as_str()), (0, "a-1"));

    let waiting = bench.sync(&second, &[]);
    assert!(bench.waits(waiting));
    let leader = bench.sync(
        &first,
        &[("a-1", "0"), (&second.member_id, "1"), ("ghost", "2")],
    );
    assert_eq!(bench.synced(leader), Ok("0".to_string()));
    assert_eq!(bench.synced(waiting), Ok("1".to_string()));
    assert_eq!(bench.state(), "Stable");
    assert_eq!(bench.heartbeat(&second), Ok(()));
    let again = bench.sync(&second, &[]);
    assert_eq!(bench.synced(again), Ok("1".to_string()));

    assert_eq!(bench.leave("a-1", None), Ok(vec![Ok(())]));
    assert_eq!(
        bench.heartbeat(&second),
        Err(ErrorCode::RebalanceInProgress)
    );
    assert_eq!(bench.leave(&second.member_id, None), Ok(vec![Ok(())]));
    assert_eq!(bench.state(), "Empty");
}

#[test]
fn a_reply_that_depends_on_a_record_waits_for_it() {
    let mut bench = Bench::new(config());
    let token = bench.join(&Client::new("a"));
    let joined = bench.joined(token);
    let request = SyncRequest {
        group_id: "g".to_string(),
        generation_id: 1,
        member_id: joined.member_id,
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![],
    };
    let actions = bench
        .coordinator
        .handle_sync(bench.now, &image(), request.clone(), Token(90));
    assert_eq!(
        (actions.persist.len(), actions.then.len(), actions.now.len()),
        (1, 1, 0)
    );
    // The group is stable in memory now, but the answer must not be sent before the record is
    // durable.
    let actions = bench
        .coordinator
        .handle_sync(bench.now, &image(), request, Token(91));
    assert_eq!(
        (actions.persist.len(), actions.then.len(), actions.now.len()),
        (0, 1, 0)
    );
}

#[test]
fn a_new_dynamic_member_is_told_its_id_first() {
    let mut bench = Bench::new(config());
    let mut client = Client::new("a");
    client.request.requires_known_member_id = true;
    let token = bench.join(&client);
    let refused = bench.refused(token);
    assert_eq!(refused.error, ErrorCode::MemberIdRequired);
    let token = bench.join(&client.clone().named(&refused.member_id));
    assert_eq!(bench.joined(token).member_id, refused.member_id);

    let token = bench.join(&client.clone().named("made-up"));
    assert_eq!(bench.refused(token).error, ErrorCode::UnknownMemberId);
}

#[test]
fn an_id_that_nobody_comes_back_with_is_forgotten_and_holds_nobody_up() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a"));
    let mut shy = Client::new("b");
    shy.request.requires_known_member_id = true;
    let token = bench.join(&shy);
    assert_eq!(bench.refused(token).error, ErrorCode::MemberIdRequired);
    let again = bench.join(&Client::new("a").named(&first.member_id));
    assert!(bench.waits(again), "the pending member may still come");
    bench.wait(10_000);
    assert_eq!(bench.joined(again).generation_id, 2);
}

#[test]
fn a_group_of_nothing_but_forgotten_ids_goes() {
    let mut bench = Bench::new(config());
    let mut shy = Client::new("b");
    shy.request.requires_known_member_id = true;
    bench.join(&shy);
    assert_eq!(bench.state(), "Empty");
    bench.wait(10_000);
    assert_eq!(bench.state(), "Dead");
    assert!(bench.coordinator.schedule.is_empty());
}

#[test]
fn what_cannot_join_is_told_why() {
    let check = |change: &dyn Fn(&mut JoinRequest), expected: ErrorCode| {
        let mut bench = Bench::new(GroupConfig {
            max_size: 2,
            ..config()
        });
        bench.settle(&Client::new("a").offering(&["range", "roundrobin"]));
        let mut client = Client::new("b");
        change(&mut client.request);
        let token = bench.join(&client);
        assert_eq!(bench.refused(token).error, expected);
        assert_eq!(bench.state(), "Stable", "nobody else notices");
    };
    check(
        &|request| request.group_id = String::new(),
        ErrorCode::InvalidGroupId,
    );
    check(
        &|request| request.session_timeout_ms = 5_999,
        ErrorCode::InvalidSessionTimeout,
    );
    check(
        &|request| request.session_timeout_ms = 1_800_001,
        ErrorCode::InvalidSessionTimeout,
    );
    check(
        &|request| request.group_id = "g".repeat(9_000),
        ErrorCode::InvalidGroupId,
    );
    check(
        &|request| request.client_id = "c".repeat(9_000),
        ErrorCode::InvalidRequest,
    );
    let other = ErrorCode::InconsistentGroupProtocol;
    check(
        &|request| request.protocols = vec![protocol("sticky", "")],
        other,
    );
    check(&|request| request.protocols = vec![], other);
    check(
        &|request| request.protocol_type = "connect".to_string(),
        other,
    );
    check(
        &|request| request.member_id = "b-7".to_string(),
        ErrorCode::UnknownMemberId,
    );
    let elsewhere = |request: &mut JoinRequest| {
        request.group_id = "none".to_string();
        request.member_id = "b-7".to_string();
    };
    check(&elsewhere, ErrorCode::UnknownMemberId);
    let stranger = |request: &mut JoinRequest| {
        request.member_id = "a-1".to_string();
        request.group_instance_id = Some("i".to_string());
    };
    check(&stranger, ErrorCode::UnknownMemberId);
    let fat = |request: &mut JoinRequest| {
        request.protocols[0].metadata = vec![0; limits::MEMBER_METADATA_BYTES_MAX + 1].into();
    };
    check(&fat, ErrorCode::InvalidRequest);
}

#[test]
fn a_refused_first_join_leaves_no_group_behind() {
    let mut bench = Bench::new(config());
    let token = bench.join(&Client::new("a").offering(&[]));
    assert_eq!(
        bench.refused(token).error,
        ErrorCode::InconsistentGroupProtocol
    );
    assert_eq!(bench.state(), "Dead");
}

#[test]
fn a_full_group_takes_no_more() {
    let mut bench = Bench::new(GroupConfig {
        max_size: 1,
        ..config()
    });
    let first = bench.settle(&Client::new("a"));
    let token = bench.join(&Client::new("b"));
    assert_eq!(bench.refused(token).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.heartbeat(&first), Ok(()));
    let again = bench.join(&Client::new("a").named(&first.member_id));
    assert_eq!(
        bench.joined(again).generation_id,
        2,
        "members may always come again"
    );
}

#[test]
fn most_votes_choose_among_what_all_can() {
    let check = |offers: &[&[&str]], expected: &str| {
        let delay = GroupConfig {
            initial_rebalance_delay_ms: 100,
            ..config()
        };
        let mut bench = Bench::new(delay);
        let tokens: Vec<Token> = offers
            .iter()
            .map(|names| bench.join(&Client::new("c").offering(names)))
            .collect();
        bench.wait(31_000);
        for token in tokens {
            assert_eq!(
                bench.joined(token).protocol_name.as_deref(),
                Some(expected),
                "{offers:?}"
            );
        }
    };
    check(&[&["range", "sticky"]], "range");
    check(
        &[
            &["range", "sticky"],
            &["sticky", "range"],
            &["sticky", "range"],
        ],
        "sticky",
    );
    check(&[&["a", "range"], &["a", "range"], &["range"]], "range");
}

#[test]
fn the_first_rebalance_waits_for_more_members_but_not_for_ever() {
    let delay = GroupConfig {
        initial_rebalance_delay_ms: 3_000,
        ..config()
    };
    let mut bench = Bench::new(delay);
    let mut tokens = vec![bench.join(&Client::new("a"))];
    for _ in 0..14 {
        bench.wait(2_000);
        assert!(bench.waits(tokens[0]));
        tokens.push(bench.join(&Client::new("b")));
    }
    bench.wait(2_001);
    for token in tokens {
        assert_eq!(bench.joined(token).generation_id, 1);
    }
}

#[test]
fn who_does_not_come_back_in_time_is_out() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a"));
    let second = bench.join(&Client::new("b"));
    for _ in 0..6 {
        assert!(bench.waits(second));
        bench.wait(5_000);
        // The member is alive, but it never joins again.
        let _ = bench.heartbeat(&first);
    }
    let second = bench.joined(second);
    assert_eq!(
        (second.leader, second.members.len()),
        (second.member_id.clone(), 1)
    );
    assert_eq!(bench.heartbeat(&first), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn who_never_asks_for_its_assignment_is_out() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a"));
    let second = bench.join(&Client::new("b"));
    let again = bench.join(&Client::new("a").named(&first.member_id));
    let (first, second) = (bench.joined(again), bench.joined(second));
    let token = bench.sync(&first, &[]);
    assert_eq!(bench.synced(token), Ok(String::new()));
    for _ in 0..6 {
        assert_eq!(bench.heartbeat(&first), Ok(()));
        assert_eq!(bench.heartbeat(&second), Ok(()));
        bench.wait(5_000);
    }
    assert_eq!(bench.heartbeat(&second), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.heartbeat(&first), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_silent_member_is_out_after_its_session_and_a_commit_counts_as_a_sign() {
    let mut bench = Bench::new(config());
    let member = bench.settle(&Client::new("a"));
    bench.wait(9_000);
    assert_eq!(bench.commit(&member_of(&member), "t", 1), Ok(()));
    bench.wait(9_000);
    assert_eq!(bench.heartbeat(&member), Ok(()));
    bench.wait(9_999);
    assert_eq!(bench.state(), "Stable");
    bench.wait(1);
    assert_eq!(bench.state(), "Empty");
    assert_eq!(bench.heartbeat(&member), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_new_member_whose_client_has_gone_is_dropped_after_five_minutes() {
    let delay = GroupConfig {
        initial_rebalance_delay_ms: u64::MAX / 4,
        ..config()
    };
    let mut bench = Bench::new(delay);
    let token = bench.join(&Client::new("a"));
    bench.wait(5 * MINUTE - 1);
    assert!(bench.waits(token));
    bench.wait(1);
    assert_eq!(bench.refused(token).error, ErrorCode::UnknownMemberId);
}

#[test]
fn joining_again_unchanged_disturbs_nobody_unless_the_leader_does() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a"));
    let second = bench.join(&Client::new("b"));
    let again = bench.join(&Client::new("a").named(&first.member_id));
    let (first, second) = (bench.joined(again), bench.joined(second));
    // Before the assignment, this applies to the leader too.
    let again = bench.join(&Client::new("a").named(&first.member_id));
    assert_eq!(bench.joined(again), first);
    bench.sync(&first, &[]);
    let again = bench.join(&Client::new("b").named(&second.member_id));
    assert_eq!(bench.joined(again), second);
    assert_eq!(bench.state(), "Stable");
    let again = bench.join(&Client::new("a").named(&first.member_id));
    assert!(bench.waits(again));
    assert_eq!(bench.state(), "PreparingRebalance");
}

#[test]
fn changed_metadata_makes_the_group_go_round() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a").offering(&["range", "sticky"]));
    let second = bench.join(&Client::new("b").offering(&["range"]));
    let again = bench.join(
        &Client::new("a")
            .offering(&["range"])
            .named(&first.member_id),
    );
    let (first, second) = (bench.joined(again), bench.joined(second));
    bench.sync(&first, &[]);
    let mut changed = Client::new("b").named(&second.member_id);
    changed.request.protocols = vec![protocol("range", "other")];
    let token = bench.join(&changed);
    assert!(bench.waits(token));
    let again = bench.join(&Client::new("a").named(&first.member_id));
    assert_eq!(bench.joined(again).members[1].metadata, "other");
}

#[test]
fn a_request_asked_twice_answers_the_first_one_too() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a"));
    let lost = bench.join(&Client::new("b"));
    let second = bench.join(&Client::new("a").named(&first.member_id));
    let (first, second) = (bench.joined(second), bench.joined(lost));
    let lost = bench.sync(&second, &[]);
    let again = bench.sync(&second, &[]);
    assert_eq!(bench.synced(lost), Err(ErrorCode::RebalanceInProgress));
    bench.sync(&first, &[(&second.member_id, "1")]);
    assert_eq!(bench.synced(again), Ok("1".to_string()));
}

#[test]
fn sync_is_checked() {
    let mut bench = Bench::new(config());
    let member = bench.settle(&Client::new("a"));
    let mut check = |change: &dyn Fn(&mut Joined), expected: ErrorCode| {
        let mut joined = member.clone();
        change(&mut joined);
        let token = bench.sync(&joined, &[]);
        assert_eq!(bench.synced(token), Err(expected));
    };
    check(
        &|joined| joined.generation_id = 0,
        ErrorCode::IllegalGeneration,
    );
    check(
        &|joined| joined.generation_id = 2,
        ErrorCode::IllegalGeneration,
    );
    check(
        &|joined| joined.member_id = "x".to_string(),
        ErrorCode::UnknownMemberId,
    );
    let other = ErrorCode::InconsistentGroupProtocol;
    check(
        &|joined| joined.protocol_name = Some("x".to_string()),
        other,
    );
    check(
        &|joined| joined.protocol_type = Some("x".to_string()),
        other,
    );
    bench.join(&Client::new("b"));
    let token = bench.sync(&member, &[]);
    assert_eq!(bench.synced(token), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_rebalance_sends_those_back_who_wait_for_the_leader() {
    let mut bench = Bench::new(config());
    let first = bench.settle(&Client::new("a"));
    let second = bench.join(&Client::new("b"));
    let again = bench.join(&Client::new("a").named(&first.member_id));
    bench.joined(again);
    let second = bench.joined(second);
    let waiting = bench.sync(&second, &[]);
    bench.join(&Client::new("c"));
    assert_eq!(bench.synced(waiting), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let mut bench = Bench::new(config());
    let client = Client::fixed("a", "i");
    let former = bench.settle(&client);
    assert_eq!(former.member_id, "i-1");
    let token = bench.join(&client);
    let back = bench.joined(token);
    assert_eq!(bench.state(), "Stable");
    assert_eq!(back.generation_id, former.generation_id);
    assert_eq!(
        (back.skip_assignment, back.leader.clone()),
        (true, back.member_id.clone())
    );
    assert_eq!(back.members.len(), 1);
    let token = bench.sync(&back, &[]);
    assert_eq!(
        bench.synced(token),
        Ok("all".to_string()),
        "its assignment is still there"
    );

    let request = HeartbeatRequest {
        group_id: "g".to_string(),
        generation_id: 1,
        member_id: former.member_id.clone(),
        group_instance_id: Some("i".to_string()),
    };
    let fenced = bench.coordinator.handle_heartbeat(bench.now, &request);
    assert_eq!(fenced, Err(ErrorCode::FencedInstanceId));
    let token = bench.join(&client.clone().named(&former.member_id));
    assert_eq!(bench.refused(token).error, ErrorCode::FencedInstanceId);
    assert_eq!(
        bench.leave(&former.member_id, Some("i")),
        Ok(vec![Err(ErrorCode::FencedInstanceId)])
    );
}

#[test]
fn before_version_9_a_static_leader_is_not_told_that_it_leads() {
    let mut bench = Bench::new(config());
    let mut client = Client::fixed("a", "i");
    client.request.supports_skipping_assignment = false;
    let former = bench.settle(&client);
    let token = bench.join(&client);
    let back = bench.joined(token);
    assert_eq!((back.leader, back.members.len()), (former.member_id, 0));
    assert!(!back.skip_assignment);
}

#[test]
fn a_static_member_with_other_protocols_makes_the_group_go_round() {
    let mut bench = Bench::new(config());
    bench.settle(&Client::fixed("a", "i").offering(&["range", "sticky"]));
    let token = bench.join(&Client::fixed("a", "i").offering(&["sticky", "range"]));
    let back = bench.joined(token);
    assert_eq!(
        (back.generation_id, back.protocol_name.as_deref()),
        (2, Some("sticky"))
    );
}

#[test]
fn a_static_member_that_waits_is_fenced_by_its_double() {
    let delay = GroupConfig {
        initial_rebalance_delay_ms: 1_000,
        ..config()
    };
    let mut bench = Bench::new(delay);
    let first = bench.join(&Client::fixed("a", "i"));
    let double = bench.join(&Client::fixed("a", "i"));
    assert_eq!(bench.refused(first).error, ErrorCode::FencedInstanceId);
    bench.wait(30_000);
    assert_eq!(bench.joined(double).members.len(), 1);
}

#[test]
fn static_members_stay_through_a_rebalance_until_their_session_ends() {
    let mut bench = Bench::new(config());
    let mut slow = Client::fixed("a", "i");
    slow.request.session_timeout_ms = 100_000;
    let slow = bench.settle(&slow);
    let token = bench.join(&Client::new("b"));
    bench.wait(30_000);
    let other = bench.joined(token);
    assert_eq!(other.members.len(), 2, "the static member is still counted");
    assert_eq!(other.leader, other.member_id, "but it cannot lead");
    assert_eq!(bench.heartbeat(&slow), Err(ErrorCode::IllegalGeneration));
}

#[test]
fn a_group_of_only_static_members_that_are_away_waits_for_them() {
    let mut bench = Bench::new(config());
    let mut client = Client::fixed("a", "i");
    client.request.session_timeout_ms = 100_000;
    client.request.rebalance_timeout_ms = 0;
    bench.settle(&client);
    let guest = bench.settle_second(&client);
    assert_eq!(bench.leave(&guest, None), Ok(vec![Ok(())]));
    assert_eq!(bench.state(), "PreparingRebalance");
    bench.wait(90_000);
    assert_eq!(bench.state(), "PreparingRebalance");
    bench.wait(110_000);
    assert_eq!(bench.state(), "Empty");
}

impl Bench {
    /// Joins a dynamic member to the group of `first`, which rejoins for that.
    fn settle_second(&mut self, first: &Client) -> String {
        let guest = self.join(&Client::new("guest"));
        let id = self.coordinator.describe("g").unwrap().members;
        let instance = id
            .iter()
            .find(|member| member.group_instance_id.is_some())
            .unwrap();
        let again = self.join(&first.clone().named(&instance.member_id));
        let (leader, guest) = (self.joined(again), self.joined(guest));
        self.sync(&leader, &[]);
        self.sync(&guest, &[]);
        guest.member_id
    }
}

#[test]
fn administrators_remove_members_by_name() {
    let mut bench = Bench::new(config());
    bench.settle(&Client::fixed("a", "i"));
    assert_eq!(
        bench.leave("", Some("j")),
        Ok(vec![Err(ErrorCode::UnknownMemberId)])
    );
    assert_eq!(
        bench.leave("x", None),
        Ok(vec![Err(ErrorCode::UnknownMemberId)])
    );
    assert_eq!(bench.leave("", Some("i")), Ok(vec![Ok(())]));
    assert_eq!(bench.state(), "Empty");
    let request = LeaveRequest {
        group_id: "none".to_string(),
        members: vec![LeavingMember {
            member_id: "x".to_string(),
            group_instance_id: None,
        }],
    };
    let planned = bench
        .coordinator
        .handle_leave(bench.now, &image(), &request);
    assert_eq!(planned.reply, Ok(vec![Err(ErrorCode::UnknownMemberId)]));
}

#[test]
fn who_may_commit() {
    let mut bench = Bench::new(config());
    let mut late = outsider();
    late.generation_id = 3;
    assert_eq!(bench.commit(&late, "t", 1), Err(ErrorCode::GroupIdNotFound));
    late.knows_member_epochs = false;
    assert_eq!(
        bench.commit(&late, "t", 1),
        Err(ErrorCode::IllegalGeneration)
    );
    assert_eq!(bench.commit(&outsider(), "t", 1), Ok(()));
    assert_eq!(bench.state(), "Empty");

    let member = bench.settle(&Client::new("a"));
    let committer = member_of(&member);
    assert_eq!(
        bench.commit(&outsider(), "t", 2),
        Err(ErrorCode::UnknownMemberId)
    );
    assert_eq!(bench.commit(&committer, "t", 2), Ok(()));
    let stale = Committer {
        generation_id: 0,
        ..committer.clone()
    };
    assert_eq!(
        bench.commit(&stale, "t", 3),
        Err(ErrorCode::IllegalGeneration)
    );
    let stranger = Committer {
        member_id: "x".to_string(),
        ..committer.clone()
    };
    assert_eq!(
        bench.commit(&stranger, "t", 3),
        Err(ErrorCode::UnknownMemberId)
    );

    let other = bench.join(&Client::new("b"));
    assert_eq!(
        bench.commit(&committer, "t", 4),
        Ok(()),
        "a last commit before joining again"
    );
    let again = bench.join(&Client::new("a").named(&member.member_id));
    let committer = member_of(&bench.joined(again));
    bench.joined(other);
    assert_eq!(
        bench.commit(&committer, "t", 5),
        Err(ErrorCode::RebalanceInProgress)
    );
    let offset = bench
        .coordinator
        .offsets()
        .get("g", "t", KafkaUuid::ZERO, PartitionIndex(0))
        .unwrap();
    assert_eq!(offset.offset, Offset(4));
}

#[test]
fn metadata_of_an_offset_is_bounded() {
    let mut bench = Bench::new(config());
    let commit = |length: usize| OffsetToCommit {
        topic: "t".to_string(),
        metadata: "m".repeat(length),
        ..Default::default()
    };
    let planned = bench.coordinator.handle_offset_commit(
        bench.now,
        &outsider(),
        vec![commit(4097), commit(4096)],
    );
    assert_eq!(
        planned.reply,
        [Err(ErrorCode::OffsetMetadataTooLarge), Ok(())]
    );
    assert_eq!(planned.actions.persist.len(), 1);
    assert!(bench.coordinator.offsets().is_empty(), "not durable yet");
    bench.take(planned.actions);
    assert_eq!(bench.coordinator.offsets().len(), 1);
}

#[test]
fn offsets_of_consumed_topics_are_not_deleted() {
    let mut bench = Bench::new(config());
    let delete = |bench: &mut Bench, topic: &str| {
        let topics = [(topic.to_string(), vec![0, 9])];
        let planned = bench
            .coordinator
            .handle_offset_delete(bench.now, "g", &topics);
        bench.take(planned.actions);
        planned.reply
    };
    assert_eq!(delete(&mut bench, "t"), Err(ErrorCode::GroupIdNotFound));
    let member = bench.settle(&Client::new("a").subscribed(&["t"]));
    bench.commit(&member_of(&member), "t", 1).unwrap();
    bench.commit(&member_of(&member), "u", 1).unwrap();
    let subscribed = Err(ErrorCode::GroupSubscribedToTopic);
    assert_eq!(
        delete(&mut bench, "t"),
        Ok(vec![vec![subscribed, subscribed]])
    );
    assert_eq!(delete(&mut bench, "u"), Ok(vec![vec![Ok(()), Ok(())]]));
    assert_eq!(bench.coordinator.offsets().len(), 1);
    bench.leave(&member.member_id, None).unwrap();
    assert_eq!(delete(&mut bench, "t"), Ok(vec![vec![Ok(()), Ok(())]]));
    assert_eq!(bench.coordinator.offsets().len(), 0);
}

#[test]
fn only_empty_groups_are_deleted_and_nothing_of_them_stays() {
    let mut bench = Bench::new(config());
    let delete = |bench: &mut Bench| {
        let planned = bench
            .coordinator
            .handle_delete_groups(bench.now, &["g".to_string()]);
        bench.take(planned.actions);
        planned.reply[0]
    };
    assert_eq!(delete(&mut bench), Err(ErrorCode::GroupIdNotFound));
    let member = bench.settle(&Client::new("a"));
    bench.commit(&member_of(&member), "t", 1).unwrap();
    assert_eq!(delete(&mut bench), Err(ErrorCode::NonEmptyGroup));
    bench.leave(&member.member_id, None).unwrap();
    assert_eq!(delete(&mut bench), Ok(()));
    for bench in [&bench.restarted(), &bench] {
        assert_eq!(bench.state(), "Dead");
        assert!(bench.coordinator.offsets().is_empty());
        assert!(bench.coordinator.schedule.is_empty());
    }
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut bench = Bench::new(config());
    bench.settle(&Client::new("a"));
    let keeper = Committer {
        group_id: "keeper".to_string(),
        ..outsider()
    };
    bench.commit(&keeper, "t", 1).unwrap();
    let check = |states: &[&str], types: &[&str], expected: &[&str]| {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let listed = bench.coordinator.list(&words(states), &words(types));
        let ids: Vec<_> = listed.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(ids, expected);
    };
    check(&[], &[], &["g", "keeper"]);
    check(&["stable"], &[], &["g"]);
    check(&["Empty", "Dead"], &["Classic"], &["keeper"]);
    check(&[], &["consumer"], &[]);
}

#[test]
fn a_description_shows_assignments_while_they_hold() {
    let mut bench = Bench::new(config());
    let member = bench.settle(&Client::new("a"));
    let group = bench.coordinator.describe("g").unwrap();
    assert_eq!(
        (group.protocol.as_str(), group.protocol_type.as_str()),
        ("range", "consumer")
    );
    assert_eq!(group.members[0].assignment, "all");
    assert_eq!(group.members[0].metadata, "m");
    assert_eq!(group.members[0].client_id, "a");
    bench.join(&Client::new("b"));
    let group = bench.coordinator.describe("g").unwrap();
    assert_eq!(
        (group.state, group.protocol.as_str()),
        ("PreparingRebalance", "")
    );
    assert!(
        group
            .members
            .iter()
            .all(|member| member.metadata.is_empty())
    );
    assert_eq!(group.members[0].assignment, "all", "it works by that still");
    assert_eq!(group.members[0].member_id, member.member_id);
}

#[test]
fn members_live_through_a_restart() {
    let mut bench = Bench::new(config());
    let member = bench.settle(&Client::fixed("a", "i"));
    bench.commit(&member_of(&member), "t", 7).unwrap();
    let before = bench.coordinator.describe("g");
    let mut bench = bench.restarted();
    assert_eq!(bench.coordinator.describe("g"), before);
    assert_eq!(
        bench
            .coordinator
            .offsets()
            .get("g", "t", KafkaUuid::ZERO, PartitionIndex(0))
            .unwrap()
            .offset,
        Offset(7)
    );
    assert_eq!(bench.heartbeat(&member), Ok(()));
    assert_eq!(bench.commit(&member_of(&member), "t", 8), Ok(()));
    let token = bench.sync(&member, &[]);
    assert_eq!(bench.synced(token), Ok("all".to_string()));
    bench.wait(10_000);
    assert_eq!(
        bench.state(),
        "Empty",
        "and a session ends as it would have"
    );
}

#[test]
fn offsets_expire_when_nobody_uses_them() {
    let day = 24 * 60 * MINUTE;
    let mut bench = Bench::new(config());
    bench.commit(&outsider(), "t", 1).unwrap();
    let member = {
        let mut client = Client::new("a").subscribed(&["used"]);
        client.request.group_id = "live".to_string();
        client
    };
    let token = bench.join(&member);
    let joined = bench.joined(token);
    let live = Committer {
        group_id: "live".to_string(),
        ..member_of(&joined)
    };
    bench.commit(&live, "used", 1).unwrap_err();
    let request = SyncRequest {
        group_id: "live".to_string(),
        generation_id: 1,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![],
    };
    let actions = bench
        .coordinator
        .handle_sync(bench.now, &image(), request, Token(1 << 40));
    bench.take(actions);
    bench.commit(&live, "used", 1).unwrap();
    bench.commit(&live, "left", 1).unwrap();
    // Keeps the session alive for days.
    let beat = |bench: &mut Bench, ms: u64| {
        let request = HeartbeatRequest {
            group_id: "live".to_string(),
            generation_id: 1,
            member_id: joined.member_id.clone(),
            group_instance_id: None,
        };
        for _ in 0..ms / 9_000 {
            bench
                .coordinator
                .handle_heartbeat(bench.now, &request)
                .unwrap();
            bench.wait(9_000);
        }
    };
    beat(&mut bench, 7 * day - 20 * MINUTE);
    assert_eq!(bench.coordinator.offsets().len(), 3);
    beat(&mut bench, 40 * MINUTE);
    assert_eq!(bench.state(), "Dead", "the group that only kept offsets");
    assert!(
        bench
            .coordinator
            .offsets()
            .get("live", "left", KafkaUuid::ZERO, PartitionIndex(0))
            .is_none()
    );
    assert!(
        bench
            .coordinator
            .offsets()
            .get("live", "used", KafkaUuid::ZERO, PartitionIndex(0))
            .is_some()
    );
    assert_eq!(
        bench.restarted().coordinator.offsets(),
        bench.coordinator.offsets()
    );
}

#[test]
fn a_clock_that_was_never_set_expires_nothing() {
    let mut bench = Bench::new(config());
    bench.now.wall_ms = 5_000;
    bench.commit(&outsider(), "t", 1).unwrap();
    bench.now.wall_ms = 1_800_000_000_000;
    bench.wait(60 * MINUTE);
    assert_eq!(bench.coordinator.offsets().len(), 1);
}

/// The cursors name their topic, and that its successor is another one.
#[test]
fn a_deleted_topic_leaves_the_cursors_of_links() {
    let mut bench = Bench::new(config());
    let link = Committer {
        group_id: "sedge-mirror-hq".to_string(),
        ..outsider()
    };
    bench.commit(&link, "t", 1).unwrap();
    let actions = bench
        .coordinator
        .handle_deleted_topics(bench.now, |_, _| false);
    bench.take(actions);
    assert_eq!(bench.coordinator.offsets().len(), 1);
}

#[test]
fn the_wall_clock_ages_neither_offsets_nor_groups() {
    let year = 365 * 24 * 60 * MINUTE as i64;
    let mut bench = Bench::new(config());
    bench.commit(&outsider(), "t", 1).unwrap();
    let mut member = Client::new("a");
    member.request.group_id = "left".to_string();
    let token = bench.join(&member);
    let joined = bench.joined(token);
    let committer = Committer {
        group_id: "left".to_string(),
        ..member_of(&joined)
    };
    let request = SyncRequest {
        group_id: "left".to_string(),
        generation_id: joined.generation_id,
        member_id: joined.member_id,
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![],
    };
    let token = bench.token();
    let actions = bench
        .coordinator
        .handle_sync(bench.now, &image(), request, token);
    bench.take(actions);
    bench.commit(&committer, "t", 1).unwrap();
    bench.wait(MINUTE);
    for years in [2, -60, 30] {
        bench.now.wall_ms += years * year;
        bench.wait(60 * MINUTE);
        assert_eq!(bench.coordinator.offsets().len(), 2, "{years}");
        bench = bench.restarted();
        assert_eq!(bench.coordinator.offsets().len(), 2, "{years}, restarted");
    }
    let day = 24 * 60 * MINUTE;
    bench.wait(6 * day);
    assert_eq!(bench.coordinator.offsets().len(), 2);
    bench.wait(2 * day);
    assert_eq!(bench.coordinator.offsets().len(), 0);
}

#[test]
fn an_expiry_of_the_clients_own_goes_by_the_append_clock() {
    let mut bench = Bench::new(config());
    let commit = OffsetToCommit {
        topic: "t".to_string(),
        retention_ms: Some(60 * MINUTE as i64),
        ..Default::default()
    };
    let planned = bench
        .coordinator
        .handle_offset_commit(bench.now, &outsider(), vec![commit]);
    bench.take(planned.actions);
    bench.now.wall_ms += 400 * 24 * 60 * MINUTE as i64;
    bench.wait(40 * MINUTE);
    assert_eq!(bench.coordinator.offsets().len(), 1);
    bench.wait(40 * MINUTE);
    assert_eq!(bench.coordinator.offsets().len(), 0);
}

#[test]
fn what_an_older_version_wrote_counts_from_now_and_gets_its_topics_id() {
    let id = KafkaUuid::from_parts(7, 9);
    let mut bench = Bench::new(config());
    let old = |topic: &str, commit_ms: i64, expire_ms: Option<i64>| CoordinatorRecord::Offset {
        key: OffsetKey {
            group: "g".to_string(),
            topic: topic.to_string(),
            partition: PartitionIndex(0),
        },
        value: Some(OffsetValue {
            offset: Offset(5),
            leader_epoch: None,
            metadata: String::new(),
            commit_ms,
            expire_ms,
            topic_id: None,
        }),
    };
    // Committed by a wall clock that was never set, and by one that is decades ahead.
    let records = [
        old("past", 5_000, Some(65_000)),
        old("future", i64::MAX / 2, None),
        old("gone", 5_000, None),
    ];
    for record in &records {
        bench.coordinator.restore(bench.now, record);
    }
    bench.coordinator.finish_restore(bench.now, &image());
    let adopted = bench
        .coordinator
        .adopt(bench.now, |topic| (topic != "gone").then_some(id));
    assert_eq!(adopted.persist.len(), 2);
    bench.take(adopted);
    let check = |topic: &str, expire_ms: Option<i64>| {
        let offsets = bench.coordinator.offsets();
        let value = offsets.get("g", topic, id, PartitionIndex(0)).unwrap();
        assert_eq!(value.offset, Offset(5), "{topic}");
        assert_eq!(value.commit_ms, bench.now.append_ms, "{topic}");
        assert_eq!(value.expire_ms, expire_ms, "{topic}");
    };
    check("past", Some(bench.now.append_ms + 60_000));
    check("future", None);
    let again = bench.coordinator.adopt(bench.now, |_| None);
    assert!(again.is_empty());
}

#[test]
fn a_commit_on_its_way_is_neither_expired_nor_taken_for_an_older_topics() {
    let day = 24 * 60 * MINUTE;
    let (old, new) = (KafkaUuid::from_parts(1, 1), KafkaUuid::from_parts(2, 2));
    let mut bench = Bench::new(config());
    let plan = |bench: &mut Bench, topic_id: KafkaUuid| {
        let commit = OffsetToCommit {
            topic: "t".to_string(),
            topic_id,
            offset: Offset(9),
            ..Default::default()
        };
        bench
            .coordinator
            .handle_offset_commit(bench.now, &outsider(), vec![commit])
            .actions
    };
    let first = plan(&mut bench, old);
    bench.take(first);
    // The topic is deleted and created again, and a commit to the new one is in flight.
    let is_there = |_: &str, id: Option<KafkaUuid>| id == Some(new);
    let second = plan(&mut bench, new);
    let removals = bench.coordinator.handle_deleted_topics(bench.now, is_there);
    assert!(removals.is_empty(), "it would come behind the commit");
    assert!(
        bench
            .coordinator
            .offsets()
            .get("g", "t", new, PartitionIndex(0))
            .is_none()
    );
    bench.take(second);
    bench.take(removals);
    assert!(
        bench
            .coordinator
            .offsets()
            .get("g", "t", new, PartitionIndex(0))
            .is_some()
    );
    assert!(
        bench
            .coordinator
            .offsets()
            .get("g", "t", old, PartitionIndex(0))
            .is_none()
    );
    // A week later it is committed once more, and the expiry round comes before that is durable.
    bench.now.append_ms += 8 * day as i64;
    let third = plan(&mut bench, new);
    bench.wait(20 * MINUTE);
    assert_eq!(bench.coordinator.offsets().len(), 1);
    bench.take(third);
    bench.wait(20 * MINUTE);
    assert_eq!(bench.coordinator.offsets().len(), 1);
    // Once that is durable, the rest of the old topic's offsets are removed as well.
    let fourth = plan(&mut bench, old);
    bench.take(fourth);
    let removals = bench.coordinator.handle_deleted_topics(bench.now, is_there);
    bench.take(removals);
    assert!(bench.coordinator.offsets().is_empty());
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut bench = Bench::new(config());
    bench.commit(&outsider(), "t", 1).unwrap();
    bench.commit(&outsider(), "u", 1).unwrap();
    let actions = bench
        .coordinator
        .handle_deleted_topics(bench.now, |topic, _| topic != "t");
    bench.take(actions);
    assert!(
        bench
            .coordinator
            .offsets()
            .get("g", "t", KafkaUuid::ZERO, PartitionIndex(0))
            .is_none()
    );
    assert!(
        bench
            .coordinator
            .offsets()
            .get("g", "u", KafkaUuid::ZERO, PartitionIndex(0))
            .is_some()
    );
}

#[test]
fn a_record_that_could_not_be_written_is_offered_again() {
    let mut bench = Bench::new(config());
    let member = bench.settle(&Client::new("a"));
    let record = bench.log.pop().unwrap();
    bench
        .coordinator
        .handle_save_failed(bench.now, core::slice::from_ref(&record));
    bench.wait(limits::SAVE_RETRY_MS);
    assert_eq!(bench.log.last(), Some(&record));
    assert_eq!(bench.heartbeat(&member), Ok(()));
}

#[test]
fn a_commit_on_its_way_outlives_the_group() {
    let mut bench = Bench::new(config());
    bench.commit(&outsider(), "t", 1).unwrap();
    let commit = OffsetToCommit {
        topic: "u".to_string(),
        offset: Offset(2),
        ..Default::default()
    };
    let commit = bench
        .coordinator
        .handle_offset_commit(bench.now, &outsider(), vec![commit]);
    let delete = bench
        .coordinator
        .handle_delete_groups(bench.now, &["g".to_string()]);
    bench.take(commit.actions);
    bench.take(delete.actions);
    assert_eq!(bench.state(), "Empty");
    assert_eq!(
        bench.restarted().coordinator.offsets(),
        bench.coordinator.offsets()
    );
}

#[test]
fn a_repeated_commit_is_written_once_unless_something_is_on_its_way() {
    let mut bench = Bench::new(config());
    bench.commit(&outsider(), "t", 1).unwrap();
    bench.commit(&outsider(), "t", 1).unwrap();
    assert_eq!(bench.log.len(), 1);
    let commit = |offset: i64| {
        vec![OffsetToCommit {
            topic: "t".to_string(),
            offset: Offset(offset),
            ..Default::default()
        }]
    };
    let (coordinator, now) = (&mut bench.coordinator, bench.now);
    let on = coordinator.handle_offset_commit(now, &outsider(), commit(2));
    let back = coordinator.handle_offset_commit(now, &outsider(), commit(1));
    assert_eq!(back.actions.persist.len(), 1, "2 is on its way");
    coordinator.handle_save_failed(now, &on.actions.persist);
    coordinator.handle_save_failed(now, &back.actions.persist);
    let again = coordinator.handle_offset_commit(now, &outsider(), commit(1));
    assert!(again.actions.is_empty(), "nothing is any more");
}

#[test]
fn all_groups_together_hold_so_much_and_no_more() {
    let mut bench = Bench::new(config());
    let client = |number: usize, bytes: usize| {
        let mut client = Client::new("a");
        client.request.group_id = alloc::format!("g{number}");
        client.request.protocols = vec![Protocol {
            name: "range".to_string(),
            metadata: vec![0; bytes].into(),
        }];
        client
    };
    let large = 1 << 20;
    let mut members = Vec::new();
    loop {
        assert!(members.len() * large < limits::GROUPS_BYTES_MAX, "no bound");
        let token = bench.join(&client(members.len(), large));
        match bench.replies.remove(&token) {
            Some(ReplyBody::Join(Ok(joined))) => members.push(joined),
            Some(ReplyBody::Join(Err(refused))) => {
                assert_eq!(refused.error, ErrorCode::GroupMaxSizeReached);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(members.len(), limits::GROUPS_BYTES_MAX / large - 1);
    // A member may rejoin, and an assignment that has no room is refused.
    let token = bench.join(&client(0, large).named(&members[0].member_id));
    bench.joined(token);
    let sync = |bench: &mut Bench, bytes: usize| {
        let request = SyncRequest {
            group_id: "g1".to_string(),
            generation_id: members[1].generation_id,
            member_id: members[1].member_id.clone(),
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: vec![(members[1].member_id.clone(), vec![0; bytes].into())],
        };
        let token = bench.token();
        let actions = bench
            .coordinator
            .handle_sync(bench.now, &image(), request, token);
        bench.take(actions);
        bench.synced(token)
    };
    assert_eq!(
        sync(&mut bench, 2 << 20),
        Err(ErrorCode::GroupMaxSizeReached)
    );
    assert!(sync(&mut bench, 1 << 10).is_ok());
    let held = |bench: &Bench| {
        let groups = bench.coordinator.groups.values();
        groups.map(|entry| entry.group.bytes()).sum::<usize>()
    };
    assert_eq!(bench.coordinator.groups_bytes, held(&bench));
    // Sessions expire, and all of the memory is free again.
    bench.wait(2 * MINUTE);
    assert_eq!(bench.coordinator.groups_bytes, 0);
    let token = bench.join(&client(0, large));
    bench.joined(token);
}
