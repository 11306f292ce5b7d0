//! Keeps the readings of a sensor that say something new: one that differs from the last kept one
//! by `band` (0.5) or more, and one after `silence.ms` (600000) without any. `every.ms` (0) is the
//! least time between two kept ones. A reading is JSON with the member `field` (`celsius`). Its
//! sensor is the record's key, or without a key the member `sensor`. Other records are kept.
//!
//! What was kept last is the filter's state, so a restart of the broker keeps nothing twice.
#![no_std]
use sedge_plugin_sdk::{
    Config, Filter, Needs, Record, String, ToOwned, Verdict, filter, json, metrics, state,
};

struct Deadband {
    field: String,
    band: f64,
    every_ms: i64,
    silence_ms: i64,
}

/// The last reading of a sensor that was kept.
struct Kept {
    value: f64,
    at_ms: i64,
}

impl Kept {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (value, at_ms) = (bytes.first_chunk()?, bytes.last_chunk()?);
        Some(Self {
            value: f64::from_le_bytes(*value),
            at_ms: i64::from_le_bytes(*at_ms),
        })
    }

    fn encode(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.value.to_le_bytes());
        bytes[8..].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes
    }
}

impl Deadband {
    fn says_something(&self, before: &Kept, now: &Kept) -> bool {
        match now.at_ms.saturating_sub(before.at_ms) {
            // A late one: what was kept before it came after it.
            elapsed if elapsed < 0 => true,
            elapsed if elapsed < self.every_ms => false,
            elapsed if elapsed >= self.silence_ms => true,
            _ => (now.value - before.value).abs() >= self.band,
        }
    }
}

impl Filter for Deadband {
    const NEEDS: Needs = Needs::KEY.union(Needs::VALUE);

    fn configure(config: &Config) -> Result<Self, String> {
        Ok(Self {
            field: config.get("field").unwrap_or("celsius").to_owned(),
            band: config.parse_or("band", 0.5)?,
            every_ms: config.parse_or("every.ms", 0)?,
            silence_ms: config.parse_or("silence.ms", 600_000)?,
        })
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        let reading = record.value().unwrap_or_default();
        let sensor = record.key().or_else(|| json::text(reading, "sensor"));
        let value = json::number(reading, &self.field);
        let (Some(sensor), Some(value)) = (sensor, value) else {
            return Verdict::Keep;
        };
        let at_ms = record.timestamp_ms();
        let now = Kept { value, at_ms };
        let before = state::get(sensor).and_then(|bytes| Kept::decode(&bytes));
        if let Some(before) = &before {
            if !self.says_something(before, &now) {
                return Verdict::Drop;
            }
            if now.at_ms < before.at_ms {
                return Verdict::Keep;
            }
        }
        if state::put(sensor, &now.encode()).is_err() {
            // There are more sensors than the state has room for. Nothing is lost.
            metrics::add("untracked", 1);
        }
        Verdict::Keep
    }
}

filter!(Deadband);
