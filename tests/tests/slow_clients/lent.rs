//! Consumers that take their time while the segments that they are sent from are freed, and other
//! records are written over those files: they get what they asked for.
//!
//! A reply is not copied. What of it the kernel has, in its queues on either side, are the pages of
//! the segment's file.

use std::io::Read;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, FETCH_VERSION, error, fetched_of, key};
use sedge_tests::{http, soak};

const ROUNDS: usize = 20;
const ROUNDS_LONG: usize = 200;
const VALUE_BYTES: usize = 100_000;
/// Written at a time: more than is kept.
const BATCHES: usize = 40;
/// What a slow consumer reads while a batch is written.
const SLOW_BYTES: usize = 3_000;
/// What is asked of `BUSY`: one piece of a segment, some that the kernel takes whole, and more than
/// it takes at once. All of `SMALL` comes behind it.
const ASKED: [i32; 3] = [100_000, 350_000, 1_200_000];
/// The end of an answer: part of what comes of `SMALL`, and little enough for the kernel to hold.
const END_BYTES: usize = 150_000;

/// The partition that segments are written for.
const BUSY: i32 = 0;
/// One with little in it, which is deleted while it is sent.
const SMALL: i32 = 1;
const BATCHES_OF_SMALL: i64 = 2;
/// `ListOffsets`: the log start.
const EARLIEST: i64 = -2;

/// How a consumer reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Slow,
    Stalled,
    Cut,
}

const MANNERS: [Manner; 3] = [Manner::Slow, Manner::Stalled, Manner::Cut];

#[test]
fn slow_consumers_get_what_they_asked_for() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::on_disk("lent");
    let options = Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("sedge.segment.spares", "8")
        .set("log.retention.bytes", "2500000")
        .set("log.retention.check.interval.ms", "20");
    let sedge = Sedge::start(&directory.join("data"), options);
    let mut writing = Writing {
        connection: Connection::open(&sedge.bootstrap()),
        next: [0, 0],
    };
    wire::create_topic(&mut writing.connection, "t", 2, &[]);
    writing.produce_busy(&mut || {});
    let rounds = if soak::is_long() { ROUNDS_LONG } else { ROUNDS };
    for round in 0..rounds {
        (0..BATCHES_OF_SMALL).for_each(|_| writing.produce(SMALL));
        let manner = MANNERS[round % MANNERS.len()];
        let asked = ASKED[round / MANNERS.len() % ASKED.len()];
        let mut consumer = Consumer::ask(&sedge, asked);
        wire::delete_records(&mut writing.connection, "t", SMALL, writing.next[1]);
        let mut slowly = || {
            if manner == Manner::Slow {
                consumer.read(SLOW_BYTES);
            }
        };
        writing.produce_busy(&mut slowly);
        // Now the broker may give the kernel the rest, of which the segment is freed.
        consumer.read(consumer.bytes - consumer.read.len() - END_BYTES);
        writing.produce_busy(&mut || {});
        match manner {
            Manner::Slow | Manner::Stalled => consumer.check(round),
            Manner::Cut => drop(consumer),
        }
    }
    let recycled = http::metric(sedge.console(), "sedge_storage_segments_recycled_total");
    assert!(
        recycled > rounds as f64,
        "{recycled} segments were recycled"
    );
}

/// `VALUE_BYTES` that tell their partition and number.
fn value(partition: i32, number: i64) -> Vec<u8> {
    (i64::from(partition) << 32 | number)
        .to_be_bytes()
        .repeat(VALUE_BYTES / 8)
}

struct Writing {
    connection: Connection,
    /// The next offset of each partition.
    next: [i64; 2],
}

impl Writing {
    fn produce(&mut self, partition: i32) {
        let next = &mut self.next[partition as usize];
        let batch = Batch::of(&[value(partition, *next)]).encode();
        let produced = wire::produce(&mut self.connection, "t", partition, &batch);
        assert_eq!((produced.error, produced.base_offset), (error::NONE, *next));
        *next += 1;
    }

    fn produce_busy(&mut self, between: &mut dyn FnMut()) {
        for _ in 0..BATCHES {
            self.produce(BUSY);
            between();
        }
    }
}

/// A consumer that has asked for the oldest records.
struct Consumer {
    connection: Connection,
    /// Of the answer, behind its length.
    bytes: usize,
    read: Vec<u8>,
}

impl Consumer {
    fn ask(sedge: &Sedge, bytes_of_busy: i32) -> Self {
        loop {
            let mut connection = Connection::open(&sedge.bootstrap());
            let mut from = |partition, bytes_max| {
                let start = wire::offset_for_time(&mut connection, "t", partition, EARLIEST);
                (partition, start, bytes_max)
            };
            let partitions = [from(BUSY, bytes_of_busy), from(SMALL, 1 << 20)];
            let body = wire::fetch_request_of("t", &partitions);
            connection.send(key::FETCH, FETCH_VERSION, &body);
            let mut length = [0; 4];
            connection.stream.read_exact(&mut length).expect("a length");
            let mut asked = Self {
                connection,
                bytes: u32::from_be_bytes(length) as usize,
                read: Vec::new(),
            };
            if asked.bytes > BATCHES_OF_SMALL as usize * VALUE_BYTES + 10_000 {
                return asked;
            }
            // Retention has gone on before the records were found.
            asked.read(asked.bytes);
            let answer = fetched_of(&asked.read[4..]).expect("a fetch");
            assert!(answer[0].1.records.is_empty());
        }
    }

    /// So much more of the answer, as far as there is any.
    fn read(&mut self, bytes_max: usize) {
        let from = self.read.len();
        self.read.resize(self.bytes.min(from + bytes_max), 0);
        let into = &mut self.read[from..];
        self.connection.stream.read_exact(into).expect("an answer");
    }

    fn check(mut self, round: usize) {
        self.read(self.bytes);
        for (partition, answer) in fetched_of(&self.read[4..]).expect("a fetch") {
            let records = wire::records(&answer.records);
            assert!(!records.is_empty());
            for record in records {
                let offset = record.offset;
                let is_right = record.value == value(partition, offset);
                assert!(is_right, "round {round}: {partition} at {offset}");
            }
        }
    }
}
