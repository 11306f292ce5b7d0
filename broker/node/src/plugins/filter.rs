//! One filter of one topic: its instance, and running a batch through it.

use std::sync::Arc;
use std::time::Instant;

use log::warn;
use sedge_core::limits::RECORD_ERRORS_MAX;
use sedge_core::log::{AppendError, RecordError};
use sedge_core::metadata::Topic;
use sedge_plugin::{
    BatchInfo, CallError, Field, FilterInstance, FilterStage, Outcome, RecordBlob, Verdict,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::records::{self, Kept, RecordView, Records};

use super::registry::Deployed;
use crate::limits::{FILTER_BATCH_BYTES_MAX, REJECTION_TEXT_BYTES_MAX};
use crate::metrics::{Metrics, PluginMetrics};

/// The result of filtering a batch.
#[derive(Debug)]
pub enum Filtered {
    AsItCame,
    Rebuilt(Rebuilt),
    /// Every record was dropped.
    Emptied,
}

/// A batch that the filter changed or dropped records from.
#[derive(Debug)]
pub struct Rebuilt {
    pub batch: Batch,
    /// Indexes of its records in the original batch.
    pub kept: Vec<i32>,
}

/// Reason why there is no result.
#[derive(Debug)]
pub enum Failed {
    /// The filter, or the batch itself, caused a rejection: the producer is told.
    Rejected(AppendError),
    /// The filter failed: the topic's policy decides.
    Plugin(String),
    /// No plugin of this name is deployed, or it is still being compiled.
    NotReady,
}

/// A filter of one deployment with one set of settings, and its instance.
#[derive(Debug)]
pub struct Filter {
    plugin: String,
    deployed: Option<Deployed>,
    settings: Vec<(String, String)>,
    instance: Option<Instance>,
    /// The filter failed under the policy `quarantine`; it is skipped until it is deployed or bound
    /// anew.
    is_quarantined: bool,
    blob: RecordBlob,
    counters: Arc<PluginMetrics>,
}

/// An instance; the count of instances follows its lifetime.
#[derive(Debug)]
struct Instance {
    filter: FilterInstance,
    counters: Arc<PluginMetrics>,
}

impl Instance {
    fn new(filter: FilterInstance, counters: &Arc<PluginMetrics>) -> Self {
        counters.instances.add(1);
        let counters = Arc::clone(counters);
        Self { filter, counters }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.counters.instances.add(-1);
    }
}

impl Filter {
    pub fn new(
        plugin: &str,
        deployed: Option<Deployed>,
        settings: Vec<(String, String)>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            plugin: plugin.to_owned(),
            deployed,
            settings,
            instance: None,
            is_quarantined: false,
            blob: RecordBlob::new(),
            counters: metrics.plugin(plugin),
        }
    }

    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Runs a batch through the filter. Blocks at most for the plugin's deadline, and for as long
    /// again if its instance must be created.
    pub fn run(
        &mut self,
        topic: &Topic,
        index: i32,
        client_id: &str,
        batch: &Batch,
    ) -> Result<Filtered, Failed> {
        if self.is_quarantined {
            return Ok(Filtered::AsItCame);
        }
        self.make_ready()?;
        let Some(Instance { filter, counters }) = &mut self.instance else {
            return Err(Failed::NotReady);
        };
        let header = &batch.header;
        let body = records::decompress(header, &batch.body, FILTER_BATCH_BYTES_MAX)
            .map_err(|error| Failed::Rejected(unreadable(&error)))?;
        let views: Vec<RecordView<'_>> = Records::new(header, &body)
            .collect::<Result<_, _>>()
            .map_err(|error| Failed::Rejected(unreadable(&error)))?;
        if views.len() != header.record_count().max(0) as usize {
            let error = "the number of records differs from the header's";
            return Err(Failed::Rejected(unreadable(&error)));
        }
        fill(&mut self.blob, filter, &views)?;
        let info = BatchInfo {
            topic: &topic.name,
            partition: index as u32,
            stage: FilterStage::Produce,
            base_timestamp_ms: header.base_timestamp(),
            client_id: Some(client_id),
            principal: None,
        };
        let started = Instant::now();
        let outcome = filter.filter(&info, &self.blob);
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
            let rejected = outcome.verdicts().filter(is_reject).count();
            counters.rejected.add(rejected as u64);
            return Err(Failed::Rejected(rejection(&self.plugin, &outcome)));
        }
        let kept = survivors(&views, &outcome);
        let replaced = outcome
            .verdicts()
            .filter(|verdict| matches!(verdict, Verdict::Replace { .. }))
            .count();
        counters.kept.add((kept.len() - replaced) as u64);
        counters.replaced.add(replaced as u64);
        counters.dropped.add((views.len() - kept.len()) as u64);
        let rebuilt = records::rebuild(header, kept);
        match rebuilt.map_err(|error| Failed::Plugin(error.to_string()))? {
            Some(batch) if batch.bytes() > topic.config.max_message_bytes() => {
                Err(Failed::Rejected(too_large(&self.plugin)))
            }
            Some(batch) => Ok(Filtered::Rebuilt(Rebuilt {
                batch,
                kept: numbers(&outcome),
            })),
            None => Ok(Filtered::Emptied),
        }
    }

    /// Applies the policy `quarantine`: the filter is skipped until its deployment or binding
    /// changes.
    pub fn quarantine(&mut self, topic: &Topic, why: &str) {
        warn!(
            target: "sedge::plugin",
            "the filter {} failed on topic {}: {why}; it is quarantined until it is deployed or \
             bound again",
            self.plugin, topic.name
        );
        self.is_quarantined = true;
        self.instance = None;
    }

    /// Creates an instance if there is none.
    fn make_ready(&mut self) -> Result<(), Failed> {
        let Some(deployed) = &self.deployed else {
            return Err(Failed::NotReady);
        };
        if self.instance.is_some() {
            return Ok(());
        }
        let plugin = deployed
            .plugin
            .as_ref()
            .map_err(|why| Failed::Plugin(why.to_string()))?;
        let filter = plugin.clone().into_filter();
        let instance = filter
            .and_then(|filter| filter.instantiate(&self.settings))
            .map_err(|error| Failed::Plugin(error.to_string()))?;
        self.instance = Some(Instance::new(instance, &self.counters));
        Ok(())
    }
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

fn is_reject(verdict: &Verdict<'_>) -> bool {
    matches!(verdict, Verdict::Reject { .. })
}

/// Returns the numbers of the records that stay.
fn numbers(outcome: &Outcome) -> Vec<i32> {
    let numbers = (0..).zip(outcome.verdicts());
    let numbers = numbers.filter(|(_, verdict)| *verdict != Verdict::Drop);
    numbers.map(|(number, _)| number).collect()
}

fn too_large(plugin: &str) -> AppendError {
    AppendError::new(
        ErrorCode::MessageTooLarge,
        format!("The filter {plugin} made the batch larger than max.message.bytes."),
    )
}

/// Names the rejected records, with as many of their reasons as the limit allows.
fn rejection(plugin: &str, outcome: &Outcome) -> AppendError {
    let mut text_left = REJECTION_TEXT_BYTES_MAX;
    let rejected = (0..).zip(outcome.verdicts());
    let rejected = rejected.filter_map(|(index, verdict)| match verdict {
        Verdict::Reject { reason } => Some((index, reason)),
        _ => None,
    });
    let record_errors = rejected.take(RECORD_ERRORS_MAX).map(|(index, reason)| {
        let left = text_left.checked_sub(reason.len());
        text_left = left.unwrap_or(0);
        let message = left.map(|_| reason.to_owned());
        RecordError { index, message }
    });
    AppendError {
        code: ErrorCode::InvalidRecord,
        record_errors: record_errors.collect(),
        message: Some(format!("The filter {plugin} rejected records.")),
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> AppendError {
    AppendError::new(
        ErrorCode::InvalidRecord,
        format!("The records cannot be read: {error}."),
    )
}
