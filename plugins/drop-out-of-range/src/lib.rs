//! Drops readings like `{"sensor":"roof-3","celsius":21.4}` whose `field` (`celsius`) lies outside
//! `min` (-40) to `max` (85), and those that have none. Settings: `sedge.plugin.NAME.min` and so
//! on.
#![no_std]
use sedge_plugin_sdk::{Config, Filter, Record, String, Verdict, filter, format};

struct DropOutOfRange(String, f64, f64);

impl Filter for DropOutOfRange {
    fn configure(config: &Config) -> Result<Self, String> {
        let name = format!("\"{}\":", config.get("field").unwrap_or("celsius"));
        Ok(Self(
            name,
            config.parse_or("min", -40.0)?,
            config.parse_or("max", 85.0)?,
        ))
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        let Self(name, min, max) = self;
        let number = record.value_str().and_then(|text| {
            let (_, rest) = text.split_once(name.as_str())?;
            rest.split([',', '}']).next()?.trim().parse().ok()
        });
        match number {
            Some(number) if (*min..=*max).contains(&number) => Verdict::Keep,
            _ => Verdict::Drop,
        }
    }
}

filter!(DropOutOfRange);
