//! Notes holes and gaps, in the log and in the report.

use super::Opening;
use crate::api::{Hole, LostRange};
use crate::error::Error;
use crate::format::{EntryHead, EntryKind, FrameHead};
use crate::ids::{SegmentId, Sequence};

impl Opening<'_> {
    pub(super) fn note_gap(
        &mut self,
        segment: SegmentId,
        position: u64,
        from: Sequence,
        to: Sequence,
    ) {
        log::error!(
            "commits {} to {} are missing before segment {}",
            from.0,
            to.0 - 1,
            segment.0
        );
        self.report.holes.push(Hole {
            segment,
            position,
            bytes: 0,
            lost: Vec::new(),
        });
    }

    /// Notes a hole, and applies the facts in the heads of its frames, so that their offsets are
    /// not assigned again.
    pub(super) fn note_hole(
        &mut self,
        segment: SegmentId,
        position: u64,
        bytes: u64,
        heads: &[(u64, FrameHead)],
    ) -> Result<(), Error> {
        self.store.catalog.write().end_runs();
        let is_known = self.store.damage.end_at(segment, position).is_some();
        if is_known {
            log::info!(
                "segment {} at {position}: known damage; reads skip it",
                segment.0
            );
        } else {
            log::error!(
                "segment {} is damaged at {position}: {bytes} bytes are lost; reads skip them",
                segment.0
            );
            self.report.holes.push(Hole {
                segment,
                position,
                bytes,
                lost: Vec::new(),
            });
        }
        for (_, head) in heads {
            self.note_lost(head)?;
            if !is_known && let Some(hole) = self.report.holes.last_mut() {
                for entry in appends(head) {
                    hole.add_lost(LostRange {
                        partition: entry.partition,
                        base_offset: entry.base,
                        next_offset: entry.next,
                    });
                }
            }
            let mut facts: Vec<EntryHead> = head.facts_of_damaged().collect();
            facts.retain(|fact| !self.recovery.ends_at_whole_frames(fact.partition));
            let cold = self.cold_runs(&facts)?;
            self.store.catalog.apply_facts(&facts, &cold)?;
        }
        Ok(())
    }

    /// Notes the offsets between the log ends and `head`, if any, as lost in the last hole.
    pub(super) fn note_lost(&mut self, head: &FrameHead) -> Result<(), Error> {
        for entry in appends(head) {
            let Some(hole) = self.report.holes.last_mut() else {
                return Ok(());
            };
            let next = self.store.catalog.bounds(entry.partition)?.log.next_offset;
            let lost = LostRange {
                partition: entry.partition,
                base_offset: next,
                next_offset: entry.base,
            };
            if next < entry.base
                && !lost.is_within(&hole.lost)
                && !self.store.damage.has_lost(&lost)
            {
                log::error!(
                    "partition {}: offsets {next} to {} are lost",
                    lost.partition,
                    entry.base
                );
                hole.add_lost(lost);
            }
        }
        Ok(())
    }
}

fn appends(head: &FrameHead) -> impl Iterator<Item = &EntryHead> {
    let entries = head.entries.iter();
    entries.filter(|entry| entry.kind == EntryKind::Append)
}
