//! A filter for the benchmark: counts the records of each key in its state, and keeps all of them.
#![no_std]
use sedge_plugin_sdk::{Config, Filter, Needs, Record, String, Verdict, filter, state};

struct Tally;

impl Filter for Tally {
    const NEEDS: Needs = Needs::KEY;

    fn configure(_: &Config) -> Result<Self, String> {
        Ok(Self)
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        let key = record.key().unwrap_or_default();
        let before = state::get(key).and_then(|bytes| bytes.try_into().ok());
        let count = before.map_or(0, u64::from_le_bytes) + 1;
        match state::put(key, &count.to_le_bytes()) {
            Ok(()) => Verdict::Keep,
            Err(_) => Verdict::Drop,
        }
    }
}

filter!(Tally);
