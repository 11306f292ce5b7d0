//! What a link would do, found out from the real upstream. Nothing is changed, here or there.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_core::config::ORIGINS_KEY;
use sedge_core::metadata::Topic;
use sedge_core::security::OPERATIONS_NOT_ASKED;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::kafka::generated::{MetadataRequestData, MetadataRequestTopic};
use sedge_protocol::{ApiKey, ErrorCode};
use serde_json::{Value, json};

use crate::client::cluster::Target;
use crate::client::topics::{NewTopic, Resource};
use crate::client::{Client, Error, TopicMetadata};

use super::limits;
use super::link::Link;
use super::measure::bytes_from;
use super::upstream::{self, Wanted};

/// The operation of the authorizer, in Kafka's bits of authorized operations.
const WRITE_BIT: i32 = 1 << 4;

impl Link {
    /// Returns what the link would do, as JSON: `error` if the upstream cannot be used at all;
    /// `topics`; `unmatched` patterns of topics.
    pub(super) async fn plan(mut self) -> Value {
        let image = self.local.log.metadata.load();
        self.image = Some(Arc::clone(&image));
        let mut refused = BTreeMap::new();
        let wanted = self.wanted(&image, &mut refused);
        let names = image.topics().filter(|topic| !topic.is_internal);
        let names: Vec<&str> = names.map(|topic| topic.name.as_str()).collect();
        let unmatched = self.config.selection.unmatched(&names);
        let error = self.connect(&wanted).await.err();
        let mut topics = Vec::new();
        for (there, wanted) in wanted.iter().take(limits::PLANNED_TOPICS_MAX) {
            let Some(topic) = image.topic(&wanted.here) else {
                continue;
            };
            let mut row = self.amounts(topic, there).await;
            let (action, notes) = match &error {
                None => self.action(topic, there, wanted).await,
                Some(_) => ("unknown", Vec::new()),
            };
            row["action"] = action.into();
            row["notes"] = notes.into();
            topics.push(row);
        }
        for (here, waiting) in refused {
            let notes = [waiting.why];
            topics.push(json!({ "topic": here, "action": "refuse", "notes": notes }));
        }
        json!({
            "error": error.map(|error| error.to_string()),
            "upstream": self.client.known_cluster_id(),
            "topics": topics,
            "more": wanted.len().saturating_sub(limits::PLANNED_TOPICS_MAX),
            "unmatched": unmatched,
        })
    }

    async fn connect(&self, wanted: &BTreeMap<String, Wanted>) -> Result<(), Error> {
        self.client.refresh(&[]).await?;
        if self.client.known_cluster_id().as_deref() == Some(&self.local.cluster_id) {
            return Err(Error::Itself);
        }
        let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.client.refresh(&names).await
    }

    /// Returns what is to be copied of a topic, and from where.
    async fn amounts(&self, topic: &Topic, there: &str) -> Value {
        let mut partitions = Vec::new();
        let mut offsets = Vec::new();
        let mut records = 0;
        for (index, id) in topic.partitions().enumerate() {
            let Ok(partition) = self.local.log.partition(id) else {
                continue;
            };
            let cursor = self.cursors.get(&topic.name, index as i32);
            let cursor = cursor.filter(|(_, origin)| origin.is_of(topic.id));
            let from = cursor.map_or(partition.log_start(), |(offset, _)| offset);
            let from = from.max(partition.log_start());
            records += (partition.high_watermark().get() - from.get()).max(0);
            offsets.push(from.get());
            partitions.push((id, from));
        }
        let store = Arc::clone(&self.local.log.store);
        let bytes: i64 = blocking::unblock(move || {
            let slices = |id| store.slices(id).unwrap_or_default();
            let bytes = partitions.iter();
            bytes
                .map(|(id, from)| bytes_from(&slices(*id), *from))
                .sum()
        })
        .await;
        json!({
            "topic": topic.name,
            "upstream": there,
            "partitions": topic.partition_count(),
            "from": offsets,
            "records": records,
            "bytes": bytes,
        })
    }

    /// Returns what the link would do with a topic, and what stands in its way.
    async fn action(
        &self,
        topic: &Topic,
        there: &str,
        wanted: &Wanted,
    ) -> (&'static str, Vec<String>) {
        if let Some(why) = self.why_not_there(topic) {
            return ("refuse", vec![why]);
        }
        match self.client.known_topic(there) {
            Some(known) if known.error == ErrorCode::None => {
                self.action_of_existing(topic, there, wanted, &known).await
            }
            Some(known) if known.error != ErrorCode::UnknownTopicOrPartition => {
                let error = Error::Broker {
                    api: ApiKey::Metadata,
                    code: known.error,
                    message: None,
                };
                (
                    "refuse",
                    vec![format!("{error}; {}", upstream::advice(&error))],
                )
            }
            _ => self.action_of_missing(topic, there, wanted).await,
        }
    }

    async fn action_of_missing(
        &self,
        topic: &Topic,
        there: &str,
        wanted: &Wanted,
    ) -> (&'static str, Vec<String>) {
        let is_begun = self.is_begun(topic);
        if is_begun && self.is_to_hold() {
            let note = "it was deleted upstream: its partitions are held (on.topic.recreated)";
            return ("hold", vec![note.to_owned()]);
        }
        let mut wanted_configs = wanted.configs.clone();
        // Only a sedge has it, and the link does without.
        wanted_configs.remove(ORIGINS_KEY);
        let new = NewTopic {
            name: there.to_owned(),
            partitions: Some(wanted.partitions),
            replication_factor: Some(self.config.replication_factor),
            configs: wanted_configs,
        };
        let mut notes = Vec::new();
        if is_begun {
            let note = "it was deleted upstream: the new topic there lacks what was copied before";
            notes.push(note.to_owned());
        }
        let configs = new.configs.iter();
        let configs = configs.map(|(key, value)| format!("{key}={value}"));
        notes.extend(configs);
        let valid = self.client.validate_topic(&new).await;
        let is_about_configs = upstream::is_about_configs(&valid);
        match valid {
            Err(error) if is_about_configs => {
                notes.push(format!("without what the upstream refuses: {error}"));
                ("create", notes)
            }
            Err(error) => {
                let why = format!("{error}; {}", upstream::advice(&error));
                ("refuse", vec![why])
            }
            Ok(()) => ("create", notes),
        }
    }

    async fn action_of_existing(
        &self,
        topic: &Topic,
        there: &str,
        wanted: &Wanted,
        known: &TopicMetadata,
    ) -> (&'static str, Vec<String>) {
        let mut notes = Vec::new();
        let cursors = (0..topic.partition_count())
            .filter_map(|index| self.cursors.get(&topic.name, index))
            .filter(|(_, origin)| origin.is_of(topic.id));
        let mut before = cursors.filter_map(|(_, origin)| origin.upstream);
        let id = Some(known.id).filter(|id| *id != KafkaUuid::ZERO);
        let is_other = |before: String| id.is_some_and(|id| id.to_string() != before);
        if before.any(is_other) {
            if self.is_to_hold() {
                let note = "it was created again upstream: its partitions are held \
                            (on.topic.recreated)";
                return ("hold", vec![note.to_owned()]);
            }
            let note = "it was created again upstream: the new topic lacks what was copied before";
            notes.push(note.to_owned());
        }
        match may_write(&self.client, there).await {
            Ok(true) => {}
            Ok(false) => {
                let note = "the upstream does not let the link write: allow WRITE on the topic";
                return ("refuse", vec![note.to_owned()]);
            }
            Err(error) => notes.push(format!("whether the link may write is unknown: {error}")),
        }
        notes.extend(self.differences(topic, there).await);
        notes.extend(self.planned_configs(topic, there).await);
        let count = known.partitions.len() as i32;
        if wanted.keeps_count && count != wanted.partitions {
            notes.extend(self.why_not_spread(topic, count));
            notes.push(format!(
                "keys of {} partitions go to {count}, as Kafka's producers would send them",
                wanted.partitions
            ));
        } else if count < wanted.partitions {
            notes.push(format!("{count} partitions become {}", wanted.partitions));
            return ("extend", notes);
        }
        ("copy", notes)
    }

    /// Returns settings upstream that will not bear what is here.
    async fn differences(&self, topic: &Topic, there: &str) -> Vec<String> {
        let Ok(entries) = self.client.describe_configs(Resource::Topic, there).await else {
            return Vec::new();
        };
        let there = entries
            .iter()
            .find(|entry| entry.name == "max.message.bytes");
        let there = there.and_then(|entry| entry.value.as_ref()?.parse::<i64>().ok());
        let here = topic.config.max_message_bytes() as i64;
        let note = |there| {
            format!(
                "max.message.bytes is {there} upstream and {here} here: larger batches will be held"
            )
        };
        there
            .filter(|there| *there < here)
            .map(note)
            .into_iter()
            .collect()
    }
}

/// Returns whether the upstream lets the link write to a topic.
async fn may_write(client: &Client, there: &str) -> Result<bool, Error> {
    let topic = MetadataRequestTopic::default().with_name(Some(there.to_owned().into()));
    let request = MetadataRequestData::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false)
        .with_include_topic_authorized_operations(true);
    let response = client.call(Target::Any, &request).await?;
    let topic = response.topics.first().ok_or(Error::Missing {
        api: ApiKey::Metadata,
        what: "topic",
    })?;
    Error::check(ApiKey::Metadata, topic.error_code, None)?;
    let operations = topic.topic_authorized_operations;
    // Older brokers do not say.
    Ok(operations == OPERATIONS_NOT_ASKED || operations & WRITE_BIT != 0)
}
