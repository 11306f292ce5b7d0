//! The golden vectors of `wit/vectors.json`: batches and outcomes as the bytes that pass between
//! the broker and a plugin, to test SDKs with. `wit/README.md` has the shape.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    bindings::filter::exports::sedge::plugin::filter::Outcome as Answer,
    limits::Limits,
    outcome::{Field, Outcome, Verdict},
    records::{Needs, RecordBlob},
};

const BASE_TIMESTAMP_MS: i64 = 1_700_000_000_000;
const NULL: u32 = u32::MAX;
const SAME: u32 = u32::MAX - 1;

struct Record {
    key: Option<&'static str>,
    value: Option<&'static str>,
    headers: &'static [(&'static str, Option<&'static str>)],
    delta_ms: i64,
}

const RECORDS: [Record; 4] = [
    Record {
        key: Some("roof"),
        value: Some("21.4"),
        headers: &[("unit", Some("C"))],
        delta_ms: 0,
    },
    Record {
        key: None,
        value: Some(""),
        headers: &[("unit", Some("")), ("", None), ("unit", Some("é"))],
        delta_ms: -1,
    },
    Record {
        key: Some(""),
        value: None,
        headers: &[],
        delta_ms: 1 << 40,
    },
    Record {
        key: Some("é"),
        value: Some("a value that is longer than the others, of more than 63 bytes in UTF-8"),
        headers: &[(
            "a name of a header that is longer, so that its length is two bytes",
            None,
        )],
        delta_ms: 7,
    },
];

fn batches() -> Vec<Value> {
    let none = Needs::default();
    let all = Needs {
        key: true,
        value: true,
        headers: true,
    };
    let value = Needs {
        value: true,
        ..none
    };
    vec![
        batch("all fields", all, &RECORDS),
        batch("the value alone, which most filters need", value, &RECORDS),
        batch("nothing but timestamps", none, &RECORDS),
        batch("one record", all, &RECORDS[..1]),
    ]
}

fn batch(what: &str, needs: Needs, records: &[Record]) -> Value {
    let mut blob = RecordBlob::new();
    blob.start(needs, &Limits::default());
    for record in records {
        let headers = encoded(record.headers);
        let key = record.key.map(str::as_bytes);
        let value = record.value.map(str::as_bytes);
        blob.push(key, value, Some(&headers), record.delta_ms)
            .expect("fits");
    }
    let names = [
        ("key", needs.key),
        ("value", needs.value),
        ("headers", needs.headers),
    ];
    let named = names.iter().filter(|(_, is_needed)| *is_needed);
    // A field that is not needed is told to no plugin.
    let records = records.iter().map(|record| {
        json!({
            "key": record.key.filter(|_| needs.key),
            "value": record.value.filter(|_| needs.value),
            "headers": if needs.headers { record.headers } else { &[] },
            "timestamp_ms": BASE_TIMESTAMP_MS + record.delta_ms,
        })
    });
    json!({
        "what": what,
        "needs": named.map(|(name, _)| *name).collect::<Vec<_>>(),
        "base_timestamp_ms": BASE_TIMESTAMP_MS,
        "records": records.collect::<Vec<_>>(),
        "blob": hex(blob.blob()),
        "spans": hex(blob.spans()),
    })
}

/// Encodes headers as Kafka's records have them. All lengths are below 8192.
fn encoded(headers: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let put = |length: i32, bytes: &mut Vec<u8>| {
        let zigzag = (length << 1 ^ length >> 31).cast_unsigned();
        if zigzag > 0x7f {
            bytes.push(zigzag as u8 | 0x80);
            bytes.push((zigzag >> 7) as u8);
        } else {
            bytes.push(zigzag as u8);
        }
    };
    put(headers.len() as i32, &mut bytes);
    for (name, value) in headers {
        put(name.len() as i32, &mut bytes);
        bytes.extend_from_slice(name.as_bytes());
        put(value.map_or(-1, |value| value.len() as i32), &mut bytes);
        bytes.extend_from_slice(value.unwrap_or_default().as_bytes());
    }
    bytes
}

fn outcomes() -> Vec<Value> {
    let none = || Answer {
        verdicts: vec![],
        replacements: vec![],
        replacement_blob: vec![],
        reasons: vec![],
    };
    let of = |verdicts: &[u8]| Answer {
        verdicts: verdicts.to_vec(),
        ..none()
    };
    let replaced = |entries: &[[u32; 4]], blob: &str| Answer {
        verdicts: vec![2; entries.len()],
        replacements: entries
            .iter()
            .flatten()
            .flat_map(|n| n.to_le_bytes())
            .collect(),
        replacement_blob: blob.as_bytes().to_vec(),
        ..none()
    };
    let all = Answer {
        verdicts: vec![3, 0, 2, 1, 2, 3],
        replacements: replaced(&[[0, SAME, 0, 4], [4, 2, 6, NULL]], "").replacements,
        replacement_blob: b"21.5\xc3\xa9".to_vec(),
        reasons: vec!["too cold".to_owned(), String::new()],
    };
    let routed = Answer {
        verdicts: vec![4, 3, 5, 0, 4],
        replacements: replaced(
            &[[0, SAME, 0, SAME], [0, SAME, 0, 1], [1, NULL, 1, SAME]],
            "",
        )
        .replacements,
        replacement_blob: b"7".to_vec(),
        reasons: ["too cold", "alarms", "audit"].map(str::to_owned).to_vec(),
    };
    vec![
        outcome("all are kept, in the shortest form", 3, true, none()),
        outcome("all are kept, a byte each", 3, false, of(&[0, 0, 0])),
        outcome("some are dropped", 3, true, of(&[1, 0, 1])),
        outcome("each verdict", 6, true, all),
        outcome("two topics, and a reason", 5, true, routed),
        outcome("an empty value", 1, true, replaced(&[[0, SAME, 0, 0]], "")),
        outcome(
            "shared bytes",
            2,
            false,
            replaced(&[[0, 2, 1, 1], [0, 1, 0, 2]], "ab"),
        ),
        outcome("too few verdicts", 3, false, of(&[0, 1])),
        outcome("an unknown verdict", 1, false, of(&[20])),
        outcome("a route without a topic", 1, false, of(&[4])),
        outcome("no replacement", 1, false, of(&[2])),
        outcome("no reason", 1, false, of(&[3])),
        outcome(
            "outside the blob",
            1,
            false,
            replaced(&[[0, SAME, 1, 2]], "ab"),
        ),
        outcome(
            "beyond 32 bits",
            1,
            false,
            replaced(&[[0, SAME, SAME, 4]], "ab"),
        ),
    ]
}

/// Returns an outcome with what it means. `is_shortest` says that an SDK should write it so.
fn outcome(what: &str, records: usize, is_shortest: bool, answer: Answer) -> Value {
    let mut vector = json!({
        "what": what,
        "records": records,
        "shortest": is_shortest,
        "verdicts": hex(&answer.verdicts),
        "replacements": hex(&answer.replacements),
        "replacement_blob": hex(&answer.replacement_blob),
        "reasons": answer.reasons,
    });
    match Outcome::check(answer, records, Limits::default().output_bytes_max) {
        Ok(outcome) => vector["means"] = outcome.verdicts().map(meaning).collect(),
        Err(error) => vector["refused"] = json!(error.to_string()),
    }
    vector
}

/// A field that stays is left out.
fn meaning(verdict: Verdict<'_>) -> Value {
    match verdict {
        Verdict::Keep => json!({ "verdict": "keep" }),
        Verdict::Drop => json!({ "verdict": "drop" }),
        Verdict::Reject { reason } => json!({ "verdict": "reject", "reason": reason }),
        Verdict::Replace { key, value } => replaced(json!({ "verdict": "replace" }), key, value),
        Verdict::Route { topic, key, value } => {
            replaced(json!({ "verdict": "route", "topic": topic }), key, value)
        }
    }
}

/// Adds the fields of a record that is replaced, or replaced and routed.
fn replaced(mut meaning: Value, key: Field<'_>, value: Field<'_>) -> Value {
    for (name, field) in [("key", key), ("value", value)] {
        match field {
            Field::Same => {}
            Field::Null => meaning[name] = Value::Null,
            Field::Bytes(bytes) => {
                meaning[name] = json!(std::str::from_utf8(bytes).expect("texts"));
            }
        }
    }
    meaning
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// With `SEDGE_ENCODE_WIT=1`, the test writes the vectors anew.
#[test]
fn the_golden_vectors_are_what_the_host_writes_and_reads() {
    let vectors = json!({ "batches": batches(), "outcomes": outcomes() });
    let text = serde_json::to_string_pretty(&vectors).expect("JSON") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/vectors.json");
    if std::env::var_os("SEDGE_ENCODE_WIT").is_some() {
        fs::write(&file, text).expect("the repository is writable");
        return;
    }
    let held = fs::read_to_string(&file).expect("is in the repository");
    assert!(
        held == text,
        "wit/vectors.json is not what the host does: run `SEDGE_ENCODE_WIT=1 cargo test -p \
         sedge-plugin golden_vectors`, and see whether the interface has changed"
    );
}
