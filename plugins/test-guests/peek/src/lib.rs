//! A filter for the benchmark: reads the first 16 bytes of each value, and keeps all records.
#![no_std]
use sedge_plugin_sdk::{Config, Filter, Record, String, Verdict, filter};

/// Bytes that no record of the benchmark begins with.
const WANTED: [u8; 16] = *b"begins like this";

struct Peek;

impl Filter for Peek {
    fn configure(_: &Config) -> Result<Self, String> {
        Ok(Self)
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        match record.value() {
            Some(value) if value.starts_with(&WANTED) => Verdict::Drop,
            _ => Verdict::Keep,
        }
    }
}

filter!(Peek);
