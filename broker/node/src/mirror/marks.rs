//! The origins that a link has marked topics upstream with.

use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Marks {
    /// By the topic's name there: its id and the origins.
    pub by_topic: BTreeMap<String, (String, String)>,
    /// The cluster that has no such key.
    pub without_key: Option<String>,
}
