//! Tests `sedge plugin test` and `sedge plugin bench`: plugins of the three worlds, without a
//! broker.

use std::fs;
use std::path::Path;
use std::process::Command;

use sedge_tests::process::{Finished, Process};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::{limits, tools};
use serde_json::{Value, json};

use crate::support::{DEADBAND, GEOHASH, MISBEHAVE, RANGE, REMEMBER, TENANTS, component};

fn plugin(verb: &str, guest: &str, records: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(tools::sedge());
    command.args(["plugin", verb]).arg(component(guest));
    command.arg("--records").arg(records).args(arguments);
    Process::run("sedge plugin", &mut command, b"", limits::COMMAND)
}

/// Writes `lines` to a file.
fn file(directory: &TempDir, name: &str, lines: &[&str]) -> std::path::PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, lines.join("\n")).expect("writes");
    path
}

fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn a_filter_is_compared_with_what_is_expected() {
    let directory = TempDir::new("trying-filter");
    let records = file(
        &directory,
        "records.jsonl",
        &[
            r#"{"key": "a", "value": {"celsius": 21.4}, "headers": {"unit": "C"}}"#,
            "",
            r#"{"value": {"celsius": 50}, "timestamp": 1700000000000}"#,
            r#"{"value": "999"}"#,
            r#"{"value": {"base64": "/w=="}}"#,
            r#"{"value": null}"#,
        ],
    );
    let settings = ["--config", "max=40", "--batch", "3"];
    let run = |more: &[&str]| plugin("test", RANGE, &records, &[&settings[..], more].concat());

    let text = run(&[]);
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    assert!(
        text.stdout
            .starts_with("     1 keep\n     2 drop\n     3 drop\nbatch 1: 3 records, "),
        "{text:?}"
    );

    let answered = run(&["-o", "json"]);
    let answers = json_lines(&answered.stdout);
    let of_batch = &answers[3];
    assert_eq!(of_batch["records"], 3);
    let instructions = of_batch["instructions"].as_u64().expect("a number");
    assert!((100..100_000).contains(&instructions), "{of_batch}");
    let memory = of_batch["memory_bytes"].as_u64().expect("a number");
    assert!((64 << 10..16 << 20).contains(&memory), "{of_batch}");
    assert_eq!(answers.len(), 7, "{answered:?}");
    // The same work costs the same instructions.
    assert_eq!(
        json_lines(&run(&["-o", "json"]).stdout)[3]["instructions"],
        instructions
    );

    // The output is a file of expectations.
    let lines: Vec<&str> = answered.stdout.lines().collect();
    let expected = file(&directory, "expected.jsonl", &lines);
    let expect = ["--expect", expected.to_str().expect("a plain path")];
    assert_eq!(run(&expect).status.code(), Some(0));
    let other = plugin(
        "test",
        RANGE,
        &records,
        &[&expect[..], &["--config", "max=60"]].concat(),
    );
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    assert!(
        other.stderr.contains(
            "record 2: {\"value\": {\"celsius\": 50}, \"timestamp\": 1700000000000}\n  \
             expected {\"verdict\":\"drop\"}\n  got      {\"verdict\":\"keep\"}\n"
        ),
        "{other:?}"
    );
    assert!(other.stderr.contains("1 of 5 answers"), "{other:?}");

    let too_few = file(&directory, "few.jsonl", &lines[..2]);
    let expect = ["--expect", too_few.to_str().expect("a plain path")];
    let few = run(&expect);
    assert_eq!(few.status.code(), Some(1));
    assert!(few.stderr.contains("expected nothing"), "{few:?}");
}

#[test]
fn wrong_lines_and_settings_are_told() {
    let directory = TempDir::new("trying-wrong");
    let check = |line: &str, settings: &[&str], reason: &str| {
        let records = file(&directory, "records.jsonl", &[r#"{"value": "1"}"#, line]);
        let finished = plugin("test", RANGE, &records, settings);
        assert_eq!(finished.status.code(), Some(65), "{finished:?}");
        assert!(finished.stderr.contains(reason), "{reason}: {finished:?}");
    };
    check("{", &[], "records.jsonl: line 2: EOF");
    check(r#"{"vlaue": 1}"#, &[], "line 2: unknown field `vlaue`");
    check(r#"{"key": {"base64": "?"}}"#, &[], "is not base64");
    check(r#"{"timestamp": "now"}"#, &[], "line 2: invalid type");
    check("{}", &["--config", "max=hot"], "refuses its settings");
}

#[test]
fn a_plugin_that_fails_fails_its_batch() {
    let directory = TempDir::new("trying-failing");
    let records = file(
        &directory,
        "records.jsonl",
        &[
            r#"{"value": "x"}"#,
            r#"{"value": "panic"}"#,
            r#"{"value": "x"}"#,
        ],
    );
    let finished = plugin("test", MISBEHAVE, &records, &["--batch", "1", "-o", "json"]);
    assert_eq!(finished.status.code(), Some(65), "{finished:?}");
    assert!(
        finished.stderr.contains("the plugin trapped"),
        "{finished:?}"
    );
    let answers = json_lines(&finished.stdout);
    assert_eq!(answers[2]["verdict"], "failed", "{finished:?}");
    assert_eq!(answers[3]["instructions"], Value::Null);
    assert_eq!(answers[4]["verdict"], answers[0]["verdict"], "{finished:?}");
}

#[test]
fn partitioners_and_quota_policies_answer_too() {
    let directory = TempDir::new("trying-worlds");
    let records = file(
        &directory,
        "records.jsonl",
        // Kafka's partition of "foobar" among 12.
        &[r#"{"key": "foobar"}"#],
    );
    let finished = plugin(
        "test",
        GEOHASH,
        &records,
        &["--partitions", "12", "-o", "json"],
    );
    let kafka = (-790_332_482_i32).cast_unsigned() & 0x7fff_ffff;
    assert_eq!(
        json_lines(&finished.stdout)[0],
        json!({ "partition": kafka % 12 }),
        "{finished:?}"
    );

    let requests = file(
        &directory,
        "requests.jsonl",
        &[
            r#"{"principal": "User:ann", "bytes": 1}"#,
            r#"{"principal": "User:ann", "bytes": 1000000000}"#,
            r#"{"principal": "User:ann", "bytes": 1, "now_ms": 1}"#,
        ],
    );
    let finished = plugin("test", TENANTS, &requests, &["-o", "json"]);
    let answers = json_lines(&finished.stdout);
    assert_eq!(answers[0], json!({ "grant": "allow" }), "{finished:?}");
    let last = &answers[2];
    assert_eq!(last["grant"], "throttle", "{finished:?}");
    assert!(last["ms"].as_u64().is_some_and(|ms| ms > 0), "{finished:?}");
}

#[test]
fn a_measurement_has_a_spread() {
    let directory = TempDir::new("trying-bench");
    let records = file(&directory, "records.jsonl", &[r#"{"value": "21.4"}"#]);
    let finished = plugin("bench", RANGE, &records, &["--seconds", "1", "-o", "json"]);
    let figures = &json_lines(&finished.stdout)[0];
    let nanos = |name: &str| figures["ns_a_record"][name].as_f64().expect("a number");
    let spread = ["least", "median", "p99", "most"].map(nanos);
    assert!(spread[0] > 0.0 && spread.is_sorted(), "{figures}");
    assert!(figures["batches"].as_u64() >= Some(200), "{figures}");
}

#[test]
fn a_filter_with_a_state_remembers_as_long_as_the_command_runs() {
    let directory = TempDir::new("trying-state");
    let lines = [r#"{"value": "sum a 5"}"#; 6];
    let refused = [r#"{"value": "sum a 100\nreject"}"#, r#"{"value": "drop"}"#];
    let records = [&lines[..4], &refused[..], &lines[4..]].concat();
    let records = file(&directory, "records.jsonl", &records);
    let tested = plugin("test", REMEMBER, &records, &["--batch", "2", "-o", "json"]);
    let values: Vec<Value> = json_lines(&tested.stdout)
        .into_iter()
        .filter_map(|line| line.get("value").cloned())
        .collect();
    // What the refused batch changed is undone.
    assert_eq!(
        values,
        ["5", "10", "15", "20", "25", "30"].map(Value::from),
        "{tested:?}"
    );
    let tested = plugin("test", REMEMBER, &records, &["--batch", "2"]);
    assert!(
        tested.stdout.ends_with("state: 1 keys, 99 bytes"),
        "{tested:?}"
    );

    let keys: Vec<String> = (0..100)
        .map(|number| format!(r#"{{"value": "sum sensor-{number:04} 1000000"}}"#))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let records = file(&directory, "keys.jsonl", &keys);
    let measured = plugin(
        "bench",
        REMEMBER,
        &records,
        &["--seconds", "1", "-o", "json"],
    );
    let measured = &json_lines(&measured.stdout)[0];
    let state = &measured["state"];
    assert_eq!(state["keys"], 100, "{measured}");
    let bytes = |name: &str| state[name].as_u64().expect("a number");
    assert!(
        bytes("written_bytes") * 10 < bytes("changed_bytes") * 13,
        "{measured}"
    );
}

/// The state is the same whether the readings come in one batch or in many.
#[test]
fn the_example_keeps_the_readings_that_say_something_new() {
    let directory = tools::root().join("plugins").join(DEADBAND);
    let expected = directory.join("expected.jsonl");
    let expected = expected.to_str().expect("a plain path");
    let records = directory.join("records.jsonl");
    for batch in ["1", "3", "100"] {
        let arguments = ["--batch", batch, "--expect", expected];
        let tested = plugin("test", DEADBAND, &records, &arguments);
        assert_eq!(tested.status.code(), Some(0), "{batch}: {tested:?}");
    }
    let slower = ["--config", "every.ms=5000", "--expect", expected];
    let tested = plugin("test", DEADBAND, &records, &slower);
    assert_eq!(tested.status.code(), Some(1), "{tested:?}");
    assert!(tested.stderr.contains("record 4: "), "{tested:?}");
}
