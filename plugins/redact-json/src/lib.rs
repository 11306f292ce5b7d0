//! Replaces members of JSON values by another value. README.md has the settings.
#![no_std]

mod path;

use core::fmt;

use path::Paths;
use sedge_plugin_sdk::{
    Config, Filter, Record, String, ToOwned, Vec, Verdict, filter, format,
    json::{Cursor, Kind, Malformed},
};

struct RedactJson {
    paths: Paths,
    with: String,
    invalid: Invalid,
}

/// What becomes of a value that is not JSON: it could hide anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Reject,
    Drop,
    Keep,
}

impl Filter for RedactJson {
    fn configure(config: &Config) -> Result<Self, String> {
        let paths = config.get("paths").unwrap_or_default();
        let paths = Paths::parse(paths).map_err(|why| format!("setting paths: {why}"))?;
        let with = config.get("with").unwrap_or("\"***\"").to_owned();
        let mut cursor = Cursor::new(&with);
        cursor
            .value()
            .and_then(|_| cursor.end())
            .map_err(|error| format!("setting with: {error}"))?;
        let invalid = match config.get("invalid").unwrap_or("reject") {
            "reject" => Invalid::Reject,
            "drop" => Invalid::Drop,
            "keep" => Invalid::Keep,
            other => {
                let why = format!("setting invalid: {other:?} is not reject, drop or keep");
                return Err(why);
            }
        };
        Ok(Self {
            paths,
            with,
            invalid,
        })
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        match record.value() {
            None => Verdict::Keep,
            Some(value) => self.redact(value),
        }
    }
}

impl RedactJson {
    fn redact(&self, value: &[u8]) -> Verdict {
        let Some(mut cursor) = Cursor::over(value) else {
            return self.not_json(&"the value is not UTF-8");
        };
        let mut redacted = Redacted {
            value,
            with: &self.with,
            copied: 0,
            bytes: Vec::new(),
        };
        let walked = self.walk(&mut cursor, self.paths.all(), 0, &mut redacted);
        if let Err(error) = walked.and_then(|()| cursor.end()) {
            return self.not_json(&error);
        }
        redacted.verdict()
    }

    /// Passes a value. `open` has the paths that lead to it, `depth` names on the way.
    fn walk(
        &self,
        cursor: &mut Cursor<'_>,
        open: u64,
        depth: usize,
        redacted: &mut Redacted<'_>,
    ) -> Result<(), Malformed> {
        let kind = cursor.kind()?;
        let is_nested = matches!(kind, Kind::Object | Kind::Array);
        if !is_nested || !self.paths.leads_on(open, depth) {
            return cursor.value().map(|_| ());
        }
        if kind == Kind::Array {
            return cursor.elements(|cursor, index| {
                let step = self.paths.element(open, depth, index);
                self.step(cursor, step, depth, redacted)
            });
        }
        cursor.members(|cursor, name| {
            let step = self.paths.member(open, depth, name);
            self.step(cursor, step, depth, redacted)
        })
    }

    fn step(
        &self,
        cursor: &mut Cursor<'_>,
        step: path::Step,
        depth: usize,
        redacted: &mut Redacted<'_>,
    ) -> Result<(), Malformed> {
        if step.is_there {
            redacted.replace(cursor.value()?);
            return Ok(());
        }
        self.walk(cursor, step.open, depth + 1, redacted)
    }

    fn not_json(&self, why: &dyn fmt::Display) -> Verdict {
        match self.invalid {
            Invalid::Reject => Verdict::Reject(format!("{why}")),
            Invalid::Drop => Verdict::Drop,
            Invalid::Keep => Verdict::Keep,
        }
    }
}

/// The value as it was, up to the last replacement, with the replacements.
struct Redacted<'a> {
    value: &'a [u8],
    with: &'a str,
    copied: usize,
    bytes: Vec<u8>,
}

impl Redacted<'_> {
    fn replace(&mut self, place: core::ops::Range<usize>) {
        if self.bytes.is_empty() {
            self.bytes.reserve(self.value.len() + 4 * self.with.len());
        }
        self.copy(place.start);
        self.bytes.extend_from_slice(self.with.as_bytes());
        self.copied = place.end;
    }

    fn copy(&mut self, to: usize) {
        let kept = self.value.get(self.copied..to);
        self.bytes.extend_from_slice(kept.unwrap_or_default());
    }

    fn verdict(mut self) -> Verdict {
        // Nothing was replaced: not even the first byte was passed.
        if self.copied == 0 {
            return Verdict::Keep;
        }
        self.copy(self.value.len());
        Verdict::value(self.bytes)
    }
}

filter!(RedactJson);

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(paths: &str, text: &str) -> String {
        let filter = RedactJson {
            paths: Paths::parse(paths).expect("valid paths"),
            with: "null".to_owned(),
            invalid: Invalid::Reject,
        };
        match filter.redact(text.as_bytes()) {
            Verdict::Keep => text.to_owned(),
            Verdict::Replace {
                value: sedge_plugin_sdk::Field::Bytes(bytes),
                ..
            } => String::from_utf8(bytes).expect("still UTF-8"),
            Verdict::Reject(reason) => reason,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_and_names_are_redacted() {
        for (paths, text, expected) in [
            ("/a", r#"{"a":1,"b":2}"#, r#"{"a":null,"b":2}"#),
            (
                "/a",
                r#" { "b" : {"a":1}, "a" : [1] }"#,
                r#" { "b" : {"a":1}, "a" : null }"#,
            ),
            (
                "a",
                r#"{"b":{"a":1},"c":[{"a":"x"}]}"#,
                r#"{"b":{"a":null},"c":[{"a":null}]}"#,
            ),
            (
                "/u/a",
                r#"{"u":{"a":1,"c":3},"a":2}"#,
                r#"{"u":{"a":null,"c":3},"a":2}"#,
            ),
            (
                "/u/*/a",
                r#"{"u":[{"a":1},{"b":2},3]}"#,
                r#"{"u":[{"a":null},{"b":2},3]}"#,
            ),
            ("/u/1", r#"{"u":[1,2,3]}"#, r#"{"u":[1,null,3]}"#),
            ("/u/1", r#"{"u":{"1":5}}"#, r#"{"u":{"1":null}}"#),
            (
                "/a~1b,/c~0d",
                r#"{"a/b":1,"c~d":2}"#,
                r#"{"a/b":null,"c~d":null}"#,
            ),
            // Twice, escaped, and empty.
            (
                "/a",
                r#"{"a":1,"\u0061":2,"a":3}"#,
                r#"{"a":null,"\u0061":null,"a":null}"#,
            ),
            ("/", r#"{"":1}"#, r#"{"":null}"#),
            ("/a,/b", r#"{"c":"\"a\":1"}"#, r#"{"c":"\"a\":1"}"#),
            ("/a/b", r#"{"a":"text"}"#, r#"{"a":"text"}"#),
            ("/*", r#"{"a":1,"b":[2]}"#, r#"{"a":null,"b":null}"#),
            ("/a", "21.4", "21.4"),
            // What is not JSON could hide anything.
            ("/a", r#"{"b":1}{"a":2}"#, "malformed JSON at byte 7"),
            ("/a", r#"{"b":[},"a":2}"#, "malformed JSON at byte 6"),
            ("/a", "", "malformed JSON at byte 0"),
        ] {
            assert_eq!(redacted(paths, text), expected, "{paths} {text}");
        }
    }

    #[test]
    fn a_deep_value_does_not_hide_a_name() {
        let deep = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{open}{{"a":1}}{close}"#)
        };
        assert!(redacted("a", &deep(30)).contains(r#"{"a":null}"#));
        assert!(redacted("a", &deep(1000)).contains("malformed"));
        assert!(redacted("/b", &deep(1000)).contains("malformed"));
    }
}
