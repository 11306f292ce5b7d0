//! Tests Kafka Streams with `exactly_once_v2`: a word count and a windowed join, while the broker
//! and the application are killed. Each step of each count and each joined pair is seen once.
//!
//! `SEDGE_TEST_BROKER=kafka` runs the same against Apache Kafka.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use sedge_tests::broker::Broker;
use sedge_tests::process::Process;
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{committed, limits, report, tools};

const PARTITIONS: i32 = 2;
/// Of the application, and as many of the broker.
const KILLS: usize = 1;
const KILLS_LONG: usize = 10;
/// Lines that are written before each kill, and after the last one.
const LINES: usize = 200;
/// Words of a line.
const WORDS: [usize; 2] = [7, 11];

/// Words of line number `line`.
fn words(line: usize) -> [String; 2] {
    WORDS.map(|of| format!("w{of}-{}", line % of))
}

/// Writes the next lines and the pairs to be joined.
fn write(bootstrap: &str, written: &mut usize) {
    let mut connection = Connection::open(bootstrap);
    for partition in 0..PARTITIONS as usize {
        let of_partition = *written..*written + LINES;
        let of_partition = of_partition.filter(|line| line % PARTITIONS as usize == partition);
        let numbers: Vec<usize> = of_partition.collect();
        for topic in ["lines", "left", "right"] {
            let record = |line: &usize| {
                let value = match topic {
                    "lines" => words(*line).join(" "),
                    topic => format!("{topic}{line}"),
                };
                (line.to_string().into_bytes(), Some(value.into_bytes()))
            };
            let records: Vec<_> = numbers.iter().map(record).collect();
            let batch = Batch::keyed(&records).encode();
            let answer = wire::produce(&mut connection, topic, partition as i32, &batch);
            assert_eq!(answer.error, error::NONE, "{topic}: {answer:?}");
        }
    }
    *written += LINES;
}

/// Returns the steps of each word's count as a `read_committed` consumer sees them.
fn counts(bootstrap: &str) -> BTreeMap<String, Vec<usize>> {
    let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for step in committed::read(bootstrap, "counts").into_values().flatten() {
        let (word, count) = step
            .split_once('=')
            .unwrap_or_else(|| panic!("no word and count: {step:?}"));
        let count = count.parse().expect("a number");
        counts.entry(word.to_owned()).or_default().push(count);
    }
    counts
}

fn expected_counts(lines: usize) -> BTreeMap<String, Vec<usize>> {
    let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for word in (0..lines).flat_map(words) {
        let steps = counts.entry(word).or_default();
        steps.push(steps.len() + 1);
    }
    counts
}

fn joined(bootstrap: &str) -> Vec<String> {
    let mut joined: Vec<String> = committed::read(bootstrap, "joined")
        .into_values()
        .flatten()
        .collect();
    joined.sort_unstable();
    joined
}

fn expected_joined(lines: usize) -> Vec<String> {
    let mut joined: Vec<String> = (0..lines).map(|n| format!("left{n}+right{n}")).collect();
    joined.sort_unstable();
    joined
}

fn start(bootstrap: &str, state: &Path) -> Process {
    let mut command = tools::java_program("Streams");
    command.arg(bootstrap).arg(state);
    Process::spawn("Streams", &mut command)
}

fn is_running(application: &mut Process) {
    application.wait_for("RUNNING", limits::CONDITION, |output| {
        output
            .stdout
            .iter()
            .any(|line| line == "RUNNING")
            .then_some(())
    });
}

#[test]
fn counts_and_joins_are_exact_whatever_is_killed() {
    let kills = if soak::is_long() { KILLS_LONG } else { KILLS };
    let directory = TempDir::new("streams");
    let state = directory.join("state");
    let mut broker = Broker::start("streams", &[]);
    let bootstrap = broker.bootstrap();
    {
        let mut connection = Connection::open(&bootstrap);
        for topic in ["lines", "left", "right", "counts", "joined"] {
            wire::create_topic(&mut connection, topic, PARTITIONS, &[]);
            for partition in 0..PARTITIONS {
                wire::wait_known(&mut connection, topic, partition);
            }
        }
    }
    let mut random = Random::new();
    let mut written = 0;
    let mut application = start(&bootstrap, &state);
    is_running(&mut application);
    for _ in 0..kills {
        // The moments of the kills are random.
        let mut some_time = || Duration::from_millis(random.below(1_500));
        write(&bootstrap, &mut written);
        std::thread::sleep(some_time());
        broker.kill_and_start();
        write(&bootstrap, &mut written);
        std::thread::sleep(some_time());
        application.kill();
        application = start(&bootstrap, &state);
        is_running(&mut application);
    }
    write(&bootstrap, &mut written);
    let expected = (expected_counts(written), expected_joined(written));
    let deadline = Instant::now() + limits::COMMAND;
    let mut seen = (counts(&bootstrap), joined(&bootstrap));
    while seen != expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
        seen = (counts(&bootstrap), joined(&bootstrap));
    }
    if seen != expected {
        println!("seed {}\n{}", random.seed(), application.tail());
    }
    assert_eq!(seen, expected);
    application.close_stdin();
    let status = application.wait_exit(limits::COMMAND);
    assert!(status.success(), "{status}: {}", application.tail());
    report::line(format_args!(
        "{} kills, {written} lines: {} steps of counts, {} pairs",
        2 * kills,
        written * WORDS.len(),
        expected.1.len()
    ));
}
