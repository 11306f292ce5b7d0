//! All links of the configuration, from its `[mirror.NAME]` tables.

use std::collections::BTreeMap;

use super::error::Problem;
use super::link::{LinkConfig, LinkTable};
use super::{Setting, Settings, Source, Value, keys};
use crate::client::config::ConfigError;

/// Reads the valid links, and adds a problem for each invalid one.
pub fn links(settings: &Settings, problems: &mut Vec<Problem>) -> Vec<LinkConfig> {
    let mut links = Vec::new();
    for table in link_tables(settings) {
        match LinkConfig::from_table(&table) {
            Ok(link) => links.push(link),
            Err(error) => problems.push(link_problem(settings, &table, error)),
        }
    }
    links
}

fn link_problem(settings: &Settings, table: &LinkTable, error: ConfigError) -> Problem {
    let prefix = format!("mirror.{}.", table.name);
    let of_link = |(key, _): &(&str, &Setting)| key.starts_with(&prefix);
    let source = || {
        let first = settings.iter().find(of_link);
        first.map_or(Source::Default, |(_, setting)| setting.source.clone())
    };
    // A missing key has no source; the link's first key shows where its table is.
    let setting = settings
        .get(&error.key)
        .cloned()
        .unwrap_or_else(|| Setting {
            value: Value::Plain("(not set)".to_owned()),
            source: source(),
        });
    Problem::of(&error.key, &setting, error.reason)
}

fn link_tables(settings: &Settings) -> Vec<LinkTable> {
    let mut tables: BTreeMap<&str, LinkTable> = BTreeMap::new();
    for (key, setting) in settings.iter() {
        if let Some((name, key)) = keys::split_mirror(key) {
            let table = tables.entry(name).or_default();
            name.clone_into(&mut table.name);
            table
                .properties
                .insert(key.to_owned(), setting.value.text().to_owned());
        }
    }
    tables.into_values().collect()
}
