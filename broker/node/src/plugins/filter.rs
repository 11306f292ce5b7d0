//! One filter of one topic: its instance, and a batch on its way through.

use std::time::Instant;

use log::warn;
use sedge_core::log::{AppendError, RecordError};
use sedge_core::metadata::Topic;
use sedge_plugin::{
    BatchInfo, CallError, Field, FilterInstance, FilterStage, Outcome, RecordBlob, Verdict,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::records::{self, Kept, RecordView, Records};

use super::registry::Registry;
use crate::limits::FILTER_BATCH_BYTES_MAX;
use crate::metrics::Metrics;

/// What a filter made of a batch.
#[derive(Debug)]
pub enum Filtered {
    AsItCame,
    Rebuilt(Batch),
    /// Every record was dropped.
    Emptied,
}

/// Why there is no outcome.
#[derive(Debug)]
pub enum Failed {
    /// The filter, or the batch itself, says no: the producer is told.
    Rejected(AppendError),
    /// The filter failed: the topic's policy says what follows.
    Plugin(String),
    /// Nothing is deployed under its name, or what is there is still being compiled.
    NotReady,
}

/// A filter and its instance.
#[derive(Debug)]
pub struct Filter {
    plugin: String,
    running: Option<Running>,
    /// It failed under the policy `quarantine`; until it is deployed or bound anew it is passed by.
    quarantined: Option<Version>,
    blob: RecordBlob,
}

#[derive(Debug)]
struct Running {
    version: Version,
    instance: FilterInstance,
}

/// What makes an instance out of date: another deployment, or other settings.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    generation: u64,
    settings: Vec<(String, String)>,
}

impl Filter {
    pub fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            running: None,
            quarantined: None,
            blob: RecordBlob::new(),
        }
    }

    /// Runs a batch through.
    pub fn run(
        &mut self,
        registry: &Registry,
        metrics: &Metrics,
        topic: &Topic,
        index: i32,
        client_id: &str,
        batch: &Batch,
    ) -> Result<Filtered, Failed> {
        self.make_ready(registry, topic)?;
        let Some(running) = &mut self.running else {
            return Ok(Filtered::AsItCame);
        };
        let counters = metrics.plugin(&self.plugin);
        let header = &batch.header;
        let body = records::decompress(header, &batch.body, FILTER_BATCH_BYTES_MAX)
            .map_err(|error| Failed::Rejected(unreadable(&error)))?;
        let views: Vec<RecordView<'_>> = Records::new(header, &body)
            .collect::<Result<_, _>>()
            .map_err(|error| Failed::Rejected(unreadable(&error)))?;
        if views.len() != header.record_count().max(0) as usize {
            let error = "the number of records is not what the header says";
            return Err(Failed::Rejected(unreadable(&error)));
        }
        fill(&mut self.blob, &running.instance, &views)?;
        let info = BatchInfo {
            topic: &topic.name,
            partition: index as u32,
            stage: FilterStage::Produce,
            base_timestamp_ms: header.base_timestamp(),
            client_id: Some(client_id),
            principal: None,
        };
        let started = Instant::now();
        let outcome = running.instance.filter(&info, &self.blob);
        counters.calls.increment();
        counters.nanos.add(started.elapsed().as_nanos() as u64);
        let outcome = outcome.map_err(|error| {
            match &error {
                CallError::Deadline => counters.deadlines.increment(),
                _ => counters.traps.increment(),
            }
            Failed::Plugin(error.to_string())
        })?;
        if outcome.keeps_all() {
            counters.kept.add(views.len() as u64);
            return Ok(Filtered::AsItCame);
        }
        if outcome.rejects_any() {
            let error = rejection(&self.plugin, &outcome);
            counters.rejected.add(error.record_errors.len() as u64);
            return Err(Failed::Rejected(error));
        }
        let kept = survivors(&views, &outcome);
        let replaced = outcome
            .verdicts()
            .filter(|verdict| matches!(verdict, Verdict::Replace { .. }))
            .count();
        counters.kept.add((kept.len() - replaced) as u64);
        counters.replaced.add(replaced as u64);
        counters.dropped.add((views.len() - kept.len()) as u64);
        match records::rebuild(header, kept) {
            Ok(Some(rebuilt)) if rebuilt.bytes() > topic.config.max_message_bytes() => {
                Err(Failed::Rejected(AppendError::new(
                    ErrorCode::MessageTooLarge,
                    format!(
                        "The filter {} made the batch larger than max.message.bytes.",
                        self.plugin
                    ),
                )))
            }
            Ok(Some(rebuilt)) => Ok(Filtered::Rebuilt(rebuilt)),
            Ok(None) => Ok(Filtered::Emptied),
            Err(error) => Err(Failed::Plugin(error.to_string())),
        }
    }

    /// The policy `quarantine`: the filter is passed by until something about it changes.
    pub fn quarantine(&mut self, topic: &Topic, why: &str) {
        if self.quarantined.is_none() {
            warn!(
                target: "sedge::plugin",
                "{} on {}: {why}; it is not called again until it is deployed or bound anew",
                self.plugin, topic.name
            );
        }
        self.quarantined = self
            .running
            .take()
            .map(|running| running.version)
            .or_else(|| {
                Some(Version {
                    generation: u64::MAX,
                    settings: settings(topic, &self.plugin),
                })
            });
    }

    /// Makes an instance where there is none, or where what is deployed or set has changed.
    fn make_ready(&mut self, registry: &Registry, topic: &Topic) -> Result<(), Failed> {
        let Some(deployed) = registry.get(&self.plugin) else {
            self.running = None;
            return match &self.quarantined {
                Some(version) if version.generation == u64::MAX => Ok(()),
                _ => Err(Failed::NotReady),
            };
        };
        let version = Version {
            generation: deployed.generation,
            settings: settings(topic, &self.plugin),
        };
        if self.quarantined.as_ref() == Some(&version) {
            return Ok(());
        }
        self.quarantined = None;
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.version == version)
        {
            return Ok(());
        }
        self.running = None;
        let factory = deployed
            .factory
            .map_err(|why| Failed::Plugin(why.to_string()))?;
        let instance = factory
            .instantiate(&version.settings)
            .map_err(|error| Failed::Plugin(error.to_string()))?;
        self.running = Some(Running { version, instance });
        Ok(())
    }
}

fn settings(topic: &Topic, plugin: &str) -> Vec<(String, String)> {
    topic
        .config
        .plugin_settings(plugin)
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn fill(
    blob: &mut RecordBlob,
    instance: &FilterInstance,
    views: &[RecordView<'_>],
) -> Result<(), Failed> {
    let needs = instance.needs();
    blob.start(needs, instance.factory().limits());
    let mut section = Vec::new();
    for view in views {
        let headers = needs.headers.then(|| {
            section.clear();
            view.headers.write_section(&mut section);
            &section[..]
        });
        blob.push(view.key, view.value, headers, view.timestamp_delta)
            .map_err(|_| {
                Failed::Plugin("the batch is larger than plugin.memory.bytes".to_owned())
            })?;
    }
    Ok(())
}

fn survivors<'a>(views: &'a [RecordView<'a>], outcome: &'a Outcome) -> Vec<Kept<'a>> {
    views
        .iter()
        .zip(outcome.verdicts())
        .filter_map(|(view, verdict)| {
            let (key, value) = match verdict {
                Verdict::Keep => (view.key, view.value),
                Verdict::Replace { key, value } => {
                    (replaced(key, view.key), replaced(value, view.value))
                }
                Verdict::Drop | Verdict::Reject { .. } => return None,
            };
            let timestamp_delta = view.timestamp_delta;
            Some(Kept {
                timestamp_delta,
                key,
                value,
                headers: view.headers,
            })
        })
        .collect()
}

fn replaced<'a>(field: Field<'a>, before: Option<&'a [u8]>) -> Option<&'a [u8]> {
    match field {
        Field::Same => before,
        Field::Null => None,
        Field::Bytes(bytes) => Some(bytes),
    }
}

fn rejection(plugin: &str, outcome: &Outcome) -> AppendError {
    let record_errors = outcome
        .verdicts()
        .enumerate()
        .filter_map(|(index, verdict)| match verdict {
            Verdict::Reject { reason } => Some(RecordError {
                index: index as i32,
                message: Some(reason.to_owned()),
            }),
            _ => None,
        })
        .collect();
    AppendError {
        code: ErrorCode::InvalidRecord,
        message: Some(format!("The filter {plugin} rejected records.")),
        record_errors,
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> AppendError {
    AppendError::new(
        ErrorCode::InvalidRecord,
        format!("The records cannot be read: {error}."),
    )
}
