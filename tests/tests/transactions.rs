//! Tests transactions with real clients: librdkafka, the Java producer and Kafka's tools. What was
//! committed is seen whole and once, what was aborted is not seen, whatever is killed.
//!
//! `SEDGE_TEST_BROKER=kafka` runs the same against Apache Kafka, without the kills.

use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::broker::Broker;
use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection};
use sedge_tests::{committed, kafka_tools, limits, report, tools};

const PARTITIONS: i32 = 3;
/// As in `transactions.py`.
const RECORDS: usize = 7;
const TRANSACTIONS: usize = 40;
const KILLS: u64 = 6;
const KILLS_LONG: u64 = 60;

fn python(program: &str, arguments: &[&str]) -> Command {
    let mut command = tools::python(program);
    command.args(arguments);
    command
}

fn write(bootstrap: &str, topic: &str, transactions: usize) {
    let (partitions, transactions) = (PARTITIONS.to_string(), transactions.to_string());
    let mut write = python(
        "transactions.py",
        &["write", bootstrap, topic, &partitions, &transactions],
    );
    let done = Process::run("a writer", &mut write, b"", limits::COMMAND);
    tools::must(done, "transactions");
}

/// Returns the values of each partition that `write` commits: every third transaction is aborted.
fn expected(transactions: usize) -> Vec<Vec<String>> {
    let kept = (0..transactions).filter(|number| number % 3 != 1);
    let mut partitions = vec![Vec::new(); PARTITIONS as usize];
    for number in kept {
        for record in 0..RECORDS {
            let partition = record % PARTITIONS as usize;
            partitions[partition].push(format!("{number}.{record}"));
        }
    }
    partitions
}

/// Returns the values of each partition that a `read_committed` consumer sees.
fn seen(bootstrap: &str, topic: &str) -> Vec<Vec<String>> {
    let mut seen = committed::read(bootstrap, topic);
    let of = |partition| seen.remove(&partition).unwrap_or_default();
    (0..PARTITIONS).map(of).collect()
}

/// Returns how many records a `read_uncommitted` consumer sees.
fn count_uncommitted(bootstrap: &str, topic: &str) -> usize {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-b", bootstrap, "-t", topic, "-o", "beginning"]);
    kcat.args(["-e", "-q", "-X", "isolation.level=read_uncommitted"]);
    let done = Process::run("kcat", &mut kcat, b"", limits::COMMAND);
    tools::must(done, "kcat -C").stdout.lines().count()
}

fn create(bootstrap: &str, topic: &str) {
    let mut at = Connection::open(bootstrap);
    wire::create_topic(&mut at, topic, PARTITIONS, &[]);
}

fn tool(name: &str, arguments: &[&str]) -> Finished {
    let mut command = kafka_tools::command(name);
    command.args(arguments);
    Process::run(name, &mut command, b"", limits::COMMAND)
}

#[test]
fn committed_transactions_are_seen_whole_and_aborted_ones_are_not() {
    let mut broker = Broker::start("transactions", &[]);
    let bootstrap = broker.bootstrap();
    create(&bootstrap, "t");
    write(&bootstrap, "t", TRANSACTIONS);
    let expected = expected(TRANSACTIONS);
    assert_eq!(seen(&bootstrap, "t"), expected);
    assert_eq!(count_uncommitted(&bootstrap, "t"), TRANSACTIONS * RECORDS);
    broker.restart();
    assert_eq!(seen(&bootstrap, "t"), expected, "after a restart");
    // The transactional id has a producer, which is fenced by the next.
    write(&bootstrap, "t", 2);
    let more = seen(&bootstrap, "t");
    let counts = |of: &[Vec<String>]| of.iter().map(Vec::len).sum::<usize>();
    assert_eq!(counts(&more), counts(&expected) + RECORDS);
}

/// The views are derived: a start without them reads how each transaction ended from the log.
#[test]
fn a_start_without_views_knows_the_aborted_transactions() {
    if sedge_tests::broker::is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("transactions-views");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    create(&sedge.bootstrap(), "t");
    write(&sedge.bootstrap(), "t", TRANSACTIONS);
    sedge.kill();
    std::fs::remove_dir_all(sedge.data().join("views")).unwrap();
    sedge.start_again();
    assert_eq!(seen(&sedge.bootstrap(), "t"), expected(TRANSACTIONS));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let broker = Broker::start(
        "transactions-timeout",
        &[
            // Kafka's own default checks every ten seconds.
            (
                "transaction.abort.timed.out.transaction.cleanup.interval.ms",
                "500",
            ),
        ],
    );
    let bootstrap = broker.bootstrap();
    create(&bootstrap, "t");
    let mut hang = python("transactions.py", &["hang", &bootstrap, "t", "2000"]);
    let mut hanging = Process::spawn("a hanging producer", &mut hang);
    hanging.wait_for("an open transaction", limits::CONDITION, |output| {
        output
            .stdout
            .iter()
            .any(|line| line == "open")
            .then_some(())
    });
    hanging.kill();
    // What comes behind the open transaction waits for its end, and its own record is never seen.
    write(&bootstrap, "t", 1);
    let deadline = Instant::now() + limits::CONDITION;
    let expected = expected(1);
    loop {
        let seen = seen(&bootstrap, "t");
        if seen == expected {
            break;
        }
        assert!(!seen[0].contains(&"open".to_owned()), "{seen:?}");
        assert!(Instant::now() < deadline, "{seen:?}");
    }
}

#[test]
fn the_java_producer_and_kafka_s_tools_know_transactions() {
    let broker = Broker::start("transactions-java", &[]);
    let bootstrap = broker.bootstrap();
    create(&bootstrap, "t");
    let producer_config = format!("bootstrap.servers={bootstrap}");
    let perf = tool(
        "kafka-producer-perf-test",
        &[
            "--topic",
            "t",
            "--num-records",
            "5000",
            "--record-size",
            "100",
            "--throughput",
            "-1",
            "--transactional-id",
            "perf",
            "--transaction-duration-ms",
            "20",
            "--command-property",
            &producer_config,
        ],
    );
    tools::must(perf, "kafka-producer-perf-test");
    let consumed = tool(
        "kafka-console-consumer",
        &[
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "t",
            "--from-beginning",
            "--isolation-level",
            "read_committed",
            "--max-messages",
            "5000",
            "--timeout-ms",
            "60000",
        ],
    );
    let consumed = tools::must(consumed, "kafka-console-consumer").stdout;
    assert_eq!(consumed.lines().count(), 5000);

    let mut hang = python("transactions.py", &["hang", &bootstrap, "t", "600000"]);
    let mut hanging = Process::spawn("a hanging producer", &mut hang);
    hanging.wait_for("an open transaction", limits::CONDITION, |output| {
        output
            .stdout
            .iter()
            .any(|line| line == "open")
            .then_some(())
    });
    let ask = |arguments: &[&str]| {
        let all = [&["--bootstrap-server", &*bootstrap], arguments].concat();
        let done = tool("kafka-transactions", &all);
        tools::must(done, "kafka-transactions").stdout
    };
    let listed = ask(&["list"]);
    let line = |id: &str| {
        listed
            .lines()
            .find(|line| line.starts_with(id))
            .map(str::to_owned)
    };
    assert!(line("perf").unwrap().contains("CompleteCommit"), "{listed}");
    assert!(line("t-hanging").unwrap().contains("Ongoing"), "{listed}");
    let described = ask(&["describe", "--transactional-id", "t-hanging"]);
    assert!(
        described.contains("Ongoing") && described.contains("t-0"),
        "{described}"
    );
    let producers = ask(&["describe-producers", "--topic", "t", "--partition", "0"]);
    let is_open = |line: &str| {
        let start = line.split_whitespace().last();
        start.is_some_and(|start| start.parse::<i64>().is_ok())
    };
    assert!(producers.lines().skip(1).any(is_open), "{producers}");
}

#[test]
fn a_link_sends_what_was_committed() {
    if sedge_tests::broker::is_skipped_on_kafka() {
        return;
    }
    for mode in ["exactly-once", "at-least-once"] {
        let directory = TempDir::new("transactions-mirror");
        let there = Sedge::start(&directory.join("hq"), Options::default());
        let link = Options::default().config(format!(
            "[mirror.hq]\nbootstrap.servers = \"{}\"\ntopics = [\"t\"]\nmode = \"{mode}\"\n",
            there.bootstrap()
        ));
        let here = Sedge::start(&directory.join("edge"), link);
        create(&here.bootstrap(), "t");
        write(&here.bootstrap(), "t", TRANSACTIONS);
        let expected = expected(TRANSACTIONS);
        let deadline = Instant::now() + limits::CONDITION;
        while seen(&there.bootstrap(), "t") != expected {
            assert!(
                Instant::now() < deadline,
                "{mode}: {:?}",
                seen(&there.bootstrap(), "t")
            );
        }
        let records: usize = expected.iter().map(Vec::len).sum();
        assert_eq!(
            count_uncommitted(&there.bootstrap(), "t"),
            records,
            "{mode}"
        );
    }
}

/// Keeps starting a copier until one ends by itself.
fn copy_to_the_end(bootstrap: &str) {
    let partitions = PARTITIONS.to_string();
    let arguments = [bootstrap, "from", "to", "copy", &partitions];
    let deadline = Instant::now() + limits::COMMAND;
    loop {
        let mut copier = python("copier.py", &arguments);
        let done = Process::run("a copier", &mut copier, b"", limits::COMMAND);
        if done.status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{}", done.stderr);
    }
}

/// KIP-447: offsets and records of a transaction are committed together or not at all.
#[test]
fn consume_transform_produce_is_exact_whatever_is_killed() {
    if sedge_tests::broker::is_skipped_on_kafka() {
        return;
    }
    let kills = if soak::is_long() { KILLS_LONG } else { KILLS };
    let transactions = 30 * kills as usize;
    let random = Random::new();
    let directory = TempDir::new("transactions-copy");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let bootstrap = sedge.bootstrap();
    create(&bootstrap, "from");
    create(&bootstrap, "to");
    write(&bootstrap, "from", transactions);
    let partitions = PARTITIONS.to_string();
    let mut random = random;
    for kill in 0..kills {
        let arguments = [&*bootstrap, "from", "to", "copy", &partitions];
        let mut copier = Process::spawn("a copier", &mut python("copier.py", &arguments));
        std::thread::sleep(Duration::from_millis(500 + random.below(2_500)));
        if kill % 2 == 0 {
            sedge.kill();
            sedge.start_again();
        }
        copier.kill();
    }
    copy_to_the_end(&bootstrap);
    let (from, to) = (seen(&bootstrap, "from"), seen(&bootstrap, "to"));
    assert_eq!(from, expected(transactions));
    assert_eq!(to, from, "seed {}", random.seed());
    report::line(format_args!("{kills} kills, {} records", to.concat().len()));
}
