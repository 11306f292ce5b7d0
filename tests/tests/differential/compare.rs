//! Compares two responses, given as the text of their fields.

use std::fmt;

/// A field whose values differ.
pub struct Difference {
    /// Names of the fields from the outermost on.
    pub path: String,
    here: String,
    there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, here, there } = self;
        write!(f, "{path}: {here}, Kafka has {there}")
    }
}

/// Returns the fields that differ. If one response has more fields, everything from there on is one
/// difference.
pub fn differences(here: &str, there: &str) -> Vec<Difference> {
    let (here, there) = (fields(here), fields(there));
    let mut found = Vec::new();
    for index in 0..here.len().max(there.len()) {
        let none = || ("(end)".to_owned(), "nothing".to_owned());
        let one = here.get(index).cloned().unwrap_or_else(none);
        let other = there.get(index).cloned().unwrap_or_else(none);
        if one == other {
            continue;
        }
        let is_same_field = one.0 == other.0;
        found.push(Difference {
            path: one.0.clone(),
            here: if is_same_field {
                one.1
            } else {
                format!("{} {}", one.0, one.1)
            },
            there: if is_same_field {
                other.1
            } else {
                format!("{} {}", other.0, other.1)
            },
        });
        if !is_same_field {
            break;
        }
    }
    found
}

/// Returns each field with its value, from the text of `Debug`.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut open: Vec<String> = Vec::new();
    let mut fields = Vec::new();
    for line in text.lines() {
        let line = line.trim().trim_end_matches(',');
        if matches!(line, "}" | "]" | ")") {
            open.pop();
            continue;
        }
        let (name, value) = line.split_once(": ").unwrap_or(("", line));
        if name.starts_with('_') {
            // Unknown tagged fields.
            if value.ends_with(['{', '[', '(']) {
                open.push(String::new());
            }
            continue;
        }
        let path: Vec<&str> = open.iter().map(String::as_str).chain([name]).collect();
        let path: Vec<&str> = path.into_iter().filter(|part| !part.is_empty()).collect();
        let path = path.join(".");
        // The text of a string is a field of its own.
        let path = path
            .strip_suffix(".inner")
            .map_or(path.clone(), str::to_owned);
        if value.ends_with(['{', '[', '(']) {
            open.push(name.to_owned());
            if value.ends_with('[') {
                fields.push((path, "a list".to_owned()));
            }
        } else {
            fields.push((path, value.to_owned()));
        }
    }
    fields
}

#[test]
fn fields_are_compared_by_their_paths() {
    let here =
        "A {\n    code: 0,\n    list: [\n        B {\n            x: 1,\n        },\n    ],\n}";
    let there = here.replace("x: 1", "x: 2");
    let found = differences(here, &there);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "list.x");
    assert!(differences(here, here).is_empty());
    let longer = here.replace("x: 1,", "x: 1,\n            y: 2,");
    assert_eq!(differences(here, &longer).len(), 1);
}
