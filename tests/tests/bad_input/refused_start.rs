//! Tests directories and settings with which a broker must not start, and must say why.

use std::path::Path;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::limits;
use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::{self, Options, Sedge};
use sedge_tests::temp_dir::TempDir;

/// Runs a start that must end by itself. Returns its message.
fn refused(data: &Path, options: &Options) -> String {
    let mut command = sedge::serve(data, "127.0.0.1:0", options);
    command.args(["--console", "off"]);
    let Finished {
        status,
        stdout,
        stderr,
    } = Process::run("sedge", &mut command, b"", limits::COMMAND);
    assert!(!status.success(), "started: {stdout}\n{stderr}");
    assert!(
        status.code().is_some(),
        "ended by a signal: {status}\n{stderr}"
    );
    assert!(!stdout.contains("sedge ready"), "was ready: {stdout}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

fn check(said: &str, words: &[&str]) {
    let lower = said.to_lowercase();
    assert!(
        words.iter().all(|word| lower.contains(word)),
        "wanted {words:?} in: {said}"
    );
}

#[test]
fn a_directory_that_another_process_holds() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("locked");
    let mut first = Sedge::start(&directory.join("data"), Options::default());
    let said = refused(&directory.join("data"), &Options::default());
    check(
        &said,
        &[
            "locked by process",
            &first.process().pid().to_string(),
            "data",
        ],
    );
    first.assert_alive();
    first.kill();
    // A lock must not outlive its process.
    first.start_again();
}

#[test]
fn settings_that_nobody_knows() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("settings");
    let data = directory.join("data");
    let said = refused(&data, &Options::default().set("log.retention.mss", "1"));
    check(&said, &["log.retention.mss", "log.retention.ms"]);
    let said = refused(&data, &Options::default().config("durabilty = \"sync\"\n"));
    check(&said, &["durabilty", "durability"]);
    let said = refused(
        &data,
        &Options::default().config("durability = \"perhaps\"\n"),
    );
    check(&said, &["durability", "perhaps", "interval"]);
    let said = refused(&data, &Options::default().config("this is not TOML"));
    check(&said, &["data.toml:1:"]);
    let said = refused(
        &data,
        &Options::default().config("[mirror.hq]\ntopics = [\"a\"]\n"),
    );
    check(&said, &["mirror.hq", "bootstrap.servers"]);
}

#[test]
fn a_directory_that_cannot_be_written() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("no-directory");
    let file = directory.join("a-file");
    std::fs::write(&file, "not a directory").unwrap();
    let said = refused(&file.join("data"), &Options::default());
    check(&said, &["a-file"]);
}

#[test]
fn an_address_that_is_taken() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("address");
    let first = Sedge::start(&directory.join("data"), Options::default());
    let mut command = sedge::serve(
        &directory.join("other"),
        &first.bootstrap(),
        &Options::default(),
    );
    command.args(["--console", "off"]);
    let done = Process::run("sedge", &mut command, b"", limits::COMMAND);
    assert!(!done.status.success());
    check(&done.stderr, &["in use", &first.bootstrap()]);
}

/// `meta.toml` decides whose directory it is.
#[test]
fn a_directory_of_a_newer_format_or_another_owner() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("owner");
    let data = directory.join("data");
    let mut first = Sedge::start(&data, Options::default());
    first.terminate();
    let said = refused(
        &data,
        &Options::default().set("cluster.id", "another-cluster"),
    );
    check(&said, &["cluster.id", "another-cluster"]);
    let said = refused(&data, &Options::default().set("node.id", "77"));
    check(&said, &["node.id", "77"]);
    let meta = data.join("meta.toml");
    let text = std::fs::read_to_string(&meta).expect("meta.toml is there");
    assert!(text.contains("format = 1"), "{text}");
    std::fs::write(&meta, text.replace("format = 1", "format = 9")).expect("it can be written");
    let said = refused(&data, &Options::default());
    check(&said, &["format 9", "newer"]);
    std::fs::write(&meta, text).expect("it can be written");
    first.start_again();
}
