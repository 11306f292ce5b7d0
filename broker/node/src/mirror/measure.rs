//! A link's figures: what is not upstream yet, since when, and how fast it goes; for the link and
//! for each of its topics.
//!
//! The age of what is not upstream is counted from its append, by the broker's own clock. A slice
//! of the log has the first and the last append of its records; between them the timestamp of the
//! batch decides, so that a producer whose clock is wrong does not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use sedge_core::machine::Now;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{LogStore, Slice};

use crate::client::Error;
use crate::metrics::{Figures, Progress};

use super::limits;
use super::link::Link;

/// A partition with records that are not upstream.
struct Behind {
    topic: Arc<str>,
    partition: PartitionId,
    cursor: Offset,
    end: Offset,
    /// The timestamp of the first batch that is not upstream, once the link has read it.
    timestamp: Option<i64>,
}

impl Link {
    /// Updates the metrics.
    pub(super) async fn measure(&mut self) {
        self.measure_at = Instant::now() + limits::MEASURE_EVERY;
        self.look_at_bounds();
        self.count();
        self.report_holds();
        self.report_budget();
        let mut behind = self.opened();
        behind.extend(self.unopened());
        let now = self.local.log.clock.now();
        let store = Arc::clone(&self.local.log.store);
        let topics = blocking::unblock(move || add_up(&*store, &behind, now)).await;
        let mut all = Figures::default();
        for figures in topics.values() {
            all.lag_records += figures.lag_records;
            all.lag_bytes += figures.lag_bytes;
            all.lag_ms = all.lag_ms.max(figures.lag_ms);
        }
        let counts = self.plan.counts();
        let at_ms = now.monotonic_ms;
        let paces = &mut self.paces;
        paces
            .records
            .see(at_ms, counts.sent_records, all.lag_records);
        paces.bytes.see(at_ms, counts.sent_bytes, all.lag_bytes);
        all.records_per_s = paces.records.sent_per_s();
        all.bytes_per_s = paces.bytes.sent_per_s();
        all.catches_up_in_s = paces.records.catches_up_in_s();
        let topics = self.topics(topics, at_ms);
        self.metrics.set_progress(Progress { link: all, topics });
    }

    /// Completes the figures of the topics, those with the most to send first.
    fn topics(
        &mut self,
        mut figures: BTreeMap<Arc<str>, Figures>,
        at_ms: u64,
    ) -> Vec<(String, Figures)> {
        let paces = &mut self.paces;
        let destinations = &self.destinations;
        paces.cursors.retain(|id, _| destinations.contains_key(id));
        let mut names: Vec<&Arc<str>> = destinations.values().map(|to| &to.topic).collect();
        names.sort();
        names.dedup();
        paces
            .topics
            .retain(|name, _| names.binary_search(&name).is_ok());
        for name in names {
            figures.entry(Arc::clone(name)).or_default();
        }
        for (id, to) in destinations {
            let Some(cursor) = self.plan.cursor(*id) else {
                continue;
            };
            let before = paces.cursors.insert(*id, cursor).unwrap_or(cursor);
            let moved = (cursor.get() - before.get()).max(0).unsigned_abs();
            paces.topics.entry(Arc::clone(&to.topic)).or_default().1 += moved;
        }
        for (name, (pace, sent)) in &mut paces.topics {
            let Some(figures) = figures.get_mut(name) else {
                continue;
            };
            pace.see(at_ms, *sent, figures.lag_records);
            figures.records_per_s = pace.sent_per_s();
            figures.catches_up_in_s = pace.catches_up_in_s();
        }
        let mut topics: Vec<(String, Figures)> = figures
            .into_iter()
            .map(|(name, figures)| (name.to_string(), figures))
            .collect();
        topics.sort_by_key(|(_, figures)| std::cmp::Reverse(figures.lag_records));
        topics
    }

    /// Closes all connections if nothing was acknowledged for long. The requests' own time limits
    /// do not see a broker that answers each request, and never the right one.
    pub(super) fn watch(&mut self) -> Result<(), Error> {
        let counts = self.plan.counts();
        let done = counts.sent_bytes + counts.committed + counts.skipped;
        let is_busy = self.plan.bytes_in_flight() > 0 || self.plan.is_transaction_open();
        if !self.watchdog.handle(done, is_busy, self.now_ms()) {
            return Ok(());
        }
        self.metrics.stalls.add(1);
        self.client.disconnect();
        self.urgent.disconnect();
        let after = limits::STALLED_AFTER;
        Err(Error::Stalled { after })
    }

    fn count(&self) {
        let counts = self.plan.counts();
        self.metrics.sent_records.set(counts.sent_records);
        self.metrics.sent_bytes.set(counts.sent_bytes);
        self.metrics.retries.set(counts.retries);
        self.metrics.committed.set(counts.committed);
        self.metrics.aborted.set(counts.aborted);
        let lost = counts
            .lost_to_retention
            .saturating_sub(self.metrics.lost_to_retention.get());
        if lost > 0 {
            let name = &self.config.name;
            log::error!(
                target: "sedge::mirror",
                "{name}: retention deleted {lost} records before they were copied"
            );
        }
        self.metrics.lost_to_retention.set(counts.lost_to_retention);
        self.metrics.lost_to_deletion.set(counts.lost_to_deletion);
        self.metrics.skipped.set(counts.skipped);
        self.metrics.late.set(counts.late);
    }

    /// Returns the partitions that are copied, and have records that are not upstream.
    fn opened(&self) -> Vec<Behind> {
        let timestamps: HashMap<PartitionId, i64> = self.plan.oldest_timestamps().collect();
        let lagging = self.plan.lagging();
        let behind = lagging.filter_map(|(partition, cursor)| {
            let to = self.destinations.get(&partition)?;
            Some(Behind {
                topic: Arc::clone(&to.topic),
                partition,
                cursor,
                end: self.local.log.partition(partition).ok()?.high_watermark(),
                timestamp: timestamps.get(&partition).copied(),
            })
        });
        behind.collect()
    }

    /// Returns selected partitions that wait for their upstream: it has not answered since the
    /// start, or refuses the topic.
    fn unopened(&self) -> Vec<Behind> {
        let image = self.local.log.metadata.load();
        let mut unopened = Vec::new();
        for topic in image.topics().filter(|topic| !topic.is_internal) {
            let partitions = topic.partitions().enumerate();
            let waiting = partitions.filter(|(_, id)| !self.plan.has(*id));
            if !self.config.selection.takes(&topic.name) || self.why_not_there(topic).is_some() {
                continue;
            }
            let name: Arc<str> = topic.name.as_str().into();
            for (index, id) in waiting {
                let Ok(partition) = self.local.log.partition(id) else {
                    continue;
                };
                let cursor = self.cursors.get(&topic.name, index as i32);
                let cursor = cursor.filter(|(_, origin)| origin.is_of(topic.id));
                let offset = cursor.map_or(Offset::ZERO, |(offset, _)| offset);
                let behind = Behind {
                    topic: Arc::clone(&name),
                    partition: id,
                    cursor: offset.max(partition.log_start()),
                    end: partition.high_watermark(),
                    timestamp: None,
                };
                if behind.records() > 0 {
                    unopened.push(behind);
                }
            }
        }
        unopened
    }
}

impl Behind {
    fn records(&self) -> i64 {
        (self.end.get() - self.cursor.get()).max(0)
    }

    /// Reads the timestamp of the first batch that is not upstream.
    fn read_timestamp(&self, store: &dyn LogStore) -> Option<i64> {
        let read = store.read(self.partition, self.cursor, self.end, 1).ok()?;
        Some(BatchHeader::read(read.first()?)?.max_timestamp())
    }
}

/// Returns the figures of each topic.
fn add_up(store: &dyn LogStore, behind: &[Behind], now: Now) -> BTreeMap<Arc<str>, Figures> {
    let mut topics: BTreeMap<Arc<str>, Figures> = BTreeMap::new();
    let mut reads = 0;
    for one in behind {
        let slices = store.slices(one.partition).unwrap_or_default();
        let timestamp = one.timestamp.or_else(|| {
            reads += 1;
            (reads <= limits::OLDEST_READS_MAX)
                .then(|| one.read_timestamp(store))
                .flatten()
        });
        let figures = topics.entry(Arc::clone(&one.topic)).or_default();
        figures.lag_records += one.records();
        figures.lag_bytes += bytes_from(&slices, one.cursor);
        figures.lag_ms = figures
            .lag_ms
            .max(age_ms(&slices, one.cursor, timestamp, now));
    }
    topics
}

/// Returns how long ago the record at `cursor` was appended.
fn age_ms(slices: &[Slice], cursor: Offset, timestamp: Option<i64>, now: Now) -> i64 {
    let of = slices.iter().find(|slice| slice.next_offset > cursor);
    let Some(slice) = of else {
        return 0;
    };
    let (first_ms, last_ms) = (slice.oldest_ms, slice.append_ms.max(slice.oldest_ms));
    // The two clocks differ by the same as now, unless the wall clock was set since.
    let append_ms = timestamp.map(|ms| ms.saturating_add(now.append_ms - now.wall_ms));
    let append_ms = append_ms.map_or(first_ms, |ms| ms.clamp(first_ms, last_ms));
    (now.append_ms - append_ms).max(0)
}

/// Returns the bytes from `cursor` to the end, by the slices.
pub(super) fn bytes_from(slices: &[Slice], cursor: Offset) -> i64 {
    let of_slice = |slice: &Slice| {
        let records = (slice.next_offset.get() - slice.first_offset.get()).max(1);
        let left = (slice.next_offset.get() - cursor.get()).clamp(0, records);
        i64::try_from(i128::from(slice.bytes) * i128::from(left) / i128::from(records)).unwrap_or(0)
    };
    slices.iter().map(of_slice).sum()
}
