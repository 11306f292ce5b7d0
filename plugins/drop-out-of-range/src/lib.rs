//! Drops readings like `{"sensor":"roof-3","celsius":21.4}` whose `field` (`celsius`) is not within
//! `min` (-40) and `max` (85), or is no number. Settings: `sedge.plugin.NAME.min` and so on.
#![no_std]
use core::ops::RangeInclusive;
use sedge_plugin_sdk::{Config, Filter, Record, String, ToOwned, Verdict, filter, json};

struct DropOutOfRange {
    field: String,
    range: RangeInclusive<f64>,
}

impl Filter for DropOutOfRange {
    fn configure(config: &Config) -> Result<Self, String> {
        let field = config.get("field").unwrap_or("celsius").to_owned();
        let range = config.parse_or("min", -40.0)?..=config.parse_or("max", 85.0)?;
        Ok(Self { field, range })
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        let number = json::number(record.value().unwrap_or_default(), &self.field);
        match number {
            Some(number) if self.range.contains(&number) => Verdict::Keep,
            _ => Verdict::Drop,
        }
    }
}

filter!(DropOutOfRange);
