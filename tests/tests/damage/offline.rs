//! Examines a data directory while no broker uses it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sedge_tests::limits;
use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::{Options, serve};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tools;
use serde_json::Value;

pub const DATA_ERROR: i32 = 65;

/// Returns the doctor's output with these arguments, and its exit code.
pub fn doctor(data: &Path, arguments: &[&str]) -> (Value, i32) {
    let mut command = Command::new(tools::sedge());
    // A broker would read its settings from variables of the tests.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEDGE_") {
            command.env_remove(name);
        }
    }
    command.args(["doctor", "-o", "json", "--data"]).arg(data);
    command.args(arguments);
    let copies = TempDir::new("copies");
    command.env("TMPDIR", copies.path());
    let finished = Process::run("sedge", &mut command, b"", limits::CONDITION);
    let left = std::fs::read_dir(copies.path()).unwrap().count();
    assert_eq!(left, 0, "copies of the views are left behind");
    let code = finished.status.code();
    let said = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| {
        panic!("the doctor ends with {code:?}: {}", finished.stderr);
    });
    (said, code.expect("the doctor ends by itself"))
}

/// Returns the kinds of problems.
pub fn wrong(said: &Value) -> Vec<String> {
    let findings = said["findings"].as_array().expect("a list").iter();
    let wrong = findings.filter(|of| of["wrong"] == Value::Bool(true));
    wrong
        .map(|of| of["kind"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Runs a start that must be refused.
pub fn refused(data: &Path, options: &Options) -> Finished {
    let mut serve = serve(data, "127.0.0.1:0", options);
    serve.args(["--console", "off"]);
    let refused = Process::run("sedge", &mut serve, b"", limits::CONDITION);
    let said = &refused.stderr;
    assert_eq!(refused.status.code(), Some(DATA_ERROR), "{said}");
    refused
}

pub fn segment(data: &Path, id: u64) -> PathBuf {
    data.join(format!("segments/{id:010}.seg"))
}

/// Flips one bit of the file, in the middle of the first occurrence of `needle`.
pub fn flip_in(path: &Path, needle: &[u8]) {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(needle.len()).position(|of| of == needle);
    let at = at.unwrap_or_else(|| panic!("{} has it not", path.display())) + needle.len() / 2;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
