//! Tests Kafka Connect in its distributed mode: two workers of one group (incremental cooperative
//! rebalancing), a file source with exactly-once and a file sink, while the broker and workers are
//! killed. Each line is in the topic once and in order; a sink that is killed may write lines
//! again, which is Connect's promise, and leaves none out.
//!
//! `SEDGE_TEST_BROKER=kafka` runs the same against Apache Kafka.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sedge_tests::broker::Broker;
use sedge_tests::process::Process;
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{committed, http, kafka_tools, limits, ports, report};

/// Of workers, and as many of the broker.
const KILLS: usize = 1;
const KILLS_LONG: usize = 10;
/// Lines that are written before each kill, and after the last one.
const LINES: usize = 200;
const TOPIC: &str = "connected";

/// A worker, which can be started again.
struct Worker {
    properties: PathBuf,
    rest: String,
    process: Process,
}

impl Worker {
    fn start(directory: &Path, bootstrap: &str, number: usize) -> Self {
        let rest = format!("127.0.0.1:{}", ports::free());
        let properties = directory.join(format!("worker-{number}.properties"));
        let text = format!(
            "bootstrap.servers={bootstrap}\n\
             group.id=workers\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             config.storage.topic=connect-configs\n\
             offset.storage.topic=connect-offsets\n\
             status.storage.topic=connect-status\n\
             config.storage.replication.factor=1\n\
             offset.storage.replication.factor=1\n\
             status.storage.replication.factor=1\n\
             offset.storage.partitions=5\n\
             exactly.once.source.support=enabled\n\
             connector.client.config.override.policy=All\n\
             connect.protocol=sessioned\n\
             scheduled.rebalance.max.delay.ms=0\n\
             session.timeout.ms=6000\n\
             heartbeat.interval.ms=1000\n\
             offset.flush.interval.ms=500\n\
             listeners=http://{rest}\n\
             plugin.discovery=service_load\n"
        );
        fs::write(&properties, text).expect("the directory is writable");
        let process = Self::spawn(&properties);
        Self {
            properties,
            rest,
            process,
        }
    }

    fn spawn(properties: &Path) -> Process {
        let mut command = kafka_tools::command("connect-distributed");
        command.arg(properties);
        Process::spawn("connect-distributed", &mut command)
    }

    fn kill_and_start(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.properties);
    }

    /// Waits until the worker has taken the configuration of a connector.
    fn configure(&mut self, name: &str, config: &str) {
        let deadline = Instant::now() + limits::COMMAND;
        let path = format!("/connectors/{name}/config");
        loop {
            // Refused while it starts; 409 while the group rebalances.
            let answer = http::try_put(&self.rest, &path, config);
            if let Ok((200 | 201, _)) = answer {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{name}: {answer:?}\n{}",
                self.process.tail()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn line(number: usize) -> String {
    format!("line {number}")
}

/// Writes the next lines to the source's file.
fn write(file: &Path, written: &mut usize) {
    let text: String = (*written..*written + LINES)
        .map(|number| line(number) + "\n")
        .collect();
    let file = OpenOptions::new().create(true).append(true).open(file);
    let mut file = file.expect("the directory is writable");
    file.write_all(text.as_bytes()).expect("as above");
    *written += LINES;
}

/// Returns the whole lines of the sink's file without those that were written again. A sink that is
/// killed may leave a part of a line.
fn first_of_each(file: &Path, expected: &HashSet<String>) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut seen = HashSet::new();
    let lines = text.lines().filter(|line| expected.contains(*line));
    lines
        .filter(|line| seen.insert((*line).to_owned()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_file_goes_through_two_workers_whatever_is_killed() {
    let kills = if soak::is_long() { KILLS_LONG } else { KILLS };
    let directory = TempDir::new("connect");
    let mut broker = Broker::start("connect-broker", &[]);
    let bootstrap = broker.bootstrap();
    let mut workers = [0, 1].map(|number| Worker::start(directory.path(), &bootstrap, number));
    let (source, sink) = (directory.join("source.txt"), directory.join("sink.txt"));
    let mut written = 0;
    write(&source, &mut written);
    workers[0].configure(
        "source",
        &format!(
            "{{\"connector.class\":\"FileStreamSource\",\"tasks.max\":\"1\",\"topic\":\"{TOPIC}\",\
             \"file\":\"{}\",\"exactly.once.support\":\"required\"}}",
            source.display()
        ),
    );
    workers[1].configure(
        "sink",
        &format!(
            "{{\"connector.class\":\"FileStreamSink\",\"tasks.max\":\"1\",\"topics\":\"{TOPIC}\",\
             \"consumer.override.isolation.level\":\"read_committed\",\"file\":\"{}\"}}",
            sink.display()
        ),
    );
    let mut random = Random::new();
    for kill in 0..kills {
        // The moments of the kills are random.
        let mut some_time = || Duration::from_millis(random.below(3_000));
        write(&source, &mut written);
        std::thread::sleep(some_time());
        broker.kill_and_start();
        write(&source, &mut written);
        std::thread::sleep(some_time());
        workers[kill % 2].kill_and_start();
    }
    write(&source, &mut written);
    let expected: Vec<String> = (0..written).map(line).collect();
    let deadline = Instant::now() + limits::COMMAND * 2;
    let lines: HashSet<String> = expected.iter().cloned().collect();
    let look = || {
        let topic = committed::read(&bootstrap, TOPIC);
        let topic: Vec<String> = topic.into_values().flatten().collect();
        (topic, first_of_each(&sink, &lines))
    };
    let (mut in_topic, mut in_sink) = look();
    while (in_topic.len() < written || in_sink.len() < written) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
        (in_topic, in_sink) = look();
    }
    if in_topic != expected || in_sink != expected {
        println!("seed {}", random.seed());
        for worker in &workers {
            println!("{}", worker.process.tail());
        }
    }
    assert_eq!(in_topic, expected, "the topic");
    assert_eq!(in_sink, expected, "the sink");
    report::line(format_args!("{} kills, {written} lines", 2 * kills));
}
