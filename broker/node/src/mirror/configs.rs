//! Keeps the configuration of upstream topics in step: what changes here is changed there.
//!
//! [`CopiedConfigs`] has the rules. What was copied is remembered with the cursor of partition 0,
//! so that a change while the link was down is copied too. A topic that was not created by the link
//! keeps the configuration that it has when the link first sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_core::metadata::{Image, Topic};
use sedge_core::mirror::{ConfigChanges, CopiedConfigs};

use crate::client::Error;
use crate::client::topics::{ConfigEntry, Resource};

use super::limits;
use super::link::Link;
use super::upstream;

impl Link {
    /// Returns the part of a topic's configuration that is copied upstream.
    pub(super) fn copied_configs(&self, topic: &Topic, image: &Image) -> BTreeMap<String, String> {
        let excluded = &self.config.configs_excluded;
        upstream::copied(&topic.overrides, image.defaults(), excluded)
    }

    /// Changes the configuration of `opened` topics upstream, each by its name there, as it has
    /// changed here.
    ///
    /// # Errors
    /// The upstream cannot be reached, or has a transient failure.
    pub(super) async fn keep_configs(
        &mut self,
        image: &Image,
        opened: Vec<(String, Arc<Topic>)>,
    ) -> Result<(), Error> {
        let is_opened = |name: &str| opened.iter().any(|(_, topic)| topic.name == name);
        self.unkept.retain(|name, _| is_opened(name));
        if !self.config.syncs_configs {
            return Ok(());
        }
        for (there, topic) in &opened {
            let configs = self.copied_configs(topic, image);
            let first = topic.partitions().next();
            let to = first.and_then(|first| self.destinations.get(&first));
            let Some(to) = to else {
                continue;
            };
            let now = CopiedConfigs::of(&configs);
            let is_kept = match to.configs.clone() {
                Some(before) if before == now => {
                    self.unkept.remove(&topic.name);
                    continue;
                }
                Some(before) => self.copy_configs(topic, there, &before, &configs).await?,
                None => true,
            };
            if is_kept {
                self.unkept.remove(&topic.name);
                self.remember_configs(topic, now);
            } else {
                self.recheck_within(limits::RECHECK_EVERY);
            }
        }
        Ok(())
    }

    fn remember_configs(&mut self, topic: &Topic, copied: CopiedConfigs) {
        let Some(first) = topic.partitions().next() else {
            return;
        };
        if let Some(to) = self.destinations.get_mut(&first) {
            to.configs = Some(copied);
            self.plan.commit_again(first);
        }
    }

    /// Returns false if the upstream does not let the link change the topic.
    async fn copy_configs(
        &mut self,
        topic: &Topic,
        there: &str,
        before: &CopiedConfigs,
        configs: &BTreeMap<String, String>,
    ) -> Result<bool, Error> {
        let altered = match self.config_changes(there, before, configs).await {
            Ok(changes) if changes.is_empty() => return Ok(true),
            Ok(changes) => self.alter(there, changes).await,
            Err(error) => Err(error),
        };
        let Err(error) = altered else {
            return Ok(true);
        };
        if error.code().is_none() && !matches!(error, Error::Unsupported { .. }) {
            return Err(error);
        }
        if error.is_retriable() {
            return Err(error);
        }
        let why = format!(
            "its configuration has changed here, and cannot be changed upstream: {error}; allow \
             the link DESCRIBE_CONFIGS and ALTER_CONFIGS on the topic there, or set \
             sync.topic.configs.enabled = false"
        );
        let link = &self.config.name;
        if self.unkept.get(&topic.name) != Some(&why) {
            log::warn!(target: "sedge::mirror", "{link}: {}: {why}", topic.name);
        }
        self.unkept.insert(topic.name.clone(), why);
        Ok(false)
    }

    async fn config_changes(
        &self,
        there: &str,
        before: &CopiedConfigs,
        configs: &BTreeMap<String, String>,
    ) -> Result<ConfigChanges, Error> {
        let told = self.client.describe_configs(Resource::Topic, there).await?;
        Ok(before.changes(configs, &set(told)))
    }

    /// Changes a topic's configuration upstream. Keys that the upstream refuses stay as they are.
    async fn alter(&self, there: &str, changes: ConfigChanges) -> Result<(), Error> {
        let link = &self.config.name;
        let altered = self.alter_together(there, &changes).await;
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        if upstream::is_about_configs(&altered) {
            // An answer names no key, so each key is changed separately.
            for change in &changes {
                match self
                    .alter_together(there, std::slice::from_ref(change))
                    .await
                {
                    Ok(()) => done.push(change),
                    refusal if upstream::is_about_configs(&refusal) => {
                        refused.extend(refusal.err().map(|error| (change, error)));
                    }
                    failure => return failure,
                }
            }
        } else {
            altered?;
            done.extend(&changes);
        }
        let text = |(key, value): &(String, Option<String>)| match value {
            Some(value) => format!(" {key}={value}"),
            None => format!(" {key} reset"),
        };
        if !done.is_empty() {
            let done: String = done.into_iter().map(text).collect();
            log::info!(target: "sedge::mirror", "{link}: changed {there} upstream:{done}");
        }
        for (change, error) in refused {
            let change = text(change);
            log::warn!(
                target: "sedge::mirror",
                "{link}: {there} stays as it is upstream, where{change} is refused: {error}"
            );
        }
        Ok(())
    }

    async fn alter_together(
        &self,
        there: &str,
        changes: &[(String, Option<String>)],
    ) -> Result<(), Error> {
        let changes = changes.iter();
        let changes: Vec<(&str, Option<&str>)> = changes
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        let altered = self.client.alter_configs(Resource::Topic, there, &changes);
        altered.await
    }

    /// Returns, for a plan, what the link would change of an upstream topic's configuration.
    pub(super) async fn planned_configs(&self, topic: &Topic, there: &str) -> Vec<String> {
        let Some(image) = self.image.as_ref().filter(|_| self.config.syncs_configs) else {
            return Vec::new();
        };
        let cursor = self.cursors.get(&topic.name, 0);
        let cursor = cursor.filter(|(_, origin)| origin.is_of(topic.id));
        let Some(before) = cursor.and_then(|(_, origin)| origin.configs) else {
            return Vec::new();
        };
        let configs = self.copied_configs(topic, image);
        let changes = self.config_changes(there, &before, &configs).await;
        let text = |(key, value): (String, Option<String>)| match value {
            Some(value) => format!("{key} becomes {value} upstream"),
            None => format!("{key} is reset upstream"),
        };
        changes.unwrap_or_default().into_iter().map(text).collect()
    }
}

/// Returns the entries that are not defaults.
pub(super) fn set(entries: Vec<ConfigEntry>) -> BTreeMap<String, String> {
    let set = entries.into_iter().filter(|entry| entry.is_set);
    set.filter_map(|entry| Some((entry.name, entry.value?)))
        .collect()
}
