//! Finds missing offsets by the slices, which cover everything that a partition has, including
//! holes of replaced ranges.

use std::collections::BTreeMap;

use sedge_protocol::ids::{Offset, PartitionId};

use super::Opening;
use crate::api::{Damaged, Hole, LostRange, Slice, TO_THE_END};
use crate::error::Error;
use crate::ids::SegmentId;
use crate::limits;
use crate::read::walk;
use crate::views::tables::{LogKey, LogValue, Table};

/// Missing offsets, by the segment that held them; 0 if that is not known.
type Missing = BTreeMap<SegmentId, Vec<LostRange>>;

type Slices = Vec<(PartitionId, Slice)>;

impl Opening<'_> {
    /// Notes the contents of missing segments, and what was behind the end of cold ones that were
    /// cut short.
    pub(super) fn note_what_segments_lack(&mut self) -> Result<(), Error> {
        if self.gone.is_empty() && self.cut_short.is_empty() {
            return Ok(());
        }
        let mut missing = Missing::new();
        let mut from = Some(PartitionId(0));
        while let Some(first) = from {
            let (slices, next) = self.slices_from(first)?;
            for (partition, slice) in slices {
                self.lacks(partition, &slice, &mut missing)?;
            }
            from = next;
        }
        self.note_missing(missing);
        Ok(())
    }

    /// After a rebuild, also notes offsets that no segment has.
    pub(super) fn note_gaps(&mut self) -> Result<(), Error> {
        let mut missing = Missing::new();
        let mut last = None;
        let mut from = Some(PartitionId(0));
        while let Some(first) = from {
            let (slices, behind) = self.slices_from(first)?;
            for (partition, slice) in slices {
                if last.is_none_or(|(of, _)| of != partition) {
                    self.end_of_partition(last, &mut missing)?;
                    let log_start = self.store.catalog.bounds(partition)?.log.log_start;
                    last = Some((partition, log_start));
                }
                if let Some((_, next)) = &mut last {
                    let to = slice.first_offset;
                    note(&mut missing, SegmentId(0), partition, *next, to);
                    *next = slice.next_offset.max(*next);
                }
                self.lacks(partition, &slice, &mut missing)?;
            }
            from = behind;
        }
        self.end_of_partition(last, &mut missing)?;
        for (partition, end) in &self.ends {
            let there = self.store.catalog.bounds(*partition)?.log.next_offset;
            note(&mut missing, SegmentId(0), *partition, there, *end);
        }
        self.note_missing(missing);
        Ok(())
    }

    fn end_of_partition(
        &self,
        last: Option<(PartitionId, Offset)>,
        missing: &mut Missing,
    ) -> Result<(), Error> {
        if let Some((partition, next)) = last {
            let end = self.store.catalog.bounds(partition)?.log.next_offset;
            note(missing, SegmentId(0), partition, next, end);
        }
        Ok(())
    }

    /// Returns the slices of some partitions from `from` on, and the partition to continue with.
    fn slices_from(&self, from: PartitionId) -> Result<(Slices, Option<PartitionId>), Error> {
        let low = LogKey::slice(from, Offset::ZERO);
        let high = LogKey {
            table: Table::Slices,
            id: u64::MAX,
            offset: i64::MAX,
        };
        let mut slices = Slices::new();
        let mut next = None;
        self.store
            .catalog
            .merged()
            .scan(low, high, &mut |key, value| {
                let id = PartitionId(key.id as u32);
                let is_another = slices.last().is_some_and(|(last, _)| *last != id);
                if is_another && slices.len() >= limits::SLICES_AT_ONCE {
                    next = Some(id);
                    return false;
                }
                if let LogValue::Slice(slice) = value {
                    slices.push((id, slice));
                }
                true
            })?;
        Ok((slices, next))
    }

    /// Returns the part of a slice that its segment lacks.
    fn lacks(
        &self,
        partition: PartitionId,
        slice: &Slice,
        missing: &mut Missing,
    ) -> Result<(), Error> {
        let (id, first, next) = (slice.segment, slice.first_offset, slice.next_offset);
        if self.gone.contains(&id) {
            for (base, run) in walk::runs_of(self.store, partition, slice)? {
                note(missing, id, partition, base.max(first), run.next.min(next));
            }
        } else if let Some(cut) = self.cut_short.get(&id) {
            let mut there = None;
            for (base, run) in walk::runs_of(self.store, partition, slice)? {
                // The run comes from views that saw the segment whole.
                if run.position + u64::from(run.span) > cut.frames_end {
                    note(missing, id, partition, base.max(first), run.next.min(next));
                }
                there = Some(run.next);
            }
            if let Some(from) = cut.lacks_from(partition, first, there) {
                note(missing, id, partition, from, next);
            }
        }
        Ok(())
    }

    fn note_missing(&mut self, missing: Missing) {
        for (segment, mut lost) in missing {
            let reported = &self.report.holes;
            let is_told = |lost: &LostRange| {
                let told = reported.iter().flat_map(|hole| &hole.lost);
                lost.is_within(told)
            };
            lost.retain(|lost| !is_told(lost) && !self.store.damage.has_lost(lost));
            if lost.is_empty() {
                continue;
            }
            self.report.holes.push(Hole {
                segment,
                position: self.cut_short.get(&segment).map_or(0, |cut| cut.frames_end),
                bytes: 0,
                lost,
            });
        }
    }

    /// Adds the losses to the list of damage: reads skip them from now on, like damage that the
    /// scrub finds.
    pub(super) fn remember_holes(&mut self) {
        let mut found = Vec::new();
        for hole in &self.report.holes {
            let generation = self.store.catalog.generation(hole.segment);
            let cut = self.cut_short.get(&hole.segment);
            let is_cut = cut.is_some_and(|cut| cut.frames_end == hole.position);
            let end = match hole.bytes {
                0 if is_cut => TO_THE_END,
                bytes => hole.position + bytes,
            };
            match generation {
                Some(generation) if end > hole.position => found.push(Damaged {
                    segment: hole.segment,
                    generation,
                    position: hole.position,
                    end,
                    lost: hole.lost.clone(),
                }),
                _ => found.extend(hole.lost.iter().copied().map(Damaged::nowhere)),
            }
        }
        if !found.is_empty()
            && let Err(error) = self.store.damage.accept(found)
        {
            log::warn!("lost offsets cannot be added to the list of damage: {error}");
        }
    }
}

/// Notes a missing range. If it continues the one noted last, both become one range, independent of
/// the runs.
fn note(missing: &mut Missing, id: SegmentId, partition: PartitionId, base: Offset, next: Offset) {
    if base >= next {
        return;
    }
    let noted = missing.entry(id).or_default();
    match noted.last_mut() {
        Some(last) if last.partition == partition && last.next_offset == base => {
            last.next_offset = next;
        }
        _ => noted.push(LostRange {
            partition,
            base_offset: base,
            next_offset: next,
        }),
    }
}
