//! Generates `broker/CONFIG.md`, the table of all keys of Kafka: which have an effect here, and why
//! the others have none. A test compares the file with what is generated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sedge_core::config::{BROKER_KEYS, ConfigKey, IDLE_BROKER_KEYS, TOPIC_KEYS};

const HEAD: &str = "# Configuration keys

Generated from the tables of keys: `SEDGE_UPDATE=1 cargo test -p sedge --lib config::table`.

A key of a broker is set in the configuration file; *at once* means that `kafka-configs` changes it \
while the broker runs. Keys of topics are always changed at once. `sedge config dump` shows what is \
in force.
";

/// Returns the text of the table.
fn table() -> String {
    let mut text = HEAD.to_owned();
    let topics: Vec<&ConfigKey> = TOPIC_KEYS.iter().collect();
    let mut brokers: Vec<&ConfigKey> = BROKER_KEYS.iter().chain(IDLE_BROKER_KEYS).collect();
    brokers.sort_by_key(|key| key.name);
    for (of, keys) in [("brokers", brokers), ("topics", topics)] {
        let (with, without): (Vec<&ConfigKey>, Vec<&ConfigKey>) =
            keys.into_iter().partition(|key| key.has_effect);
        let _ = write!(
            text,
            "\n## Keys of {of}\n\n| key | default | changes | what it does |\n| --- | --- | --- | --- |\n"
        );
        for key in with {
            let default = key.default.map_or_else(|| "-".to_owned(), code);
            let changes = if key.is_dynamic { "at once" } else { "restart" };
            let _ = writeln!(
                text,
                "| `{}` | {default} | {changes} | {} |",
                key.name,
                cell(key.doc)
            );
        }
        let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for key in without {
            by_reason.entry(key.doc).or_default().push(code(key.name));
        }
        let _ = write!(
            text,
            "\n## Keys of {of} without an effect\n\nThey are checked and shown as in Kafka.\n\n\
             | reason | keys |\n| --- | --- |\n"
        );
        for (reason, keys) in by_reason {
            let _ = writeln!(text, "| {} | {} |", cell(reason), keys.join(", "));
        }
    }
    text
}

fn code(text: &str) -> String {
    match text {
        "" => "empty".to_owned(),
        text => format!("`{text}`"),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_table_in_the_repository_is_what_is_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../CONFIG.md");
    let generated = table();
    if std::env::var_os("SEDGE_UPDATE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == generated,
        "broker/CONFIG.md is not what is generated: SEDGE_UPDATE=1 cargo test -p sedge --lib \
         config::table writes it"
    );
}
