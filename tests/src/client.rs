//! Runs the client programs of `tests/clients`, and kcat, behind one interface.

use std::collections::BTreeMap;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Output, Process};
use crate::{limits, tools};

/// Time between the timestamps of two records, in milliseconds.
pub const STEP_MS: i64 = 1_000;

/// A client library, used through its program.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub name: &'static str,
    command: fn() -> Command,
}

pub const FRANZ_GO: Client = Client {
    name: "franz-go",
    command: || tools::go("franz"),
};
pub const SARAMA: Client = Client {
    name: "sarama",
    command: || tools::go("sarama"),
};
pub const CONFLUENT: Client = Client {
    name: "confluent-kafka",
    command: || tools::python("confluent.py"),
};
pub const KAFKA_PYTHON: Client = Client {
    name: "kafka-python",
    command: || tools::python("kafka_python.py"),
};
pub const AIOKAFKA: Client = Client {
    name: "aiokafka",
    command: || tools::python("aio.py"),
};
pub const KAFKAJS: Client = Client {
    name: "kafkajs",
    command: || tools::node("kafkajs.js"),
};
pub const JAVA: Client = Client {
    name: "java",
    command: || tools::java_program("Client"),
};
pub const KCAT: Client = Client {
    name: "kcat",
    command: || Command::new("kcat"),
};

/// A record as a consumer received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: String,
    pub value: String,
}

impl Seen {
    /// Returns the number in the key, after checking that the value belongs to it.
    pub fn number(&self) -> i64 {
        let number = self.key.strip_prefix('k').and_then(|n| n.parse().ok());
        let number = number.unwrap_or_else(|| panic!("not one of our keys: {self:?}"));
        assert_eq!(self.value, value(number), "the value of {}", self.key);
        number
    }
}

/// Returns the value of record `n`.
pub fn value(n: i64) -> String {
    format!("v{n}:{}", "x".repeat(100))
}

/// The destination of records: a topic, its partitions, and the timestamp of record 0.
#[derive(Clone, Debug)]
pub struct Topic {
    pub bootstrap: String,
    pub name: String,
    pub partitions: i64,
    pub base_ms: i64,
}

impl Client {
    /// Returns whether the client can set a record's timestamp; kcat cannot.
    pub fn sets_timestamps(&self) -> bool {
        !self.is_kcat()
    }

    /// Returns whether the client creates topics. kcat does not: the broker does on the first use.
    pub fn creates_topics(&self) -> bool {
        !self.is_kcat()
    }

    /// Returns `client=NAME version=VERSION`.
    pub fn version(&self) -> String {
        if self.is_kcat() {
            let said = self.run(&["-V"], b"");
            let word_after = |name: &str| {
                let mut words = said.split([' ', '\n']).skip_while(|word| *word != name);
                words.nth(1).unwrap_or("unknown").to_string()
            };
            let (version, library) = (word_after("Version"), word_after("librdkafka"));
            return format!("client=kcat version={version} (librdkafka {library})");
        }
        self.run(&["version"], b"").trim().to_string()
    }

    pub fn create(&self, topic: &Topic) {
        let partitions = topic.partitions.to_string();
        self.run(&["create", &topic.bootstrap, &topic.name, &partitions], b"");
    }

    /// Produces records `first..first + count` and checks that each was acknowledged.
    pub fn produce(&self, topic: &Topic, codec: &str, first: i64, count: i64) {
        if self.is_kcat() {
            return self.produce_by_kcat(topic, codec, first, count);
        }
        let numbers = [topic.partitions, first, count, topic.base_ms].map(|n| n.to_string());
        let [partitions, first, count_text, base] = &numbers;
        let said = self.run(
            &[
                "produce",
                &topic.bootstrap,
                &topic.name,
                partitions,
                codec,
                first,
                count_text,
                base,
            ],
            b"",
        );
        let acked = said
            .lines()
            .filter_map(json)
            .find_map(|line| line["acked"].as_i64());
        assert_eq!(acked, Some(count), "{} acknowledged\n{said}", self.name);
    }

    fn produce_by_kcat(&self, topic: &Topic, codec: &str, first: i64, count: i64) {
        for partition in 0..topic.partitions {
            let numbers = (first..first + count).filter(|n| n % topic.partitions == partition);
            let lines: Vec<String> = numbers.map(|n| format!("k{n}\t{}\n", value(n))).collect();
            let partition = partition.to_string();
            self.run(
                &[
                    "-P",
                    "-b",
                    &topic.bootstrap,
                    "-t",
                    &topic.name,
                    "-p",
                    &partition,
                    "-K",
                    "\t",
                    "-z",
                    codec,
                    "-X",
                    "acks=all",
                    "-X",
                    "enable.idempotence=true",
                ],
                lines.concat().as_bytes(),
            );
        }
    }

    /// Starts a member of `group`, which begins at the earliest offset if the group has none.
    pub fn join(&self, topic: &Topic, group: &str) -> Member {
        self.join_by("classic", topic, group)
    }

    /// The same, with this `group.protocol`.
    pub fn join_by(&self, protocol: &str, topic: &Topic, group: &str) -> Member {
        let mut command = (self.command)();
        command.env("GROUP_PROTOCOL", protocol);
        if self.is_kcat() {
            command.args([
                "-b",
                &topic.bootstrap,
                "-G",
                group,
                &topic.name,
                "-u",
                "-f",
                KCAT_LINE,
            ]);
            for setting in [
                "auto.offset.reset=earliest",
                "auto.commit.interval.ms=100",
                "heartbeat.interval.ms=300",
                "session.timeout.ms=10000",
            ] {
                command.args(["-X", setting]);
            }
        } else {
            command.args(["consume", &topic.bootstrap, &topic.name, group]);
        }
        let process = Process::spawn(self.name, &mut command);
        Member {
            client: *self,
            process,
        }
    }

    /// Returns the first record at or after `time` of each partition.
    pub fn seek(&self, topic: &Topic, time: i64) -> Vec<Seen> {
        if !self.is_kcat() {
            let said = self.run(
                &["seek", &topic.bootstrap, &topic.name, &time.to_string()],
                b"",
            );
            return said
                .lines()
                .filter_map(json)
                .map(|line| seen(&line))
                .collect();
        }
        let of_partition = |partition: i64| {
            let (partition, at) = (partition.to_string(), format!("s@{time}"));
            let said = self.run(
                &[
                    "-C",
                    "-b",
                    &topic.bootstrap,
                    "-t",
                    &topic.name,
                    "-p",
                    &partition,
                    "-o",
                    &at,
                    "-c",
                    "1",
                    "-f",
                    KCAT_LINE,
                ],
                b"",
            );
            said.lines()
                .filter_map(json)
                .map(|line| seen(&line))
                .collect::<Vec<_>>()
        };
        (0..topic.partitions).flat_map(of_partition).collect()
    }

    fn is_kcat(&self) -> bool {
        self.name == KCAT.name
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut command = (self.command)();
        command.args(arguments);
        let done = Process::run(self.name, &mut command, input, limits::COMMAND);
        tools::must(done, &format!("{} {arguments:?}", self.name)).stdout
    }
}

const KCAT_LINE: &str = r#"{"p":%p,"o":%o,"t":%T,"k":"%k","v":"%s"}\n"#;

/// A running member of a consumer group.
#[derive(Debug)]
pub struct Member {
    client: Client,
    process: Process,
}

impl Member {
    /// Waits until the last reported assignment has `count` partitions.
    pub fn wait_assigned(&mut self, count: usize) -> Vec<i32> {
        let is_kcat = self.client.is_kcat();
        let what = format!("an assignment of {count} partitions");
        self.process.wait_for(&what, limits::CONDITION, |output| {
            let last = if is_kcat {
                kcat_assigned(output)
            } else {
                assigned(output)
            };
            last.filter(|partitions| partitions.len() == count)
        })
    }

    /// Waits until it has received `count` records in all, and committed them if it reports
    /// commits.
    pub fn wait_records(&mut self, count: usize) -> Vec<Seen> {
        let silent = [KCAT.name, SARAMA.name].contains(&self.client.name);
        let what = format!("{count} records, consumed and committed");
        self.process.wait_for(&what, limits::CONDITION, |output| {
            let records = records(output);
            let committed = lines(output).filter_map(|line| line["committed"].as_i64());
            let done = silent || committed.sum::<i64>() >= records.len() as i64;
            (records.len() >= count && done).then_some(records)
        })
    }

    /// Returns the records it has received so far.
    pub fn seen(&self) -> Vec<Seen> {
        records(&self.process.output())
    }

    /// Lets it commit, leave and end. Returns all records that it received.
    pub fn close(mut self) -> Vec<Seen> {
        if self.client.is_kcat() {
            self.process.signal(Signal::TERM);
        }
        self.process.close_stdin();
        let status = self.process.wait_exit(limits::COMMAND);
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.client.name,
            self.process.tail()
        );
        self.seen()
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }

    pub fn tail(&self) -> String {
        self.process.tail()
    }
}

/// Checks that `records` are, partition by partition and in order, exactly those of `numbers`.
pub fn check_all_in_order(records: &[Seen], numbers: std::ops::Range<i64>, topic: &Topic) {
    let mut by_partition: BTreeMap<i64, Vec<&Seen>> = BTreeMap::new();
    for record in records {
        by_partition
            .entry(record.partition.into())
            .or_default()
            .push(record);
    }
    for partition in 0..topic.partitions {
        let got = by_partition.remove(&partition).unwrap_or_default();
        let got_numbers: Vec<i64> = got.iter().map(|record| record.number()).collect();
        let wanted = numbers
            .clone()
            .filter(|n| n % topic.partitions == partition);
        let wanted: Vec<i64> = wanted.collect();
        assert_eq!(
            got_numbers, wanted,
            "the records of partition {partition}, in order"
        );
        for record in got {
            assert_eq!(
                record.offset,
                record.number() / topic.partitions,
                "offset of {record:?}"
            );
        }
    }
    assert!(
        by_partition.is_empty(),
        "records in partitions that the topic has not"
    );
}

fn json(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

fn lines(output: &Output) -> impl Iterator<Item = Value> + '_ {
    output.stdout.iter().filter_map(|line| json(line))
}

fn records(output: &Output) -> Vec<Seen> {
    lines(output)
        .filter(|line| line["k"].is_string())
        .map(|line| seen(&line))
        .collect()
}

fn seen(line: &Value) -> Seen {
    let text = |name: &str| line[name].as_str().expect("a text field").to_string();
    let number = |name: &str| line[name].as_i64().expect("a number field");
    Seen {
        partition: number("p") as i32,
        offset: number("o"),
        timestamp: number("t"),
        key: text("k"),
        value: text("v"),
    }
}

fn assigned(output: &Output) -> Option<Vec<i32>> {
    let list = lines(output)
        .filter_map(|line| line["assigned"].as_array().cloned())
        .last()?;
    Some(
        list.iter()
            .filter_map(Value::as_i64)
            .map(|p| p as i32)
            .collect(),
    )
}

/// Parses `% Group G rebalanced (memberid M): assigned: TOPIC [0], TOPIC [1]`.
fn kcat_assigned(output: &Output) -> Option<Vec<i32>> {
    let line = output
        .stderr
        .iter()
        .rev()
        .find(|line| line.contains("rebalanced (memberid"))?;
    let Some((_, list)) = line.split_once("assigned: ") else {
        return Some(Vec::new());
    };
    Some(
        list.split('[')
            .skip(1)
            .filter_map(|p| p.split(']').next()?.parse().ok())
            .collect(),
    )
}
