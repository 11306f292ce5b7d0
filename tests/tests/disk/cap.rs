//! Tests the disk cap: what is deleted first when there is no room for all topics.

use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, limits};

const SEGMENT_BYTES: u64 = 1 << 20;
/// Four of them fill a segment.
const BATCH_BYTES: usize = 200 << 10;
const BATCHES: i64 = 15;
/// Batches above the cap: more than can be deleted.
const MORE: i64 = 25;

#[test]
fn low_goes_first_then_what_is_upstream_and_never_what_is_kept() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("cap");
    // The upstream never answers: the test commits the cursor itself.
    let config = "[mirror.hq]\nbootstrap.servers = \"127.0.0.1:1\"\ntopics = [\"sensors.*\"]\n";
    let options = Options::default()
        .config(config)
        .set("sedge.segment.bytes", &SEGMENT_BYTES.to_string());
    let mut sedge = Sedge::start(&directory.join("data"), options.clone());
    let mut connection = Connection::open(&sedge.bootstrap());
    let topics = [
        ("keep", "keep"),
        ("plain", "normal"),
        ("sensors.copied", "high"),
        ("expendable", "low"),
    ];
    for (topic, priority) in topics {
        let configs = [("sedge.retention.priority", priority)];
        wire::create_topic(&mut connection, topic, 1, &configs);
        fill(&mut connection, topic, BATCHES);
    }
    wire::commit_offset(
        &mut connection,
        "sedge-mirror-hq",
        "sensors.copied",
        0,
        BATCHES,
    );
    let metric = |sedge: &Sedge, name: &str| http::metric(sedge.console(), name) as u64;
    let views =
        metric(&sedge, "sedge_disk_used_bytes") - metric(&sedge, "sedge_storage_disk_bytes");
    sedge.terminate();

    let cap = views + 14 * SEGMENT_BYTES;
    sedge.set_options(options.set("sedge.disk.max.bytes", &cap.to_string()));
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    fill(&mut connection, "plain", MORE);
    let began = Instant::now();
    while metric(&sedge, "sedge_disk_used_bytes") > cap {
        let tail = sedge.process().tail();
        assert!(
            began.elapsed() < limits::CONDITION,
            "the cap does not hold\n{tail}"
        );
        std::thread::sleep(limits::POLL);
    }
    let is_there = |connection: &mut Connection, topic: &str, offset: i64| {
        wire::fetch(connection, topic, 0, offset).error == error::NONE
    };
    let tail = sedge.process().tail();
    for (topic, offset, expected) in [
        ("expendable", 0, false),
        ("expendable", BATCHES - 1, false),
        ("sensors.copied", 0, false),
        ("plain", 0, true),
        ("plain", BATCHES + MORE - 1, true),
        ("keep", 0, true),
    ] {
        let there = is_there(&mut connection, topic, offset);
        assert_eq!(there, expected, "{topic} at {offset}\n{tail}");
    }
    assert!(tail.contains("expendable-0: offsets 0 to"), "{tail}");
    let gone = |reason: &str| {
        let name = format!("sedge_retention_records_total{{reason=\"{reason}\"}}");
        metric(&sedge, &name)
    };
    assert_eq!(gone("cap-low"), BATCHES as u64);
    assert!(gone("cap-copied") > 0);
    assert_eq!((gone("cap-normal"), gone("cap-high")), (0, 0));
}

fn fill(connection: &mut Connection, topic: &str, batches: i64) {
    let batch = Batch::filled(1, BATCH_BYTES).encode();
    for _ in 0..batches {
        let produced = wire::produce(connection, topic, 0, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
    }
}
