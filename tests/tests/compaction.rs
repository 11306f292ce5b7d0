//! Tests compaction and the emptying of sparse segments: the latest value of each key is there, at
//! its original offset, and no older value comes back, whenever the broker is killed.

#[path = "compaction/kills.rs"]
mod kills;

use std::time::Instant;

use sedge_tests::metrics::sample;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Record, error};
use sedge_tests::{kafka_tools, limits, report, tools};

fn options() -> Options {
    Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("log.cleaner.backoff.ms", "20")
        .set("log.retention.check.interval.ms", "100")
}

/// Reads from the beginning, as a consumer does.
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

/// Kafka's own tools, unchanged: the consumer sees each key's last value at its original offset,
/// and the others find the log with its full length and correct size.
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
