//! The configuration of copies: taken over from upstream, and kept in step.
//!
//! [`CopiedConfigs`] has the rules. What was copied is remembered in the topic's
//! `sedge.mirror.configs`, which changes with the keys that are copied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use sedge_core::config::{MIRROR_CONFIGS_KEY, topic_key};
use sedge_core::metadata::{Command, Topic};
use sedge_core::mirror::{ConfigChanges, CopiedConfigs};

use super::Pull;
use crate::mirror::configs::set;
use crate::mirror::limits;
use crate::mirror::pause::Pause;

/// Keys that a copy takes over from upstream: how long records stay, and how large they are.
const COPIED: &[&str] = &[
    "cleanup.policy",
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
];

impl Pull {
    /// Returns the keys that a copy takes over, of those that are set upstream.
    pub(super) fn copied(&self, set: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let excluded = &self.config.configs_excluded;
        let is_copied = |(name, value): &(&String, &String)| {
            let key = topic_key(name).filter(|key| COPIED.contains(&key.name));
            key.is_some_and(|key| !excluded.take(name) && key.check(value).is_ok())
        };
        let copied = set.iter().filter(is_copied);
        copied
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Changes the configuration of copies as that of their topics upstream has changed.
    pub(super) async fn keep_configs(&mut self, topics: &[Arc<Topic>]) -> Result<(), Pause> {
        if !self.config.syncs_configs {
            self.notes.clear();
            return Ok(());
        }
        if Instant::now() < self.configs_at {
            return Ok(());
        }
        self.configs_at = Instant::now() + limits::RECHECK_EVERY;
        self.notes.clear();
        for chunk in topics.chunks(limits::DESCRIBED_TOGETHER_MAX) {
            let names: Vec<&str> = chunk.iter().map(|topic| topic.name.as_str()).collect();
            let told = self.client.describe_topics(&names, COPIED).await?;
            for (topic, told) in chunk.iter().zip(told) {
                match told {
                    Ok(told) => self.keep_config(topic, &set(told)).await?,
                    Err(error) => {
                        let why = format!(
                            "whether its configuration has changed upstream is not known: {error}; \
                             allow the link DESCRIBE_CONFIGS on the topic there, or set \
                             sync.topic.configs.enabled = false"
                        );
                        self.notes.insert(topic.name.clone(), why);
                    }
                }
            }
        }
        Ok(())
    }

    async fn keep_config(
        &mut self,
        topic: &Topic,
        there: &BTreeMap<String, String>,
    ) -> Result<(), Pause> {
        let copied = self.copied(there);
        let now = CopiedConfigs::of(&copied);
        let before = topic.overrides.get(MIRROR_CONFIGS_KEY);
        let before = before.and_then(|text| CopiedConfigs::read(text));
        let changes = match before {
            Some(before) if before == now => return Ok(()),
            Some(before) => before.changes(&copied, &topic.overrides),
            // A copy of a link that did not remember.
            None => ConfigChanges::new(),
        };
        let (link, name) = (&self.config.name, &topic.name);
        if !changes.is_empty() {
            let changes = changes.iter();
            let changes = changes.map(|(key, value)| match value {
                Some(value) => format!(" {key}={value}"),
                None => format!(" {key} reset"),
            });
            let changes: String = changes.collect();
            log::info!(
                target: "sedge::mirror",
                "{link}: changes the copy {name} as the topic upstream:{changes}"
            );
        }
        let remembered = (MIRROR_CONFIGS_KEY.to_owned(), Some(now.to_string()));
        let alter = Command::AlterTopicConfigs {
            name: name.clone(),
            changes: changes.into_iter().chain([remembered]).collect(),
        };
        if let Err(error) = self.local.writer.metadata(alter).await? {
            let why = format!(
                "its configuration has changed upstream, and cannot be changed here: {}: {}",
                error.code, error.message
            );
            self.notes.insert(name.clone(), why);
        }
        Ok(())
    }
}
