//! Tests slow consumers while the segments that they are sent from are freed, and other records
//! overwrite those files: they receive what they asked for.
//!
//! A reply is not copied. The part of it that the kernel holds, in its queues on either side,
//! consists of pages of the segment's file.

use std::io::{Read, Write};

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tls::{Certificates, Client, Sessions};
use sedge_tests::wire::{self, Batch, Connection, FETCH_VERSION, error, fetched_of, key};
use sedge_tests::{http, ports, soak};

const ROUNDS: usize = 20;
/// With TLS the kernel holds copies, so that there is less to go wrong.
const ROUNDS_TLS: usize = 6;
const ROUNDS_LONG: usize = 200;
const VALUE_BYTES: usize = 100_000;
/// Batches written at a time: more than retention keeps.
const BATCHES: usize = 40;
/// Bytes that a slow consumer reads while a batch is written.
const SLOW_BYTES: usize = 3_000;
/// Bytes requested of `BUSY`: one piece of a segment, an amount that the kernel accepts at once,
/// and more than that. All of `SMALL` follows.
const ASKED: [i32; 3] = [100_000, 350_000, 1_200_000];
/// The end of an answer: a part of `SMALL`, small enough for the kernel to hold.
const END_BYTES: usize = 150_000;

/// The partition that fills the segments.
const BUSY: i32 = 0;
/// A partition with little in it, which is deleted while it is sent.
const SMALL: i32 = 1;
const BATCHES_OF_SMALL: i64 = 2;
/// `ListOffsets` timestamp of the log start.
const EARLIEST: i64 = -2;

/// The way in which a consumer reads.
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
    let sedge = Sedge::start(&directory.join("data"), options());
    let address = sedge.bootstrap();
    run(&sedge, ROUNDS, || Connection::open(&address));
}

/// The broker reads what it encrypts a piece at a time, as the consumer takes it.
#[test]
fn slow_consumers_get_what_they_asked_for_over_tls() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::on_disk("lent-tls");
    let certificates = Certificates::make(&directory.join("security"));
    let client = Client::new(&certificates, None, Sessions::Fresh);
    let ssl = format!("127.0.0.1:{}", ports::free());
    let mut options = options().listener(format!("SSL://{ssl}"));
    options.settings.extend(certificates.settings());
    let sedge = Sedge::start(&directory.join("data"), options);
    run(&sedge, ROUNDS_TLS, || {
        Connection::open_secured(&client, &ssl)
    });
}

fn options() -> Options {
    Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("sedge.segment.spares", "8")
        .set("log.retention.bytes", "2500000")
        .set("log.retention.check.interval.ms", "20")
}

fn run<S: Read + Write>(sedge: &Sedge, rounds: usize, open: impl Fn() -> Connection<S>) {
    let mut writing = Writing {
        connection: Connection::open(&sedge.bootstrap()),
        next: [0, 0],
    };
    wire::create_topic(&mut writing.connection, "t", 2, &[]);
    writing.produce_busy(&mut || {});
    let rounds = if soak::is_long() { ROUNDS_LONG } else { rounds };
    for round in 0..rounds {
        (0..BATCHES_OF_SMALL).for_each(|_| writing.produce(SMALL));
        let manner = MANNERS[round % MANNERS.len()];
        let asked = ASKED[round / MANNERS.len() % ASKED.len()];
        let mut consumer = Consumer::ask(sedge, open(), asked);
        wire::delete_records(&mut writing.connection, "t", SMALL, writing.next[1]);
        let mut slowly = || {
            if manner == Manner::Slow {
                consumer.read(SLOW_BYTES);
            }
        };
        writing.produce_busy(&mut slowly);
        // Now the broker may pass the rest to the kernel, and its segment is freed.
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

/// Returns `VALUE_BYTES` that identify their partition and number.
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
struct Consumer<S> {
    connection: Connection<S>,
    /// Bytes of the answer, without its length.
    bytes: usize,
    read: Vec<u8>,
}

impl<S: Read + Write> Consumer<S> {
    fn ask(sedge: &Sedge, mut connection: Connection<S>, bytes_of_busy: i32) -> Self {
        let mut plain = Connection::open(&sedge.bootstrap());
        loop {
            let mut from = |partition, bytes_max| {
                let start = wire::offset_for_time(&mut plain, "t", partition, EARLIEST);
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
            // Retention has deleted the records before they were found.
            asked.read(asked.bytes);
            let answer = fetched_of(&asked.read[4..]).expect("a fetch");
            assert!(answer[0].1.records.is_empty());
            connection = asked.connection;
        }
    }

    /// Reads up to `bytes_max` more of the answer.
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
