//! Tests the broker for 64-bit ARM, static and without the plugin compiler, under user-mode
//! emulation: with a filter that was compiled ahead for it on this machine, and a real client.
//!
//! `cargo xtask test --only arm` builds what it needs and sets `SEDGE_BIN` (the ARM broker, run by
//! the emulator), `SEDGE_HOST_BIN` (this machine's, with the compiler) and `SEDGE_TARGET`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection};
use sedge_tests::{limits, plugin, report, tools};

const TOPIC: &str = "readings";
const FILTER: &str = "plausible";
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Readings per codec; every fifth is out of range.
const COUNT: usize = 40;

#[test]
#[ignore = "needs the ARM binary: cargo xtask test --only arm"]
fn an_arm_broker_filters_with_code_compiled_ahead() {
    let directory = TempDir::new("arm");
    let key = signing_key(directory.path());
    let code = compile_ahead(directory.path(), &key);
    let options = Options::default().set("plugin.signing.key", &key.to_string_lossy());
    let mut sedge = Sedge::start(&directory.join("data"), options);
    report::line(format_args!(
        "arm: ready in {} ms",
        sedge.ready_in().as_millis()
    ));
    deploy(&sedge, &code);
    let mut connection = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut connection, TOPIC, 1, &[("sedge.filter", FILTER)]);
    plugin::wait_filtered(&mut connection, TOPIC);

    let mut kept = Vec::new();
    for codec in CODECS {
        let readings: Vec<String> = (0..COUNT).map(|n| reading(codec, n)).collect();
        produce(&sedge, codec, &readings);
        kept.extend(
            readings
                .into_iter()
                .filter(|reading| !reading.contains("999")),
        );
    }
    assert_eq!(kept.len(), CODECS.len() * COUNT * 4 / 5);
    assert_eq!(consume(&sedge), kept);

    sedge.terminate();
    sedge.start_again();
    assert_eq!(consume(&sedge), kept, "after a restart");
    report::line(format_args!(
        "arm: {} produced, {} kept by the filter",
        CODECS.len() * COUNT,
        kept.len()
    ));
}

fn reading(codec: &str, n: usize) -> String {
    let celsius = if n.is_multiple_of(5) {
        999.0
    } else {
        n as f64 / 2.0
    };
    format!("{{\"sensor\":\"{codec}-{n}\",\"celsius\":{celsius:.1}}}")
}

/// Writes a key that only its owner can read, for both sides.
fn signing_key(directory: &Path) -> PathBuf {
    let path = directory.join("signing.key");
    fs::write(&path, "an operator's key of this test alone").expect("a temporary file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    path
}

/// Builds the example filter and compiles it for the device, on this machine.
fn compile_ahead(directory: &Path, key: &Path) -> PathBuf {
    let component = directory.join("filter.wasm");
    let code = directory.join("filter.splugin");
    let source = tools::root().join("plugins/drop-out-of-range");
    run(host()
        .args(["plugin", "build"])
        .arg(source)
        .arg("--output")
        .arg(&component));
    run(host()
        .args(["plugin", "compile"])
        .arg(&component)
        .args(["--target", &needed("SEDGE_TARGET")])
        .arg("--signing-key")
        .arg(key)
        .arg("--output")
        .arg(&code));
    code
}

fn deploy(sedge: &Sedge, code: &Path) {
    run(host()
        .args(["plugin", "deploy", FILTER])
        .arg(code)
        .args(["--bootstrap-server", &sedge.bootstrap()]));
}

fn produce(sedge: &Sedge, codec: &str, readings: &[String]) {
    let mut kcat = Command::new("kcat");
    kcat.args([
        "-P",
        "-b",
        &sedge.bootstrap(),
        "-t",
        TOPIC,
        "-p",
        "0",
        "-z",
        codec,
    ]);
    kcat.args(["-X", "acks=all", "-X", "enable.idempotence=true"]);
    let input = readings.join("\n");
    let said = Process::run("kcat", &mut kcat, input.as_bytes(), limits::COMMAND);
    tools::must(said, "kcat produces");
}

/// Returns all values of the topic, whose offsets must have no gap.
fn consume(sedge: &Sedge) -> Vec<String> {
    let mut kcat = Command::new("kcat");
    kcat.args([
        "-C",
        "-b",
        &sedge.bootstrap(),
        "-t",
        TOPIC,
        "-p",
        "0",
        "-o",
        "beginning",
    ]);
    kcat.args(["-e", "-q", "-f", "%o %s\n"]);
    let said = Process::run("kcat", &mut kcat, b"", limits::COMMAND);
    let said = tools::must(said, "kcat consumes");
    let values = said.stdout.lines().enumerate().map(|(n, line)| {
        let (offset, value) = line.split_once(' ').expect("the format asked for");
        assert_eq!(offset, n.to_string(), "{line}");
        value.to_string()
    });
    values.collect()
}

fn host() -> Command {
    Command::new(needed("SEDGE_HOST_BIN"))
}

fn run(command: &mut Command) {
    tools::must(Process::run("sedge", command, b"", limits::BUILD), "sedge");
}

fn needed(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is set by cargo xtask test"))
}
