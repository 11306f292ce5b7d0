//! Holes and gaps: how they are noted, in the log and in the report.

use super::Opening;
use crate::api::{Hole, LostRange};
use crate::error::Error;
use crate::format::{EntryKind, FrameHead};
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

    pub(super) fn note_hole(
        &mut self,
        segment: SegmentId,
        position: u64,
        bytes: u64,
        head: Option<&FrameHead>,
    ) {
        if self.store.damage.end_at(segment, position).is_some() {
            self.store.catalog.write().end_runs();
            log::info!(
                "segment {} at {position}: reads pass over known damage",
                segment.0
            );
            return;
        }
        log::error!(
            "segment {} is damaged at {position}: {bytes} bytes",
            segment.0
        );
        self.store.catalog.write().end_runs();
        let entries = head.map(|head| &head.entries[..]).unwrap_or_default();
        let lost = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Append)
            .map(|entry| LostRange {
                partition: entry.partition,
                base_offset: entry.base,
                next_offset: entry.next,
            })
            .collect();
        self.report.holes.push(Hole {
            segment,
            position,
            bytes,
            lost,
        });
    }

    /// Offsets that a partition jumps over lay in the last hole.
    pub(super) fn note_lost(&mut self, head: &FrameHead) -> Result<(), Error> {
        for entry in head
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Append)
        {
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
                && !hole
                    .lost
                    .iter()
                    .any(|known| known.partition == lost.partition)
            {
                log::error!(
                    "partition {}: offsets {next} to {} are lost",
                    lost.partition,
                    entry.base
                );
                hole.lost.push(lost);
            }
        }
        Ok(())
    }
}
