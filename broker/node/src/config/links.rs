//! The links: those of the configuration, from its `[mirror.NAME]` tables, and those that are made
//! while the broker runs, from the configurations of their groups.

use std::collections::BTreeMap;

use super::error::Problem;
use super::link::{LinkConfig, LinkTable};
use super::nearest::nearest;
use super::{Setting, Settings, Source, Value, keys, references};
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

/// Letters in the name of a link that is made while the broker runs: it is part of a group's name,
/// of metrics and of client ids.
const NAME_BYTES_MAX: usize = 64;

/// Checks the keys of a link that is made while the broker runs. Reads the files that they name.
///
/// # Errors
/// The key that cannot be used, or "name", and the reason, which has no secret.
pub fn at_run_time(name: &str, keys: &BTreeMap<String, String>) -> Result<LinkConfig, ConfigError> {
    let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_of_a_name) {
        let why = format!(
            "{name:?} cannot be the name of a link; use 1 to {NAME_BYTES_MAX} letters, digits, \
             '-' and '_'"
        );
        return Err(ConfigError::new("name", why));
    }
    for (key, value) in keys {
        if !keys::is_link_key(key) {
            let known: Vec<String> = keys::link_keys().map(str::to_owned).collect();
            let hint = nearest(key, &known).map(|nearest| format!("; did you mean {nearest}?"));
            let why = format!("a link has no such key{}", hint.unwrap_or_default());
            return Err(ConfigError::new(key, why));
        }
        // A client could have the broker send any of its files to a server of the client's.
        if references::has(value) {
            let why = "references such as ${file:…} are only read in the configuration file";
            return Err(ConfigError::new(key, why));
        }
    }
    let table = LinkTable {
        name: name.to_owned(),
        properties: keys.clone(),
    };
    LinkConfig::read(&table).map_err(|error| {
        let hide = |why: String| match keys.get(&error.key) {
            Some(value) => Value::of(&error.key, value).hide_in(why),
            None => why,
        };
        ConfigError::new(&error.key, hide(error.reason))
    })
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
