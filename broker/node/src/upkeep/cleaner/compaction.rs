//! Compacts a partition in two passes: the first collects the keys of the new records, the second
//! rewrites everything without the records that they supersede.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use log::{debug, info, warn};
use sedge_core::cleaner::{
    Compactable, CompactionPolicy, Filter, Filtered, KeyOffsets, LastBatches, LogFacts, SliceFacts,
    TransactionScan, Transactions, assess, is_due,
};
use sedge_core::metadata::Topic;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};
use sedge_storage::{ColdSegment, Entry, Error, Slice};

use super::batches::Batches;
use super::limits::{COMMIT_ROWS_MAX, ROOM_BYTES_MAX, ROW_SLICES_MAX};
use super::pace::Pace;
use super::{CleanError, SetAside, budget, report};
use crate::coordinator::OFFSETS_TOPIC;
use crate::log::views;

/// A partition, and the range to compact.
struct Job {
    topic: Arc<Topic>,
    index: usize,
    id: PartitionId,
    range: Compactable,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic.name, self.index)
    }
}

/// The result of assessing all partitions of compacted topics.
#[derive(Default)]
struct Found {
    due: Vec<Job>,
    dirtiest: f64,
    needs_roll: bool,
}

/// Compacts the dirtiest partition first, until none is due.
pub fn round(pace: &Pace, set_aside: &mut SetAside) {
    let metrics = &pace.log.metrics.cleaner;
    let mut may_roll = true;
    // Partitions due for records behind an open transaction, which may stay open for long.
    let mut undecided = BTreeSet::new();
    loop {
        let mut found = look(pace, set_aside);
        if may_roll && found.needs_roll {
            may_roll = false;
            pace.writer.roll();
            // Partitions that became due by this are overdue already, and do not wait for the next
            // round.
            found = look(pace, set_aside);
        }
        let only_overdue = budget::is_spent(pace);
        found
            .due
            .retain(|job| !undecided.contains(&job.id) && (job.range.is_overdue || !only_overdue));
        metrics
            .dirtiest_percent
            .set((found.dirtiest * 100.0) as i64);
        if found.due.is_empty() {
            return;
        }
        let ratio = |job: &Job| job.range.dirty_ratio();
        found
            .due
            .sort_by(|one, other| ratio(other).total_cmp(&ratio(one)));
        for job in found.due {
            if !job.range.is_overdue && budget::is_spent(pace) {
                break;
            }
            match compact(pace, &job) {
                Ok(true) => metrics.compactions.increment(),
                Ok(false) => {
                    undecided.insert(job.id);
                }
                Err(error) if report(&job, &error) => {
                    set_aside.partitions.insert(job.id);
                }
                Err(_) => return,
            }
        }
        pace.log.free_segments();
    }
}

fn look(pace: &Pace, set_aside: &mut SetAside) -> Found {
    let image = pace.log.metadata.load();
    let now_ms = pace.log.clock.append_ms();
    let mut found = Found::default();
    let mut still_aside = BTreeSet::new();
    // The coordinator trims its topic itself, with its views.
    let compacted =
        |topic: &&Arc<Topic>| topic.config.is_compacted() && topic.name != OFFSETS_TOPIC;
    for topic in image.topics().filter(compacted) {
        let policy = CompactionPolicy::of(&topic.config);
        for (index, id) in topic.partitions().enumerate() {
            if set_aside.partitions.contains(&id) {
                still_aside.insert(id);
                continue;
            }
            let range = match assessed(pace, id, &policy, now_ms) {
                Ok(None) => continue,
                Ok(Some(range)) => range,
                Err(error) => {
                    if report(&format!("{}-{index}", topic.name), &error.into()) {
                        still_aside.insert(id);
                    }
                    continue;
                }
            };
            found.dirtiest = found.dirtiest.max(range.dirty_ratio());
            found.needs_roll |= range.needs_roll;
            if is_due(&range, &policy) {
                found.due.push(Job {
                    topic: Arc::clone(topic),
                    index,
                    id,
                    range,
                });
            }
        }
    }
    set_aside.partitions = still_aside;
    found
}

/// Returns `None` if no records were appended since the last compaction.
fn assessed(
    pace: &Pace,
    id: PartitionId,
    policy: &CompactionPolicy,
    now_ms: i64,
) -> Result<Option<Compactable>, Error> {
    let store = &*pace.log.store;
    let bounds = store.bounds(id)?;
    if bounds.next_offset <= bounds.compacted_until.max(bounds.log_start) {
        return Ok(None);
    }
    let slices = store.slices(id)?;
    // Read after the slices: the contents of a segment begun since then are not among them.
    let active = store.active_segment();
    let slices: Vec<SliceFacts> = slices
        .iter()
        .map(|slice| SliceFacts {
            first_offset: slice.first_offset,
            next_offset: slice.next_offset,
            bytes: slice.bytes,
            oldest_ms: slice.oldest_ms,
            newest_ms: slice.append_ms,
            is_active: Some(slice.segment) == active,
        })
        .collect();
    let log = LogFacts {
        slices: &slices,
        log_start: bounds.log_start,
        compacted_until: bounds.compacted_until,
        last_stable_offset: pace.log.partition(id)?.last_stable_offset(),
    };
    Ok(Some(assess(&log, policy, now_ms)))
}

/// Returns false if all new records belong to undecided transactions.
fn compact(pace: &Pace, job: &Job) -> Result<bool, CleanError> {
    debug!(target: "sedge::cleaner", "compacting {job}");
    let dedupe_bytes = {
        let image = pace.log.metadata.load();
        let bytes = image.defaults().number("log.cleaner.dedupe.buffer.size");
        usize::try_from(bytes).unwrap_or(0)
    };
    let keys = || KeyOffsets::new(dedupe_bytes, fastrand::u64(..));
    let mut mapped = map_keys(pace, job, keys(), None, job.range.end)?;
    if mapped.is_none() {
        // The fate of transactions is looked up first. Undecided records supersede none.
        let (transactions, undecided) = transactions(pace, job)?;
        let end = undecided.map_or(job.range.end, |undecided| undecided.min(job.range.end));
        mapped = map_keys(pace, job, keys(), Some(transactions), end)?;
    }
    let Some(mapped) = mapped else {
        return Ok(false);
    };
    if mapped.end <= job.range.first_dirty {
        return Ok(false);
    }
    let last_batches = last_batches(pace, job.id)?;
    let filter = Filter {
        keys: &mapped.keys,
        transactions: mapped.transactions,
        last_batches: &last_batches,
        log_end: pace.log.store.bounds(job.id)?.next_offset,
        now_ms: pace.log.clock.append_ms(),
        delete_retention_ms: job.topic.config.delete_retention_ms(),
        records_removed: 0,
        unreadable_batches: 0,
    };
    Rewriting {
        pace,
        job,
        end: mapped.end,
        filter,
        segment_bytes: pace.segment_bytes,
        source_bytes: 0,
        kept_bytes: 0,
    }
    .run()?;
    Ok(true)
}

/// The newest offset of each key of the new records, as far as the memory suffices.
struct Mapped {
    keys: KeyOffsets,
    transactions: Transactions,
    /// The offset up to which the keys are known.
    end: Offset,
}

/// Returns `None` if a batch belongs to a transaction, unless `transactions` are known.
fn map_keys(
    pace: &Pace,
    job: &Job,
    mut keys: KeyOffsets,
    known: Option<Transactions>,
    mut end: Offset,
) -> Result<Option<Mapped>, CleanError> {
    let first_dirty = job.range.first_dirty;
    let knows_transactions = known.is_some();
    let transactions = known.unwrap_or_default();
    let mut met = transactions.clone();
    let mut batches = Batches::new(pace, job.id, first_dirty, end);
    while let Some(batch) = batches.next()? {
        let header = &batch.header;
        let offset = header.base_offset();
        if !knows_transactions && (header.is_transactional() || header.is_control()) {
            return Ok(None);
        }
        if !keys.put_batch(&batch, &mut met) {
            if offset <= first_dirty {
                return Err(CleanError::TooManyKeys { offset });
            }
            end = offset;
            break;
        }
    }
    Ok(Some(Mapped {
        keys,
        transactions,
        end,
    }))
}

/// Returns the outcomes of transactions since the end of the last compaction, and the start of the
/// first undecided one.
fn transactions(pace: &Pace, job: &Job) -> Result<(Transactions, Option<Offset>), CleanError> {
    let stable = pace.log.partition(job.id)?.last_stable_offset();
    let mut scan = TransactionScan::default();
    let mut batches = Batches::new(pace, job.id, job.range.first_dirty, stable);
    while let Some(batch) = batches.next()? {
        if !scan.see(&batch) {
            break;
        }
    }
    let undecided = scan.first_undecided();
    Ok((scan.finish(), undecided))
}

/// Returns the producers that the broker knows.
fn last_batches(pace: &Pace, id: PartitionId) -> Result<LastBatches, Error> {
    let mut found = LastBatches::new();
    views::each_producer(&*pace.log.store, id, |producer, entry| {
        found.insert(producer, entry.last_word());
    })?;
    Ok(found)
}

/// Slices that one row replaces.
struct Group {
    base: Offset,
    next: Offset,
    bytes: u64,
    append_ms: i64,
}

/// The second pass.
struct Rewriting<'a> {
    pace: &'a Pace,
    job: &'a Job,
    end: Offset,
    filter: Filter<'a>,
    segment_bytes: u64,
    source_bytes: u64,
    kept_bytes: u64,
}

/// A planned row: its range, and the leader epoch at its end.
type Row = (Offset, Offset, Option<LeaderEpoch>);

impl Rewriting<'_> {
    fn run(mut self) -> Result<(), CleanError> {
        let pace = self.pace;
        let store = &*pace.log.store;
        let groups = groups(&store.slices(self.job.id)?, self.end, self.segment_bytes);
        let mut left: u64 = groups.iter().map(|group| group.bytes).sum();
        let mut cold: Option<Box<dyn ColdSegment + '_>> = None;
        let mut rows = Vec::new();
        for group in groups {
            let room = left.min(ROOM_BYTES_MAX);
            left = left.saturating_sub(group.bytes);
            let mut writing = match cold.take() {
                Some(writing) => writing,
                None => store.begin_cold(room)?,
            };
            rows.push(self.rewrite(&group, &mut *writing)?);
            if writing.bytes() >= self.segment_bytes / 2 {
                self.adopt(writing, &rows)?;
                rows.clear();
            } else {
                cold = Some(writing);
            }
        }
        if let Some(writing) = cold {
            self.adopt(writing, &rows)?;
        }
        let (source, kept) = (self.source_bytes, self.kept_bytes);
        let removed = self.filter.records_removed;
        pace.log.metrics.cleaner.records_removed.add(removed);
        let unreadable = self.filter.unreadable_batches;
        if unreadable > 0 {
            pace.log.metrics.cleaner.unreadable_batches.add(unreadable);
            warn!(
                target: "sedge::cleaner",
                "{}: {unreadable} batches are kept unchanged, because their records cannot be \
                 read; consumers cannot read them either",
                self.job
            );
        }
        info!(
            target: "sedge::cleaner",
            "{} is compacted up to offset {}: {source} bytes became {kept}, {removed} records were \
             removed",
            self.job, self.end
        );
        Ok(())
    }

    fn rewrite(&mut self, group: &Group, cold: &mut dyn ColdSegment) -> Result<Row, CleanError> {
        let (pace, id) = (self.pace, self.job.id);
        let mut epoch = None;
        let log_start = pace.log.store.bounds(id)?.log_start;
        let mut batches = Batches::new(pace, id, group.base.max(log_start), group.next);
        cold.cut();
        while let Some(batch) = batches.next()? {
            let offset = batch.header.base_offset();
            epoch = LeaderEpoch::from_wire(batch.header.leader_epoch().get()).or(epoch);
            self.source_bytes += batch.bytes() as u64;
            let kept = self
                .filter
                .filter(&batch)
                .map_err(|source| CleanError::Batch { offset, source })?;
            let kept = match kept {
                Filtered::Whole => batch,
                Filtered::Part(part) => part,
                Filtered::Nothing => continue,
            };
            let bytes = kept.bytes() as u64;
            cold.push(id, kept, group.append_ms)?;
            self.kept_bytes += bytes;
            pace.written(bytes)?;
        }
        Ok((group.base, group.next, epoch))
    }

    fn adopt(&self, cold: Box<dyn ColdSegment + '_>, rows: &[Row]) -> Result<(), CleanError> {
        let cold = Arc::new(cold.finish()?);
        let entry = |&(base, next, leader_epoch): &Row| Entry::Replace {
            cold: Arc::clone(&cold),
            partition: self.job.id,
            base,
            next,
            leader_epoch,
            is_compacted: true,
        };
        debug!(target: "sedge::cleaner", "{}: {} rows", self.job, rows.len());
        for some in rows.chunks(COMMIT_ROWS_MAX) {
            if !self.pace.writer.replace(some.iter().map(entry).collect()) {
                return Err(CleanError::Refused);
            }
        }
        Ok(())
    }
}

/// Groups slices up to `end`, each group up to the size of a segment: small slices are merged.
fn groups(slices: &[Slice], end: Offset, segment_bytes: u64) -> Vec<Group> {
    let mut groups: Vec<(Group, usize)> = Vec::new();
    for slice in slices.iter().filter(|slice| slice.first_offset < end) {
        let next = slice.next_offset.min(end);
        match groups.last_mut() {
            Some((group, count))
                if group.bytes + slice.bytes <= segment_bytes && *count < ROW_SLICES_MAX =>
            {
                group.next = next;
                group.bytes += slice.bytes;
                group.append_ms = group.append_ms.max(slice.append_ms);
                *count += 1;
            }
            _ => {
                let group = Group {
                    base: slice.first_offset,
                    next,
                    bytes: slice.bytes,
                    append_ms: slice.append_ms,
                };
                groups.push((group, 1));
            }
        }
    }
    groups.into_iter().map(|(group, _)| group).collect()
}

#[cfg(test)]
mod tests {
    use sedge_storage::SegmentId;

    use super::*;

    #[test]
    fn slices_are_put_together_up_to_a_segment() {
        let slice = |at: i64, bytes| Slice {
            segment: SegmentId(1),
            first_offset: Offset(at * 10),
            next_offset: Offset(at * 10 + 10),
            bytes,
            max_timestamp: 0,
            append_ms: 100 - at,
            oldest_ms: 0,
        };
        let check = |sizes: &[u64], end, expected: &[(i64, i64, u64, i64)]| {
            let slices: Vec<Slice> = (0..)
                .zip(sizes)
                .map(|(at, size)| slice(at, *size))
                .collect();
            let found: Vec<_> = groups(&slices, Offset(end), 1000)
                .iter()
                .map(|group| {
                    let (base, next) = (group.base.get(), group.next.get());
                    (base, next, group.bytes, group.append_ms)
                })
                .collect();
            assert_eq!(found, expected, "{sizes:?} up to {end}");
        };
        check(&[], 100, &[]);
        check(
            &[400, 400, 400],
            100,
            &[(0, 20, 800, 100), (20, 30, 400, 98)],
        );
        check(&[400, 400, 400], 15, &[(0, 15, 800, 100)]);
        check(&[400, 400, 400], 10, &[(0, 10, 400, 100)]);
        check(&[5000, 0, 1], 30, &[(0, 10, 5000, 100), (10, 30, 1, 99)]);
        let many = vec![1; ROW_SLICES_MAX + 1];
        let next = many.len() as i64 * 10;
        let cut = next - 10;
        let last = (cut, next, 1, 100 - ROW_SLICES_MAX as i64);
        check(&many, next, &[(0, cut, ROW_SLICES_MAX as u64, 100), last]);
    }
}
