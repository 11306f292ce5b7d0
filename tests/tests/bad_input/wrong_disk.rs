//! Tests a full or read-only disk.

use std::path::Path;
use std::process::Command;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::http;
use sedge_tests::limits;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::small_disk::SmallDisk;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};

/// Enough for the views' journals and a few segments.
const DISK_MIB: usize = 320;
const FILLER_MIB: usize = 64;
const BATCH_BYTES: usize = 512 << 10;

#[test]
fn a_full_disk_refuses_produce_and_recovers() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("full");
    let Some(disk) = SmallDisk::mount(&directory.join("disk"), DISK_MIB) else {
        return;
    };
    let filler = disk.add_file("filler", FILLER_MIB << 20);
    // Otherwise the oldest records would be deleted before the disk is full.
    let options = Options::default().set("sedge.disk.max.bytes", "-1");
    let mut sedge = Sedge::start(&disk.path().join("data"), options);
    let mut connection = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut connection, "t", 1, &[]);

    let batch = Batch::filled(1, BATCH_BYTES).encode();
    let mut written = 0;
    let full = loop {
        let produced = wire::produce(&mut connection, "t", 0, &batch);
        if produced.error != error::NONE {
            break produced;
        }
        written += 1;
        assert!(
            written * BATCH_BYTES < DISK_MIB << 20,
            "the disk is never full"
        );
    };
    assert_eq!(
        full.error,
        error::KAFKA_STORAGE_ERROR,
        "{full:?}\n{}",
        sedge.process().tail()
    );
    sedge.assert_alive();
    assert!(written > 0, "something fits");
    read_all(&mut connection, written);
    let (status, text) = http::get(sedge.console(), "/readyz");
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("the disk is full"), "{text}");

    // The disk is full at the start.
    sedge.kill();
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    read_all(&mut connection, written);
    let produced = wire::produce(&mut connection, "t", 0, &batch);
    assert_eq!(produced.error, error::KAFKA_STORAGE_ERROR, "{produced:?}");

    std::fs::remove_file(&filler).unwrap();
    wait_ready(&mut sedge);
    let produced = wire::produce(&mut connection, "t", 0, &batch);
    assert_eq!(produced.error, error::NONE, "{produced:?}");
    written += 1;
    read_all(&mut connection, written);
    sedge.kill();
    sedge.start_again();
    read_all(&mut Connection::open(&sedge.bootstrap()), written);
    // The broker ends before its disk is removed.
    drop(sedge);
    drop(disk);
}

#[test]
fn a_read_only_disk_refuses_produce_and_recovers() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("read-only");
    let Some(disk) = SmallDisk::mount(&directory.join("disk"), DISK_MIB) else {
        return;
    };
    let mut sedge = Sedge::start(&disk.path().join("data"), Options::default());
    let mut connection = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut connection, "t", 1, &[]);
    let batch = Batch::filled(1, BATCH_BYTES).encode();
    let mut written = 0;
    for _ in 0..3 {
        let produced = wire::produce(&mut connection, "t", 0, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        written += 1;
    }
    for _ in 0..2 {
        let cover = ReadOnlyCover::mount(disk.path());
        for _ in 0..3 {
            let produced = wire::produce(&mut connection, "t", 0, &batch);
            assert_eq!(produced.error, error::KAFKA_STORAGE_ERROR, "{produced:?}");
        }
        let (topic_error, _) = wire::try_create_topic(&mut connection, "u", 1, &[]);
        assert_eq!(topic_error, error::KAFKA_STORAGE_ERROR);
        let (status, text) = http::get(sedge.console(), "/readyz");
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("the disk is read-only"), "{text}");
        assert_eq!(http::get(sedge.console(), "/livez").0, 200);
        read_all(&mut connection, written);
        sedge.assert_alive();
        drop(cover);
        // The broker notices by itself, without a produce.
        wait_ready(&mut sedge);
        let produced = wire::produce(&mut connection, "t", 0, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        written += 1;
        read_all(&mut connection, written);
    }
    sedge.kill();
    sedge.start_again();
    read_all(&mut Connection::open(&sedge.bootstrap()), written);
    drop(sedge);
    drop(disk);
}

/// The same file system mounted read-only over itself. Open files stay open, as when a driver turns
/// a file system read-only during use.
struct ReadOnlyCover<'a>(&'a Path);

impl<'a> ReadOnlyCover<'a> {
    fn mount(at: &'a Path) -> Self {
        run(Command::new("mount").arg("--bind").arg(at).arg(at));
        run(Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(at));
        Self(at)
    }
}

impl Drop for ReadOnlyCover<'_> {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.0));
    }
}

fn run(command: &mut Command) {
    let done = Process::run("mount", command, b"", limits::COMMAND);
    assert!(done.status.success(), "{}", done.stderr);
}

fn wait_ready(sedge: &mut Sedge) {
    let began = std::time::Instant::now();
    while http::get(sedge.console(), "/readyz").0 != 200 {
        let tail = sedge.process().tail();
        assert!(
            began.elapsed() < limits::CONDITION,
            "it does not recover\n{tail}"
        );
        std::thread::sleep(limits::POLL);
    }
}

fn read_all(connection: &mut Connection, count: usize) {
    for offset in 0..count as i64 {
        let fetched = wire::fetch(connection, "t", 0, offset);
        assert_eq!(fetched.error, error::NONE, "a fetch at {offset}");
        assert!(fetched.records.len() > BATCH_BYTES, "the batch at {offset}");
        assert_eq!(fetched.high_watermark, count as i64);
    }
}
