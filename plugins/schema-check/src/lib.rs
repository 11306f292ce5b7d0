//! Rejects values that do not match a JSON Schema. README.md has the settings and the keywords.
#![no_std]

mod check;
mod schema;

use schema::Schema;
use sedge_plugin_sdk::{Config, Filter, Record, String, ToOwned, Verdict, filter, format};

struct SchemaCheck {
    schema: Schema,
    allows_null: bool,
}

impl Filter for SchemaCheck {
    fn configure(config: &Config) -> Result<Self, String> {
        let text = config.get("schema");
        let text = text.ok_or("setting schema: is missing; it is a JSON Schema")?;
        let schema = Schema::parse(text).map_err(|why| format!("setting schema: {why}"))?;
        let allows_null = config.parse_or("tombstones", true)?;
        Ok(Self {
            schema,
            allows_null,
        })
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        match record.value() {
            None if self.allows_null => Verdict::Keep,
            None => Verdict::Reject("the value is null".to_owned()),
            Some(value) => match check::check(&self.schema, value) {
                Ok(()) => Verdict::Keep,
                Err(why) => Verdict::Reject(why),
            },
        }
    }
}

filter!(SchemaCheck);
