//! Tests snapshots of the metadata: topics keep their ids, settings and records through churn,
//! kills at any moment and the loss of one copy. If both copies are lost, the start is refused and
//! there is a way out.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sedge_tests::http;
use sedge_tests::report;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::segments;
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Topic, key};

use crate::metadata::wait_until;
use crate::offline::{copy, doctor, refused, segment, wrong};

/// `__cluster_metadata`, and the partitions that hold the copies of its snapshots.
const LOG: u32 = 0;
const COPIES: [u32; 2] = [u32::MAX - 15, u32::MAX - 14];

pub fn options() -> Options {
    Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("sedge.scrub.bytes.per.second", "0")
        .set("metadata.log.max.record.bytes.between.snapshots", "10000")
}

/// A row of a frame with batches, and their place.
#[derive(Clone, Debug)]
struct Row {
    segment: u64,
    partition: u32,
    next: i64,
    /// Position in the segment's file.
    at: u64,
    bytes: u64,
}

/// The contents of the segments: rows with batches, and log starts.
#[derive(Debug, Default)]
struct Held {
    rows: Vec<Row>,
    starts: BTreeMap<u32, i64>,
}

impl Held {
    fn of(data: &Path) -> Self {
        let mut held = Self::default();
        for (path, bytes) in segments::read_all(data) {
            held.read(&path, &bytes);
        }
        held
    }

    /// Reads a segment by `broker/storage/FORMAT.md`: frames by their magic and the segment's
    /// generation.
    fn read(&mut self, path: &Path, bytes: &[u8]) {
        let id = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let number = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let small = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut at = 64;
        while at + 48 <= bytes.len() {
            if bytes[at..at + 4] != *b"SFRM" || number(at + 8) != number(24) {
                at += 1;
                continue;
            }
            let rows = small(at + 32) as usize;
            if at + 48 + 40 * rows > bytes.len() {
                break;
            }
            let mut body = at + 48 + 40 * rows;
            for row in (0..rows).map(|row| at + 48 + 40 * row) {
                let (partition, size) = (small(row + 4), small(row + 32) as usize);
                match bytes[row] {
                    1 | 4 => self.rows.push(Row {
                        segment: id,
                        partition,
                        next: number(row + 16),
                        at: body as u64,
                        bytes: size as u64,
                    }),
                    2 => {
                        let start = self.starts.entry(partition).or_default();
                        *start = number(row + 8).max(*start);
                    }
                    _ => {}
                }
                body += size;
            }
            at = body;
        }
    }

    fn is_live(&self, row: &Row) -> bool {
        row.next > self.starts.get(&row.partition).copied().unwrap_or(0)
    }

    /// Returns the live rows of a partition.
    fn live(&self, partition: u32) -> impl Iterator<Item = &Row> {
        let of_it = self
            .rows
            .iter()
            .filter(move |row| row.partition == partition);
        of_it.filter(|row| self.is_live(row))
    }

    fn segments(&self, partition: u32) -> BTreeSet<u64> {
        self.live(partition).map(|row| row.segment).collect()
    }
}

/// Flips one bit in a partition's bytes in the segments, at `percent` of them.
fn flip(data: &Path, partition: u32, percent: u64) {
    let held = Held::of(data);
    let live: Vec<&Row> = held.live(partition).collect();
    assert!(!live.is_empty(), "no live row of {partition}: {held:?}");
    let bytes: u64 = live.iter().map(|row| row.bytes).sum();
    let mut at = bytes * percent / 100;
    let mut rows = live.into_iter();
    let row = loop {
        let row = rows.next().unwrap();
        if at < row.bytes {
            break row;
        }
        at -= row.bytes;
    };
    let at = row.at + at;
    let path = segment(data, row.segment);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// A topic as it was acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub topic: Topic,
    pub retention_ms: Option<String>,
    pub records: Vec<String>,
}

pub type Model = BTreeMap<String, Known>;

/// Returns the broker's topics.
pub fn seen(connection: &mut Connection, settings: &Model) -> Model {
    let mut found = Model::new();
    for (name, topic) in wire::topics(connection) {
        let is_set = settings
            .get(&name)
            .is_none_or(|of| of.retention_ms.is_some());
        let value = wire::topic_config(connection, &name, "retention.ms");
        // Fetches what exists, without waiting for more.
        let mut body = wire::fetch_request(&name, 0, 0, 1 << 20);
        body[4..8].fill(0);
        let reply = connection.ask(key::FETCH, wire::FETCH_VERSION, &body);
        let fetched = wire::fetched(&reply);
        let records = wire::records(&fetched.records).into_iter();
        let records = records.map(|record| String::from_utf8(record.value).unwrap());
        let known = Known {
            topic,
            retention_ms: value.filter(|_| is_set),
            records: records.collect(),
        };
        found.insert(name, known);
    }
    found
}

struct Churn {
    random: Random,
    model: Model,
    made: u64,
}

impl Churn {
    fn pick(&mut self) -> Option<String> {
        let names: Vec<&String> = self.model.keys().collect();
        let at = self.random.below(names.len().max(1) as u64) as usize;
        names.get(at).map(|name| (*name).clone())
    }

    fn step(&mut self, connection: &mut Connection) {
        let name = self.pick();
        match (self.random.below(10), name) {
            (0 | 1, _) | (_, None) => {
                self.made += 1;
                let name = format!("topic-{}", self.made);
                let partitions = 1 + self.random.below(3) as i32;
                wire::create_topic(connection, &name, partitions, &[]);
                let topic = wire::topics(connection).remove(&name).unwrap();
                let known = Known {
                    topic,
                    retention_ms: None,
                    records: Vec::new(),
                };
                self.model.insert(name, known);
            }
            (2, Some(name)) if self.model.len() > 5 => {
                wire::delete_topic(connection, &name);
                self.model.remove(&name);
            }
            (3, Some(name)) => {
                let value = format!("{name} {}", self.random.below(1 << 30));
                let batch = Batch::of(&[value.clone().into_bytes()]).encode();
                let produced = wire::produce(connection, &name, 0, &batch);
                assert_eq!(produced.error, 0, "{name}");
                self.model.get_mut(&name).unwrap().records.push(value);
            }
            (_, Some(name)) => {
                let value = (1 + self.random.below(1 << 40)).to_string();
                wire::alter_topic(connection, &name, ("retention.ms", &value));
                self.model.get_mut(&name).unwrap().retention_ms = Some(value);
            }
        }
    }
}

const ROUNDS: u64 = 8;
const ROUNDS_LONG: u64 = 60;

#[test]
fn topics_outlive_kills_and_a_rotten_copy_of_each_snapshot() {
    let random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    let directory = TempDir::new("snapshots");
    let mut churn = Churn {
        random,
        model: Model::new(),
        made: 0,
    };
    let mut sedge = Sedge::start(&directory.join("data"), options());
    let rounds = if soak::is_long() { ROUNDS_LONG } else { ROUNDS };
    for round in 0..rounds {
        let mut connection = Connection::open(&sedge.bootstrap());
        for _ in 0..100 + churn.random.below(300) {
            churn.step(&mut connection);
        }
        // In the other rounds, the kill may come before a snapshot is begun, or while one is
        // written.
        if round % 2 == 0 {
            let console = sedge.console().to_owned();
            wait_until("a snapshot is made", || {
                churn.step(&mut connection);
                http::metric(&console, "sedge_metadata_snapshots_total") > 0.0
            });
        }
        // A topic being created at the stop: it is there completely, or not at all.
        churn.made += 1;
        let unsure = format!("topic-{}", churn.made);
        connection.send(key::CREATE_TOPICS, 4, &create(&unsure));
        sedge.kill();
        let is_rotten = churn.random.below(4) > 0;
        if is_rotten {
            let copy = COPIES[churn.random.below(2) as usize];
            flip(sedge.data(), copy, churn.random.below(100));
        }
        if churn.random.below(3) == 0 {
            std::fs::remove_dir_all(sedge.data().join("views")).unwrap();
        }
        sedge.start_again();
        let mut connection = Connection::open(&sedge.bootstrap());
        let mut found = seen(&mut connection, &churn.model);
        if let Some(there) = found.remove(&unsure) {
            assert_eq!(there.topic.partitions, 1);
            wire::delete_topic(&mut connection, &unsure);
        }
        assert_eq!(found, churn.model, "round {round}");
        if is_rotten {
            // Soon there are two copies again.
            let console = sedge.console().to_owned();
            wait_until("what was rotten is written again", || {
                http::metric(&console, "sedge_metadata_damaged") == 0.0
            });
        }
    }
    // The log does not grow for ever: few of the records are left before the next snapshot.
    sedge.terminate();
    let held = Held::of(sedge.data());
    let left: u64 = held.live(LOG).map(|row| row.bytes).sum();
    assert!(left < 100_000, "{left} bytes of records are left");
    let (said, _) = doctor(sedge.data(), &[]);
    let kinds = wrong(&said);
    let of_topics = ["metadata", "orphan", "record"];
    assert!(
        !kinds.iter().any(|kind| of_topics.contains(&&**kind)),
        "{said}"
    );
}

fn create(name: &str) -> Vec<u8> {
    let body = wire::Encoder::default().i32(1).string(name).i32(1).i16(1);
    body.i32(0).i32(0).i32(30_000).i8(0).0
}

/// More topics than fit one batch of a snapshot.
const TOPICS: usize = 100;

/// Starts a broker with some topics, two snapshots of them, and everything else in later segments.
fn snapshotted(data: &Path) -> (Sedge, Model) {
    let often = options().set("metadata.log.max.snapshot.interval.ms", "200");
    let mut sedge = Sedge::start(data, often);
    let mut connection = Connection::open(&sedge.bootstrap());
    for number in 0..TOPICS {
        wire::create_topic(&mut connection, &format!("topic-{number}"), 2, &[]);
    }
    for value in 1..200 {
        let setting = ("retention.ms", &*value.to_string());
        wire::alter_topic(&mut connection, "topic-7", setting);
    }
    wait_until("all of it is in a snapshot", || {
        Held::of(data).live(LOG).next().is_none()
    });
    let model = seen(&mut connection, &Model::new());
    sedge.terminate();
    (sedge, model)
}

/// Copies the data without these segments.
fn without(data: &Path, at: &Path, gone: &BTreeSet<u64>) -> PathBuf {
    copy(data, at);
    for id in gone {
        std::fs::remove_file(segment(at, *id)).unwrap();
    }
    at.to_owned()
}

#[test]
fn either_copy_may_be_lost_with_its_segments_and_both_are_repaired_from_what_is_left() {
    let directory = TempDir::new("lost-copies");
    let (whole, model) = snapshotted(&directory.join("data"));
    let held = Held::of(whole.data());
    let [first, second] = COPIES.map(|copy| held.segments(copy));
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    let needed = held.segments(LOG);
    let mut lost = 0;
    for (number, copy) in [&first, &second].into_iter().enumerate() {
        // If records of the log are in the same segments, their loss alone refuses the start.
        if !copy.is_disjoint(&needed) {
            continue;
        }
        lost += 1;
        let data = without(
            whole.data(),
            &directory.join(&format!("lost-{number}")),
            copy,
        );
        let started = Sedge::start(&data, options());
        let mut connection = Connection::open(&started.bootstrap());
        assert_eq!(seen(&mut connection, &model), model, "copy {number}");
        let console = started.console().to_owned();
        wait_until("both are there again", || {
            http::metric(&console, "sedge_metadata_damaged") == 0.0
                && http::metric(&console, "sedge_metadata_snapshots_total") > 0.0
        });
    }
    assert!(lost > 0, "{first:?}, {second:?} and the log in {needed:?}");

    // Both copies are damaged: a start is refused, however often. Records lost in one come from the
    // other.
    let data = directory.join("both");
    copy(whole.data(), &data);
    for (copy, percent) in COPIES.into_iter().zip([25, 75]) {
        flip(&data, copy, percent);
    }
    for _ in 0..2 {
        let said = refused(&data, &options()).stderr;
        assert!(said.contains("neither copy of the snapshot"), "{said}");
        assert!(said.contains("sedge doctor --repair metadata"), "{said}");
    }
    let (said, _) = doctor(&data, &[]);
    assert!(wrong(&said).contains(&"metadata".to_owned()), "{said}");
    let (said, _) = doctor(&data, &["--repair", "metadata", "--repair", "damage"]);
    assert!(!wrong(&said).contains(&"metadata".to_owned()), "{said}");
    let started = Sedge::start(&data, options());
    let mut connection = Connection::open(&started.bootstrap());
    assert_eq!(seen(&mut connection, &model), model, "{said}");
    // Partition ids are not handed out again: a new topic is empty.
    wire::create_topic(&mut connection, "new", 3, &[]);
    assert_eq!(wire::fetch(&mut connection, "new", 0, 0).high_watermark, 0);
}
