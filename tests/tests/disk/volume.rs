//! Tests a volume that others fill as well, with the defaults: the oldest records are deleted
//! first, and produce continues.

use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::small_disk::SmallDisk;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};
use sedge_tests::{http, limits, report};

const DISK_MIB: usize = 300;
const OTHERS_MIB: usize = 150;
const BATCH_BYTES: usize = 512 << 10;
const BATCHES: i64 = (400 << 20) / BATCH_BYTES as i64;

#[test]
fn produce_goes_on_where_others_hold_half_of_the_volume() {
    check(&Options::default());
}

/// A cap that exceeds the volume's room is no better than none.
#[test]
fn produce_goes_on_where_the_cap_is_beyond_what_others_leave() {
    check(&Options::default().set("sedge.disk.max.bytes", "1000000000000"));
}

fn check(options: &Options) {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("volume");
    let Some(disk) = SmallDisk::mount(&directory.join("disk"), DISK_MIB) else {
        return;
    };
    disk.add_file("others", OTHERS_MIB << 20);
    let mut sedge = Sedge::start(&disk.path().join("data"), options.clone());
    let mut connection = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut connection, "t", 1, &[]);
    let mut refused = 0;
    for offset in 0..BATCHES {
        let batch = Batch::filled(1, BATCH_BYTES).encode();
        let began = Instant::now();
        loop {
            let produced = wire::produce(&mut connection, "t", 0, &batch);
            if produced.error == error::NONE {
                assert_eq!(produced.base_offset, offset);
                break;
            }
            // The error is retriable, so clients send again.
            assert_eq!(produced.error, error::KAFKA_STORAGE_ERROR, "{produced:?}");
            refused += 1;
            let tail = sedge.process().tail();
            assert!(
                began.elapsed() < limits::CONDITION,
                "produce is refused for good at {offset}\n{tail}"
            );
            std::thread::sleep(limits::POLL);
        }
    }
    report::line(format_args!(
        "{BATCHES} batches are taken, {refused} times after a refusal"
    ));
    let metric = |name: &str| http::metric(sedge.console(), name) as i64;
    let gone = metric("sedge_retention_records_total{reason=\"cap-normal\"}");
    let first = wire::offset_for_time(&mut connection, "t", 0, EARLIEST);
    assert!(
        gone > 0 && first == gone,
        "{gone} are counted, {first} are gone"
    );
    let used = metric("sedge_disk_used_bytes");
    let cap = metric("sedge_disk_cap_bytes");
    let most = (DISK_MIB - OTHERS_MIB) << 20;
    assert!(used <= most as i64 && cap <= most as i64, "{used} of {cap}");
    for offset in first..BATCHES {
        let fetched = wire::fetch(&mut connection, "t", 0, offset);
        assert_eq!(fetched.error, error::NONE, "a fetch at {offset}");
        assert!(fetched.records.len() > BATCH_BYTES, "the batch at {offset}");
    }
    let log = sedge.process().output().stderr.join("\n");
    assert!(log.contains("the volume is short of room"), "{log}");
    assert!(!log.contains("the disk cap is reached"), "{log}");
    // The broker ends before its disk is removed.
    drop(sedge);
    drop(disk);
}

/// `ListOffsets` timestamp of the log start.
const EARLIEST: i64 = -2;
