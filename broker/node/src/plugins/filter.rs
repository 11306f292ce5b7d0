//! One filter of one topic: running a batch through it.

use std::sync::Arc;

use sedge_core::limits::RECORD_ERRORS_MAX;
use sedge_core::log::{AppendError, RecordError};
use sedge_core::metadata::Topic;
use sedge_plugin::{
    BatchInfo, Error, Field, FilterInstance, FilterStage, Limits, Meter, Needs, Outcome, Plugin,
    Verdict,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::records::{self, Kept, RecordView, Records};

use super::bound::{Bound, Role};
use super::failure::{Failed, too_large};
use super::origin::Origin;
use crate::limits::{FILTER_BATCH_BYTES_MAX, REJECTION_TEXT_BYTES_MAX};

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

/// The role of a filter.
#[derive(Debug)]
pub enum Filter {}

impl Role for Filter {
    const NAME: &'static str = "filter";

    type Instance = FilterInstance;

    fn is_bound(topic: &Topic, plugin: &str) -> bool {
        topic.config.filters().iter().any(|name| name == plugin)
    }

    fn instantiate(
        plugin: Plugin,
        settings: &[(String, String)],
        meter: Arc<dyn Meter>,
    ) -> Result<FilterInstance, Error> {
        plugin.into_filter()?.instantiate_with(settings, meter)
    }

    fn reads(instance: &FilterInstance) -> (Needs, &Limits) {
        (instance.needs(), instance.factory().limits())
    }
}

impl Bound<Filter> {
    /// Runs a batch through the filter, and applies the topic's policy if the filter fails. Blocks,
    /// see [`Self::run`].
    ///
    /// # Errors
    /// The batch is refused.
    pub fn pass(
        &mut self,
        topic: &Topic,
        index: i32,
        origin: &Origin,
        batch: Batch,
    ) -> Result<Passed, AppendError> {
        let failed = match self.run(topic, index, origin, &batch) {
            Ok(Filtered::AsItCame) => return Ok(Passed::AsItCame(batch)),
            Ok(Filtered::Rebuilt(rebuilt)) => return Ok(Passed::Rebuilt(rebuilt)),
            Ok(Filtered::Emptied) => return Ok(Passed::Emptied),
            Err(failed) => failed,
        };
        self.settle(failed, topic.config.on_filter_error(), topic)?;
        Ok(Passed::AsItCame(batch))
    }

    /// Runs a batch through the filter. Blocks at most for the plugin's deadline, and for as long
    /// again if its instance must be created.
    fn run(
        &mut self,
        topic: &Topic,
        index: i32,
        origin: &Origin,
        batch: &Batch,
    ) -> Result<Filtered, Failed> {
        if self.is_quarantined {
            return Ok(Filtered::AsItCame);
        }
        self.make_ready()?;
        let header = &batch.header;
        let body = records::decompress(header, &batch.body, FILTER_BATCH_BYTES_MAX)
            .map_err(|error| Failed::unreadable(&error))?;
        let views = views(header, &body)?;
        let info = BatchInfo {
            topic: &topic.name,
            partition: index as u32,
            stage: FilterStage::Produce,
            base_timestamp_ms: header.base_timestamp(),
            origin: Some(origin.told()),
        };
        let timestamp = |view: &RecordView<'_>| view.timestamp_delta;
        let outcome = self.call(&views, timestamp, |filter, blob| filter.filter(&info, blob))?;
        let counters = &self.counters;
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
