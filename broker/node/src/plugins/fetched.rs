//! Filters of what consumers read.
//!
//! A batch that a filter keeps whole stays byte for byte. A batch that it changes is rebuilt with
//! the same offsets, producer, epoch, sequence and codec; its records keep their offsets and times,
//! so offsets have holes. A batch of which nothing stays is left out. If no batch follows it, a
//! [`gap`] takes its place, so that the consumer gets past it.
//!
//! A consumer cannot send another batch, and its answer has no room for a text: a rejected record
//! is left out like a dropped one, and the log has a reason once a minute. If a filter fails, the
//! topic's `sedge.filter.fetch.on.error` decides; `fail-closed` withholds the batch and all after
//! it, and the consumer asks again.
//!
//! **Invariant:** at most [`FILTER_BATCH_BYTES_MAX`] of a compressed batch are opened. What a batch
//! takes while it is open, and what is rebuilt, is charged to the pool of answers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use async_io::Timer;
use futures_lite::future::{self, block_on};
use sedge_core::config::{FILTER_KEY, OnPluginError, TopicConfig};
use sedge_core::log::AppendError;
use sedge_core::metadata::{Image, Topic};
use sedge_plugin::{Field, FilterStage, Outcome, Verdict};
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::records::{Compacted, RecordView, decompress, gap};
use sedge_protocol::{Bytes, Error, ErrorCode};

use super::bindings::Binding;
use super::bound::Bound;
use super::failure::Failed;
use super::filter::{Filter, Stage, replaced, views};
use super::origin::Origin;
use super::{Plugins, Turn};
use crate::limits::{
    FETCH_TURN_WAIT_MAX, FILTER_BATCH_BYTES_MAX, OPEN_COPIES, OPENED_BYTES_EXPECTED,
    OPENED_RATIO_EXPECTED,
};
use crate::log::published::Published;
use crate::net::memory::{Admission, Pool};

/// Why a filter with a state is not bound to what consumers read.
pub const STATE_ON_FETCH: &str =
    "it imports sedge:plugin/state, which only a filter of sedge.filter has";

/// The stage at which consumers read.
#[derive(Debug)]
pub enum Fetch {}

impl Stage for Fetch {
    const NAME: &'static str = "fetch filter";
    const STAGE: FilterStage = FilterStage::Fetch;

    fn filters(config: &TopicConfig) -> &[String] {
        config.fetch_filters()
    }
}

/// A partition that a consumer or a link reads.
#[derive(Clone, Debug)]
pub struct Reading {
    pub topic: Arc<Topic>,
    pub index: i32,
    pub origin: Origin,
    pub on_error: OnPluginError,
    /// The time after which a filter begins no further batch.
    pub until: Instant,
}

/// What filters left of the batches of a partition.
#[derive(Debug, Default)]
pub struct Sifted {
    /// Whole batches, one or more in each.
    batches: Vec<Bytes>,
    /// The last batch, if nothing stayed of it.
    emptied: Option<BatchHeader>,
    /// Set if the filters did not get to the end.
    stopped: Option<Stopped>,
    /// Bytes of rebuilt batches.
    rebuilt_bytes: usize,
    counts: Counts,
}

/// The reason why further batches were not filtered.
#[derive(Debug)]
enum Stopped {
    /// The time was over.
    Late,
    /// The next batch cannot be filtered.
    Failed(AppendError),
}

/// What one filter did.
#[derive(Debug, Default)]
struct Counts {
    batches: usize,
    records: usize,
    dropped: usize,
    rejected: usize,
    /// The reason of the last rejection.
    reason: String,
}

/// What a filter leaves of a batch.
enum Left {
    Whole,
    Part(Batch),
    Nothing,
}

impl Sifted {
    /// Returns batches that no filter has seen.
    pub fn new(batches: Vec<Bytes>) -> Self {
        Self {
            batches,
            ..Self::default()
        }
    }

    pub fn has_batches(&self) -> bool {
        !self.batches.is_empty()
    }

    /// Returns the records that the last filter left out.
    pub fn left_out(&self) -> usize {
        self.counts.dropped + self.counts.rejected
    }

    /// Returns what is left, or the error if the filters failed before the end of the first batch.
    ///
    /// # Errors
    /// Nothing is left, and a filter failed.
    pub fn into_batches(mut self) -> Result<Vec<Bytes>, AppendError> {
        if let Some(header) = &self.emptied {
            self.batches.push(whole(&gap(header)));
        }
        match self.stopped {
            Some(Stopped::Failed(error)) if self.batches.is_empty() => Err(error),
            _ => Ok(self.batches),
        }
    }

    /// Adds batches that stay as they are: a part of `all`.
    fn keep(&mut self, all: &Bytes, part: std::ops::Range<usize>) {
        let kept = all.slice(part);
        if kept.is_empty() {
            return;
        }
        // A small part must not hold the memory of all.
        let is_small = kept.len() < all.len() / 2;
        self.batches.push(if is_small {
            Bytes::copy_from_slice(&kept)
        } else {
            kept
        });
    }
}

fn whole(batch: &Batch) -> Bytes {
    [batch.header.as_bytes().as_slice(), &batch.body]
        .concat()
        .into()
}

impl Plugins {
    /// Runs batches through the topic's fetch filters, first to last. `memory` is charged for
    /// rebuilt batches, `pool` for what an open batch takes meanwhile. Waits for the turn without a
    /// thread; the filters run on a thread that may block.
    pub async fn sift(
        &self,
        metadata: &Published<Image>,
        reading: &Reading,
        batches: Vec<Bytes>,
        pool: &Arc<Pool>,
        mut memory: Admission,
    ) -> (Sifted, Admission) {
        let mut sifted = Sifted::new(batches);
        let topic = &reading.topic;
        for plugin in topic.config.fetch_filters() {
            if sifted.batches.is_empty() {
                break;
            }
            let (registry, metrics) = (&self.registry, &self.metrics);
            let bindings = &self.fetch_filters;
            let binding = bindings.get(metadata, registry, metrics, topic, plugin);
            let turn = async { Some(self.turn(&binding).await) };
            let patience = async {
                Timer::after(FETCH_TURN_WAIT_MAX).await;
                None
            };
            let Some((bound, run)) = future::or(turn, patience).await else {
                let why = format!("Too many consumers wait for the fetch filter {plugin}.");
                let error = AppendError::new(ErrorCode::NotEnoughReplicas, why);
                sifted = Sifted {
                    stopped: Some(Stopped::Failed(error)),
                    ..Sifted::default()
                };
                tell(&binding, &sifted, true);
                break;
            };
            let turn = (bound, run);
            (sifted, memory) = sift_through(&binding, turn, reading, sifted, (pool, memory)).await;
        }
        (sifted, memory)
    }
}

/// Runs batches through one filter, whose turn it is.
pub async fn sift_through<S: Stage>(
    binding: &Binding<Filter<S>>,
    (mut bound, run): Turn<Filter<S>>,
    reading: &Reading,
    before: Sifted,
    (pool, mut memory): (&Arc<Pool>, Admission),
) -> (Sifted, Admission) {
    let is_new = before.stopped.is_none();
    let (reading, pool) = (reading.clone(), Arc::clone(pool));
    let work = move || {
        let _until_it_ran = run;
        let sifted = bound.sift(&reading, before, &pool);
        memory.set(memory.bytes() + sifted.rebuilt_bytes);
        (sifted, memory)
    };
    let (sifted, memory) = blocking::unblock(work).await;
    tell(binding, &sifted, is_new);
    (sifted, memory)
}

/// Counts for the log what a filter did. `is_new` if no earlier filter stopped.
fn tell<S: Stage>(binding: &Binding<Filter<S>>, sifted: &Sifted, is_new: bool) {
    let Counts {
        records,
        dropped,
        rejected,
        reason,
        ..
    } = &sifted.counts;
    binding.tally.dropped(*dropped, *records);
    binding.tally.rejected(*rejected, reason);
    if let Some(Stopped::Failed(error)) = &sifted.stopped
        && is_new
        && error.code != ErrorCode::PolicyViolation
    {
        // The failures of the plugin itself are in the log already.
        let why = error.message.as_deref();
        binding.tally.refused(why.unwrap_or_default());
    }
}

impl<S: Stage> Bound<Filter<S>> {
    /// Runs batches through the filter. Blocks at most for the plugin's deadline after
    /// `reading.until`, and while memory is short.
    fn sift(&mut self, reading: &Reading, before: Sifted, pool: &Arc<Pool>) -> Sifted {
        let mut open = pool.begin();
        let mut sifted = Sifted::default();
        let mut stopped = None;
        for batches in &before.batches {
            if let Err(reason) = self.sift_some(reading, batches, &mut open, &mut sifted) {
                stopped = Some(reason);
                break;
            }
        }
        // Batches that an earlier filter emptied, or stopped at, are behind all of these.
        if stopped.is_none() {
            sifted.emptied = before.emptied.or(sifted.emptied);
        }
        sifted.stopped = stopped.or(before.stopped);
        sifted
    }

    /// Runs consecutive batches through the filter, up to the first that it cannot answer about.
    fn sift_some(
        &mut self,
        reading: &Reading,
        batches: &Bytes,
        open: &mut Admission,
        sifted: &mut Sifted,
    ) -> Result<(), Stopped> {
        let mut rest = batches.clone();
        let mut kept = 0..0;
        let outcome = loop {
            let Some(batch) = Batch::split_from(&mut rest) else {
                break Ok(());
            };
            let end = batches.len() - rest.len();
            let left = match self.sift_one(reading, &batch, open, &mut sifted.counts) {
                Ok(left) => left,
                Err(stopped) => break Err(stopped),
            };
            sifted.emptied = None;
            if let Left::Whole = left {
                kept.end = end;
                continue;
            }
            sifted.keep(batches, kept);
            kept = end..end;
            if let Left::Part(rebuilt) = left {
                sifted.rebuilt_bytes += rebuilt.bytes();
                sifted.batches.push(whole(&rebuilt));
            } else {
                sifted.emptied = Some(batch.header);
            }
        };
        sifted.keep(batches, kept);
        outcome
    }

    fn sift_one(
        &mut self,
        reading: &Reading,
        batch: &Batch,
        open: &mut Admission,
        counts: &mut Counts,
    ) -> Result<Left, Stopped> {
        if counts.batches > 0 && Instant::now() >= reading.until {
            return Err(Stopped::Late);
        }
        counts.batches += 1;
        let header = &batch.header;
        if self.is_skipped() || header.is_control() || header.record_count() == 0 {
            return Ok(Left::Whole);
        }
        let failed = match self.judge_fetched(reading, batch, open, counts) {
            Ok(left) => return Ok(left),
            Err(failed) => failed,
        };
        let topic = &reading.topic;
        let settled = self.settle(failed, reading.on_error, topic);
        settled.map(|()| Left::Whole).map_err(Stopped::Failed)
    }

    fn judge_fetched(
        &mut self,
        reading: &Reading,
        batch: &Batch,
        open: &mut Admission,
        counts: &mut Counts,
    ) -> Result<Left, Failed> {
        if self.make_ready()?.factory().has_state() {
            // Nothing is written when a consumer reads.
            return Err(Failed::Plugin(STATE_ON_FETCH.to_owned()));
        }
        let header = &batch.header;
        let body = open_batch(batch, open)?;
        let views = views(header, &body)?;
        let (base_timestamp_ms, time): (i64, fn(&RecordView<'_>) -> i64) =
            if header.is_log_append_time() {
                (header.max_timestamp(), |_| 0)
            } else {
                (header.base_timestamp(), |view| view.timestamp_delta)
            };
        let origin = (&*reading.topic, reading.index, &reading.origin);
        let outcome = self.judge(origin, base_timestamp_ms, &views, time, &mut None)?;
        self.count(&outcome);
        counts.records += views.len();
        if outcome.keeps_all() {
            return Ok(Left::Whole);
        }
        // What is written anew gets a new checksum, which must not hide damage.
        if header.computed_crc(&batch.body) != header.crc() {
            return Err(Failed::unreadable(&"the checksum is wrong"));
        }
        reserve(open, OPEN_COPIES * body.len() + replaced_bytes(&outcome));
        let mut left = Compacted::new(header, None);
        for (view, verdict) in views.iter().zip(outcome.verdicts()) {
            match verdict {
                Verdict::Keep => left.keep(view),
                Verdict::Replace { key, value } => {
                    left.replace(view, replaced(key, view.key), replaced(value, view.value));
                }
                Verdict::Route { topic, .. } => {
                    return Err(Failed::Plugin(no_route(topic, S::NAME)));
                }
                Verdict::Drop => counts.dropped += 1,
                Verdict::Reject { reason } => {
                    counts.rejected += 1;
                    reason.clone_into(&mut counts.reason);
                }
            }
        }
        if left.is_empty() {
            return Ok(Left::Nothing);
        }
        let rebuilt = left.build();
        rebuilt
            .map(Left::Part)
            .map_err(|error| Failed::Plugin(error.to_string()))
    }
}

fn no_route(topic: &str, role: &str) -> String {
    let topic = topic.escape_debug();
    format!(
        "it routed a record to {topic}, but only a filter of {FILTER_KEY} can; a {role} keeps, drops \
         or replaces"
    )
}

/// Returns the records of a batch. Charges what opening, showing and rebuilding them takes.
fn open_batch<'a>(batch: &'a Batch, open: &mut Admission) -> Result<Cow<'a, [u8]>, Failed> {
    let (header, body) = (&batch.header, &batch.body[..]);
    let expected = if header.compression() == 0 {
        body.len()
    } else {
        let expected = body.len().saturating_mul(OPENED_RATIO_EXPECTED);
        FILTER_BATCH_BYTES_MAX.min(expected + OPENED_BYTES_EXPECTED)
    };
    reserve(open, OPEN_COPIES * expected);
    let mut opened = decompress(header, body, expected);
    if expected < FILTER_BATCH_BYTES_MAX && matches!(opened, Err(Error::TooMany { .. })) {
        reserve(open, OPEN_COPIES * FILTER_BATCH_BYTES_MAX);
        opened = decompress(header, body, FILTER_BATCH_BYTES_MAX);
    }
    opened.map_err(|error| Failed::unreadable(&error))
}

/// Waits until that many bytes are charged.
fn reserve(open: &mut Admission, bytes: usize) {
    if let Some(more) = bytes.checked_sub(open.bytes()).filter(|more| *more > 0) {
        block_on(open.grow(more));
    }
}

fn replaced_bytes(outcome: &Outcome) -> usize {
    let fields = outcome.verdicts().flat_map(|verdict| match verdict {
        Verdict::Replace { key, value } => [key, value],
        _ => [Field::Same; 2],
    });
    let bytes = |field| match field {
        Field::Bytes(bytes) => bytes.len(),
        Field::Same | Field::Null => 0,
    };
    fields.map(bytes).sum()
}
