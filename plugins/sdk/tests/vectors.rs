//! Checks the SDK against the golden vectors of the interface: it reads the batches as the broker
//! wrote them, and writes the outcomes in their shortest form.

use std::cell::RefCell;

use sedge_plugin_sdk::{
    Config, Field, Filter, Record, Running, Verdict,
    bindings::exports::sedge::plugin::filter::{BatchInfo, Outcome, Stage},
};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../wit/vectors.json");

thread_local! {
    static SEEN: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
    /// The verdicts to give, the last first.
    static VERDICTS: RefCell<Vec<Verdict>> = const { RefCell::new(Vec::new()) };
}

struct Told;

impl Filter for Told {
    fn configure(_: &Config) -> Result<Self, String> {
        Ok(Self)
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        let text = |bytes: Option<&[u8]>| {
            bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("texts"))
        };
        let headers = record.headers();
        let headers = headers.map(|header| json!([text(Some(header.name)), text(header.value)]));
        let seen = json!({
            "key": text(record.key()),
            "value": text(record.value()),
            "headers": headers.collect::<Vec<_>>(),
            "timestamp_ms": record.timestamp_ms(),
        });
        SEEN.with_borrow_mut(|all| all.push(seen));
        VERDICTS.with_borrow_mut(|left| left.pop().unwrap_or(Verdict::Keep))
    }
}

fn run(base_timestamp_ms: i64, blob: &[u8], spans: &[u8]) -> Outcome {
    let running: Running<Told> = Running::new();
    let info = BatchInfo {
        topic: "t".into(),
        partition: 0,
        stage: Stage::Produce,
        base_timestamp_ms,
        origin: None,
    };
    running.configure(Vec::new()).expect("has no settings");
    running.filter_batch(info, blob, spans)
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("a text");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn vectors(of: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
    let vectors = vectors[of].as_array().expect("a list").clone();
    assert!(!vectors.is_empty());
    vectors
}

fn verdict(means: &Value) -> Verdict {
    let field = |name: &str| match means.get(name) {
        None => Field::Same,
        Some(Value::String(text)) => Field::Bytes(text.as_bytes().to_vec()),
        Some(_) => Field::Null,
    };
    match means["verdict"].as_str().expect("a text") {
        "keep" => Verdict::Keep,
        "drop" => Verdict::Drop,
        "reject" => Verdict::Reject(means["reason"].as_str().expect("a text").to_owned()),
        "replace" => Verdict::Replace {
            key: field("key"),
            value: field("value"),
        },
        "route" => Verdict::Route {
            topic: means["topic"].as_str().expect("a text").to_owned(),
            key: field("key"),
            value: field("value"),
        },
        other => panic!("{other}"),
    }
}

#[test]
fn batches_are_read_as_the_broker_wrote_them() {
    for vector in vectors("batches") {
        SEEN.take();
        let base = vector["base_timestamp_ms"].as_i64().expect("a number");
        let outcome = run(base, &bytes(&vector["blob"]), &bytes(&vector["spans"]));
        assert!(outcome.verdicts.is_empty(), "all are kept");
        assert_eq!(json!(SEEN.take()), vector["records"], "{}", vector["what"]);
    }
}

#[test]
fn outcomes_are_written_in_their_shortest_form() {
    for vector in vectors("outcomes") {
        if vector["shortest"] != true {
            continue;
        }
        let means = vector["means"].as_array().expect("a list");
        VERDICTS.set(means.iter().rev().map(verdict).collect());
        // Records without fields.
        let mut span = [0; 32];
        span[..24].fill(0xff);
        let outcome = run(0, &[], &span.repeat(means.len()));
        let what = &vector["what"];
        assert_eq!(outcome.verdicts, bytes(&vector["verdicts"]), "{what}");
        assert_eq!(
            outcome.replacements,
            bytes(&vector["replacements"]),
            "{what}"
        );
        assert_eq!(
            outcome.replacement_blob,
            bytes(&vector["replacement_blob"]),
            "{what}"
        );
        assert_eq!(json!(outcome.reasons), vector["reasons"], "{what}");
    }
}
