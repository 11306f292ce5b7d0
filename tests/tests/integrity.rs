//! Tests integrity: bit rot is found, by the doctor and while the broker runs, and costs only the
//! batches that it hit; a backup of a running broker has everything acknowledged before.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use sedge_tests::limits;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge, serve};
use sedge_tests::segments;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tools;
use sedge_tests::wire::{self, Batch, Connection, Decoder, error};
use serde_json::Value;

const BATCH_BYTES: usize = 16 << 10;
/// Batches per partition: several segments of a mebibyte.
const BATCHES: i64 = 200;
const DATA_ERROR: i32 = 65;

fn small_segments() -> Options {
    Options::default().set("sedge.segment.bytes", "1048576")
}

/// Returns the value of the only record of the batch at `offset` of a partition.
fn value(partition: i32, offset: i64) -> Vec<u8> {
    let mut value = format!("p{partition}o{offset}:").into_bytes();
    value.resize(BATCH_BYTES, b'a' + (offset % 26) as u8);
    value
}

fn produce(connection: &mut Connection, partition: i32, offset: i64) {
    let batch = Batch::of(&[value(partition, offset)]).encode();
    let produced = wire::produce(connection, "t", partition, &batch);
    assert_eq!(
        (produced.error, produced.base_offset),
        (error::NONE, offset)
    );
}

/// Reads a partition to its end, as a consumer does. Returns the offsets with correct values, and
/// fails on any other value.
fn read_all(connection: &mut Connection, partition: i32) -> BTreeSet<i64> {
    let mut there = BTreeSet::new();
    let mut position = 0;
    loop {
        let fetched = wire::fetch(connection, "t", partition, position);
        assert_eq!(fetched.error, error::NONE, "a fetch at {position}");
        if position >= fetched.high_watermark {
            return there;
        }
        let next = next_offset(&fetched.records);
        assert!(next > position, "stuck at {position}");
        for record in wire::records(&fetched.records) {
            let wanted = value(partition, record.offset);
            assert!(record.value == wanted, "{partition} at {}", record.offset);
            there.insert(record.offset);
        }
        position = next;
    }
}

/// Returns the offset after the last whole batch, from its header as a consumer reads it, even for
/// an empty batch.
fn next_offset(mut batches: &[u8]) -> i64 {
    let mut next = -1;
    while batches.len() >= 61 {
        let base = Decoder(batches).i64();
        let length = 12 + Decoder(&batches[8..]).i32() as usize;
        let last = Decoder(&batches[23..]).i32();
        if length > batches.len() {
            break;
        }
        next = base + i64::from(last) + 1;
        batches = &batches[length..];
    }
    next
}

/// Flips a bit in the middle of a record's value, in whatever segment it is.
fn rot(data: &Path, partition: i32, offset: i64) {
    let needle = value(partition, offset)[..40].to_vec();
    for (path, bytes) in segments::read_all(data) {
        let Some(at) = bytes.windows(needle.len()).position(|of| of == needle) else {
            continue;
        };
        let at = at + BATCH_BYTES / 2;
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
        return;
    }
    panic!("{partition} has nothing at {offset}");
}

/// Runs a command of the binary with `-o json`. Returns its output and exit status.
fn command(arguments: &[&str]) -> (Value, ExitStatus) {
    let mut command = Command::new(tools::sedge());
    // A broker would read its settings from variables of the tests.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEDGE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).args(["-o", "json"]);
    let finished = Process::run("sedge", &mut command, b"", limits::CONDITION);
    let said = serde_json::from_str(&finished.stdout).unwrap_or(Value::Null);
    (said, finished.status)
}

fn doctor(data: &Path) -> (Value, ExitStatus) {
    command(&["doctor", "--data", data.to_str().unwrap()])
}

fn backup(data: &Path, target: &Path) -> Value {
    let (data, target) = (data.to_str().unwrap(), target.to_str().unwrap());
    let (said, status) = command(&["backup", target, "--data", data]);
    assert!(status.success(), "{status}: {said}");
    said
}

/// Starts a broker with `BATCHES` records in each of two partitions.
fn filled(directory: &TempDir, options: Options) -> Sedge {
    let sedge = Sedge::start(&directory.join("data"), options);
    let mut connection = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut connection, "t", 2, &[]);
    for offset in 0..BATCHES {
        for partition in 0..2 {
            produce(&mut connection, partition, offset);
        }
    }
    sedge
}

fn all_but(lost: &[i64]) -> BTreeSet<i64> {
    (0..BATCHES)
        .filter(|offset| !lost.contains(offset))
        .collect()
}

#[test]
fn the_doctor_names_what_is_damaged_and_consumers_get_past_what_is_accepted() {
    let directory = TempDir::new("doctor");
    let options = small_segments().set("sedge.scrub.bytes.per.second", "0");
    let mut sedge = filled(&directory, options);
    let (said, status) = doctor(sedge.data());
    assert_eq!(status.code(), Some(75), "the broker has it: {said}");
    sedge.terminate();
    let (said, status) = doctor(sedge.data());
    assert!(status.success(), "{said}");
    assert_eq!(said["findings"], Value::Array(Vec::new()));

    rot(sedge.data(), 1, 30);
    let (said, status) = doctor(sedge.data());
    assert_eq!(status.code(), Some(DATA_ERROR));
    let findings = said["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 1, "{said}");
    assert_eq!(findings[0]["kind"], "batch");
    let range = &findings[0]["ranges"][0];
    assert_eq!(
        (&range["topic"], &range["partition"]),
        (&"t".into(), &1.into())
    );
    assert_eq!(
        (&range["base_offset"], &range["next_offset"]),
        (&30.into(), &31.into())
    );

    let data = sedge.data().to_str().unwrap().to_owned();
    let (said, status) = command(&["doctor", "--data", &data, "--repair", "damage"]);
    assert!(status.success(), "{said}");
    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_dir_all(sedge.data().join("views")).unwrap();
        }
        sedge.start_again();
        let mut connection = Connection::open(&sedge.bootstrap());
        assert_eq!(read_all(&mut connection, 0), all_but(&[]));
        assert_eq!(
            read_all(&mut connection, 1),
            all_but(&[30]),
            "rebuilt: {rebuilt}"
        );
        sedge.terminate();
    }
}

#[test]
fn bit_rot_is_found_while_the_broker_runs() {
    let directory = TempDir::new("scrub");
    let options = small_segments()
        .set("sedge.scrub.bytes.per.second", "104857600")
        .set("sedge.scrub.interval.ms", "1000");
    let mut sedge = filled(&directory, options);
    let mut connection = Connection::open(&sedge.bootstrap());
    rot(sedge.data(), 0, 20);
    rot(sedge.data(), 1, 21);
    let said = |partition: i32, offset: i64| {
        format!("t-{partition}: offsets {offset} to {offset} are damaged on disk")
    };
    for told in [said(0, 20), said(1, 21)] {
        sedge
            .process()
            .wait_for(&told, limits::CONDITION, |output| {
                output
                    .stderr
                    .iter()
                    .find(|line| line.contains(&told))
                    .cloned()
            });
    }
    assert_eq!(read_all(&mut connection, 0), all_but(&[20]));
    assert_eq!(read_all(&mut connection, 1), all_but(&[21]));
    sedge.kill();
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    assert_eq!(read_all(&mut connection, 0), all_but(&[20]));
    assert_eq!(read_all(&mut connection, 1), all_but(&[21]));
    sedge.terminate();
    let (said, status) = doctor(sedge.data());
    assert!(status.success(), "known damage is not news: {said}");
    assert_eq!(said["findings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_backup_of_a_running_broker_has_what_was_acknowledged() {
    let directory = TempDir::new("backup");
    let mut sedge = filled(&directory, small_segments());
    let target = directory.join("backup");
    let mut connection = Connection::open(&sedge.bootstrap());
    let first = backup(sedge.data(), &target);
    assert!(first["linked_segments"].as_u64() > Some(3), "{first}");

    // The second backup is taken during writes.
    let bootstrap = sedge.bootstrap();
    let (sender, acknowledged) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let mut connection = Connection::open(&bootstrap);
        let mut offset = BATCHES;
        while sender.send(offset).is_ok() {
            produce(&mut connection, 0, offset);
            offset += 1;
        }
    });
    // All records before this offset were acknowledged.
    let before = acknowledged.iter().nth(50).expect("the writer writes");
    let second = backup(sedge.data(), &target);
    drop(acknowledged);
    writer.join().expect("the writer ends");
    assert_eq!(
        second["kept_segments"], first["linked_segments"],
        "{first} then {second}"
    );
    assert!(second["copied_segments"].as_u64() < Some(3), "{second}");
    produce(&mut connection, 1, BATCHES);

    let (said, status) = doctor(&target);
    assert!(status.success(), "{said}");
    let restored = Sedge::start(&target, small_segments());
    let mut connection = Connection::open(&restored.bootstrap());
    let there = read_all(&mut connection, 0);
    let least: BTreeSet<i64> = (0..before).collect();
    assert!(there.is_superset(&least), "{} of {before}", there.len());
    assert_eq!(read_all(&mut connection, 1), all_but(&[]));
    // Both continue, each separately.
    produce(&mut connection, 1, BATCHES);
    sedge.assert_alive();
    let said = |data: &Path| std::fs::read_to_string(data.join("meta.toml")).unwrap();
    assert_eq!(said(sedge.data()), said(&target), "the same cluster");
    let began = Instant::now();
    sedge.terminate();
    let (said, status) = doctor(sedge.data());
    assert!(status.success(), "{:?}: {said}", began.elapsed());
}

#[test]
fn a_segment_without_its_header_is_served_and_mended_when_asked() {
    let directory = TempDir::new("header");
    let mut sedge = filled(&directory, small_segments());
    sedge.terminate();
    let second = sedge.data().join("segments/0000000002.seg");
    let file = std::fs::File::options().write(true).open(&second).unwrap();
    file.write_all_at(&[0xA5; 64], 0).unwrap();
    // A start that rebuilds the views needs it.
    std::fs::remove_dir_all(sedge.data().join("views")).unwrap();
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    for partition in 0..2 {
        assert_eq!(read_all(&mut connection, partition), all_but(&[]));
    }
    let tail = sedge.process().tail();
    assert!(tail.contains("segment 2 has a damaged header"), "{tail}");
    sedge.terminate();
    let (said, status) = doctor(sedge.data());
    assert_eq!(status.code(), Some(DATA_ERROR));
    assert_eq!(said["findings"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(said["findings"][0]["kind"], "header", "{said}");
    let data = sedge.data().to_str().unwrap().to_owned();
    let (said, status) = command(&["doctor", "--data", &data, "--repair", "headers"]);
    assert!(status.success(), "{said}");
    assert_eq!(said["findings"], Value::Array(Vec::new()));
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    assert_eq!(read_all(&mut connection, 0), all_but(&[]));
}

#[test]
fn an_incomplete_backup_does_not_start_unless_it_is_accepted() {
    let directory = TempDir::new("incomplete");
    let sedge = filled(&directory, small_segments());
    let target = directory.join("backup");
    backup(sedge.data(), &target);
    // The last segments are missing: what is left looks like a log that ended earlier.
    let listed = std::fs::read_dir(target.join("segments")).unwrap();
    let last = listed.map(|entry| entry.unwrap().path()).max().unwrap();
    std::fs::remove_file(&last).unwrap();
    let mut serve = serve(&target, "127.0.0.1:0", &small_segments());
    serve.args(["--console", "off"]);
    let refused = Process::run("sedge", &mut serve, b"", limits::CONDITION);
    assert_eq!(
        refused.status.code(),
        Some(DATA_ERROR),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("copy it again"),
        "{}",
        refused.stderr
    );

    let (said, status) = doctor(&target);
    assert_eq!(status.code(), Some(DATA_ERROR));
    assert_eq!(said["findings"][0]["kind"], "backup", "{said}");
    // Another backup completes it.
    backup(sedge.data(), &target);
    let (said, status) = doctor(&target);
    assert!(status.success(), "{said}");
    std::fs::remove_file(&last).unwrap();
    let path = target.to_str().unwrap();
    command(&["doctor", "--data", path, "--repair", "backup"]);
    let restored = Sedge::start(&target, small_segments());
    let mut connection = Connection::open(&restored.bootstrap());
    let there = read_all(&mut connection, 0);
    assert!(
        there.len() > 100 && there.len() < BATCHES as usize,
        "{}",
        there.len()
    );
    assert!(!target.join("backup.toml").exists());
}
