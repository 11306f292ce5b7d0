//! What the broker itself writes to `__sedge_plugins`: the versions that it keeps, and the return
//! to one if a new version fails.

use std::sync::Arc;

use log::{info, warn};
use sedge_core::log::Write;
use sedge_core::metadata::{PLUGINS_TOPIC as TOPIC, Topic};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_protocol::plugin_records::{Change, Subject, batch_of};
use sedge_storage::{Error, LogStore};

use super::Plugins;
use super::registry::Place;
use super::versions::Due;
use super::wanted;
use crate::log::Log;
use crate::writer::{AppendPart, Writer};

/// A record that has to be written.
struct Next {
    partition: PartitionId,
    batch: Batch,
    /// A line for the log when it is written.
    news: Option<String>,
}

/// Writes one record that is due. Returns whether it was written: the caller reads it, and asks
/// again. A version that cannot be kept now, on a full disk for example, is due again after the
/// next start.
pub async fn write_next(plugins: &Arc<Plugins>, log: &Arc<Log>, writer: &Writer) -> bool {
    let topic = log.metadata.load().topic(TOPIC).map(Arc::clone);
    let Some(topic) = topic else { return false };
    if topic.config.is_mirrored() {
        // A pull link alone writes to the topic: the upstream keeps the versions.
        return false;
    }
    let (asked, of) = (Arc::clone(plugins), Arc::clone(log));
    let next = blocking::unblock(move || asked.next_change(&of)).await;
    let next = match next {
        Ok(Some(next)) => next,
        Ok(None) => return false,
        Err(error) => {
            warn!(target: "sedge::plugin", "{TOPIC} cannot be read: {error}");
            return false;
        }
    };
    if let Err(why) = append(writer, topic, next.partition, next.batch).await {
        warn!(target: "sedge::plugin", "versions of plugins cannot be written to {TOPIC}: {why}");
        return false;
    }
    if let Some(news) = next.news {
        warn!(target: "sedge::plugin", "{news}");
    }
    true
}

async fn append(
    writer: &Writer,
    topic: Arc<Topic>,
    partition: PartitionId,
    batch: Batch,
) -> Result<(), String> {
    let part = AppendPart {
        partition,
        topic,
        write: Write::Plain,
        batch: Ok(Some(batch)),
        elsewhere: Vec::new(),
        awaits: None,
    };
    let appended = writer.append(vec![part], Vec::new()).await;
    let outcomes = appended.map_err(|_| "the broker is stopping".to_owned())?;
    let refused = outcomes.into_iter().find_map(Result::err);
    refused.map_or(Ok(()), |error| Err(error.code.to_string()))
}

impl Plugins {
    /// Returns whether the failures of a new version are counted.
    pub fn has_trials(&self) -> bool {
        !self
            .registry
            .on_trial(super::trial::Trial::is_running)
            .is_empty()
    }

    /// Returns the next record that is due. Blocks.
    fn next_change(&self, log: &Log) -> Result<Option<Next>, Error> {
        let store = &*log.store;
        for (name, place) in self.failed_trials() {
            if let Some(next) = self.back(store, &name, place, log.clock.now().wall_ms)? {
                return Ok(Some(next));
            }
        }
        loop {
            let wanted = self.wanted();
            let due = wanted.versions().find_map(|(partition, name, versions)| {
                Some((partition, name.to_owned(), versions.due()?))
            });
            drop(wanted);
            let Some((partition, name, due)) = due else {
                return Ok(None);
            };
            // Tried once: what is written and cannot be read would be written again for ever.
            self.wanted().tried(&name, &due);
            let (subject, record) = match due {
                Due::Resume => (Subject::Pause, None),
                Due::Forget(version) => (Subject::Version(version), None),
                Due::Keep(offset) => {
                    let record = wanted::record(store, &name, Place { partition, offset })?;
                    if record.is_none() {
                        continue;
                    }
                    (Subject::Version(offset), record)
                }
            };
            let signature = record.as_ref().and_then(|of| of.signature.as_deref());
            let change = Change {
                subject,
                signature,
                ..Change::of(
                    &name,
                    record.as_ref().map(|record| &record.content[..]),
                    record.as_ref().map_or(0, |record| record.timestamp_ms),
                )
            };
            match batch_of(&change) {
                Ok(batch) => {
                    return Ok(Some(Next {
                        partition,
                        batch,
                        news: None,
                    }));
                }
                Err(error) => {
                    info!(target: "sedge::plugin", "a version of the plugin {name} is not kept: \
                                                    {error}");
                }
            }
        }
    }

    fn failed_trials(&self) -> Vec<(String, Place)> {
        let failures_max = self.rollback_failures;
        self.registry
            .on_trial(|trial| trial.has_failed(failures_max) && trial.may_go_back())
    }

    /// Returns the record that deploys the version before, if the failed one is still deployed.
    fn back(
        &self,
        store: &dyn LogStore,
        name: &str,
        failed: Place,
        now_ms: i64,
    ) -> Result<Option<Next>, Error> {
        let wanted = self.wanted();
        if wanted.place(name) != Some(failed) {
            return Ok(None);
        }
        let before = wanted
            .versions()
            .find(|(_, known, _)| *known == name)
            .and_then(|(_, _, versions)| versions.before());
        drop(wanted);
        let Some((version, offset)) = before else {
            return Ok(None);
        };
        let place = Place { offset, ..failed };
        let Some(record) = wanted::record(store, name, place)? else {
            return Ok(None);
        };
        let change = Change {
            is_rollback: true,
            signature: record.signature.as_deref(),
            ..Change::of(name, Some(&record.content), now_ms)
        };
        let (is, was) = (version.get(), failed.offset.get());
        Ok(batch_of(&change).ok().map(|batch| Next {
            partition: failed.partition,
            batch,
            news: Some(format!(
                "the plugin {name} failed {} times in the first minutes of version {was}; \
                 version {is} is deployed again",
                self.rollback_failures
            )),
        }))
    }
}

#[cfg(test)]
mod tests;
