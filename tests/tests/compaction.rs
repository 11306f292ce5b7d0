//! Compaction and the emptying of sparse segments, on a broker that is killed meanwhile: the latest
//! value of each key is there, where it was written, and nothing older than it comes back.

use std::collections::BTreeMap;
use std::time::Instant;

use sedge_tests::metrics::sample;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Record, error};
use sedge_tests::{kafka_tools, limits, report, tools};

const KILLS: u64 = 12;
const KILLS_LONG: u64 = 200;
const KEYS: u64 = 300;
const BATCHES_A_ROUND: u64 = 60;
const VALUE_BYTES: usize = 1000;

fn options() -> Options {
    Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("log.cleaner.backoff.ms", "20")
        .set("log.retention.check.interval.ms", "100")
}

/// What was written to a partition: by offset, key and value.
type Written = BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>;

/// Three topics share the segments: one is compacted, one goes by retention, so that segments get
/// sparse, and one stays whole while it is put together.
#[test]
fn the_latest_values_outlive_kills_where_they_were_written() {
    let mut random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    let directory = TempDir::new("compaction");
    let mut sedge = Sedge::start(&directory.join("data"), options());
    let (mut written, mut kept) = (Written::new(), Vec::new());
    {
        let mut connection = Connection::open(&sedge.bootstrap());
        let configs = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.2"),
        ];
        wire::create_topic(&mut connection, "state", 1, &configs);
        wire::create_topic(&mut connection, "kept", 1, &[]);
        wire::create_topic(&mut connection, "gone", 1, &[("retention.bytes", "1")]);
        wire::wait_known(&mut connection, "gone", 0);
    }
    let kills = if soak::is_long() { KILLS_LONG } else { KILLS };
    for kill in 0..kills {
        let mut connection = Connection::open(&sedge.bootstrap());
        for _ in 0..BATCHES_A_ROUND {
            write_some(&mut connection, &mut random, &mut written);
            let batch = Batch::filled(2, VALUE_BYTES).encode();
            for topic in ["kept", "gone", "gone"] {
                let produced = wire::produce(&mut connection, topic, 0, &batch);
                assert_eq!(produced.error, error::NONE, "{:?}", produced.message);
            }
            kept.push(batch);
        }
        check(&read_all(&mut connection, "state", 0), &written);
        std::thread::sleep(std::time::Duration::from_millis(random.below(60)));
        sedge.kill();
        if kill % 4 == 2 {
            std::fs::remove_dir_all(sedge.data().join("views"))
                .expect("the views are there to be deleted");
        }
        sedge.start_again();
        let mut connection = Connection::open(&sedge.bootstrap());
        check(&read_all(&mut connection, "state", 0), &written);
        check_kept(&read_all(&mut connection, "kept", 0), &kept);
    }
    let mut connection = Connection::open(&sedge.bootstrap());
    let end = written.keys().next_back().expect("much was written") + 1;
    let deadline = Instant::now() + limits::CONDITION;
    loop {
        let left = read_all(&mut connection, "state", 0);
        check(&left, &written);
        // What the active segment holds is not compacted, and what is less than the dirty ratio.
        if left.len() < written.len() / 4 {
            report::line(format_args!(
                "{} records of {} are left",
                left.len(),
                written.len()
            ));
            break;
        }
        assert!(Instant::now() < deadline, "{} records are left", left.len());
        std::thread::sleep(limits::POLL);
    }
    // Within a hole, what follows is read; and the log has its end where it was.
    let left = read_all(&mut connection, "state", 0);
    let hole = (1..end).find(|offset| !left.iter().any(|record| record.offset == *offset));
    let hole = hole.expect("something is gone");
    let fetched = wire::fetch(&mut connection, "state", 0, hole);
    assert_eq!((fetched.error, fetched.high_watermark), (error::NONE, end));
    let next = wire::records(&fetched.records);
    let next = next.iter().find(|record| record.offset >= hole);
    let expected = left.iter().find(|record| record.offset >= hole);
    assert_eq!(next, expected);
    sedge.terminate();
}

fn write_some(connection: &mut Connection, random: &mut Random, written: &mut Written) {
    let count = 1 + random.below(12);
    let records: Vec<_> = (0..count)
        .map(|_| {
            let key = format!("key-{}", random.below(KEYS)).into_bytes();
            let mut value = format!("{}-", random.below(u64::MAX)).into_bytes();
            value.resize(VALUE_BYTES, b'.');
            (key, (random.below(8) > 0).then_some(value))
        })
        .collect();
    let batch = Batch::keyed(&records).encode();
    let produced = wire::produce(connection, "state", 0, &batch);
    assert_eq!(produced.error, error::NONE, "{:?}", produced.message);
    for (delta, record) in records.into_iter().enumerate() {
        written.insert(produced.base_offset + delta as i64, record);
    }
}

/// From the beginning, as a consumer reads.
fn read_all(connection: &mut Connection, topic: &str, partition: i32) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    let mut next = 0;
    loop {
        let fetched = wire::fetch(connection, topic, partition, next);
        assert_eq!(fetched.error, error::NONE);
        let records = wire::records(&fetched.records);
        found.extend(records.into_iter().filter(|record| record.offset >= next));
        next = wire::next_offset(&fetched.records).unwrap_or(fetched.high_watermark);
        if next >= fetched.high_watermark {
            assert_eq!(next, fetched.high_watermark);
            return found;
        }
    }
}

fn check_kept(found: &[Record], written: &[Vec<u8>]) {
    let values = found.iter().map(|record| &record.value);
    let all: Vec<Record> = written
        .iter()
        .flat_map(|batch| wire::records(batch))
        .collect();
    assert!(values.eq(all.iter().map(|record| &record.value)));
    assert!(
        found
            .iter()
            .map(|record| record.offset)
            .eq(0..all.len() as i64)
    );
}

fn check(found: &[Record], written: &Written) {
    let mut before = -1;
    let mut latest: BTreeMap<&[u8], i64> = BTreeMap::new();
    for Record { offset, key, value } in found {
        assert!(*offset > before, "{offset} comes after {before}");
        before = *offset;
        let (wrote, content) = &written[offset];
        assert_eq!(key, wrote, "at {offset}");
        assert_eq!(value, content.as_deref().unwrap_or_default(), "at {offset}");
        latest.insert(key, *offset);
    }
    let mut expected: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (offset, (key, _)) in written {
        expected.insert(key, *offset);
    }
    assert_eq!(latest, expected, "the latest offset of each key");
}

const PARTITIONS: i32 = 20;

#[test]
fn what_lives_in_sparse_segments_is_put_together() {
    let directory = TempDir::new("sparse");
    let mut sedge = Sedge::start(&directory.join("data"), options());
    let mut connection = Connection::open(&sedge.bootstrap());
    for topic in ["stays", "goes"] {
        wire::create_topic(&mut connection, topic, PARTITIONS, &[]);
    }
    for round in 0..40 {
        for partition in 0..PARTITIONS {
            for (topic, records) in [("stays", 1), ("goes", 6)] {
                let batch = Batch::filled(records + round % 3, 2000).encode();
                let produced = wire::produce(&mut connection, topic, partition, &batch);
                assert_eq!(produced.error, error::NONE, "{:?}", produced.message);
            }
        }
    }
    let read = |connection: &mut Connection| -> Vec<Vec<Record>> {
        let each = (0..PARTITIONS).map(|partition| read_all(connection, "stays", partition));
        each.collect()
    };
    let before = read(&mut connection);
    let files = |sedge: &Sedge| -> u64 {
        let listed = std::fs::read_dir(sedge.data().join("segments")).expect("it is there");
        let bytes = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.metadata().ok();
        listed.filter_map(bytes).map(|of| of.len()).sum()
    };
    let full = files(&sedge);
    wire::delete_topic(&mut connection, "goes");
    let deadline = Instant::now() + limits::CONDITION;
    while files(&sedge) > full / 2 {
        assert!(
            Instant::now() < deadline,
            "{} of {full} bytes",
            files(&sedge)
        );
        std::thread::sleep(limits::POLL);
    }
    report::line(format_args!("{full} bytes became {}", files(&sedge)));
    assert!(read(&mut connection) == before, "records changed");
    sedge.kill();
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    assert!(read(&mut connection) == before, "records changed by a kill");
    sedge.kill();
    std::fs::remove_dir_all(sedge.data().join("views")).expect("they are there to be deleted");
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    assert!(
        read(&mut connection) == before,
        "records changed by a rebuild"
    );
}

/// Kafka's own tools, unchanged: the consumer sees each key's last value at the offset where it was
/// written, and the others find the log as long as it was and as large as it is.
#[test]
fn kafka_s_tools_find_a_compacted_topic_as_it_should_be() {
    let directory = TempDir::new("compacted-tools");
    let mut sedge = Sedge::start(&directory.join("data"), options());
    let bootstrap = sedge.bootstrap();
    {
        let mut connection = Connection::open(&bootstrap);
        let configs = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("max.compaction.lag.ms", "1"),
        ];
        wire::create_topic(&mut connection, "latest", 1, &configs);
        wire::wait_known(&mut connection, "latest", 0);
    }
    let tool = |name: &str, arguments: &str, input: &str| {
        let mut command = kafka_tools::command(name);
        command.args(["--bootstrap-server", &bootstrap]);
        command.args(arguments.split_whitespace());
        let finished = Process::run(name, &mut command, input.as_bytes(), limits::COMMAND);
        tools::must(finished, name).stdout
    };
    let lines: Vec<String> = (0..1000).map(|n| format!("key-{}:{n}\n", n % 10)).collect();
    let parse = "--topic latest --reader-property parse.key=true --reader-property key.separator=:";
    tool("kafka-console-producer", parse, &lines.concat());
    let removed = |sedge: &Sedge| sample(sedge.console(), "sedge_cleaner_records_removed_total");
    let deadline = Instant::now() + limits::CONDITION;
    while removed(&sedge) < 990.0 {
        assert!(
            Instant::now() < deadline,
            "{} records went",
            removed(&sedge)
        );
        std::thread::sleep(limits::POLL);
    }
    let read = "--topic latest --from-beginning --max-messages 10 --timeout-ms 30000 \
                --formatter-property print.key=true --formatter-property print.offset=true";
    let read = tool("kafka-console-consumer", read, "");
    let expected: Vec<String> = (990..1000)
        .map(|n| format!("Offset:{n}\tkey-{}\t{n}", n % 10))
        .collect();
    let found: Vec<&str> = read.lines().filter(|line| line.contains("key-")).collect();
    assert_eq!(found, expected);
    let offsets = tool("kafka-get-offsets", "--topic latest", "");
    assert_eq!(offsets.trim(), "latest:0:1000");
    let sizes = tool("kafka-log-dirs", "--describe --topic-list latest", "");
    assert!(sizes.contains("\"size\":"), "{sizes}");
    sedge.terminate();
}
