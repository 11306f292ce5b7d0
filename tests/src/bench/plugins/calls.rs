//! Calls of plugins without a broker, by `sedge plugin bench`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Plan, Table};
use crate::bench::Spread;
use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::{limits, plugin, tools};

/// Records of a batch, as many as `sedge plugin bench` puts in one.
const RECORDS: usize = 100;

/// Paths of which the record of `plugins/redact-json/records.jsonl` has two.
const PATHS: &str = "paths=/guest/name,email";

const SCHEMA: &str = r#"schema={"type": "object", "required": ["sensor", "celsius"],
    "properties": {"sensor": {"type": "string", "minLength": 1},
        "celsius": {"type": "number", "minimum": -40, "maximum": 85}, "unit": {"enum": ["C", "K"]},
        "tags": {"type": "array", "items": {"type": "string"}}}}"#;

pub(super) fn run(plan: &Plan, directory: &TempDir, table: &mut Table) {
    let at = directory.path();
    let lines = |name: &str, lines: &[String]| {
        let path = at.join(name);
        std::fs::write(&path, lines.join("\n")).expect("the file can be written");
        path
    };
    let keys: Vec<String> = (0..RECORDS)
        .map(|key| format!(r#"{{"key":"sensor-{key:04}","value":null}}"#))
        .collect();
    let places: Vec<String> = (0..RECORDS)
        .map(|n| format!(r#"{{"key":"s","value":{{"lat":52.{n:04},"lon":13.{n:04}}}}}"#))
        .collect();
    let client = r#"{"operation":"produce","principal":"User:alice","client_id":"acme.line-4","peer":"192.0.2.17","listener":"SASL_SSL","topics":["readings"],"bytes":1,"records":100}"#;
    let (keys, places) = (lines("keys.jsonl", &keys), lines("places.jsonl", &places));
    let requests = lines("requests.jsonl", &[client.to_owned()]);
    let record = |plugin: &str| {
        let path = tools::root().join("plugins").join(plugin);
        let text = std::fs::read_to_string(path.join("records.jsonl")).expect("it has records");
        let first = text
            .lines()
            .next()
            .expect("there is a first one")
            .to_owned();
        lines(&format!("{plugin}.jsonl"), &vec![first; RECORDS])
    };
    let (visit, reading) = (record("redact-json"), record("schema-check"));
    let keys_of = ["--partitions", "12"];
    for (what, name, records, options, bar) in [
        (
            "decision of tenant-quota",
            "tenant-quota",
            &requests,
            &[][..],
            "1000",
        ),
        (
            "key, by murmur2",
            "geohash-partitioner",
            &keys,
            &keys_of,
            "30",
        ),
        (
            "key, by geohash",
            "geohash-partitioner",
            &places,
            &keys_of,
            "-",
        ),
        (
            "record, redact-json finds nothing",
            "redact-json",
            &visit,
            &["--config", "paths=/none"],
            "1000",
        ),
        (
            "record, redact-json replaces two",
            "redact-json",
            &visit,
            &["--config", PATHS],
            "1000",
        ),
        (
            "record, schema-check",
            "schema-check",
            &reading,
            &["--config", SCHEMA],
            "1000",
        ),
    ] {
        let component = plugin::build(name, at);
        let mut spread = Spread::default();
        for _ in 0..plan.rounds {
            spread.add(nanos(&component, records, options, plan.seconds));
        }
        table.row(&format!("ns a {what}"), &spread, 0, bar);
    }
}

/// Returns the median time of a record in one run.
fn nanos(component: &Path, records: &PathBuf, options: &[&str], seconds: u64) -> f64 {
    let mut bench = Command::new(tools::sedge());
    bench.args(["plugin", "bench"]).arg(component);
    bench.arg("--records").arg(records);
    bench.args(["--output", "json", "--seconds", &seconds.to_string()]);
    bench.args(options);
    let time = limits::COMMAND + std::time::Duration::from_secs(seconds);
    let done = Process::run("sedge plugin bench", &mut bench, b"", time);
    let figures: Value =
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    let median = figures["ns_a_record"]["median"].as_f64();
    median.unwrap_or_else(|| panic!("no median: {figures}"))
}
