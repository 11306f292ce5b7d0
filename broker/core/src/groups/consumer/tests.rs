//! Tests consumer groups by example. Each test is one rule of KIP-848.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::ids::{NodeId, Offset, PartitionIndex};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::metadata_records::MetadataRecord;

use super::messages::{ConsumerBeat, ConsumerHeartbeat, Refused};
use crate::config::BrokerDefaults;
use crate::groups::assign::{Assignment, TopicId};
use crate::groups::group::Group;
use crate::groups::{Asker, Committer, Coordinator, GroupConfig, Planned};
use crate::machine::{Machine as _, Now};
use crate::metadata::{Command, MetadataMachine, TopicName};
use crate::offsets::OffsetToCommit;
use crate::shard::Shard as _;

pub(in crate::groups) const GROUP: &str = "g";

/// A coordinator with its metadata and a manual clock.
pub(in crate::groups) struct Bench {
    pub coordinator: Coordinator,
    pub metadata: MetadataMachine,
    pub now: Now,
    pub log: Vec<CoordinatorRecord>,
    pub hidden: Vec<String>,
    pub topics: u64,
}

impl Bench {
    pub fn new(config: GroupConfig) -> Self {
        let now = Now {
            wall_ms: 1_800_000_000_000,
            monotonic_ms: 1_000,
            append_ms: 1_700_000_000_000,
        };
        Self {
            coordinator: Coordinator::new(config, now),
            metadata: MetadataMachine::new(NodeId(1), BrokerDefaults::default()),
            now,
            log: Vec::new(),
            hidden: Vec::new(),
            topics: 0,
        }
    }

    fn with(topics: &[(&str, i32)]) -> Self {
        let mut bench = Self::new(GroupConfig::default());
        for (name, partitions) in topics {
            bench.create(name, *partitions);
        }
        bench
    }

    pub fn command(&mut self, command: Command) {
        let former = self.metadata.image().clone();
        let Ok(plan) = self.metadata.plan(Now::default(), command) else {
            return;
        };
        for record in &plan.records {
            let record = MetadataRecord::decode(&record.encode()).unwrap();
            self.metadata.apply(Offset(0), &record);
        }
        let image = self.metadata.image().clone();
        let coordinator = &mut self.coordinator;
        let actions = coordinator.handle_image(self.now, Some(&former), &image);
        self.log.extend(actions.persist);
    }

    pub fn create(&mut self, name: &str, partitions: i32) {
        self.topics += 1;
        self.command(Command::CreateTopic {
            name: name.to_string(),
            id: KafkaUuid::from_parts(9, self.topics),
            partitions,
            configs: Vec::new(),
            validate_only: false,
        });
    }

    pub fn delete(&mut self, name: &str) {
        let topic = TopicName::Name(name.to_string());
        self.command(Command::DeleteTopic { topic });
    }

    pub fn id(&self, name: &str) -> TopicId {
        self.metadata.image().topic(name).unwrap().id.into()
    }

    pub fn ask(&mut self, request: &ConsumerHeartbeat) -> Planned<Result<ConsumerBeat, Refused>> {
        let may_describe = |topic: &str| !self.hidden.iter().any(|hidden| hidden == topic);
        let asker = Asker {
            now: self.now,
            image: self.metadata.image(),
            may_describe: Some(&may_describe),
        };
        let coordinator = &mut self.coordinator;
        coordinator.handle_consumer_heartbeat(asker, request, "made")
    }

    /// Sends a request whose records are durable at once.
    fn beat(&mut self, request: &ConsumerHeartbeat) -> Result<ConsumerBeat, ErrorCode> {
        let planned = self.ask(request);
        self.log.extend(planned.actions.persist);
        planned.reply.map_err(|refused| refused.code)
    }

    pub fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall_ms += ms as i64;
        self.now.append_ms += ms as i64;
        let actions = self.coordinator.tick(self.now, self.metadata.image());
        self.log.extend(actions.persist);
    }

    fn restart(&mut self) {
        self.coordinator = restored(self.now, &self.log, &self.metadata, GroupConfig::default());
    }

    pub fn state(&self) -> &'static str {
        self.coordinator.describe_consumer(GROUP).unwrap().state
    }
}

/// Returns a coordinator that has read a log.
pub(in crate::groups) fn restored(
    now: Now,
    log: &[CoordinatorRecord],
    metadata: &MetadataMachine,
    config: GroupConfig,
) -> Coordinator {
    let mut coordinator = Coordinator::new(config, now);
    for record in log {
        let (key, value) = record.encode().unwrap();
        let record = CoordinatorRecord::decode(&key, value.as_deref()).unwrap();
        coordinator.restore(now, &record);
    }
    coordinator.finish_restore(now, metadata.image());
    coordinator
}

/// Returns what a group's records say, of each part the last one.
pub(in crate::groups) fn content(coordinator: &Coordinator) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let group = coordinator.groups.get(GROUP).map(|entry| &entry.group);
    let Some(Group::Consumer(group)) = group else {
        return BTreeMap::new();
    };
    let records = group
        .parts()
        .map(|part| group.record(part).encode().unwrap());
    records.map(|(key, value)| (key, value.unwrap())).collect()
}

fn join(member_id: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: GROUP.to_string(),
        member_id: member_id.to_string(),
        client_id: "c".to_string(),
        client_host: "/127.0.0.1".to_string(),
        rebalance_timeout_ms: Some(30_000),
        topics: Some(topics.iter().map(ToString::to_string).collect()),
        owned: Some(Assignment::new()),
        requires_member_id: true,
        ..ConsumerHeartbeat::default()
    }
}

fn fixed(member_id: &str, instance_id: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        instance_id: Some(instance_id.to_string()),
        ..join(member_id, topics)
    }
}

fn matching(member_id: &str, regex: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        topics: None,
        regex: Some(regex.to_string()),
        ..join(member_id, &[])
    }
}

/// Returns a request that says nothing new.
fn still(member_id: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: GROUP.to_string(),
        member_id: member_id.to_string(),
        client_id: "c".to_string(),
        client_host: "/127.0.0.1".to_string(),
        member_epoch: epoch,
        requires_member_id: true,
        ..ConsumerHeartbeat::default()
    }
}

/// Returns a request that says what the member has.
fn owning(member_id: &str, epoch: i32, owned: &Assignment) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        owned: Some(owned.clone()),
        ..still(member_id, epoch)
    }
}

fn partitions(topic: TopicId, numbers: &[i32]) -> Assignment {
    numbers.iter().map(|number| (topic, *number)).collect()
}

#[test]
fn a_partition_goes_to_another_member_after_it_was_given_back() {
    let mut bench = Bench::with(&[("t", 2)]);
    let t = bench.id("t");
    let a = bench.beat(&join("a", &["t"])).unwrap();
    assert_eq!(
        (a.member_epoch, a.assignment),
        (1, Some(partitions(t, &[0, 1])))
    );
    assert_eq!(bench.state(), "Stable");

    let b = bench.beat(&join("b", &["t"])).unwrap();
    assert_eq!((b.member_epoch, b.assignment), (2, Some(Assignment::new())));
    assert_eq!(bench.state(), "Reconciling");

    let a = bench.beat(&still("a", 1)).unwrap();
    assert_eq!(
        (a.member_epoch, a.assignment),
        (1, Some(partitions(t, &[0])))
    );
    let b = bench.beat(&still("b", 2)).unwrap();
    assert_eq!((b.member_epoch, b.assignment), (2, None), "a still has it");
    let a = bench.beat(&still("a", 1)).unwrap();
    assert_eq!(
        (a.member_epoch, a.assignment),
        (1, None),
        "it did not say what it has"
    );

    let a = bench.beat(&owning("a", 1, &partitions(t, &[0]))).unwrap();
    assert_eq!((a.member_epoch, a.assignment), (2, None));
    let b = bench.beat(&still("b", 2)).unwrap();
    assert_eq!(
        (b.member_epoch, b.assignment),
        (2, Some(partitions(t, &[1])))
    );
    assert_eq!(bench.state(), "Stable");
}

#[test]
fn a_lost_answer_is_given_again_and_other_epochs_are_fenced() {
    let mut bench = Bench::with(&[("t", 2)]);
    let t = bench.id("t");
    bench.beat(&join("a", &["t"])).unwrap();
    bench.beat(&join("b", &["t"])).unwrap();
    bench.beat(&still("a", 1)).unwrap();
    let had = partitions(t, &[0]);
    assert_eq!(bench.beat(&owning("a", 1, &had)).unwrap().member_epoch, 2);
    assert_eq!(
        bench.beat(&owning("a", 1, &had)).unwrap().member_epoch,
        2,
        "again"
    );
    let more = partitions(t, &[0, 1]);
    let fenced = Err(ErrorCode::FencedMemberEpoch);
    assert_eq!(bench.beat(&owning("a", 1, &more)), fenced);
    assert_eq!(
        bench.beat(&still("a", 1)),
        fenced,
        "it did not say what it has"
    );
    assert_eq!(bench.beat(&still("a", 3)), fenced);
    assert_eq!(bench.beat(&still("x", 2)), Err(ErrorCode::UnknownMemberId));
    let again = bench.beat(&join("a", &["t"])).unwrap();
    assert_eq!((again.member_epoch, again.assignment), (2, Some(had)));
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let mut bench = Bench::with(&[("t", 2)]);
    let base = || join("a", &["t"]);
    let invalid = [
        ConsumerHeartbeat {
            group_id: String::new(),
            ..base()
        },
        ConsumerHeartbeat {
            member_id: String::new(),
            ..base()
        },
        ConsumerHeartbeat {
            instance_id: Some(String::new()),
            ..base()
        },
        ConsumerHeartbeat {
            rack_id: Some(String::new()),
            ..base()
        },
        ConsumerHeartbeat {
            rebalance_timeout_ms: None,
            ..base()
        },
        ConsumerHeartbeat {
            topics: None,
            ..base()
        },
        ConsumerHeartbeat {
            owned: None,
            ..base()
        },
        ConsumerHeartbeat {
            owned: Some(partitions(bench.id("t"), &[0])),
            ..base()
        },
        ConsumerHeartbeat {
            member_epoch: -2,
            ..base()
        },
        ConsumerHeartbeat {
            member_epoch: -3,
            ..base()
        },
    ];
    for request in invalid {
        assert_eq!(
            bench.beat(&request),
            Err(ErrorCode::InvalidRequest),
            "{request:?}"
        );
    }
    let assignor = Some("sticky".to_string());
    let asking = ConsumerHeartbeat { assignor, ..base() };
    assert_eq!(bench.beat(&asking), Err(ErrorCode::UnsupportedAssignor));
    for regex in ["(", "a)|(b", "[z-a]", &"a{1000}".repeat(100)] {
        let refused = bench.beat(&matching("a", regex));
        assert_eq!(refused, Err(ErrorCode::InvalidRegularExpression), "{regex}");
    }
    assert_eq!(bench.beat(&still("a", 1)), Err(ErrorCode::GroupIdNotFound));
    assert!(bench.log.is_empty());
    assert!(bench.coordinator.describe_consumer(GROUP).is_err());
    let unnamed = ConsumerHeartbeat {
        member_id: String::new(),
        requires_member_id: false,
        ..base()
    };
    assert_eq!(bench.beat(&unnamed).unwrap().member_id, "made");
}

#[test]
fn a_full_group_takes_no_more_members() {
    let mut bench = Bench::new(GroupConfig {
        consumer_max_size: 1,
        ..GroupConfig::default()
    });
    bench.beat(&join("a", &[])).unwrap();
    assert_eq!(
        bench.beat(&join("b", &[])),
        Err(ErrorCode::GroupMaxSizeReached)
    );
    bench.beat(&still("a", 1)).unwrap();
}

#[test]
fn topics_that_come_grow_and_go_begin_epochs() {
    let mut bench = Bench::new(GroupConfig::default());
    let a = bench.beat(&join("a", &["t"])).unwrap();
    assert_eq!((a.member_epoch, a.assignment), (1, Some(Assignment::new())));
    bench.create("other", 1);
    assert_eq!(bench.beat(&still("a", 1)).unwrap().member_epoch, 1);
    bench.create("t", 1);
    let t = bench.id("t");
    let a = bench.beat(&still("a", 1)).unwrap();
    assert_eq!(
        (a.member_epoch, a.assignment),
        (2, Some(partitions(t, &[0])))
    );
    bench.command(Command::CreatePartitions {
        name: "t".to_string(),
        total: 3,
        assigned: None,
        validate_only: false,
    });
    let a = bench.beat(&still("a", 2)).unwrap();
    assert_eq!(
        (a.member_epoch, a.assignment),
        (3, Some(partitions(t, &[0, 1, 2])))
    );
    bench.delete("t");
    let a = bench.beat(&owning("a", 3, &Assignment::new())).unwrap();
    assert_eq!((a.member_epoch, a.assignment), (4, Some(Assignment::new())));
}

#[test]
fn a_silent_member_is_removed_and_its_partitions_are_free() {
    let mut bench = Bench::with(&[("t", 2)]);
    let t = bench.id("t");
    bench.beat(&join("a", &["t"])).unwrap();
    bench.beat(&join("b", &["t"])).unwrap();
    bench.pass(44_000);
    bench.beat(&still("b", 2)).unwrap();
    bench.pass(1_000);
    let b = bench.beat(&still("b", 2)).unwrap();
    assert_eq!(
        (b.member_epoch, b.assignment),
        (3, Some(partitions(t, &[0, 1])))
    );
    assert_eq!(bench.beat(&still("a", 1)), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_member_that_gives_nothing_back_is_removed_after_its_time() {
    let mut bench = Bench::with(&[("t", 2)]);
    let t = bench.id("t");
    bench.beat(&join("a", &["t"])).unwrap();
    bench.beat(&join("b", &["t"])).unwrap();
    for _ in 0..30 {
        bench.beat(&still("a", 1)).unwrap();
        bench.beat(&still("b", 2)).unwrap();
        bench.pass(1_000);
    }
    assert_eq!(bench.beat(&still("a", 1)), Err(ErrorCode::UnknownMemberId));
    let b = bench.beat(&still("b", 2)).unwrap();
    assert_eq!(b.assignment, Some(partitions(t, &[0, 1])));
}

#[test]
fn leaving_frees_at_once_and_the_last_one_leaves_an_empty_group() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.beat(&join("a", &["t"])).unwrap();
    bench.beat(&join("b", &["t"])).unwrap();
    let left = bench.beat(&still("a", -1)).unwrap();
    assert_eq!((left.member_epoch, left.assignment), (-1, None));
    assert_eq!(
        bench
            .beat(&still("b", 2))
            .unwrap()
            .assignment
            .unwrap()
            .len(),
        2
    );
    bench.beat(&still("b", -1)).unwrap();
    assert_eq!(bench.state(), "Empty");
    bench.restart();
    assert_eq!(bench.state(), "Empty");
    let deleted = bench
        .coordinator
        .handle_delete_groups(bench.now, &[GROUP.to_string()]);
    assert_eq!(deleted.reply, [Ok(())]);
    bench.log.extend(deleted.actions.persist);
    bench.restart();
    assert!(bench.coordinator.describe_consumer(GROUP).is_err());
}

#[test]
fn a_static_member_that_comes_back_keeps_its_partitions() {
    let mut bench = Bench::with(&[("t", 2)]);
    let t = bench.id("t");
    bench.beat(&fixed("a", "one", &["t"])).unwrap();
    let b = bench.beat(&fixed("b", "two", &["t"])).unwrap();
    let taken = bench.beat(&fixed("x", "one", &["t"]));
    assert_eq!(taken, Err(ErrorCode::UnreleasedInstanceId));
    let gone = ConsumerHeartbeat {
        instance_id: Some("one".to_string()),
        ..still("a", -2)
    };
    assert_eq!(bench.beat(&gone).unwrap().member_epoch, -2);
    let b_still = ConsumerHeartbeat {
        instance_id: Some("two".to_string()),
        ..still("b", b.member_epoch)
    };
    assert_eq!(
        bench.beat(&b_still).unwrap().member_epoch,
        2,
        "no rebalance"
    );
    bench.restart();
    let again = bench.beat(&fixed("x", "one", &["t"])).unwrap();
    assert_eq!(
        (again.member_epoch, again.assignment),
        (2, Some(partitions(t, &[0])))
    );
    let former = ConsumerHeartbeat {
        instance_id: Some("one".to_string()),
        ..still("a", 2)
    };
    assert_eq!(bench.beat(&former), Err(ErrorCode::FencedInstanceId));
    let unknown = ConsumerHeartbeat {
        instance_id: Some("three".to_string()),
        ..still("a", 2)
    };
    assert_eq!(bench.beat(&unknown), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_static_member_that_does_not_come_back_is_removed_with_its_session() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.beat(&fixed("a", "one", &["t"])).unwrap();
    let gone = ConsumerHeartbeat {
        instance_id: Some("one".to_string()),
        ..still("a", -2)
    };
    bench.beat(&gone).unwrap();
    assert_eq!(bench.state(), "Reconciling");
    bench.pass(45_000);
    assert_eq!(bench.state(), "Empty");
}

#[test]
fn a_regular_expression_finds_topics_that_the_member_may_see() {
    let mut bench = Bench::with(&[("logs.a", 1), ("logs.secret", 1), ("xlogs.b", 1)]);
    bench.hidden.push("logs.secret".to_string());
    let a = bench.beat(&matching("a", "logs\\..*|__.*")).unwrap();
    let logs = bench.id("logs.a");
    assert_eq!(a.assignment, Some(partitions(logs, &[0])));
    bench.create("logs.c", 1);
    bench.pass(1_000);
    let a = bench.beat(&still("a", a.member_epoch)).unwrap();
    let both: Assignment = [(logs, 0), (bench.id("logs.c"), 0)].into_iter().collect();
    assert_eq!(a.assignment, Some(both.clone()));
    bench.restart();
    assert_eq!(
        bench
            .beat(&still("a", a.member_epoch))
            .unwrap()
            .member_epoch,
        a.member_epoch
    );
    let named = ConsumerHeartbeat {
        topics: Some(vec!["xlogs.b".to_string()]),
        regex: Some(String::new()),
        owned: Some(both),
        ..still("a", a.member_epoch)
    };
    let a = bench.beat(&named).unwrap();
    assert_eq!(a.assignment, Some(Assignment::new()), "the others first");
    let a = bench
        .beat(&owning("a", a.member_epoch, &Assignment::new()))
        .unwrap();
    assert_eq!(a.assignment, Some(partitions(bench.id("xlogs.b"), &[0])));
}

#[test]
fn the_assignor_that_most_members_ask_for_assigns() {
    let mut bench = Bench::with(&[("t", 3), ("u", 3)]);
    let ranged = |member_id: &str| ConsumerHeartbeat {
        assignor: Some("range".to_string()),
        ..join(member_id, &["t", "u"])
    };
    bench.beat(&ranged("a")).unwrap();
    bench.beat(&ranged("b")).unwrap();
    let described = bench.coordinator.describe_consumer(GROUP).unwrap();
    assert_eq!(described.assignor, "range");
    let targets = described.members.iter().map(|member| member.target.len());
    let mut targets: Vec<usize> = targets.collect();
    targets.sort_unstable();
    assert_eq!(targets, [2, 4]);
    bench.beat(&join("c", &["t", "u"])).unwrap();
    assert_eq!(
        bench.coordinator.describe_consumer(GROUP).unwrap().assignor,
        "range"
    );
}

#[test]
fn offsets_are_committed_and_fetched_with_member_epochs() {
    let mut bench = Bench::with(&[("t", 1)]);
    bench.beat(&join("a", &["t"])).unwrap();
    let committer = |member_id: &str, epoch: i32| Committer {
        group_id: GROUP.to_string(),
        generation_id: epoch,
        member_id: member_id.to_string(),
        group_instance_id: None,
        knows_member_epochs: true,
    };
    let table = [
        (committer("a", 1), Ok(())),
        (committer("a", 2), Err(ErrorCode::StaleMemberEpoch)),
        (committer("x", 1), Err(ErrorCode::UnknownMemberId)),
        (committer("", -1), Err(ErrorCode::UnknownMemberId)),
        (
            Committer {
                knows_member_epochs: false,
                ..committer("a", 1)
            },
            Err(ErrorCode::UnsupportedVersion),
        ),
    ];
    for (committer, expected) in table {
        let checked = bench
            .coordinator
            .check_commit(bench.now, &committer, false, &[offset()]);
        assert_eq!(checked, expected, "{committer:?}");
    }
    let outside = committer("", -1);
    let outside = bench
        .coordinator
        .check_commit(bench.now, &outside, true, &[offset()]);
    assert_eq!(
        outside,
        Ok(()),
        "the producer did not say whose offsets these are"
    );
    let old = committer("a", 7);
    let transactional = bench
        .coordinator
        .check_commit(bench.now, &old, true, &[offset()]);
    assert_eq!(transactional, Err(ErrorCode::IllegalGeneration));
    let fetch = |member_id, epoch| bench.coordinator.check_fetch(GROUP, member_id, epoch);
    assert_eq!(fetch(None, -1), Ok(()));
    assert_eq!(fetch(Some("a"), 1), Ok(()));
    assert_eq!(fetch(Some("a"), 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(fetch(Some("x"), 1), Err(ErrorCode::UnknownMemberId));
    bench.beat(&still("a", -1)).unwrap();
    let outside = bench
        .coordinator
        .check_commit(bench.now, &committer("", -1), false, &[offset()]);
    assert_eq!(outside, Ok(()));
}

/// Returns an offset of partition 0 of a topic that no member has.
fn offset() -> OffsetToCommit {
    OffsetToCommit {
        topic: "t".to_string(),
        ..OffsetToCommit::default()
    }
}

#[test]
fn a_member_that_is_behind_commits_what_it_had_and_still_has() {
    let mut bench = Bench::with(&[("t", 2)]);
    let t = bench.id("t");
    bench.beat(&join("a", &["t"])).unwrap();
    bench.beat(&join("b", &["t"])).unwrap();
    bench.beat(&still("a", 1)).unwrap();
    let had = partitions(t, &[0]);
    assert_eq!(bench.beat(&owning("a", 1, &had)).unwrap().member_epoch, 2);
    bench.beat(&still("b", 2)).unwrap();
    let stale = Err(ErrorCode::StaleMemberEpoch);
    let table = [
        ("a", 1, 0, Ok(())),
        ("a", 1, 1, stale),
        ("a", 0, 0, stale),
        ("b", 1, 1, stale),
        ("b", 2, 1, Ok(())),
    ];
    bench.restart();
    for (member_id, epoch, partition, expected) in table {
        let committer = Committer {
            group_id: GROUP.to_string(),
            generation_id: epoch,
            member_id: member_id.to_string(),
            group_instance_id: None,
            knows_member_epochs: true,
        };
        let offset = OffsetToCommit {
            topic_id: t.into(),
            partition: PartitionIndex(partition),
            ..offset()
        };
        let coordinator = &mut bench.coordinator;
        let checked = coordinator.check_commit(bench.now, &committer, false, &[offset]);
        assert_eq!(checked, expected, "{member_id} {epoch} {partition}");
    }
}

#[test]
fn administrators_see_both_kinds_of_groups_apart() {
    let mut bench = Bench::with(&[("t", 1)]);
    bench.beat(&join("a", &["t"])).unwrap();
    let listed = |states: &[String], types: &[String]| bench.coordinator.list(states, types).len();
    let of = |name: &str| [name.to_string()];
    assert_eq!(listed(&[], &of("Consumer")), 1);
    assert_eq!(listed(&of("stable"), &of("consumer")), 1);
    assert_eq!(listed(&of("Empty"), &[]), 0);
    assert_eq!(listed(&[], &of("classic")), 0);
    let refused = bench.coordinator.describe(GROUP).unwrap_err();
    assert_eq!(refused.code, ErrorCode::GroupIdNotFound);
    assert_eq!(refused.message, "Group g is not a classic group.");
    let deleted = bench
        .coordinator
        .handle_delete_groups(bench.now, &[GROUP.to_string()]);
    assert_eq!(deleted.reply, [Err(ErrorCode::NonEmptyGroup)]);
    let topics = [("t".to_string(), vec![0]), ("u".to_string(), vec![0])];
    let deleted = bench
        .coordinator
        .handle_offset_delete(bench.now, GROUP, &topics);
    let results = deleted.reply.unwrap();
    assert_eq!(results[0], [Err(ErrorCode::GroupSubscribedToTopic)]);
    assert_eq!(results[1], [Ok(())]);
}

#[test]
fn what_could_not_be_written_is_written_with_the_next_step_or_later() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.beat(&join("a", &["t"])).unwrap();
    let lost = bench.ask(&join("b", &["t"])).actions.persist;
    assert!(!lost.is_empty());
    bench.coordinator.handle_save_failed(bench.now, &lost);
    bench.beat(&still("a", 1)).unwrap();
    let expected = content(&bench.coordinator);
    bench.restart();
    assert_eq!(content(&bench.coordinator), expected);
    let lost = bench.ask(&still("b", -1)).actions.persist;
    bench.coordinator.handle_save_failed(bench.now, &lost);
    assert!(bench.coordinator.next_deadline() <= bench.now.monotonic_ms + 1_000);
    bench.pass(1_000);
    let expected = content(&bench.coordinator);
    bench.restart();
    assert_eq!(content(&bench.coordinator), expected);
}
