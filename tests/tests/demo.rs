//! Tests what a newcomer sees first: the demo runs to its end, and its sums add up.

use std::path::Path;
use std::process::Command;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::process::Process;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{limits, plugin, tools};

/// Runs the demo and returns the lines of its checks.
fn demo(filter: Option<&Path>) -> Vec<String> {
    let mut command = Command::new(tools::sedge());
    command.args(["demo", "--for", "3s"]);
    if let Some(filter) = filter {
        command.arg("--plugin").arg(filter);
    }
    let done = Process::run("sedge demo", &mut command, b"", limits::COMMAND);
    let said = tools::must(done, "sedge demo").stdout;
    let lines = said.lines().map(str::to_owned).collect();
    assert!(said.trim_end().ends_with("the sums add up"), "{said}");
    assert!(!said.contains("WRONG"), "{said}");
    lines
}

/// A link that sends transactions writes their markers as well, which once counted as records.
#[test]
fn the_demo_without_a_filter_adds_up() {
    if is_skipped_on_kafka() {
        return;
    }
    let lines = demo(None);
    assert!(
        lines.iter().any(|line| line.starts_with("ok ")),
        "{lines:?}"
    );
}

#[test]
fn the_demo_with_a_filter_adds_up() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("demo");
    let filter = plugin::build("drop-out-of-range", directory.path());
    let lines = demo(Some(&filter));
    assert!(
        lines.iter().any(|line| line.contains("dropped")),
        "{lines:?}"
    );
}
