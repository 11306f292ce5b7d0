//! Tests snapshots of the metadata in a backup that is taken while they are written.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use sedge_tests::http;
use sedge_tests::limits;
use sedge_tests::process::Process;
use sedge_tests::sedge::Sedge;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tools;
use sedge_tests::wire::{self, Batch, Connection};

use crate::metadata::wait_until;
use crate::offline::{copy, doctor, wrong};
use crate::snapshots::{Known, Model, options, seen};

const TOPICS: usize = 30;
/// A topic whose setting changes while backups are taken.
const CHANGING: &str = "changing";
const BACKUPS: usize = 3;

#[test]
fn a_backup_that_is_taken_while_snapshots_are_made_has_every_topic() {
    let directory = TempDir::new("backup-snapshots");
    let often = options().set("metadata.log.max.snapshot.interval.ms", "100");
    let sedge = Sedge::start(&directory.join("data"), often);
    let mut connection = Connection::open(&sedge.bootstrap());
    for number in 0..TOPICS {
        let name = format!("topic-{number}");
        wire::create_topic(&mut connection, &name, 2, &[]);
        let batch = Batch::of(&[name.clone().into_bytes()]).encode();
        assert_eq!(wire::produce(&mut connection, &name, 0, &batch).error, 0);
    }
    wire::create_topic(&mut connection, CHANGING, 1, &[("retention.ms", "1")]);
    let mut model = seen(&mut connection, &Model::new());
    let changing = model.remove(CHANGING).unwrap();

    let (sender, acknowledged) = mpsc::channel();
    let address = sedge.bootstrap();
    let changes = std::thread::spawn(move || {
        let mut connection = Connection::open(&address);
        for value in 2_u64.. {
            let setting = ("retention.ms", &*value.to_string());
            wire::alter_topic(&mut connection, CHANGING, setting);
            if sender.send(value).is_err() {
                break;
            }
        }
    });
    let target = directory.join("backup");
    for taken in 0..BACKUPS {
        let snapshots = || http::metric(sedge.console(), "sedge_metadata_snapshots_total");
        let before = snapshots();
        wait_until("another snapshot is made", || snapshots() > before);
        let least = acknowledged.try_iter().last().unwrap();
        let mut command = Command::new(tools::sedge());
        command.arg("backup").arg(&target);
        command.arg("--data").arg(sedge.data());
        let done = Process::run("sedge backup", &mut command, b"", limits::COMMAND);
        assert!(done.status.success(), "{}", done.stderr);
        let (said, _) = doctor(&target, &[]);
        assert_eq!(wrong(&said), [] as [&str; 0], "backup {taken}: {said}");

        // A start turns a backup into an ordinary directory, so it runs on a copy.
        let data = directory.join(&taken.to_string());
        copy(&target, &data);
        restored(&data, &model, &changing, least);
    }
    drop(acknowledged);
    changes.join().expect("changes are acknowledged");
}

/// Starts on a backup. Checks that it has all topics, and a setting of the changing one from
/// `least` on.
fn restored(data: &Path, model: &Model, changing: &Known, least: u64) {
    let sedge = Sedge::start(data, options());
    let mut connection = Connection::open(&sedge.bootstrap());
    let mut found = seen(&mut connection, model);
    let there = found.remove(CHANGING).expect("the topic is there");
    assert_eq!(&found, model);
    assert_eq!(there.topic, changing.topic);
    let value: u64 = there.retention_ms.unwrap().parse().unwrap();
    assert!(value >= least, "{value}, and {least} was acknowledged");
}
