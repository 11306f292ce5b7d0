use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::*;

pub(super) fn machine() -> MetadataMachine {
    MetadataMachine::new(NodeId(1), BrokerDefaults::default())
}

fn id(number: u64) -> KafkaUuid {
    KafkaUuid::from_parts(7, number)
}

fn create(name: &str, number: u64, partitions: i32) -> Command {
    Command::CreateTopic {
        name: name.into(),
        id: id(number),
        partitions,
        configs: Vec::new(),
        validate_only: false,
    }
}

/// Plans and applies a command; its records go through their encoding, as in the log.
pub(super) fn run(
    machine: &mut MetadataMachine,
    log: &mut Vec<Vec<u8>>,
    command: Command,
) -> CommandReply {
    let plan = machine.plan(Now::default(), command).unwrap();
    for record in &plan.records {
        let bytes = record.encode();
        machine.apply(
            Offset(log.len() as i64),
            &MetadataRecord::decode(&bytes).unwrap(),
        );
        log.push(bytes);
    }
    plan.reply
}

/// Renders all visible state of a machine.
pub(super) fn seen(machine: &MetadataMachine) -> String {
    let image = machine.image();
    let topics: Vec<_> = image.topics().collect();
    let broker = image.defaults();
    let client_metrics = image.client_metrics();
    let next = (machine.next_partition_id, machine.next_producer_id);
    let features = image.features();
    let acls: Vec<_> = image.acls().iter().collect();
    let tokens: Vec<_> = image.tokens().iter().collect();
    let users: Vec<_> = image.users().iter().collect();
    let quotas: Vec<_> = image.quotas().iter().collect();
    format!(
        "{topics:?} {broker:?} {} {next:?} {features:?} {acls:?} {users:?} {tokens:?} {quotas:?} \
         {client_metrics:?}",
        image.leader_epoch()
    )
}

fn refused(command: Command) -> ErrorCode {
    let mut machine = machine();
    run(&mut machine, &mut Vec::new(), create("there.is", 1, 3));
    machine.plan(Now::default(), command).unwrap_err().code
}

#[test]
fn what_cannot_be_is_refused() {
    let grow = |name: &str, total| Command::CreatePartitions {
        name: name.into(),
        total,
        assigned: None,
        validate_only: false,
    };
    let long = "n".repeat(250);
    let table = [
        (create("there.is", 2, 1), ErrorCode::TopicAlreadyExists),
        (create("there_is", 2, 1), ErrorCode::InvalidTopicException),
        (create("", 2, 1), ErrorCode::InvalidTopicException),
        (create("..", 2, 1), ErrorCode::InvalidTopicException),
        (create("a/b", 2, 1), ErrorCode::InvalidTopicException),
        (create(&long, 2, 1), ErrorCode::InvalidTopicException),
        (create("new", 2, 0), ErrorCode::InvalidPartitions),
        (create("new", 2, i32::MAX), ErrorCode::InvalidPartitions),
        (grow("there.is", 3), ErrorCode::InvalidPartitions),
        (grow("there.is", 2), ErrorCode::InvalidPartitions),
        (grow("missing", 4), ErrorCode::UnknownTopicOrPartition),
        (
            Command::DeleteTopic {
                topic: TopicName::Name("missing".into()),
            },
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            Command::DeleteTopic {
                topic: TopicName::Id(id(9)),
            },
            ErrorCode::UnknownTopicId,
        ),
    ];
    for (command, expected) in table {
        assert_eq!(refused(command.clone()), expected, "{command:?}");
    }
}

#[test]
fn the_brokers_own_topics_neither_go_nor_grow() {
    let internal = [
        "__consumer_offsets",
        PLUGINS_TOPIC,
        STATE_TOPIC,
        OFFSETS_TOPIC,
    ];
    for (number, name) in internal.iter().enumerate() {
        let mut machine = machine();
        let topic_id = id(number as u64);
        let made = create(name, number as u64, 1);
        run(&mut machine, &mut Vec::new(), made);
        let commands = [
            Command::DeleteTopic {
                topic: TopicName::Name((*name).into()),
            },
            Command::DeleteTopic {
                topic: TopicName::Id(topic_id),
            },
            Command::CreatePartitions {
                name: (*name).into(),
                total: 4,
                assigned: None,
                validate_only: false,
            },
        ];
        for command in commands {
            let refusal = machine.plan(Now::default(), command).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{refusal:?}");
        }
        let topic = machine.image().topic(name).unwrap();
        assert!(topic.is_internal);
        assert_eq!(topic.takes_produce(), *name == PLUGINS_TOPIC);
    }
}

#[test]
fn to_validate_only_records_nothing() {
    let command = Command::CreateTopic {
        name: "t".into(),
        id: id(1),
        partitions: 4,
        configs: Vec::new(),
        validate_only: true,
    };
    let plan = machine().plan(Now::default(), command).unwrap();
    assert_eq!(plan.records, []);
    assert_eq!(plan.reply, CommandReply::Created { partitions: 4 });
}

/// Returns a generator of numbers below a bound, from the seed.
pub(super) fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut random = seed;
    move |below| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    }
}

/// Returns a command that is valid in the current state on most calls. `step` must differ in each
/// call.
pub(super) fn random_command(
    next: &mut dyn FnMut(u64) -> u64,
    live: &MetadataMachine,
    step: u64,
) -> Option<Command> {
    let name = format!("topic-{}", next(20));
    let known = live
        .image()
        .topic(&name)
        .map(|topic| topic.partition_count());
    Some(match (next(11), known) {
        (0..=4, None) => create(&name, step, 1 + next(8) as i32),
        (0, Some(_)) => Command::DeleteTopic {
            topic: TopicName::Name(name),
        },
        (1, Some(_)) => {
            let topic = TopicName::Id(live.image().topic(&name).unwrap().id);
            Command::DeleteTopic { topic }
        }
        (2, Some(count)) => Command::CreatePartitions {
            name,
            total: count + 1 + next(3) as i32,
            assigned: None,
            validate_only: false,
        },
        (3..=5, Some(_)) => {
            let value = (next(3) > 0).then(|| next(1000).to_string());
            Command::AlterTopicConfigs {
                name,
                changes: [("retention.ms".into(), value)].into(),
            }
        }
        (6, _) => {
            let value = (next(3) > 0).then(|| next(1000).to_string());
            Command::AlterBrokerConfigs {
                are_for_all: next(2) > 0,
                changes: [("log.retention.ms".into(), value)].into(),
            }
        }
        (7, _) => Command::AllocateProducerIds { count: 1000 },
        (8, _) => Command::BumpLeaderEpoch,
        (9, None) => {
            let rules = (0..=next(3)).map(|number| {
                let rule = crate::security::tests::random_rule(next);
                (KafkaUuid::from_parts(8, step * 4 + number), rule)
            });
            let rules = rules.collect();
            Command::CreateAcls { rules }
        }
        (9, Some(_)) => {
            let found = live.image().acls().iter().nth(next(8) as usize);
            let (_, rule) = found?;
            let filters = [crate::security::AclFilter {
                resource: None,
                pattern: crate::security::PatternFilter::Exactly(rule.pattern),
                name: Some(rule.name.to_string()),
                principal: None,
                host: None,
                operation: None,
                permission: None,
            }];
            Command::DeleteAcls {
                filters: filters.into(),
            }
        }
        (10, _) => quotas::tests::random_alteration(next),
        _ => return None,
    })
}

#[test]
fn replay_equals_live_and_so_does_the_snapshot() {
    let seed = 0x51ed_9e37_u64;
    let mut next = random(seed);
    let mut live = machine();
    let mut log = Vec::new();
    for step in 0..2_000_u64 {
        if let Some(command) = random_command(&mut next, &live, step) {
            run(&mut live, &mut log, command);
        }
    }

    let rebuild = |records: &mut dyn Iterator<Item = MetadataRecord>| {
        let mut machine = machine();
        records
            .enumerate()
            .for_each(|(at, record)| machine.apply(Offset(at as i64), &record));
        machine
    };
    let replayed = rebuild(
        &mut log
            .iter()
            .map(|bytes| MetadataRecord::decode(bytes).unwrap()),
    );
    assert_eq!(seen(&replayed), seen(&live), "seed {seed:#x}");
    let from_snapshot = rebuild(&mut live.snapshot());
    assert_eq!(seen(&from_snapshot), seen(&live), "seed {seed:#x}");
    let counted: usize = live
        .image()
        .topics()
        .map(|topic| topic.partitions().count())
        .sum();
    assert_eq!(live.image().partition_count(), counted);
    assert!(live.image().topic_count() > 3 && log.len() > 1000);
}

#[test]
fn the_delta_of_records_is_what_they_take_from_the_image() {
    let seed = 0x9e37_51ed_u64;
    let mut next = random(seed);
    let mut live = machine();
    let partitions = |image: &Image| {
        let topics = image.topics();
        let ids = topics.flat_map(|topic| topic.partitions());
        ids.collect::<BTreeSet<PartitionId>>()
    };
    let mut dropped = 0;
    for step in 0..2_000_u64 {
        let Some(command) = random_command(&mut next, &live, step) else {
            continue;
        };
        let before = partitions(live.image());
        let plan = live.plan(Now::default(), command).unwrap();
        let delta = live.image().delta(&plan.records);
        for record in &plan.records {
            live.apply(Offset(0), record);
        }
        let after = partitions(live.image());
        let gone: Vec<PartitionId> = before.difference(&after).copied().collect();
        assert_eq!(delta.dropped, gone, "seed {seed:#x}, step {step}");
        dropped += gone.len();
    }
    assert!(dropped > 100, "{dropped}");
}

#[test]
fn a_partition_id_is_never_handed_out_twice() {
    let mut live = machine();
    let mut log = Vec::new();
    run(&mut live, &mut log, create("first", 1, 2));
    run(&mut live, &mut log, create("last", 2, 2));
    let last = live.image().topic("last").unwrap().partitions();
    let partitions: Vec<PartitionId> = last.collect();
    run(
        &mut live,
        &mut log,
        Command::DeleteTopic {
            topic: TopicName::Name("last".into()),
        },
    );
    assert!(live.image().topic("last").is_none());
    let mut restarted = machine();
    for record in live.snapshot() {
        restarted.apply(Offset(0), &record);
    }
    run(&mut restarted, &mut log, create("next", 3, 1));
    let given = restarted
        .image()
        .topic("next")
        .unwrap()
        .partition(0)
        .unwrap();
    assert!(
        !partitions.contains(&given),
        "{given} was in {partitions:?}"
    );
}

#[test]
fn a_topic_is_found_by_name_and_by_id_and_reads_its_configuration() {
    let mut live = machine();
    let mut log = Vec::new();
    run(&mut live, &mut log, create("t", 5, 3));
    let before = live.image().clone();
    let change = |name: &str, value: &str| [(String::from(name), Some(String::from(value)))].into();
    run(
        &mut live,
        &mut log,
        Command::AlterBrokerConfigs {
            are_for_all: true,
            changes: change("log.retention.ms", "9"),
        },
    );
    let retention = |image: &Image| image.topic_by_id(id(5)).unwrap().config.retention_ms();
    assert_eq!(retention(live.image()), Some(9));
    assert_eq!(
        retention(&before),
        Some(604_800_000),
        "a published image does not change"
    );
    run(
        &mut live,
        &mut log,
        Command::AlterTopicConfigs {
            name: "t".into(),
            changes: change("retention.ms", "4"),
        },
    );
    assert_eq!(retention(live.image()), Some(4));
    assert_eq!(live.image().topic("t").unwrap().partition(3), None);
    assert_eq!(live.image().topic("t").unwrap().partition(-1), None);
    assert_eq!(live.image().partition_count(), 3);
}

#[test]
fn a_forged_record_does_no_harm() {
    let mut live = machine();
    let record = |storage_id| {
        MetadataRecord::Partition(PartitionRecord {
            partition: PartitionIndex(0),
            topic_id: id(1),
            replicas: Vec::new(),
            isr: Vec::new(),
            leader: None,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            storage_id,
        })
    };
    live.apply(Offset(0), &record(None));
    live.apply(Offset(0), &record(Some(PartitionId(u32::MAX))));
    let error = live.plan(Now::default(), create("t", 1, 1)).unwrap_err();
    assert_eq!(
        error.code,
        ErrorCode::PolicyViolation,
        "there are no ids left"
    );
}
