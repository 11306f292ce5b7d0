//! Tests a disk that others have filled while thousands of partitions have records in each segment:
//! what frees space continues to work.

use std::process::Command;
use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::small_disk::SmallDisk;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Decoder, Encoder, Produced, error, key};
use sedge_tests::{limits, tools};

/// Size of the disk: the views' journals, and a few segments.
const DISK_MIB: usize = 320;
const SEGMENT_BYTES: usize = 16 << 20;
const TOPICS: usize = 6;
const PARTITIONS: i32 = 1_000;
/// 6,000 of these are more than a segment.
const BATCH_BYTES: usize = 4 << 10;
const KEPT: i64 = 4;
/// No byte is left free: the views have their reserve.
const LEFT_BYTES: u64 = 0;

#[test]
fn a_full_disk_of_thousands_of_partitions_is_emptied_and_goes_on() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("full");
    let Some(disk) = SmallDisk::mount(&directory.join("disk"), DISK_MIB) else {
        return;
    };
    let options = Options::default()
        .set("log.retention.check.interval.ms", "500")
        .set("sedge.segment.bytes", &SEGMENT_BYTES.to_string())
        // Otherwise the oldest records would be deleted before the disk is full.
        .set("sedge.disk.max.bytes", "-1");
    let mut sedge = Sedge::start(&disk.path().join("data"), options);
    let mut connection = Connection::patient(&sedge.bootstrap(), limits::COMMAND);
    wire::create_topic(&mut connection, "kept", 1, &[("retention.ms", "-1")]);
    for _ in 0..KEPT {
        let produced = wire::produce(&mut connection, "kept", 0, &kept_batch());
        assert_eq!(produced.error, error::NONE, "{produced:?}");
    }
    let topics: Vec<String> = (0..TOPICS).map(|n| format!("many-{n}")).collect();
    for topic in &topics {
        let configs = [("retention.ms", "86400000")];
        wire::create_topic(&mut connection, topic, PARTITIONS, &configs);
    }
    for _ in 0..5 {
        for topic in &topics {
            assert_eq!(
                produce_to_all(&mut connection, topic),
                error::NONE,
                "{topic}"
            );
        }
    }
    fill_up(&disk, "first-others", &mut connection, &mut sedge);

    // Moves the log starts of 6,000 partitions.
    for topic in &topics {
        wire::alter_topic(&mut connection, topic, ("retention.ms", "1"));
    }
    wait_for_room(&mut connection, &mut sedge);
    read_kept(&mut connection);
    for topic in &topics {
        wait_until_retired(&mut connection, topic, &mut sedge);
    }

    // Deletes a topic of a thousand partitions, from the command line; also after a kill.
    for killed in [false, true] {
        let name = format!("deleted-{killed}");
        wire::create_topic(&mut connection, &name, PARTITIONS, &[]);
        for _ in 0..8 {
            if produce_to_all(&mut connection, &name) != error::NONE {
                break;
            }
        }
        fill_up(
            &disk,
            &format!("others-{killed}"),
            &mut connection,
            &mut sedge,
        );
        if killed {
            sedge.kill();
            // Others take the space that a kill frees.
            disk.fill("others-kill", LEFT_BYTES);
            sedge.start_again();
            connection = Connection::patient(&sedge.bootstrap(), limits::COMMAND);
        }
        read_kept(&mut connection);
        delete(&sedge, &name);
        wait_for_room(&mut connection, &mut sedge);
        read_kept(&mut connection);
        // Each round has room for more than just the active segment.
        disk.empty("others-");
    }
    sedge.kill();
    sedge.start_again();
    let mut connection = Connection::patient(&sedge.bootstrap(), limits::COMMAND);
    read_kept(&mut connection);
    // The broker ends before its disk is removed.
    drop(sedge);
    drop(disk);
}

fn kept_batch() -> Vec<u8> {
    Batch::filled(1, BATCH_BYTES).encode()
}

/// Lets others take the remaining space, and producers the rest of the segment.
fn fill_up(disk: &SmallDisk, name: &str, connection: &mut Connection, sedge: &mut Sedge) {
    disk.fill(name, LEFT_BYTES);
    let batch = Batch::filled(1, 256 << 10).encode();
    let began = Instant::now();
    loop {
        let produced = wire::produce(connection, "many-0", 0, &batch);
        if produced.error == error::KAFKA_STORAGE_ERROR {
            return;
        }
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        let tail = sedge.process().tail();
        assert!(
            began.elapsed() < limits::CONDITION,
            "it is never full\n{tail}"
        );
        // Takes the space that was freed meanwhile.
        disk.fill(&format!("{name}-more"), LEFT_BYTES);
    }
}

/// Waits until produce is accepted again, without help.
fn wait_for_room(connection: &mut Connection, sedge: &mut Sedge) {
    let batch = Batch::filled(1, 256 << 10).encode();
    let began = Instant::now();
    loop {
        sedge.assert_alive();
        let produced = wire::produce(connection, "many-0", 0, &batch);
        match produced {
            Produced {
                error: error::NONE, ..
            } => return,
            Produced {
                error: error::KAFKA_STORAGE_ERROR,
                ..
            } => {}
            other => panic!("{other:?}"),
        }
        let tail = sedge.process().tail();
        assert!(
            began.elapsed() < limits::CONDITION,
            "no room comes back\n{tail}"
        );
        std::thread::sleep(limits::POLL);
    }
}

/// Waits until the topic's retention has reached its last partition.
fn wait_until_retired(connection: &mut Connection, topic: &str, sedge: &mut Sedge) {
    let began = Instant::now();
    while wire::fetch(connection, topic, PARTITIONS - 1, 0).error != error::OFFSET_OUT_OF_RANGE {
        let tail = sedge.process().tail();
        assert!(
            began.elapsed() < limits::CONDITION,
            "{topic} keeps its records\n{tail}"
        );
        std::thread::sleep(limits::POLL);
    }
}

fn read_kept(connection: &mut Connection) {
    for offset in 0..KEPT {
        let fetched = wire::fetch(connection, "kept", 0, offset);
        assert_eq!(fetched.error, error::NONE, "a fetch at {offset}");
        assert!(fetched.records.len() > BATCH_BYTES, "the batch at {offset}");
    }
}

fn delete(sedge: &Sedge, topic: &str) {
    let mut command = Command::new(tools::sedge());
    let at = sedge.bootstrap();
    command.args(["topic", "--bootstrap-server", &at, "delete", topic]);
    let done = Process::run("sedge topic delete", &mut command, b"", limits::COMMAND);
    assert!(done.status.success(), "{}", done.stderr);
}

/// Produces a batch to each partition. Returns the first error.
fn produce_to_all(connection: &mut Connection, topic: &str) -> i16 {
    let batch = Batch::filled(1, BATCH_BYTES).encode();
    let mut body = Encoder::default().string(None).i16(-1).i32(30_000);
    body = body.i32(1).string(topic).i32(PARTITIONS);
    for partition in 0..PARTITIONS {
        body = body.i32(partition).bytes(&batch);
    }
    let reply = connection.ask(key::PRODUCE, wire::PRODUCE_VERSION, &body.0);
    let mut d = Decoder(&reply);
    assert_eq!(d.i32(), 1, "one topic");
    d.string();
    let mut first = error::NONE;
    for _ in 0..d.i32() {
        d.i32();
        let code = d.i16();
        d.take(24);
        for _ in 0..d.i32().max(0) {
            d.i32();
            d.string();
        }
        d.string();
        if first == error::NONE {
            first = code;
        }
    }
    first
}
