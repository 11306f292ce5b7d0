//! Drops readings whose number is not within `min` (-40) and `max` (85). A reading is JSON with the
//! member `field` (`celsius`), like `{"sensor":"roof-3","celsius":21.4}`, or a bare `21.4`. JSON
//! without the member is dropped too; any other value is kept. Settings: `sedge.plugin.NAME.min`
//! and so on.
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
        let value = record.value().unwrap_or_default().trim_ascii();
        let is_json = value.starts_with(b"{");
        let number = if is_json {
            json::number(value, &self.field)
        } else {
            core::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
        };
        match number {
            Some(number) if !self.range.contains(&number) => Verdict::Drop,
            None if is_json => Verdict::Drop,
            _ => Verdict::Keep,
        }
    }
}

filter!(DropOutOfRange);
