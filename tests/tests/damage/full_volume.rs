//! Tests snapshots of the metadata on a volume that others have filled: they wait for room, and no
//! topic is lost meanwhile.

use sedge_tests::http;
use sedge_tests::limits;
use sedge_tests::report;
use sedge_tests::sedge::Sedge;
use sedge_tests::small_disk::SmallDisk;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Decoder, Encoder, error, key};

use crate::metadata::wait_until;
use crate::snapshots::{Model, options, seen};

/// Size of the volume: the views' journals, and room for many segments.
const DISK_MIB: usize = 220;
const TOPICS: usize = 20;
const KILLS: usize = 6;
/// Changes between two kills. Their records exceed the size after which a snapshot is due.
const CHANGES: usize = 100;

#[test]
fn topics_outlive_kills_on_a_full_volume_and_snapshots_come_when_it_has_room() {
    let directory = TempDir::new("full-snapshots");
    let Some(disk) = SmallDisk::mount(&directory.join("disk"), DISK_MIB) else {
        return;
    };
    // Otherwise records would be deleted to make room for others' data.
    let options = options().set("sedge.disk.max.bytes", "-1");
    let mut sedge = Sedge::start(&disk.path().join("data"), options);
    let mut connection = Connection::patient(&sedge.bootstrap(), limits::COMMAND);
    for number in 0..TOPICS {
        let name = topic(number);
        wire::create_topic(&mut connection, &name, 1, &[]);
        let batch = Batch::of(&[name.clone().into_bytes()]).encode();
        let produced = wire::produce(&mut connection, &name, 0, &batch);
        assert_eq!(produced.error, error::NONE, "{name}");
    }
    wire::create_topic(&mut connection, "filling", 1, &[]);
    let mut model = seen(&mut connection, &Model::new());
    // Its records are not checked.
    model.remove("filling");

    let mut refused = 0;
    for kill in 0..KILLS {
        fill(&disk, &format!("others-{kill}"), &mut connection);
        for change in 0..CHANGES {
            let name = topic(change % TOPICS);
            let retention_ms = (1_000_000_000 + kill * CHANGES + change).to_string();
            match alter(&mut connection, &name, &retention_ms) {
                error::NONE => {
                    let known = model.get_mut(&name).unwrap();
                    known.retention_ms = Some(retention_ms);
                }
                error::KAFKA_STORAGE_ERROR => refused += 1,
                other => panic!("{name}: {other}"),
            }
        }
        if kill == 0 {
            let waits = "a snapshot of __cluster_metadata cannot be written";
            let wait_for = |line: &String| line.contains(waits);
            let process = sedge.process();
            process.wait_for("a snapshot that waits", limits::CONDITION, |output| {
                output.stderr.iter().any(wait_for).then_some(())
            });
        }
        sedge.kill();
        // What a kill gives back is others'.
        disk.fill(&format!("others-{kill}-kill"), 0);
        sedge.start_again();
        connection = Connection::patient(&sedge.bootstrap(), limits::COMMAND);
        check(&mut connection, &model, &format!("after kill {kill}"));
    }
    report::line(format_args!(
        "{} changes on the full volume, {refused} refused",
        KILLS * CHANGES
    ));

    disk.empty("others");
    let console = sedge.console().to_owned();
    wait_until("a snapshot is made", || {
        http::metric(&console, "sedge_metadata_snapshots_total") > 0.0
    });
    for _ in 0..2 {
        check(&mut connection, &model, "with room again");
        sedge.kill();
        sedge.start_again();
        connection = Connection::open(&sedge.bootstrap());
    }
    check(&mut connection, &model, "from the snapshot");
    wire::create_topic(&mut connection, "new", 1, &[]);
    // The broker ends before its disk goes.
    drop(sedge);
    drop(disk);
}

fn topic(number: usize) -> String {
    format!("topic-{number}")
}

fn check(connection: &mut Connection, model: &Model, when: &str) {
    let mut found = seen(connection, model);
    found.remove("filling");
    assert_eq!(&found, model, "{when}");
}

/// Lets others take the rest of the volume, and a producer the rest of the segment.
fn fill(disk: &SmallDisk, name: &str, connection: &mut Connection) {
    let batch = Batch::of(&[vec![b'x'; 16 << 10]]).encode();
    wait_until("the volume is full", || {
        disk.fill(&format!("{name}-{}", disk.free_bytes()), 0);
        let produced = wire::produce(connection, "filling", 0, &batch);
        produced.error == error::KAFKA_STORAGE_ERROR
    });
}

/// Sets `retention.ms`, which is possible on a full disk as long as there is headroom for it.
fn alter(at: &mut Connection, name: &str, retention_ms: &str) -> i16 {
    const TOPIC: i8 = 2;
    const SET: i8 = 0;
    let body = Encoder::default().i32(1).i8(TOPIC).string(name).i32(1);
    let body = body.string("retention.ms").i8(SET).string(retention_ms);
    let reply = at.ask(key::INCREMENTAL_ALTER_CONFIGS, 0, &body.i8(0).0);
    let mut d = Decoder(&reply);
    d.i32();
    assert_eq!(d.i32(), 1);
    d.i16()
}
