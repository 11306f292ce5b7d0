//! Checks a footer against the frames that it lists. Pure.

use std::collections::HashMap;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::format::{EntryHead, Footer, FooterRun, FrameHead};
use crate::ids::Sequence;

/// The contents of one segment by its frames: as many entries as the segment has rows, so at most
/// one for every 150 bytes of it.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    parts: HashMap<PartitionId, Vec<PartAt>>,
    facts: Vec<EntryHead>,
    last_sequence: Sequence,
}

#[derive(Clone, Copy, Debug)]
struct PartAt {
    base: Offset,
    next: Offset,
    bytes: u32,
    position: u64,
    end: u64,
}

impl Contents {
    pub fn add(&mut self, position: u64, head: &FrameHead) {
        let end = position + head.frame_bytes();
        self.last_sequence = head.sequence;
        for entry in &head.entries {
            if entry.has_batches() {
                self.parts.entry(entry.partition).or_default().push(PartAt {
                    base: entry.base,
                    next: entry.next,
                    bytes: entry.bytes,
                    position,
                    end,
                });
            } else {
                self.facts.push(*entry);
            }
        }
    }

    /// Returns a difference between the footer and the frames. Damaged frames are not in the
    /// contents, so the result is meaningless if there is damage.
    pub fn differs(&self, footer: &Footer) -> Option<(Option<PartitionId>, &'static str)> {
        if footer.last_sequence != self.last_sequence {
            return Some((
                None,
                "the footer's last commit differs from that of the frames",
            ));
        }
        let sorted = |facts: &[EntryHead]| {
            let key = |fact: &EntryHead| (fact.kind as u8, fact.partition, fact.base, fact.next);
            let mut keys: Vec<_> = facts.iter().map(key).collect();
            keys.sort_unstable();
            keys
        };
        if sorted(&self.facts) != sorted(&footer.facts) {
            return Some((None, "the footer's facts differ from those of the frames"));
        }
        let mut covered: HashMap<PartitionId, u64> = HashMap::new();
        for of in &footer.runs {
            if !self.holds(of) {
                let what = "the footer lists a run that is not in the frames";
                return Some((Some(of.partition), what));
            }
            *covered.entry(of.partition).or_default() += u64::from(of.run.bytes);
        }
        let missing = self.parts.iter().find(|(partition, parts)| {
            let bytes: u64 = parts.iter().map(|part| u64::from(part.bytes)).sum();
            covered.get(partition).copied().unwrap_or(0) < bytes
        });
        missing.map(|(partition, _)| {
            let what = "the frames have batches that the footer does not list";
            (Some(*partition), what)
        })
    }

    fn holds(&self, of: &FooterRun) -> bool {
        let Some(parts) = self.parts.get(&of.partition) else {
            return false;
        };
        let run = &of.run;
        let end = run.position + u64::from(run.span);
        // Parts are in the order of the segment.
        let from = parts.partition_point(|part| part.position < run.position);
        let inside: Vec<&PartAt> = parts[from..]
            .iter()
            .take_while(|part| part.end <= end)
            .filter(|part| part.base >= of.base && part.next <= run.next)
            .collect();
        let bytes: u64 = inside.iter().map(|part| u64::from(part.bytes)).sum();
        let first = inside.iter().map(|part| part.position).min();
        let last = inside.iter().map(|part| part.end).max();
        bytes == u64::from(run.bytes)
            && (first, last) == (Some(run.position), Some(end))
            && inside.iter().map(|part| part.base).min() == Some(of.base)
            && inside.iter().map(|part| part.next).max() == Some(run.next)
    }
}
