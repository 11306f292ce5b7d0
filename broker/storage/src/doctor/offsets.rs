//! Tracks the offsets of each partition, in whatever order they are found, and which are missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sedge_protocol::ids::{Offset, PartitionId};

use super::Held;
use crate::api::LostRange;
use crate::format::{EntryHead, EntryKind};
use crate::ids::SegmentId;

/// The partitions, as seen in the frames.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    partitions: HashMap<PartitionId, Partition>,
    dropped: BTreeSet<PartitionId>,
    newest: Option<PartitionId>,
    /// Rows that point at cold segments, in the order of the log.
    rows: HashMap<PartitionId, Vec<EntryHead>>,
}

/// The offset ranges of the rows that count, once it is known which cold segments exist.
#[derive(Debug, Default)]
pub(crate) struct Pointed {
    /// The ranges that each cold segment holds.
    pub by_segment: BTreeMap<SegmentId, Vec<LostRange>>,
    /// The ranges of missing cold segments, with the segment.
    pub gone: Vec<(SegmentId, LostRange)>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Ranges that exist, by first offset; adjacent ranges are merged.
    there: BTreeMap<Offset, Offset>,
    log_start: Offset,
    /// End of the last append, in log order.
    end: Offset,
}

impl Offsets {
    /// Takes a row of a frame, in log order. Returns false if its offsets go back.
    pub fn see(&mut self, entry: &EntryHead) -> bool {
        let named = Some(entry.partition).filter(|id| !id.is_reserved());
        self.newest = self.newest.max(named);
        let partition = self.partitions.entry(entry.partition).or_default();
        match entry.kind {
            EntryKind::LogStart => {
                partition.log_start = partition.log_start.max(entry.base);
                partition.end = partition.end.max(entry.base).max(entry.next);
            }
            EntryKind::Drop => {
                self.partitions.remove(&entry.partition);
                self.rows.remove(&entry.partition);
                self.dropped.insert(entry.partition);
            }
            EntryKind::Append => {
                let goes_on = entry.base >= partition.end;
                partition.end = partition.end.max(entry.next);
                partition.add(entry.base, entry.next);
                return goes_on;
            }
            // Ranges of a dropped partition may be left in a cold segment.
            EntryKind::Replaced | EntryKind::Compacted => {
                partition.end = partition.end.max(entry.next);
                self.rows.entry(entry.partition).or_default().push(*entry);
            }
            // It counts only if a row points at it.
            EntryKind::Moved => {}
        }
        true
    }

    /// Takes a row of a frame that is not whole. Returns false if its offsets go backwards.
    pub fn see_damaged(&mut self, entry: &EntryHead) -> bool {
        // The record that explains a drop is lost with it.
        entry.kind == EntryKind::Drop || self.see(entry)
    }

    /// Takes offsets that are known to be lost: they count as present.
    pub fn see_lost(&mut self, lost: &LostRange) {
        let partition = self.partitions.entry(lost.partition).or_default();
        partition.add(lost.base_offset, lost.next_offset);
    }

    /// Ends the rows. A row whose cold segment is gone is ignored: something later replaced it, or
    /// the original batches are still there.
    pub fn settle(&mut self, is_there: &dyn Fn(SegmentId) -> bool) -> Pointed {
        let mut pointed = Pointed::default();
        for (id, rows) in std::mem::take(&mut self.rows) {
            let Some(partition) = self.partitions.get_mut(&id) else {
                continue;
            };
            let mut counts: BTreeMap<Offset, (Offset, SegmentId)> = BTreeMap::new();
            for row in &rows {
                let Some(segment) = row.cold_segment() else {
                    continue;
                };
                let base = row.base.max(partition.log_start);
                if base >= row.next {
                    continue;
                }
                if is_there(segment) {
                    partition.add(base, row.next);
                    carve(&mut counts, base, row.next);
                    counts.insert(base, (row.next, segment));
                } else {
                    let lost = LostRange {
                        partition: id,
                        base_offset: base,
                        next_offset: row.next,
                    };
                    pointed.gone.push((segment, lost));
                }
            }
            for (base_offset, (next_offset, segment)) in counts {
                let stretches = pointed.by_segment.entry(segment).or_default();
                stretches.push(LostRange {
                    partition: id,
                    base_offset,
                    next_offset,
                });
            }
        }
        pointed
    }

    /// Returns the largest partition id in any row.
    pub fn newest(&self) -> Option<PartitionId> {
        self.newest
    }

    pub fn dropped(&self) -> BTreeSet<PartitionId> {
        self.dropped.clone()
    }

    /// Returns the partitions that were not dropped, in order.
    pub fn held(&self) -> Vec<Held> {
        let held = |partition| {
            let (log_start, end) = self.bounds(partition)?;
            Some(Held {
                partition,
                log_start,
                end,
            })
        };
        self.partitions().into_iter().filter_map(held).collect()
    }

    pub fn is_dropped(&self, partition: PartitionId) -> bool {
        self.dropped.contains(&partition)
    }

    /// Returns log start and end of a partition.
    pub fn bounds(&self, partition: PartitionId) -> Option<(Offset, Offset)> {
        let found = self.partitions.get(&partition)?;
        Some((found.log_start, found.end))
    }

    /// Returns the partitions that were not dropped, in order.
    pub fn partitions(&self) -> Vec<PartitionId> {
        let there = self.partitions.keys().copied();
        let mut there: Vec<_> = there.filter(|id| !self.is_dropped(*id)).collect();
        there.sort_unstable();
        there
    }

    /// Returns the missing ranges between the log start and the end of a partition.
    pub fn gaps(&self, partition: PartitionId) -> Vec<LostRange> {
        let Some(found) = self.partitions.get(&partition) else {
            return Vec::new();
        };
        let mut gaps = Vec::new();
        let mut next = found.log_start;
        for (base, until) in &found.there {
            if *base > next {
                gaps.push(LostRange {
                    partition,
                    base_offset: next,
                    next_offset: *base,
                });
            }
            next = next.max(*until);
        }
        gaps
    }
}

/// Removes a range from those of other rows.
fn carve(counts: &mut BTreeMap<Offset, (Offset, SegmentId)>, base: Offset, next: Offset) {
    let touched: Vec<(Offset, (Offset, SegmentId))> = counts
        .range(..next)
        .filter(|(_, (until, _))| *until > base)
        .map(|(from, of)| (*from, *of))
        .collect();
    for (from, (until, segment)) in touched {
        counts.remove(&from);
        if from < base {
            counts.insert(from, (base, segment));
        }
        if until > next {
            counts.insert(next, (until, segment));
        }
    }
}

impl Partition {
    fn add(&mut self, base: Offset, next: Offset) {
        let (mut from, mut to) = (base, next);
        // Ranges that reach up to it or begin in it are merged with it.
        if let Some((before, until)) = self.there.range(..=from).next_back()
            && *until >= from
        {
            (from, to) = (*before, to.max(*until));
        }
        while let Some((inside, until)) = self.there.range(from..=to).next() {
            let (inside, until) = (*inside, *until);
            to = to.max(until);
            self.there.remove(&inside);
        }
        self.there.insert(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(3);

    fn entry(kind: EntryKind, base: i64, next: i64) -> EntryHead {
        EntryHead {
            kind,
            partition: P,
            base: Offset(base),
            next: Offset(next),
            max_timestamp: 0,
            bytes: 1,
            leader_epoch: None,
        }
    }

    fn check(entries: &[EntryHead], gaps: &[(i64, i64)]) {
        let mut offsets = Offsets::default();
        for entry in entries {
            assert!(offsets.see(entry), "{entry:?}");
        }
        offsets.settle(&|_| true);
        let found: Vec<(i64, i64)> = offsets
            .gaps(P)
            .iter()
            .map(|gap| (gap.base_offset.0, gap.next_offset.0))
            .collect();
        assert_eq!(found, gaps);
    }

    #[test]
    fn gaps_are_what_nothing_covers() {
        use EntryKind::{Append, Compacted, LogStart, Moved, Replaced};
        check(&[], &[]);
        check(&[entry(Append, 0, 5), entry(Append, 5, 9)], &[]);
        check(&[entry(Append, 0, 5), entry(Append, 7, 9)], &[(5, 7)]);
        let moved_later = [
            entry(Append, 0, 5),
            entry(Append, 9, 12),
            entry(Replaced, 7, 9),
            entry(Compacted, 5, 7),
        ];
        check(&moved_later, &[]);
        check(
            &[entry(Append, 0, 5), entry(Append, 7, 9), entry(Moved, 5, 7)],
            &[(5, 7)],
        );
        check(&[entry(Append, 4, 5), entry(LogStart, 4, 0)], &[]);
        check(&[entry(Append, 4, 5)], &[(0, 4)]);
        check(&[entry(LogStart, 8, 0), entry(Append, 8, 9)], &[]);
    }

    #[test]
    fn offsets_that_go_back_are_told() {
        let mut offsets = Offsets::default();
        assert!(offsets.see(&entry(EntryKind::Append, 0, 5)));
        assert!(!offsets.see(&entry(EntryKind::Append, 4, 6)));
        assert!(offsets.see(&entry(EntryKind::Moved, 1, 2)));
        assert!(offsets.see(&entry(EntryKind::Drop, 1, 0)));
        assert_eq!(
            (offsets.partitions(), offsets.is_dropped(P)),
            (vec![], true)
        );
    }
}
