//! Tests `sedge plugin inspect`: of files, of deployed plugins, and of what a broker refuses.

use std::fs;
use std::process::Command;

use sedge_tests::process::{Finished, Process};
use sedge_tests::sedge::Options;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{limits, tools};

use crate::support::{Place, RANGE, component};

fn inspect(arguments: &[&str]) -> Finished {
    let mut command = Command::new(tools::sedge());
    command.args(["plugin", "inspect"]).args(arguments);
    Process::run("sedge plugin inspect", &mut command, b"", limits::COMMAND)
}

/// Returns a component that imports an empty instance `name`, and nothing else.
fn importing(name: &str) -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    // A type: an instance that exports nothing.
    component.extend([7, 3, 1, 0x42, 0]);
    let length = u8::try_from(name.len()).expect("a short name");
    component.extend([10, length + 5, 1, 0, length]);
    component.extend(name.as_bytes());
    // Of the first type.
    component.extend([5, 0]);
    component
}

#[test]
fn a_file_and_its_deployment_look_the_same() {
    let file = component(RANGE);
    let file = file.to_str().expect("a plain path");
    let place = Place::start("inspecting", Options::default());
    place.deploy("range", RANGE);
    let server = place.sedge.bootstrap();

    let of_file: serde_json::Value =
        serde_json::from_str(&inspect(&[file, "-o", "json"]).stdout).expect("JSON");
    let deployed = inspect(&["range", "-o", "json", "--bootstrap-server", &server]);
    let deployed: serde_json::Value = serde_json::from_str(&deployed.stdout).expect("JSON");
    assert_eq!(of_file["world"], "record-filter");
    assert_eq!(of_file["kind"], "component");
    assert_eq!(
        of_file["imports"],
        serde_json::json!(["sedge:plugin/log@0.1.0"])
    );
    assert_eq!(of_file["bytes"], fs::metadata(file).expect("there").len());
    assert_eq!(of_file["limits"]["plugin.deadline.ms"], 100);
    assert!(of_file["refused"].is_null(), "{of_file}");
    for same in ["world", "exports", "bytes", "sha256", "limits"] {
        assert_eq!(of_file[same], deployed[same], "{same}");
    }

    let text = inspect(&["range", "--bootstrap-server", &server]).stdout;
    assert!(text.contains("world            record-filter\n"), "{text}");
    assert!(text.contains("plugin.memory.bytes=16777216"), "{text}");

    let missing = inspect(&["no-such", "--bootstrap-server", &server]);
    assert_eq!(missing.status.code(), Some(69));
    assert!(missing.stderr.contains("sedge plugin list"), "{missing:?}");
}

#[test]
fn a_refusal_names_the_import_and_the_cure() {
    let directory = TempDir::new("inspect-refused");
    let path = directory.path().join("plugin.wasm");
    let check = |content: &[u8], shown: &str, reasons: &[&str]| {
        fs::write(&path, content).expect("writes");
        let finished = inspect(&[path.to_str().expect("a plain path")]);
        assert_eq!(finished.status.code(), Some(65), "{finished:?}");
        assert!(finished.stdout.contains(shown), "{finished:?}");
        for reason in reasons {
            assert!(finished.stderr.contains(reason), "{reason}: {finished:?}");
        }
    };
    let clock = "wasi:clocks/wall-clock@0.2.6";
    check(
        &importing(clock),
        clock,
        &[clock, "no WASI", "--stub-wasi", "wasm32-unknown-unknown"],
    );
    let later = "sedge:plugin/log@0.2.0";
    check(
        &importing(later),
        later,
        &[later, "build the plugin again with the wit/"],
    );
    let other = "acme:shop/cart@1.0.0";
    check(&importing(other), other, &[other, "stub it out"]);
    check(
        &importing("sedge:plugin/log@0.1.7"),
        "none",
        &["does not export sedge:plugin/lifecycle@0.1"],
    );
    check(
        b"\0asm\x01\0\0\0",
        "sha256",
        &["core module", "plugin build"],
    );
    check(b"#!/bin/sh\n", "bytes", &["not a WebAssembly component"]);
    check(b"sedgeplg\x01\0", "bytes", &["cut off"]);
}
