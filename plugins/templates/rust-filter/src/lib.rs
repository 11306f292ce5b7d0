//! Drops records whose value contains a word: the setting `sedge.plugin.my-plugin.word` of the
//! topic, by default `debug`.
#![no_std]
use sedge_plugin_sdk::{Config, Record, Verdict, filter_fn};

#[filter_fn]
fn drop_word(record: &Record<'_>, config: &Config) -> Verdict {
    let word = config.get("word").unwrap_or("debug");
    match record.value_str() {
        Some(value) if value.contains(word) => Verdict::Drop,
        _ => Verdict::Keep,
    }
}
