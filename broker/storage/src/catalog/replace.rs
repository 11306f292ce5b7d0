//! Replacements: a range of a partition moves to a cold segment.
//!
//! **Invariant:** the slices of a partition cover the replaced range, holes included, so that a
//! commit that is applied again, or later than others, removes nothing from those.
//! **Invariant:** a replacement reads from the views before it locks the catalog, because the views
//! can be slow ([`Ahead`]).

use std::collections::BTreeMap;
use std::sync::RwLockWriteGuard;

use sedge_protocol::ids::{Offset, PartitionId};

use super::{Catalog, State, Tail, slices_between};
use crate::api::Slice;
use crate::error::Error;
use crate::format::{EntryHead, EntryKind, FooterRun, FrameHead};
use crate::ids::SegmentId;
use crate::limits;
use crate::views::Base;
use crate::views::ahead::Ahead;
use crate::views::layers::Merged;
use crate::views::tables::{LogKey, LogValue};

/// The runs of the cold segments that a commit points at.
#[derive(Debug, Default)]
pub(crate) struct ColdRuns(BTreeMap<SegmentId, Vec<FooterRun>>);

impl ColdRuns {
    pub fn has(&self, id: SegmentId) -> bool {
        self.0.contains_key(&id)
    }

    pub fn insert(&mut self, id: SegmentId, mut runs: Vec<FooterRun>) {
        runs.sort_unstable_by_key(|of| (of.partition, of.base));
        self.0.insert(id, runs);
    }

    /// Returns the runs of the row's partition in the row's range. A row that was cut since may
    /// begin or end within a run: its frames are walked, and batches outside the range are skipped.
    fn of(&self, row: &EntryHead) -> Vec<FooterRun> {
        let id = row.cold_segment().unwrap_or_default();
        let runs = self.0.get(&id).map(Vec::as_slice).unwrap_or_default();
        let of_partition = |of: &&FooterRun| of.partition == row.partition;
        let first = runs.partition_point(|of| of.partition < row.partition);
        let mut found = Vec::new();
        for of in runs.iter().skip(first).take_while(of_partition) {
            let mut of = *of;
            of.base = of.base.max(row.base);
            of.run.next = of.run.next.min(row.next);
            if of.base < of.run.next {
                found.push(of);
            }
        }
        found
    }
}

impl Catalog {
    /// Returns the state, locked for writing, and the base with everything that the commit's
    /// replaced rows will read from it. That may be much, and is read before the lock is taken.
    pub(super) fn write_with_ahead(
        &self,
        head: &FrameHead,
    ) -> Result<(RwLockWriteGuard<'_, State>, Ahead<'_>), Error> {
        let replaces =
            |row: &EntryHead| matches!(row.kind, EntryKind::Replaced | EntryKind::Compacted);
        for _ in 0..limits::READ_AHEAD_TRIES {
            if !head.entries.iter().any(replaces) {
                break;
            }
            let round = self.read().flush_round;
            let mut ahead = Ahead::new(&*self.base);
            for row in head.entries.iter().filter(|row| replaces(row)) {
                for key in [LogKey::run, LogKey::slice] {
                    let key = |offset| key(row.partition, offset);
                    ahead.read(key(Offset::ZERO), key(row.base), key(row.next))?;
                }
            }
            let state = self.write();
            // Changes flushed from the layers to the base since would be in neither.
            if state.flush_round == round {
                return Ok((state, ahead));
            }
        }
        Ok((self.write(), Ahead::new(&*self.base)))
    }
}

impl State {
    pub(super) fn apply_replaced(
        &mut self,
        base: &dyn Base,
        row: &EntryHead,
        cold: &ColdRuns,
    ) -> Result<(), Error> {
        let mut tail = self.take_tail(base, row.partition)?;
        let changed = self.replace(base, row, cold, &mut tail);
        self.put_tail(row.partition, tail);
        changed
    }

    fn replace(
        &mut self,
        base: &dyn Base,
        row: &EntryHead,
        cold: &ColdRuns,
        tail: &mut Tail,
    ) -> Result<(), Error> {
        let log = &mut tail.bounds.log;
        // Retention may have been faster. Or the cold segment is gone: something later replaced it,
        // or a backup was listed before it existed and has the range that was replaced.
        let is_there = row.cold_segment().is_some_and(|id| cold.has(id));
        if row.next <= log.log_start || !is_there {
            return Ok(());
        }
        if row.kind == EntryKind::Compacted {
            log.compacted_until = log.compacted_until.max(row.next);
        }
        // A rebuild whose last segment is a cold one.
        let last = cold.of(row).last().and_then(|of| of.run.leader_epoch);
        let epoch = row.leader_epoch.or(last);
        if row.next > log.next_offset {
            log.next_offset = row.next;
            log.leader_epoch = epoch.or(log.leader_epoch);
        } else if row.next == log.next_offset {
            // An earlier row had the same range, and the segment that it pointed at is gone.
            log.leader_epoch = log.leader_epoch.or(epoch);
        }
        // Batches appended from now on are normally behind the range.
        tail.slice = tail.slice.filter(|open| open.first_offset >= row.next);
        tail.run = tail.run.filter(|open| open.base >= row.next);
        tail.forget_range(row.base, row.next);
        let gone = self.carve_slices(base, row)?;
        self.carve_runs(base, row)?;
        let slice = self.put_runs(row, &cold.of(row));
        tail.bounds.live_bytes = tail.bounds.live_bytes.saturating_sub(gone) + slice.bytes;
        Ok(())
    }

    /// Creates the slice that the row describes, with its runs.
    fn put_runs(&mut self, row: &EntryHead, runs: &[FooterRun]) -> Slice {
        let mut slice = Slice {
            segment: row.cold_segment().unwrap_or_default(),
            first_offset: row.base,
            next_offset: row.next,
            bytes: 0,
            max_timestamp: -1,
            append_ms: 0,
            oldest_ms: runs.first().map_or(0, |of| of.run.append_ms),
        };
        for of in runs {
            slice.bytes += u64::from(of.run.bytes);
            slice.max_timestamp = slice.max_timestamp.max(of.run.max_timestamp);
            slice.append_ms = slice.append_ms.max(of.run.append_ms);
            let key = LogKey::run(row.partition, of.base);
            self.layers.put(key, LogValue::Run(of.run));
        }
        let key = LogKey::slice(row.partition, row.base);
        self.layers.put(key, LogValue::Slice(slice));
        self.count_live(slice.segment, 1, slice.bytes as i64);
        slice
    }

    /// Removes the row's range from the slices; what is before and after it stays. Returns the
    /// bytes removed.
    fn carve_slices(&mut self, base: &dyn Base, row: &EntryHead) -> Result<u64, Error> {
        let partition = row.partition;
        let merged = Merged {
            layers: &self.layers,
            base,
        };
        let mut touched = slices_between(&merged, partition, row.base, row.next)?;
        let low = LogKey::slice(partition, Offset::ZERO);
        if let Some((_, LogValue::Slice(before))) =
            merged.last(low, LogKey::slice(partition, row.base.plus(-1)))?
            && before.next_offset > row.base
        {
            touched.push(before);
        }
        let mut gone = 0;
        for slice in touched {
            let key = LogKey::slice(partition, slice.first_offset);
            self.layers.remove(key);
            let mut kept = (0, 0);
            for (first, next) in [
                (slice.first_offset, row.base.min(slice.next_offset)),
                (row.next.max(slice.first_offset), slice.next_offset),
            ] {
                if first >= next {
                    continue;
                }
                let bytes = self.run_bytes(base, partition, first, next)?;
                let rest = Slice {
                    first_offset: first,
                    next_offset: next,
                    bytes: bytes.min(slice.bytes),
                    ..slice
                };
                self.layers
                    .put(LogKey::slice(partition, first), LogValue::Slice(rest));
                kept = (kept.0 + 1, kept.1 + rest.bytes);
            }
            let (slices, bytes) = kept;
            self.count_live(slice.segment, slices - 1, bytes as i64 - slice.bytes as i64);
            gone = (gone + slice.bytes).saturating_sub(bytes);
        }
        Ok(gone)
    }

    /// Returns the bytes of the runs in a range; a run that reaches into it counts as a whole.
    fn run_bytes(
        &self,
        base: &dyn Base,
        partition: PartitionId,
        first: Offset,
        next: Offset,
    ) -> Result<u64, Error> {
        let merged = Merged {
            layers: &self.layers,
            base,
        };
        let mut bytes = 0;
        let low = LogKey::run(partition, first);
        if let Some((key, LogValue::Run(before))) =
            merged.last(LogKey::run(partition, Offset::ZERO), low)?
            && before.next > first
            && key < low
        {
            bytes += u64::from(before.bytes);
        }
        merged.scan(
            low,
            LogKey::run(partition, next.plus(-1)),
            &mut |_, value| {
                if let LogValue::Run(run) = value {
                    bytes += u64::from(run.bytes);
                }
                true
            },
        )?;
        Ok(bytes)
    }

    /// Removes the row's range from the runs. A run that reaches over an end of the range stays for
    /// the rest of it: its frames are walked, and batches in the range are skipped.
    fn carve_runs(&mut self, base: &dyn Base, row: &EntryHead) -> Result<(), Error> {
        let partition = row.partition;
        let merged = Merged {
            layers: &self.layers,
            base,
        };
        let mut inside = Vec::new();
        let low = LogKey::run(partition, row.base);
        let high = LogKey::run(partition, row.next.plus(-1));
        merged.scan(low, high, &mut |key, value| {
            inside.push((key, value));
            true
        })?;
        let before = merged.last(
            LogKey::run(partition, Offset::ZERO),
            LogKey::run(partition, row.base.plus(-1)),
        )?;
        for (key, value) in before.into_iter().chain(inside) {
            let LogValue::Run(run) = value else { continue };
            if run.next > row.next {
                self.layers
                    .put(LogKey::run(partition, row.next), LogValue::Run(run));
            }
            if key >= low {
                self.layers.remove(key);
            } else if run.next > row.base {
                let mut front = run;
                front.next = row.base;
                self.layers.put(key, LogValue::Run(front));
            }
        }
        Ok(())
    }
}
