//! One filter of one topic: its instance, and running a batch through it.

use std::sync::Arc;
use std::time::Instant;

use sedge_core::limits::RECORD_ERRORS_MAX;
use sedge_core::log::{AppendError, RecordError};
use sedge_core::metadata::Topic;
use sedge_plugin::{
    BatchInfo, Field, FilterInstance, FilterStage, Limits, Needs, Outcome, RecordBlob, Verdict,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::records::{self, Kept, RecordView, Records};

use super::bindings::Bound;
use super::counted::Counted;
use super::failure::{Failed, too_large};
use super::registry::Deployed;
use crate::limits::{FILTER_BATCH_BYTES_MAX, REJECTION_TEXT_BYTES_MAX};
use crate::metrics::{Metrics, PluginMetrics};

/// The result of one filter for a batch.
#[derive(Debug)]
pub enum Passed {
    AsItCame(Batch),
    Rebuilt(Rebuilt),
    /// Every record was dropped.
    Emptied,
}

/// The answer of the filter about a batch.
#[derive(Debug)]
enum Filtered {
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

/// A filter of one deployment with one set of settings, and its instance.
#[derive(Debug)]
pub struct Filter {
    plugin: String,
    deployed: Option<Deployed>,
    settings: Vec<(String, String)>,
    instance: Option<Counted<FilterInstance>>,
    /// The filter failed under the policy `quarantine`; it is skipped until it is deployed or bound
    /// anew.
    is_quarantined: bool,
    blob: RecordBlob,
    counters: Arc<PluginMetrics>,
}

impl Bound for Filter {
    const ROLE: &'static str = "filter";

    fn new(
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

    fn is_bound(topic: &Topic, plugin: &str) -> bool {
        topic.config.filters().iter().any(|name| name == plugin)
    }
}

impl Filter {
    /// Runs a batch through the filter, and applies the topic's policy if the filter fails. Blocks,
    /// see [`Self::run`].
    ///
    /// # Errors
    /// The batch is refused.
    pub fn pass(
        &mut self,
        topic: &Topic,
        index: i32,
        client_id: &str,
        batch: Batch,
    ) -> Result<Passed, AppendError> {
        let failed = match self.run(topic, index, client_id, &batch) {
            Ok(Filtered::AsItCame) => return Ok(Passed::AsItCame(batch)),
            Ok(Filtered::Rebuilt(rebuilt)) => return Ok(Passed::Rebuilt(rebuilt)),
            Ok(Filtered::Emptied) => return Ok(Passed::Emptied),
            Err(failed) => failed,
        };
        let plugin = format!("{} {}", Self::ROLE, self.plugin);
        if failed.settle(topic.config.on_filter_error(), &plugin, topic)? {
            self.is_quarantined = true;
            self.instance = None;
        }
        Ok(Passed::AsItCame(batch))
    }

    /// Runs a batch through the filter. Blocks at most for the plugin's deadline, and for as long
    /// again if its instance must be created.
    fn run(
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
        let Some(filter) = &mut self.instance else {
            return Err(Failed::NotReady);
        };
        let counters = &self.counters;
        let header = &batch.header;
        let body = records::decompress(header, &batch.body, FILTER_BATCH_BYTES_MAX)
            .map_err(|error| Failed::unreadable(&error))?;
        let views = views(header, &body)?;
        let reads = (filter.needs(), filter.factory().limits());
        fill(&mut self.blob, reads, &views, |view| view.timestamp_delta)?;
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
        let outcome = outcome.map_err(|error| Failed::call(&error, counters))?;
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
                Err(Failed::Rejected(too_large(format!(
                    "The filter {} made the batch larger than max.message.bytes.",
                    self.plugin
                ))))
            }
            Some(batch) => Ok(Filtered::Rebuilt(Rebuilt {
                batch,
                kept: numbers(&outcome),
            })),
            None => Ok(Filtered::Emptied),
        }
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
        self.instance = Some(Counted::new(instance, &self.counters));
        Ok(())
    }
}

/// Returns the records of a decompressed batch.
pub fn views<'a>(header: &BatchHeader, body: &'a [u8]) -> Result<Vec<RecordView<'a>>, Failed> {
    let views: Vec<RecordView<'_>> = Records::new(header, body)
        .collect::<Result<_, _>>()
        .map_err(|error| Failed::unreadable(&error))?;
    if views.len() != header.record_count().max(0) as usize {
        let error = "the number of records differs from the header's";
        return Err(Failed::unreadable(&error));
    }
    Ok(views)
}

/// Copies what a plugin reads of the records; `timestamp` gives the one that it is told.
pub fn fill(
    blob: &mut RecordBlob,
    (needs, limits): (Needs, &Limits),
    views: &[RecordView<'_>],
    timestamp: fn(&RecordView<'_>) -> i64,
) -> Result<(), Failed> {
    blob.start(needs, limits);
    let mut section = Vec::new();
    for view in views {
        let headers = needs.headers.then(|| {
            section.clear();
            view.headers.write_section(&mut section);
            &section[..]
        });
        blob.push(view.key, view.value, headers, timestamp(view))
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
