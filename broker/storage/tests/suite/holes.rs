//! Finds torn commits with a whole head and data behind them. The facts in these heads count.
//!
//! The search tries every byte, and shares no code with the scanner that a start uses.

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::Disk;
use sedge_storage::disk::memory::MemoryDisk;
use sedge_storage::format::{EntryKind, FrameHead, SEGMENT_HEADER_BYTES, SegmentHeader};
use sedge_storage::{Commit, Entry, Found, SegmentId, Sequence, scan_segment};

/// The partition whose offsets number the commits of a model.
const WITNESS: PartitionId = PartitionId(0);

/// A damaged frame with a whole head and data behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Torn {
    pub segment: SegmentId,
    head: FrameHead,
}

impl Torn {
    /// Returns the number of the commit in a model, if it has a witness.
    pub fn commit(&self) -> Option<usize> {
        let mut witnesses = self.ends().filter(|(partition, _)| *partition == WITNESS);
        witnesses.next().map(|(_, next)| next.0 as usize - 1)
    }

    /// Returns the log ends of its appends.
    pub fn ends(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        let entries = self.head.entries.iter();
        let appends = entries.filter(|entry| entry.kind == EntryKind::Append);
        appends.map(|entry| (entry.partition, entry.next))
    }
}

/// Returns the entries of a torn commit that count, besides the log ends of its appends.
pub fn left_of(commit: &Commit) -> Commit {
    let counts = |entry: &&Entry| matches!(entry, Entry::LogStart { .. } | Entry::Replace { .. });
    Commit {
        entries: commit.entries.iter().filter(counts).cloned().collect(),
        updates: Vec::new(),
        append_ms: commit.append_ms,
    }
}

/// Returns all torn commits, in log order.
pub fn torn(disk: &MemoryDisk) -> Vec<Torn> {
    let mut ids: Vec<SegmentId> = disk.list().unwrap().iter().map(|of| of.0).collect();
    ids.sort_unstable();
    let contents = |id: SegmentId| Some((id, disk.contents(id)?));
    let files: Vec<_> = ids.into_iter().filter_map(contents).collect();
    let log: Vec<_> = files
        .iter()
        .filter_map(|(id, bytes)| Some((*id, scan_segment(bytes)?, bytes)))
        .filter(|(id, (header, ..), _)| header.id == *id && !header.is_cold)
        .collect();
    // A segment with data but without a header comes after all others.
    let is_begun = |bytes: &[u8]| {
        bytes
            .iter()
            .skip(SEGMENT_HEADER_BYTES as usize)
            .any(|of| *of != 0)
    };
    let headless = files
        .iter()
        .rev()
        .find(|(_, bytes)| scan_segment(bytes).is_none() && is_begun(bytes));
    let mut all = Vec::new();
    for (index, (id, (header, found, footer), bytes)) in log.iter().enumerate() {
        let next = log.get(index + 1).map(|(_, (header, ..), _)| header);
        let mut last = Sequence(header.first_sequence.0 - 1);
        for of in found {
            let (from, to) = match of {
                Found::Frame { head, .. } => {
                    last = head.sequence;
                    continue;
                }
                Found::Hole { position, end, .. } => (*position, *end),
                Found::End { position, .. } if footer.is_some() => {
                    let end = footer.as_ref().map_or(*position, |of| of.frames_end);
                    (*position, end)
                }
                // Nothing is torn here: the end of the log is cut, and the rest of a footer is not
                // a frame.
                Found::End { .. } if next.is_some_and(|next| follows(next, last)) => break,
                Found::End { .. } if next.is_none() && headless.is_none_or(|(at, _)| at < id) => {
                    break;
                }
                Found::End { position, .. } => (*position, bytes.len() as u64),
            };
            let heads = heads(bytes, header, (from, to), last);
            all.extend(heads.map(|head| Torn { segment: *id, head }));
        }
    }
    all
}

fn follows(next: &SegmentHeader, last: Sequence) -> bool {
    next.first_sequence.0 == last.0 + 1
}

fn heads(
    bytes: &[u8],
    header: &SegmentHeader,
    (from, to): (u64, u64),
    last: Sequence,
) -> impl Iterator<Item = FrameHead> {
    let mut last = last;
    (from..to).filter_map(move |at| {
        let head = FrameHead::decode(bytes.get(at as usize..)?, header.generation)?;
        let is_next = head.sequence > last && at + head.frame_bytes() <= bytes.len() as u64;
        is_next.then(|| {
            last = head.sequence;
            head
        })
    })
}
