//! Applies a commit to the catalog: the rows of its frame, one after the other.

use sedge_protocol::ids::{Offset, PartitionId};

use super::hot::{OpenRun, Tail};
use super::{ActiveContents, ColdRuns, Mark, State, slices_between};
use crate::api::Slice;
use crate::error::Error;
use crate::format::{EntryHead, EntryKind, FooterRun, FrameAt, FrameHead, Run, run_of};
use crate::ids::SegmentId;
use crate::views::Base;
use crate::views::layers::Merged;
use crate::views::tables::{Applied, LogKey, LogValue};

impl State {
    pub(super) fn apply_frame(
        &mut self,
        base: &dyn Base,
        at: FrameAt,
        head: &FrameHead,
        cold: &ColdRuns,
    ) -> Result<(), Error> {
        if self.active.segment != at.segment {
            self.active = ActiveContents {
                segment: at.segment,
                ..ActiveContents::default()
            };
        }
        self.active.frames += 1;
        let end = at.position + head.frame_bytes();
        let mut data = at.position + head.bytes();
        for entry in &head.entries {
            match entry.kind {
                EntryKind::Append => self.apply_append(base, at, head, entry, data, end)?,
                // Frames of cold segments are not commits.
                EntryKind::Moved => {}
                EntryKind::LogStart
                | EntryKind::Drop
                | EntryKind::Replaced
                | EntryKind::Compacted => {
                    self.apply_fact(base, entry, cold)?;
                    self.active.facts.push(*entry);
                }
            }
            data += u64::from(entry.bytes);
        }
        self.applied = Applied {
            sequence: head.sequence,
            segment: at.segment,
            generation: head.generation,
            position: at.position,
            end,
            append_ms: self.applied.append_ms.max(head.append_ms),
        };
        self.log_bytes_unflushed += head.frame_bytes();
        Ok(())
    }

    fn note_run(&mut self, key: LogKey, run: Run) {
        if self.active.complete {
            self.active.runs.insert(key, run);
        }
    }

    fn apply_append(
        &mut self,
        base: &dyn Base,
        at: FrameAt,
        head: &FrameHead,
        entry: &EntryHead,
        data: u64,
        end: u64,
    ) -> Result<(), Error> {
        let frame = self.active.frames;
        let one = run_of(at, head, entry, end);
        let mut tail = self.take_tail(base, entry.partition)?;
        let open = match tail.run {
            Some(open) if open.takes(entry.base, &one, frame) => open.extended(&one),
            _ => OpenRun {
                base: entry.base,
                run: one,
                first_frame: frame,
            },
        };
        tail.run = Some(open);
        let key = LogKey::run(entry.partition, open.base);
        self.layers.put(key, LogValue::Run(open.run));
        self.note_run(key, open.run);
        self.add_to_slice(&mut tail, entry.partition, entry.base, &one);
        tail.bounds.log.next_offset = tail.bounds.log.next_offset.max(entry.next);
        tail.bounds.log.leader_epoch = entry.leader_epoch.or(tail.bounds.log.leader_epoch);
        let mark = Mark {
            base: entry.base,
            next: entry.next,
            segment: at.segment,
            position: data,
            bytes: entry.bytes,
        };
        self.mark(&mut tail, mark);
        self.put_tail(entry.partition, tail);
        Ok(())
    }

    pub(super) fn apply_run(&mut self, base: &dyn Base, of: &FooterRun) -> Result<(), Error> {
        let mut tail = self.take_tail(base, of.partition)?;
        self.layers
            .put(LogKey::run(of.partition, of.base), LogValue::Run(of.run));
        tail.run = None;
        self.add_to_slice(&mut tail, of.partition, of.base, &of.run);
        tail.bounds.log.next_offset = tail.bounds.log.next_offset.max(of.run.next);
        tail.bounds.log.leader_epoch = of.run.leader_epoch.or(tail.bounds.log.leader_epoch);
        self.put_tail(of.partition, tail);
        Ok(())
    }

    fn add_to_slice(&mut self, tail: &mut Tail, partition: PartitionId, base: Offset, one: &Run) {
        let bytes = u64::from(one.bytes);
        let (slice, new) = match tail.slice {
            Some(slice) if slice.segment == one.segment && slice.next_offset == base => {
                let grown = Slice {
                    next_offset: one.next,
                    bytes: slice.bytes + bytes,
                    max_timestamp: slice.max_timestamp.max(one.max_timestamp),
                    append_ms: slice.append_ms.max(one.append_ms),
                    ..slice
                };
                (grown, 0)
            }
            _ => (slice_of(base, one), 1),
        };
        tail.slice = Some(slice);
        tail.bounds.live_bytes += bytes;
        self.layers.put(
            LogKey::slice(partition, slice.first_offset),
            LogValue::Slice(slice),
        );
        self.count_live(one.segment, new, bytes as i64);
    }

    pub(super) fn count_live(&mut self, id: SegmentId, slices: i64, bytes: i64) {
        let Some(segment) = self.segments.get_mut(&id) else {
            return;
        };
        segment.live_slices = segment.live_slices.saturating_add_signed(slices);
        segment.live_bytes = segment.live_bytes.saturating_add_signed(bytes);
        let segment = *segment;
        self.layers
            .put(LogKey::segment(id), LogValue::Segment(segment));
    }

    pub(super) fn apply_fact(
        &mut self,
        base: &dyn Base,
        fact: &EntryHead,
        cold: &ColdRuns,
    ) -> Result<(), Error> {
        if fact.cold_segment().is_some() {
            return self.apply_replaced(base, fact, cold);
        }
        let drop_all = fact.kind == EntryKind::Drop;
        let start = if drop_all {
            Offset(i64::MAX)
        } else {
            fact.base
        };
        let mut tail = self.take_tail(base, fact.partition)?;
        let slices = slices_between(
            &Merged {
                layers: &self.layers,
                base,
            },
            fact.partition,
            Offset::ZERO,
            start,
        )?;
        for slice in slices
            .iter()
            .filter(|slice| drop_all || slice.next_offset <= start)
        {
            self.layers
                .remove(LogKey::slice(fact.partition, slice.first_offset));
            self.count_live(slice.segment, -1, -(slice.bytes as i64));
            tail.bounds.live_bytes = tail.bounds.live_bytes.saturating_sub(slice.bytes);
            if tail
                .slice
                .is_some_and(|open| open.first_offset == slice.first_offset)
            {
                (tail.slice, tail.run) = (None, None);
            }
        }
        if drop_all {
            self.layers.remove(LogKey::bounds(fact.partition));
            let dropped = Some(fact.partition).filter(|id| !id.is_reserved());
            self.newest_partition = self.newest_partition.max(dropped);
            return Ok(());
        }
        let log = &mut tail.bounds.log;
        log.log_start = log.log_start.max(start);
        // The batches that had the epoch may be lost.
        log.leader_epoch = log.leader_epoch.max(fact.leader_epoch);
        if log.next_offset <= start {
            log.next_offset = start;
            (tail.slice, tail.run) = (None, None);
        }
        if log.next_offset < fact.next {
            log.next_offset = fact.next;
            (tail.slice, tail.run) = (None, None);
        }
        self.put_tail(fact.partition, tail);
        Ok(())
    }
}

fn slice_of(base: Offset, run: &Run) -> Slice {
    Slice {
        segment: run.segment,
        first_offset: base,
        next_offset: run.next,
        bytes: u64::from(run.bytes),
        max_timestamp: run.max_timestamp,
        append_ms: run.append_ms,
        oldest_ms: run.append_ms,
    }
}
