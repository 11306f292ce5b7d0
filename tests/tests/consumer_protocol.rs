//! Tests the consumer protocol (KIP-848) with real, unchanged clients: rebalances, kills of the
//! broker and of members, and groups that change their protocol while their members run.
//!
//! `SEDGE_TEST_BROKER=kafka` runs the same against Apache Kafka.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use sedge_tests::broker::Broker;
use sedge_tests::client::{self, Client, Member, Topic, check_all_in_order};
use sedge_tests::process::Process;
use sedge_tests::{kafka_tools, limits, report};

const PARTITIONS: usize = 4;
const CONSUMER: &str = "consumer";
const CLASSIC: &str = "classic";

#[test]
fn java() {
    check(client::JAVA);
}

#[test]
fn confluent_kafka() {
    check(client::CONFLUENT);
}

#[test]
fn franz_go() {
    check(client::FRANZ_GO);
}

fn start(name: &str) -> (Broker, Topic) {
    let partitions = PARTITIONS.to_string();
    let settings = [
        ("num.partitions", &*partitions),
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.consumer.min.heartbeat.interval.ms", "100"),
        ("group.consumer.heartbeat.interval.ms", "300"),
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.session.timeout.ms", "10000"),
    ];
    let broker = Broker::start(name, &settings);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set");
    let topic = Topic {
        bootstrap: broker.bootstrap(),
        name: format!("readings-{name}"),
        partitions: PARTITIONS as i64,
        base_ms: since.as_millis() as i64 - 2 * 3_600_000,
    };
    (broker, topic)
}

/// Waits until the members have all partitions, each one of them.
fn wait_shared(first: &mut Member, second: &mut Member) {
    let mine = first.wait_assigned(PARTITIONS / 2);
    let others = second.wait_assigned(PARTITIONS / 2);
    let both: BTreeSet<i32> = mine.iter().chain(&others).copied().collect();
    assert_eq!(both.len(), PARTITIONS, "{mine:?} and {others:?}");
}

/// Returns what `kafka-consumer-groups` says of the group.
fn describe(topic: &Topic, what: &str) -> String {
    let arguments = format!(
        "--bootstrap-server {} --describe --group workers {what}",
        topic.bootstrap
    );
    let mut command = kafka_tools::command("kafka-consumer-groups");
    command.args(arguments.split_whitespace());
    let done = Process::run("kafka-consumer-groups", &mut command, b"", limits::COMMAND);
    format!("{}{}", done.stdout, done.stderr)
}

fn check(client: Client) {
    report::line(format_args!("{}", client.version()));
    let (mut broker, topic) = start(client.name);
    client.create(&topic);
    client.produce(&topic, "none", 0, 200);
    let mut first = client.join_by(CONSUMER, &topic, "workers");
    first.wait_assigned(PARTITIONS);
    let records = first.wait_records(200);
    check_all_in_order(&records, 0..200, &topic);
    let mut second = client.join_by(CONSUMER, &topic, "workers");
    wait_shared(&mut first, &mut second);

    broker.kill_and_start();
    client.produce(&topic, "none", 200, 200);
    let by_second = second.wait_records(100);
    let by_first = first.wait_records(300);
    let both = [&by_first[200..], &by_second[..]].concat();
    check_all_in_order(&both, 200..400, &topic);

    second.close();
    first.wait_assigned(PARTITIONS);
    client.produce(&topic, "none", 400, 200);
    let all = first.wait_records(500);
    check_all_in_order(&all[300..], 400..600, &topic);
    assert_eq!(first.close().len(), 500, "nothing came twice");
}

#[test]
fn a_killed_member_is_replaced_after_its_session() {
    let client = client::JAVA;
    let (_broker, topic) = start("killed-member");
    client.create(&topic);
    let mut first = client.join_by(CONSUMER, &topic, "workers");
    first.wait_assigned(PARTITIONS);
    let mut second = client.join_by(CONSUMER, &topic, "workers");
    wait_shared(&mut first, &mut second);
    second.kill();
    first.wait_assigned(PARTITIONS);
}

#[test]
fn a_group_changes_its_protocol_while_its_members_run() {
    let client = client::JAVA;
    let (_broker, topic) = start("migration");
    client.create(&topic);
    client.produce(&topic, "none", 0, 200);
    let mut old = client.join_by(CLASSIC, &topic, "workers");
    old.wait_assigned(PARTITIONS);
    old.wait_records(200);

    let mut new = client.join_by(CONSUMER, &topic, "workers");
    wait_shared(&mut old, &mut new);
    let members = describe(&topic, "--members");
    let rows = members.lines().filter(|line| line.starts_with("workers"));
    assert_eq!(rows.count(), 2, "{members}");
    let state = describe(&topic, "--state");
    assert!(
        state.contains("Stable") && state.contains("uniform"),
        "{state}"
    );
    client.produce(&topic, "none", 200, 200);
    let by_new = new.wait_records(100);
    let by_old = old.wait_records(300);
    let both = [&by_old[200..], &by_new[..]].concat();
    check_all_in_order(&both, 200..400, &topic);

    new.close();
    old.wait_assigned(PARTITIONS);
    client.produce(&topic, "none", 400, 200);
    let all = old.wait_records(500);
    check_all_in_order(&all[300..], 400..600, &topic);
    old.close();
    let state = describe(&topic, "--state");
    assert!(state.contains("Empty"), "{state}");
}
