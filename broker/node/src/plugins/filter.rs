//! One filter of one topic: running a batch through it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use sedge_core::config::{FILTER_ROUTES_KEY, OnPluginError, TopicConfig};
use sedge_core::limits::RECORD_ERRORS_MAX;
use sedge_core::log::{AppendError, RecordError};
use sedge_core::metadata::Topic;
use sedge_plugin::{
    BatchInfo, Error, Field, FilterInstance, FilterStage, Limits, Meter, Needs, Outcome, Plugin,
    StateTable, Verdict,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::records::{self, Kept, RecordView, Records};

use super::bound::{Bound, Role};
use super::failure::{Failed, too_large};
use super::origin::Origin;
use super::state::Held;
use crate::limits::{FILTER_BATCH_BYTES_MAX, REJECTION_TEXT_BYTES_MAX};

/// The result of one filter for a batch.
#[derive(Debug)]
pub struct Passed {
    pub left: Left,
    /// What the filter routed.
    pub diverted: Vec<Diverted>,
}

/// What a filter leaves of a batch.
#[derive(Debug)]
pub enum Left {
    AsItCame(Batch),
    Rebuilt(Rebuilt),
    /// Every record was dropped or routed.
    Emptied,
}

/// Records for another topic, as a batch without a producer.
#[derive(Debug)]
pub struct Diverted {
    pub topic: String,
    pub batch: Batch,
    /// The topic is created, whatever `auto.create.topics.enable` says: nothing else can become of
    /// the batch.
    pub is_dead_letter: bool,
}

/// A batch that the filter changed or dropped records from.
#[derive(Debug)]
pub struct Rebuilt {
    pub batch: Batch,
    /// Indexes of its records in the original batch.
    pub kept: Vec<i32>,
}

/// A point on a batch's way at which a topic has filters.
pub trait Stage: Debug + Send + 'static {
    /// The role of these filters, for people.
    const NAME: &'static str;

    /// The stage, as filters are told.
    const STAGE: FilterStage;

    /// Returns the names of these filters.
    fn filters(config: &TopicConfig) -> &[String];
}

/// The stage at which batches are produced.
#[derive(Debug)]
pub enum Produce {}

impl Stage for Produce {
    const NAME: &'static str = "filter";
    const STAGE: FilterStage = FilterStage::Produce;

    fn filters(config: &TopicConfig) -> &[String] {
        config.filters()
    }
}

/// The role of a filter at a stage.
#[derive(Debug)]
pub struct Filter<S>(PhantomData<S>);

impl<S: Stage> Role for Filter<S> {
    const NAME: &'static str = S::NAME;

    type Instance = FilterInstance;

    fn is_bound(topic: &Topic, plugin: &str) -> bool {
        S::filters(&topic.config).iter().any(|name| name == plugin)
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

impl<S: Stage> Bound<Filter<S>> {
    /// Calls the filter with the records of a batch. `time` gives the timestamp of a record, from
    /// that of the batch on, and `table` has the filter's state.
    pub fn judge(
        &mut self,
        (topic, index, origin): (&Topic, i32, &Origin),
        base_timestamp_ms: i64,
        views: &[RecordView<'_>],
        time: fn(&RecordView<'_>) -> i64,
        table: &mut Option<Box<StateTable>>,
    ) -> Result<Outcome, Failed> {
        let info = BatchInfo {
            topic: &topic.name,
            partition: index as u32,
            stage: S::STAGE,
            base_timestamp_ms,
            origin: Some(origin.told()),
        };
        self.call(views, time, |filter, blob| {
            filter.filter_with(&info, blob, table)
        })
    }

    /// Counts what the filter decided about the records of a batch.
    pub fn count(&self, outcome: &Outcome) {
        let (mut kept, mut dropped, mut replaced, mut rejected, mut routed) = (0, 0, 0, 0, 0);
        if outcome.keeps_all() {
            kept = outcome.verdicts().len() as u64;
        } else {
            for verdict in outcome.verdicts() {
                match verdict {
                    Verdict::Keep => kept += 1,
                    Verdict::Drop => dropped += 1,
                    Verdict::Replace { .. } => replaced += 1,
                    Verdict::Reject { .. } => rejected += 1,
                    Verdict::Route { .. } => routed += 1,
                }
            }
        }
        let counters = &self.counters;
        counters.kept.add(kept);
        counters.dropped.add(dropped);
        counters.replaced.add(replaced);
        counters.rejected.add(rejected);
        counters.routed.add(routed);
    }
}

impl Bound<Filter<Produce>> {
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
        mut held: Option<&mut Held>,
    ) -> Result<Passed, AppendError> {
        let failed = match self.run(topic, index, origin, &batch, held.as_deref_mut()) {
            Ok(Some(passed)) => return Ok(passed),
            Ok(None) => return Ok(batch.into()),
            Err(failed) => failed,
        };
        if let Some(held) = held {
            held.table(&self.plugin).end(false);
        }
        let policy = match (topic.config.on_filter_error(), &failed) {
            (OnPluginError::Quarantine, Failed::Plugin(why)) => {
                return self.bury(topic, index, &batch, why);
            }
            // A filter that is not ready has not failed: the batch waits for it.
            (OnPluginError::Quarantine, _) => OnPluginError::FailClosed,
            (policy, _) => policy,
        };
        self.settle(failed, policy, topic)?;
        Ok(batch.into())
    }

    /// Runs a batch through the filter. Returns `None` if the batch stays as it came. Blocks at
    /// most for the plugin's deadline, and for as long again if its instance must be created.
    fn run(
        &mut self,
        topic: &Topic,
        index: i32,
        origin: &Origin,
        batch: &Batch,
        held: Option<&mut Held>,
    ) -> Result<Option<Passed>, Failed> {
        if self.is_skipped() {
            return Ok(None);
        }
        let has_state = self.make_ready()?.factory().has_state();
        let mut none = None;
        let table = match held {
            Some(held) if has_state => held.table(&self.plugin).content(),
            // This version was deployed after the batch had come without a lane.
            None if has_state => return Err(Failed::NotReady),
            _ => &mut none,
        };
        let header = &batch.header;
        let body = records::decompress(header, &batch.body, FILTER_BATCH_BYTES_MAX)
            .map_err(|error| Failed::unreadable(&error))?;
        let views = views(header, &body)?;
        let origin = (topic, index, origin);
        let time = |view: &RecordView<'_>| view.timestamp_delta;
        let outcome = self.judge(origin, header.base_timestamp(), &views, time, table)?;
        if outcome.rejects_any() {
            // The others are not written either.
            let rejected = outcome.verdicts().filter(is_reject).count();
            self.counters.rejected.add(rejected as u64);
            return Err(Failed::Rejected(rejection(&self.plugin, &outcome)));
        }
        let built = |error: sedge_protocol::Error| Failed::Plugin(error.to_string());
        let Sorted { kept, routed } = sort(&views, &outcome);
        let undeclared = |to: &&&str| !topic.config.filter_routes().iter().any(|name| name == **to);
        if let Some(to) = routed.keys().find(undeclared) {
            return Err(Failed::Plugin(undeclared_route(to, &topic.name)));
        }
        self.count(&outcome);
        if outcome.keeps_all() {
            return Ok(None);
        }
        let diverted = routed.into_iter().map(|(to, records)| {
            let batch = records::rebuild_elsewhere(header, records)?;
            Ok(Diverted {
                topic: to.to_owned(),
                batch,
                is_dead_letter: false,
            })
        });
        let diverted = diverted.collect::<Result<Vec<_>, _>>().map_err(built)?;
        let left = match records::rebuild(header, kept).map_err(built)? {
            Some(batch) if batch.bytes() > topic.config.max_message_bytes() => {
                return Err(Failed::Rejected(too_large(format!(
                    "The filter {} made the batch larger than max.message.bytes.",
                    self.plugin
                ))));
            }
            Some(batch) => Left::Rebuilt(Rebuilt {
                batch,
                kept: numbers(&outcome),
            }),
            None => Left::Emptied,
        };
        Ok(Some(Passed { left, diverted }))
    }
}

impl From<Batch> for Passed {
    fn from(batch: Batch) -> Self {
        Self {
            left: Left::AsItCame(batch),
            diverted: Vec::new(),
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

/// The records of a batch, by where they go.
#[derive(Default)]
struct Sorted<'a> {
    kept: Vec<Kept<'a>>,
    /// By topic.
    routed: BTreeMap<&'a str, Vec<Kept<'a>>>,
}

fn sort<'a>(views: &[RecordView<'a>], outcome: &'a Outcome) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    if outcome.keeps_all() {
        return sorted;
    }
    for (view, verdict) in views.iter().zip(outcome.verdicts()) {
        let (to, key, value) = match verdict {
            Verdict::Keep => (None, Field::Same, Field::Same),
            Verdict::Replace { key, value } => (None, key, value),
            Verdict::Route { topic, key, value } => (Some(topic), key, value),
            Verdict::Drop | Verdict::Reject { .. } => continue,
        };
        let record = Kept {
            timestamp_delta: view.timestamp_delta,
            key: replaced(key, view.key),
            value: replaced(value, view.value),
            headers: view.headers,
        };
        match to {
            None => sorted.kept.push(record),
            Some(topic) => sorted.routed.entry(topic).or_default().push(record),
        }
    }
    sorted
}

fn undeclared_route(to: &str, topic: &str) -> String {
    let to = to.escape_debug();
    format!(
        "it routed a record to {to}, which {FILTER_ROUTES_KEY} of topic {topic} does not name; add \
         it there, or mend the plugin"
    )
}

/// Returns a field after a replacement.
pub fn replaced<'a>(field: Field<'a>, before: Option<&'a [u8]>) -> Option<&'a [u8]> {
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
    let stays = |verdict| !matches!(verdict, Verdict::Drop | Verdict::Route { .. });
    let numbers = numbers.filter(|(_, verdict)| stays(*verdict));
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
