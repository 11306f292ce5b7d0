//! Sends the same requests to sedge and to Apache Kafka, valid ones, edge cases and wrong ones, in
//! all their versions, and compares the responses field by field. What may differ is listed with
//! the reason.

use std::fmt::Write as _;

use sedge_tests::apache_kafka::ApacheKafka;
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::report;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Commit, Connection, Coordinated, error};

#[path = "differential/batches.rs"]
mod batches;
#[path = "differential/case.rs"]
mod case;
#[path = "differential/cluster.rs"]
mod cluster;
#[path = "differential/compare.rs"]
mod compare;
#[path = "differential/configs.rs"]
mod configs;
#[path = "differential/groups.rs"]
mod groups;
#[path = "differential/members.rs"]
mod members;
#[path = "differential/records.rs"]
mod records;
#[path = "differential/topics.rs"]
mod topics;
#[path = "differential/transactions.rs"]
mod transactions;

use case::Case;

/// A topic with two partitions and no records.
const TOPIC: &str = "t";
const MISSING: &str = "missing";

/// Settings of both brokers.
const SETTINGS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("group.initial.rebalance.delay.ms", "0"),
];

/// Fields that may differ: the beginning of the name of a case, the end of the path of the field,
/// and the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("", "error_message", "messages are in words of our own"),
    ("", "message", "messages are in words of our own"),
    ("", "host", "addresses"),
    ("", "port", "addresses"),
    ("", "cluster_id", "random"),
    ("", "topic_id", "random"),
    (
        "describe quorum",
        "high_watermark",
        "other records of the metadata",
    ),
    (
        "describe quorum",
        "log_end_offset",
        "other records of the metadata",
    ),
    ("describe quorum", "leader_epoch", "Kafka counts elections"),
    ("describe quorum", "_timestamp", "time"),
    (
        "describe quorum",
        "listeners.name",
        "the controller has no listener of its own",
    ),
    (
        "describe topic partitions of \"",
        "authorized_operations",
        "a topic that is not there has none; Kafka gives all",
    ),
    (
        "describe 2 \"t\" retention.ms",
        "synonyms",
        "Kafka does not name log.retention.hours for its default",
    ),
    (
        "describe 2 \"t\" retention.ms",
        "synonyms.name",
        "Kafka does not name log.retention.hours for its default",
    ),
    (
        "fetch",
        "aborted_transactions",
        "with an error there is no list; Kafka has an empty one",
    ),
    (
        "fetch \"t\" 0",
        "high_watermark",
        "a client out of range learns the range",
    ),
    (
        "fetch \"t\" 0",
        "last_stable_offset",
        "a client out of range learns the range",
    ),
    (
        "fetch \"t\" 0",
        "log_start_offset",
        "a client out of range learns the range",
    ),
    (
        "read 1000000",
        "high_watermark",
        "a client out of range learns the range",
    ),
    (
        "read 1000000",
        "last_stable_offset",
        "a client out of range learns the range",
    ),
    (
        "read 1000000",
        "log_start_offset",
        "a client out of range learns the range",
    ),
    (
        "read 1000000",
        "aborted_transactions",
        "none, as a list or as null",
    ),
    (
        "produce ",
        "log_start_offset",
        "Kafka tells it with some errors of records, and not with others",
    ),
    (
        "produce an unknown codec",
        "error_code",
        "Kafka fails with UNKNOWN_SERVER_ERROR",
    ),
    (
        "produce what is no gzip",
        "error_code",
        "Kafka fails with UNKNOWN_SERVER_ERROR",
    ),
    (
        "produce ",
        "log_append_time_ms",
        "Kafka answers a repeated batch with its own time",
    ),
    ("join: first", "member_id", "random"),
    ("list groups", "groups.group_id", "in no order"),
    (
        "consumer: ",
        "member_epoch",
        "Kafka assigns later (group.consumer.assignment.interval.ms)",
    ),
    (
        "consumer: ",
        "assignment.topic_partitions",
        "Kafka assigns later (group.consumer.assignment.interval.ms)",
    ),
    (
        "produce with acks=2",
        "error_code",
        "wrong acks are told before wrong partitions and records",
    ),
    (
        "delete records \"t\" 9 -2",
        "error_code",
        "a wrong offset is told before a wrong partition",
    ),
];

/// Waits for the coordinators of groups and of transactions.
fn wait_for_coordinators(connection: &mut Connection) {
    Commit::of("ready", TOPIC, 0).wait(connection);
    let of = "x";
    Coordinated::Transactions(of).wait(connection, |connection| {
        match transactions::open(connection, of) {
            error::NONE => Ok(()),
            code => Err(code),
        }
    });
}

#[test]
fn responses_are_those_of_apache_kafka() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("differential");
    let owned = SETTINGS.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    let settings: Vec<(String, String)> = owned.collect();
    let kafka = ApacheKafka::start(&directory.join("kafka"), &settings);
    let options = Options {
        settings,
        ..Options::default()
    };
    let sedge = Sedge::start(&directory.join("data"), options);
    let addresses = [sedge.bootstrap(), kafka.bootstrap()];
    let mut connections = addresses
        .each_ref()
        .map(|address| Connection::open(address));
    for connection in &mut connections {
        wire::create_topic(connection, TOPIC, 2, &[]);
        wire::create_topic(connection, batches::WRITTEN, 1, &[]);
        wire::wait_known(connection, batches::WRITTEN, 0);
        wait_for_coordinators(connection);
    }
    let cases = [
        topics::cases(),
        configs::cases(),
        records::cases(),
        members::cases(),
        transactions::cases(),
        groups::cases(),
        batches::cases(),
        cluster::cases(),
    ];
    let cases: Vec<Case> = cases.into_iter().flatten().collect();
    let mut wrong = String::new();
    for case in &cases {
        let mut said = Vec::new();
        for (connection, address) in connections.iter_mut().zip(&addresses) {
            let answer = case.ask(connection);
            if answer.is_none() {
                *connection = Connection::open(address);
            }
            said.push(answer.unwrap_or_else(|| "closed".to_owned()));
        }
        for difference in compare::differences(&said[0], &said[1]) {
            let is_allowed = ALLOWED.iter().any(|(name, path, _)| {
                case.name.starts_with(name) && difference.path.ends_with(path)
            });
            if !is_allowed {
                writeln!(wrong, "{}: {difference}", case.name).expect("a String takes everything");
            }
        }
    }
    report::line(format_args!("{} requests were compared", cases.len()));
    assert!(cases.len() > 300, "{}", cases.len());
    assert!(wrong.is_empty(), "\n{wrong}");
}
