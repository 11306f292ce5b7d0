//! Finds the programs under test and the clients, and builds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::limits;
use crate::process::{Finished, Process};

/// Returns the top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
}

/// Returns the directory of `cargo xtask setup --for test`: `SEDGE_TOOLS`, else `target/tools`.
pub fn installed() -> PathBuf {
    std::env::var_os("SEDGE_TOOLS").map_or_else(|| root().join("target/tools"), PathBuf::from)
}

/// Returns the broker: `SEDGE_BIN`, else the release build, else the debug build.
pub fn sedge() -> PathBuf {
    if let Some(path) = std::env::var_os("SEDGE_BIN") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir));
    for profile in ["release", "debug"] {
        let path = target.join(profile).join("sedge");
        if path.exists() {
            return path;
        }
    }
    panic!(
        "no sedge in {}: run `cargo build -p sedge`, or set SEDGE_BIN",
        target.display()
    );
}

/// Returns the folder of Apache Kafka's jars.
pub fn kafka_lib() -> PathBuf {
    let lib =
        std::env::var_os("KAFKA_LIB").map_or_else(|| installed().join("kafka/lib"), PathBuf::from);
    need(&lib)
}

/// Returns a command for Java with `main_class` from Kafka's jars, quick to start and small.
pub fn java(main_class: &str, heap_mib: u32) -> Command {
    let log = root().join("tests/kafka/log4j2.yaml");
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap_mib}m"))
        .args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
        ])
        .arg(format!("-Dlog4j2.configurationFile={}", log.display()))
        .arg("-cp")
        .arg(format!(
            "{}/*:{}",
            kafka_lib().display(),
            built().join("java").display()
        ))
        .arg(main_class);
    command
}

/// Returns a command for Python with the client libraries.
pub fn python(program: &str) -> Command {
    let mut command = Command::new(need(&installed().join("venv/bin/python")));
    command.arg(root().join("tests/clients/python").join(program));
    // Leaves no bytecode beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Returns a command for Node with the client libraries.
pub fn node(program: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", need(&installed().join("node/node_modules")));
    command.env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
    command.arg(root().join("tests/clients/node").join(program));
    command
}

/// Returns a command for a Go program of `tests/clients/go`, built on first use.
pub fn go(program: &str) -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    // Setup builds them in the same place.
    let out = installed().join("go");
    BUILT.get_or_init(|| {
        create(&out);
        let mut build = Command::new("go");
        build.current_dir(root().join("tests/clients/go"));
        build
            .args(["build", "-mod=readonly", "-o"])
            .arg(&out)
            .arg("./...");
        must(
            Process::run("go build", &mut build, b"", limits::BUILD),
            "go build",
        );
    });
    Command::new(out.join(program))
}

/// Returns a command for a program of `tests/clients/java`, all of which are compiled on first use.
pub fn java_program(main_class: &str) -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = built().join("java");
        create(&out);
        let sources = root().join("tests/clients/java");
        let mut build = Command::new("javac");
        build
            .args(["-proc:none", "-cp"])
            .arg(format!("{}/*", kafka_lib().display()))
            .arg("-d")
            .arg(&out)
            .args(["Client.java", "Streams.java"].map(|file| sources.join(file)));
        must(
            Process::run("javac", &mut build, b"", limits::BUILD),
            "javac",
        );
    });
    java(main_class, 256)
}

/// Panics with the program's own message unless it succeeded.
pub fn must(finished: Finished, what: &str) -> Finished {
    assert!(
        finished.status.success(),
        "{what}: {}\n{}\n{}",
        finished.status,
        finished.stdout,
        finished.stderr
    );
    finished
}

fn built() -> PathBuf {
    installed().join("built")
}

fn create(path: &Path) {
    std::fs::create_dir_all(path).expect("the tools' directory is writable");
}

fn need(path: &Path) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask setup --for test`",
        path.display()
    );
    path.to_path_buf()
}
