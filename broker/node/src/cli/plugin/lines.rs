//! Records and requests as JSON lines: the input of `plugin test` and `plugin bench`, and answers
//! as lines of the same shape.

use std::fmt;
use std::path::Path;

use sedge_core::base64;
use sedge_plugin::{QuotaOperation, QuotaRequest};
use sedge_protocol::wire::Write as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::code;
use crate::process::failure::{Exit, Failure};

/// The shape of the lines, for `--help`.
pub const HELP: &str = "\
A line of the file is a record, and all of its members may be left out:
  {\"key\": \"a\", \"value\": {\"celsius\": 21.4}, \"headers\": {\"unit\": \"C\"}, \"timestamp\": 0}
A key, a value or a header's value is a text, null, or {\"base64\": \"AAE=\"}; any other JSON stands
for its own text, as it is written. For a quota policy, a line is a request:
  {\"operation\": \"produce\", \"principal\": \"User:ann\", \"client_id\": \"a\", \"peer\": \"127.0.0.1\",
   \"listener\": \"PLAINTEXT\", \"topics\": [\"t\"], \"bytes\": 1000, \"records\": 10, \"now_ms\": 0}";

/// A line of a file, and what was read from it.
pub struct Line<T> {
    pub text: String,
    pub content: T,
}

/// A record for a filter or a partitioner.
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// As Kafka encodes them, with their count.
    pub headers: Vec<u8>,
    pub timestamp_ms: i64,
}

/// A request for a quota policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(default)]
    operation: Operation,
    principal: Option<String>,
    client_id: Option<String>,
    #[serde(default = "local")]
    peer: String,
    #[serde(default = "plaintext")]
    listener: String,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    records: u64,
    #[serde(default)]
    now_ms: u64,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    #[default]
    Produce,
    Fetch,
}

fn local() -> String {
    "127.0.0.1".to_owned()
}

fn plaintext() -> String {
    "PLAINTEXT".to_owned()
}

impl Request {
    /// Calls `with` with the request in the host's form.
    pub fn with<T>(&self, with: impl FnOnce(&QuotaRequest<'_>) -> T) -> T {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        with(&QuotaRequest {
            operation: match self.operation {
                Operation::Produce => QuotaOperation::Produce,
                Operation::Fetch => QuotaOperation::Fetch,
            },
            principal: self.principal.as_deref(),
            client_id: self.client_id.as_deref(),
            peer: &self.peer,
            listener: &self.listener,
            topics: &topics,
            bytes: self.bytes,
            records: self.records,
            now_ms: self.now_ms,
        })
    }
}

/// A record as it is written in a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: Members<'a>,
    #[serde(default)]
    timestamp: i64,
}

/// The members of an object, in their order; Kafka allows several headers of one name.
#[derive(Default)]
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reading).map(Self)
    }
}

/// Reads the records of a file.
///
/// # Errors
/// The file cannot be read, or a line is no record.
pub fn records(path: &Path) -> Result<Vec<Line<Record>>, Failure> {
    read(path, |line| {
        let written: Written<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let field = |raw: Option<&RawValue>| raw.map_or(Ok(None), field);
        let mut headers = Vec::new();
        headers.put_varint(length(written.headers.0.len())?);
        for (name, value) in &written.headers.0 {
            put(&mut headers, Some(name.as_bytes()))?;
            put(&mut headers, field(Some(value))?.as_deref())?;
        }
        Ok(Record {
            key: field(written.key)?,
            value: field(written.value)?,
            headers,
            timestamp_ms: written.timestamp,
        })
    })
}

/// Reads the requests of a file.
///
/// # Errors
/// The file cannot be read, or a line is no request.
pub fn requests(path: &Path) -> Result<Vec<Line<Request>>, Failure> {
    read(path, |line| {
        serde_json::from_str(line).map_err(|error| error.to_string())
    })
}

/// Reads a file of lines, without the empty ones.
///
/// # Errors
/// The file cannot be read, is not UTF-8, or `parse` refuses a line.
pub fn read<T>(
    path: &Path,
    mut parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<Line<T>>, Failure> {
    let wrong = |what: String| {
        Failure::new(Exit::Data, format!("{}: {what}", path.display()))
            .advise("`sedge plugin test --help` shows the shape of a line")
    };
    let text = String::from_utf8(code::read(path)?).map_err(|error| wrong(error.to_string()))?;
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let content =
                parse(line).map_err(|error| wrong(format!("line {}: {error}", index + 1)))?;
            let text = line.to_owned();
            Ok(Line { text, content })
        })
        .collect()
}

fn length(length: usize) -> Result<i32, String> {
    i32::try_from(length).map_err(|_| "is too long for a record".to_owned())
}

fn put(into: &mut Vec<u8>, field: Option<&[u8]>) -> Result<(), String> {
    match field {
        None => into.put_varint(-1),
        Some(field) => {
            into.put_varint(length(field.len())?);
            into.extend_from_slice(field);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64<'a> {
    #[serde(borrow)]
    base64: std::borrow::Cow<'a, str>,
}

/// Returns the bytes that a member stands for.
///
/// # Errors
/// The member is wrong base64.
pub fn field(raw: &RawValue) -> Result<Option<Vec<u8>>, String> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    if let Ok(text) = serde_json::from_str::<String>(text) {
        return Ok(Some(text.into_bytes()));
    }
    match serde_json::from_str::<Base64<'_>>(text) {
        Ok(encoded) => match base64::decode(&encoded.base64) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(format!("{text} is not base64")),
        },
        Err(_) => Ok(Some(text.as_bytes().to_vec())),
    }
}

/// Returns the shortest member that stands for these bytes: the inverse of [`field`].
pub fn member(bytes: Option<&[u8]>) -> Box<RawValue> {
    let Some(bytes) = bytes else {
        return raw(&Value::Null);
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return raw(&json!({ "base64": base64::encode(bytes) }));
    };
    let is_nested = text.starts_with(['{', '[']) && !text.contains(['\n', '\r']);
    let is_json = is_nested
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
        && serde_json::from_str::<Base64<'_>>(text).is_err();
    match RawValue::from_string(text.to_owned()) {
        // White space around the text would be lost.
        Ok(same) if is_json && same.get() == text => same,
        _ => raw(&Value::from(text)),
    }
}

/// Returns a value as the text of a member.
pub fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("a value is valid JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_field(text: &str) -> Result<Option<Vec<u8>>, String> {
        field(&RawValue::from_string(text.to_owned()).expect("JSON"))
    }

    #[test]
    fn fields_are_texts_null_base64_or_json_as_written() {
        for (text, bytes) in [
            (r#""a\n""#, Some(&b"a\n"[..])),
            ("null", None),
            (r#"{"base64": "AAE="}"#, Some(&[0, 1])),
            (r#"{"b": 1,  "a":[]}"#, Some(br#"{"b": 1,  "a":[]}"#)),
            (r#"{"base64": 1}"#, Some(br#"{"base64": 1}"#)),
            ("21.40", Some(b"21.40")),
        ] {
            assert_eq!(read_field(text), Ok(bytes.map(<[u8]>::to_vec)), "{text}");
        }
        assert!(read_field(r#"{"base64": "?"}"#).is_err());
    }

    #[test]
    fn a_member_stands_for_its_bytes() {
        for bytes in [
            &b"plain"[..],
            b"",
            b"null",
            b"21.4",
            b"\"quoted\"",
            br#"{"b": 1,  "a":[]}"#,
            b"{\"a\":\n1}",
            b"{\"a\":1} ",
            br#"{"base64":"AAE="}"#,
            br#"{"base64":"?"}"#,
            b"{broken",
            &[0xff, 0],
        ] {
            assert_eq!(field(&member(Some(bytes))), Ok(Some(bytes.to_vec())));
        }
        assert_eq!(field(&member(None)), Ok(None));
    }
}
