//! What a pull link would do, found out from the real upstream. Nothing is changed, here or there.

use serde_json::{Value, json};

use sedge_core::config::MIRROR_SOURCE_KEY;
use sedge_protocol::ids::Offset;

use super::Pull;
use super::topics::{NotCopied, is_declared, other};
use crate::client::Error;
use crate::client::cluster::TopicMetadata;
use crate::client::records::{EARLIEST, LATEST};
use crate::mirror::limits;

impl Pull {
    /// Returns what the link would do, as JSON, with the keys of a push link's plan.
    pub(in crate::mirror) async fn plan(self) -> Value {
        let selected = match self.selected().await {
            Ok(selected) => selected,
            Err(error) => {
                return json!({ "direction": "pull", "error": error.to_string(), "topics": [] });
            }
        };
        let (cluster, selected, unmatched) = selected;
        let mut topics = Vec::new();
        for (name, there) in selected.iter().take(limits::PLANNED_TOPICS_MAX) {
            let source = self.source_of(&cluster, there);
            let (action, mut notes) = match self.action(name, there, &source, &cluster).await {
                Ok((action, notes)) => (action, notes),
                Err(NotCopied::Why(why)) => ("refuse", vec![why]),
                Err(NotCopied::Stopped) => ("unknown", Vec::new()),
            };
            let mut row = json!({
                "topic": name,
                "upstream": name,
                "partitions": there.partitions.len(),
            });
            if action != "refuse" {
                match self.amounts(name, there).await {
                    Ok((from, records, ahead)) => {
                        row["from"] = from.into();
                        row["records"] = records.into();
                        notes.extend(ahead);
                    }
                    Err(error) => notes.push(format!("its offsets are unknown: {error}")),
                }
            }
            row["action"] = action.into();
            row["notes"] = notes.into();
            topics.push(row);
        }
        json!({
            "direction": "pull",
            "error": null,
            "upstream": cluster,
            "topics": topics,
            "more": selected.len().saturating_sub(limits::PLANNED_TOPICS_MAX),
            "unmatched": unmatched,
        })
    }

    /// Returns what the link would do with a topic, and notes.
    async fn action(
        &self,
        name: &str,
        there: &TopicMetadata,
        source: &str,
        cluster: &str,
    ) -> Result<(&'static str, Vec<String>), NotCopied> {
        let count = there.partitions.len() as i32;
        let Some(topic) = self.here(name) else {
            let configs = self.configs(name, source, cluster).await?;
            let is_copied = |key: &str| !key.starts_with("sedge.mirror.");
            let configs = configs.iter().filter(|(key, _)| is_copied(key));
            let notes = configs.map(|(key, value)| format!("{key}={value}"));
            return Ok(("create", notes.collect()));
        };
        let is_of = topic.overrides.get(MIRROR_SOURCE_KEY);
        let is_of = is_of.map_or("", String::as_str);
        let here = topic.partition_count();
        if is_declared(is_of, &self.config.name) {
            let note = "topics.create has created it here".to_owned();
            return Ok(("copy", vec![note]));
        }
        if is_of != source {
            return Err(NotCopied::Why(other(name, is_of, source)));
        }
        if here < count {
            let note = format!("{here} partitions become {count}");
            return Ok(("extend", vec![note]));
        }
        Ok(("copy", Vec::new()))
    }

    /// Returns where the copies of a topic's partitions continue, how many offsets are upstream and
    /// not here, and what is amiss with them.
    async fn amounts(
        &self,
        name: &str,
        there: &TopicMetadata,
    ) -> Result<(Vec<i64>, i64, Vec<String>), Error> {
        let at = |time| {
            there
                .partitions
                .keys()
                .map(move |index| (name, *index, time))
        };
        let wanted: Vec<(&str, i32, i64)> = at(EARLIEST).collect();
        let starts = self.client.list_offsets(&wanted).await?;
        let wanted: Vec<(&str, i32, i64)> = at(LATEST).collect();
        let ends = self.client.list_offsets(&wanted).await?;
        let topic = self.here(name);
        let (mut from, mut records, mut notes) = (Vec::new(), 0, Vec::new());
        for index in there.partitions.keys() {
            let of = |bounds: &std::collections::BTreeMap<(String, i32), Option<Offset>>| {
                let bound = bounds.get(&(name.to_owned(), *index)).copied();
                bound.flatten().unwrap_or(Offset::ZERO)
            };
            let (start, end) = (of(&starts), of(&ends));
            let id = topic.as_ref().and_then(|topic| topic.partition(*index));
            let here = id.and_then(|id| self.local.log.partition(id).ok());
            let here = here.map_or(Offset::ZERO, |partition| partition.high_watermark());
            if here > end {
                notes.push(format!(
                    "partition {index} ends at {end} upstream, and at {here} here: it waits"
                ));
            } else if here < start && here > Offset::ZERO {
                let lost = start.get() - here.get();
                notes.push(format!(
                    "retention upstream deleted {lost} offsets of partition {index} before they \
                     were copied"
                ));
            }
            let next = here.max(start);
            from.push(next.get());
            records += (end.get() - next.get()).max(0);
        }
        Ok((from, records, notes))
    }
}
