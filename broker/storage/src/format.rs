//! The bytes of a segment: header, frames, footer. Pure functions; big-endian; the byte tables are
//! in FORMAT.md.
//!
//! Bytes read here are not trusted: lengths are checked against the available bytes before memory
//! is allocated.

use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use crate::ids::{SegmentId, Sequence};
use crate::limits;

/// Version of the segment format. A change that older versions cannot read increments it.
pub const VERSION: u8 = 1;

pub const SEGMENT_HEADER_BYTES: u64 = 64;
pub const FRAME_HEAD_BYTES: u64 = 48;
pub const ENTRY_BYTES: u64 = 40;
pub const RUN_BYTES: u64 = 64;
pub const TRAILER_BYTES: u64 = 48;
/// The smallest unit that a file system writes. A frame begins where the one before ends, or at the
/// next multiple of this.
pub const PAGE_BYTES: u64 = 4096;

const SEGMENT_MAGIC: &[u8; 8] = b"SEDGESEG";
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"SFRM";
const TRAILER_MAGIC: &[u8; 8] = b"SEDGEEND";

/// The first 64 bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub id: SegmentId,
    /// Random, and new for each use of a file: it tells frames from old bytes and from bytes that a
    /// producer crafted to look like a frame.
    pub generation: u64,
    pub first_sequence: Sequence,
    /// Generation of the earlier frames in a reused file, which are being overwritten.
    pub previous_generation: Option<u64>,
    /// The segment was written whole by a cleaner, and counts only after a commit in the log refers
    /// to it. Its frames are numbered from 1 and are not commits.
    pub is_cold: bool,
}

/// The kind of a part of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    Append = 1,
    LogStart = 2,
    Drop = 3,
    /// Batches in a cold segment that were in the log before.
    Moved = 4,
    /// A cold segment now holds the partition's range from `base` to `next`.
    Replaced = 5,
    /// Like `Replaced`; in addition the range was compacted up to `next`.
    Compacted = 6,
}

/// A row of a frame's table. For `LogStart`, `base` is the new log start; for `Drop`, the newest
/// segment that may hold data of the partition; for `Replaced` and `Compacted`, `max_timestamp` is
/// the cold segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    pub kind: EntryKind,
    pub partition: PartitionId,
    pub base: Offset,
    pub next: Offset,
    pub max_timestamp: i64,
    /// Bytes of its batches in the body.
    pub bytes: u32,
    pub leader_epoch: Option<LeaderEpoch>,
}

/// The head of a frame and its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Unused bytes between the end of the frame before and this one, which make it begin at a
    /// page. Less than [`PAGE_BYTES`].
    pub padding: u16,
    pub generation: u64,
    pub sequence: Sequence,
    pub append_ms: i64,
    pub body_bytes: u32,
    pub body_crc: u32,
    pub entries: Vec<EntryHead>,
}

/// Consecutive batches of one partition in one segment, over one or more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub segment: SegmentId,
    /// Position of the first frame.
    pub position: u64,
    /// Bytes from there to the end of the last frame.
    pub span: u32,
    /// Bytes of the partition's own batches.
    pub bytes: u32,
    pub next: Offset,
    pub max_timestamp: i64,
    pub append_ms: i64,
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Returns the positions at which a frame may begin after one that ends at `end`.
pub fn frame_starts(end: u64) -> [u64; 2] {
    [end, end.next_multiple_of(PAGE_BYTES)]
}

/// A run as a footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterRun {
    pub partition: PartitionId,
    pub base: Offset,
    pub run: Run,
}

/// The end of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    pub generation: u64,
    pub last_sequence: Sequence,
    /// Position at which the frames end and the footer begins.
    pub frames_end: u64,
    pub runs: Vec<FooterRun>,
    /// Rows without batches, in their order.
    pub facts: Vec<EntryHead>,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.id.0.to_be_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.first_sequence.0.to_be_bytes());
        out.push(u8::from(self.is_cold));
        out.resize(48, 0);
        out.extend_from_slice(&self.previous_generation.unwrap_or(0).to_be_bytes());
        out.resize(60, 0);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out.try_into().expect("64 bytes were written")
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES as usize)?;
        let (covered, crc) = bytes.split_at(60);
        let mut at = Reader(covered);
        if at.take(8)? != SEGMENT_MAGIC || at.take(8)?.first() != Some(&VERSION) {
            return None;
        }
        let header = Self {
            id: SegmentId(at.u64()?),
            generation: at.u64()?,
            first_sequence: Sequence(at.u64()?),
            is_cold: at.take(8)?.first() == Some(&1),
            previous_generation: at.u64().filter(|generation| *generation != 0),
        };
        (Reader(crc).u32()? == crc32c::crc32c(covered)).then_some(header)
    }
}

impl FrameHead {
    /// Returns the bytes of head and table.
    pub fn bytes(&self) -> u64 {
        FRAME_HEAD_BYTES + self.entries.len() as u64 * ENTRY_BYTES
    }

    /// Returns the bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        self.bytes() + u64::from(self.body_bytes)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() as usize);
        out.extend_from_slice(FRAME_MAGIC);
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&self.padding.to_be_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out.extend_from_slice(&self.append_ms.to_be_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.body_bytes.to_be_bytes());
        out.extend_from_slice(&self.body_crc.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        for entry in &self.entries {
            entry.encode(&mut out);
        }
        let crc = head_crc(&out);
        out[44..48].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Returns the generation in the first 48 bytes, if they look like the head of a frame. Only
    /// [`FrameHead::decode`] with that generation tells whether they are one.
    pub fn generation(bytes: &[u8]) -> Option<u64> {
        let mut at = Reader(bytes);
        (at.take(4)? == FRAME_MAGIC).then_some(())?;
        at.take(4)?;
        at.u64()
    }

    /// Returns the bytes of head and table, from the first 48; `None` if they are not the head of a
    /// frame of this generation.
    pub fn peek(bytes: &[u8], generation: u64) -> Option<u64> {
        let mut at = Reader(bytes.get(..FRAME_HEAD_BYTES as usize)?);
        if at.take(4)? != FRAME_MAGIC || at.take(4)?.first() != Some(&VERSION) {
            return None;
        }
        if at.u64()? != generation {
            return None;
        }
        at.take(16)?;
        let entries = at.u32()?;
        (entries <= limits::COMMIT_ENTRIES_MAX)
            .then(|| FRAME_HEAD_BYTES + u64::from(entries) * ENTRY_BYTES)
    }

    /// Decodes head and table at the front of `bytes` and checks their checksum and the sum of the
    /// parts.
    pub fn decode(bytes: &[u8], generation: u64) -> Option<Self> {
        let whole = usize::try_from(Self::peek(bytes, generation)?).ok()?;
        let bytes = bytes.get(..whole)?;
        let padding = Reader(bytes.get(6..)?).u16()?;
        let mut at = Reader(bytes.get(16..)?);
        let sequence = Sequence(at.u64()?);
        let append_ms = at.i64()?;
        let count = at.u32()?;
        let body_bytes = at.u32()?;
        let body_crc = at.u32()?;
        if at.u32()? != head_crc(bytes) {
            return None;
        }
        let mut entries = Vec::with_capacity(count as usize);
        let mut sum = 0u64;
        for _ in 0..count {
            let entry = EntryHead::decode(&mut at)?;
            sum += u64::from(entry.bytes);
            entries.push(entry);
        }
        (sum == u64::from(body_bytes)).then_some(Self {
            padding,
            generation,
            sequence,
            append_ms,
            body_bytes,
            body_crc,
            entries,
        })
    }
}

impl FrameHead {
    /// Returns the facts that count if the body of the frame is damaged, as rows without batches:
    /// log ends, log starts and replacements. A drop does not count: the record that explains it
    /// was in the body, so the drop is undone as well.
    pub(crate) fn facts_of_damaged(&self) -> impl Iterator<Item = EntryHead> {
        self.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::Append => Some(EntryHead::end(
                entry.partition,
                entry.next,
                entry.leader_epoch,
            )),
            EntryKind::LogStart | EntryKind::Replaced | EntryKind::Compacted => Some(*entry),
            EntryKind::Drop | EntryKind::Moved => None,
        })
    }
}

impl EntryHead {
    /// Returns a row that only states the log end of a partition, and the epoch of its last batch.
    pub(crate) const fn end(
        partition: PartitionId,
        next: Offset,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Self {
        Self {
            kind: EntryKind::LogStart,
            partition,
            base: Offset::ZERO,
            next,
            max_timestamp: 0,
            bytes: 0,
            leader_epoch,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&self.partition.0.to_be_bytes());
        out.extend_from_slice(&self.base.0.to_be_bytes());
        out.extend_from_slice(&self.next.0.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&epoch_to_wire(self.leader_epoch).to_be_bytes());
    }

    fn decode(at: &mut Reader<'_>) -> Option<Self> {
        let kind = EntryKind::decode(*at.take(4)?.first()?)?;
        Some(Self {
            kind,
            partition: PartitionId(at.u32()?),
            base: Offset(at.i64()?),
            next: Offset(at.i64()?),
            max_timestamp: at.i64()?,
            bytes: at.u32()?,
            leader_epoch: LeaderEpoch::from_wire(at.i32()?),
        })
    }

    /// Returns whether the row has batches.
    pub fn has_batches(&self) -> bool {
        matches!(self.kind, EntryKind::Append | EntryKind::Moved)
    }

    /// Returns the cold segment that a `Replaced` or `Compacted` row points at.
    pub fn cold_segment(&self) -> Option<SegmentId> {
        matches!(self.kind, EntryKind::Replaced | EntryKind::Compacted)
            .then_some(SegmentId(self.max_timestamp.cast_unsigned()))
    }
}

impl EntryKind {
    fn decode(byte: u8) -> Option<Self> {
        [
            Self::Append,
            Self::LogStart,
            Self::Drop,
            Self::Moved,
            Self::Replaced,
            Self::Compacted,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

impl Footer {
    /// Returns the size of a footer in bytes.
    pub fn bytes(runs: usize, facts: usize) -> u64 {
        runs as u64 * RUN_BYTES + facts as u64 * ENTRY_BYTES + TRAILER_BYTES
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::bytes(self.runs.len(), self.facts.len()) as usize);
        for entry in &self.runs {
            entry.encode(&mut out);
        }
        for fact in &self.facts {
            fact.encode(&mut out);
        }
        out.extend_from_slice(TRAILER_MAGIC);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.last_sequence.0.to_be_bytes());
        out.extend_from_slice(&self.frames_end.to_be_bytes());
        out.extend_from_slice(&(self.runs.len() as u32).to_be_bytes());
        out.extend_from_slice(&(self.facts.len() as u32).to_be_bytes());
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// Returns the size of the whole footer, from the last 48 bytes of the file; `None` if they are
    /// not a trailer.
    pub fn peek(trailer: &[u8]) -> Option<u64> {
        let mut at = Reader(trailer);
        if trailer.len() != TRAILER_BYTES as usize || at.take(8)? != TRAILER_MAGIC {
            return None;
        }
        at.take(24)?;
        let (runs, facts) = (at.u32()?, at.u32()?);
        (runs <= limits::FOOTER_ENTRIES_MAX && facts <= limits::FOOTER_ENTRIES_MAX)
            .then(|| Self::bytes(runs as usize, facts as usize))
    }

    /// Returns the generation in a trailer. Only [`Footer::decode`] with that generation tells
    /// whether it is one.
    pub fn generation(trailer: &[u8]) -> Option<u64> {
        Self::peek(trailer)?;
        Reader(trailer.get(8..)?).u64()
    }

    /// Decodes a whole footer of segment `id`.
    pub fn decode(bytes: &[u8], id: SegmentId, generation: u64) -> Option<Self> {
        let trailer_at = bytes.len().checked_sub(TRAILER_BYTES as usize)?;
        let trailer = bytes.get(trailer_at..)?;
        if Self::peek(trailer)? != bytes.len() as u64 {
            return None;
        }
        let (covered, crc) = bytes.split_at(bytes.len() - 4);
        if Reader(crc).u32()? != crc32c::crc32c(covered) {
            return None;
        }
        let mut at = Reader(trailer.get(8..)?);
        let found = at.u64()?;
        let (last_sequence, frames_end) = (Sequence(at.u64()?), at.u64()?);
        let (runs, facts) = (at.u32()?, at.u32()?);
        if found != generation || at.take(1)?.first() != Some(&VERSION) {
            return None;
        }
        let mut at = Reader(bytes);
        let runs = (0..runs)
            .map(|_| FooterRun::decode(&mut at, id))
            .collect::<Option<_>>()?;
        let facts = (0..facts)
            .map(|_| EntryHead::decode(&mut at))
            .collect::<Option<_>>()?;
        Some(Self {
            generation,
            last_sequence,
            frames_end,
            runs,
            facts,
        })
    }
}

impl FooterRun {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.partition.0.to_be_bytes());
        out.extend_from_slice(&epoch_to_wire(self.run.leader_epoch).to_be_bytes());
        out.extend_from_slice(&self.base.0.to_be_bytes());
        out.extend_from_slice(&self.run.next.0.to_be_bytes());
        out.extend_from_slice(&self.run.position.to_be_bytes());
        out.extend_from_slice(&self.run.span.to_be_bytes());
        out.extend_from_slice(&self.run.bytes.to_be_bytes());
        out.extend_from_slice(&self.run.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.run.append_ms.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
    }

    fn decode(at: &mut Reader<'_>, segment: SegmentId) -> Option<Self> {
        let partition = PartitionId(at.u32()?);
        let leader_epoch = LeaderEpoch::from_wire(at.i32()?);
        let base = Offset(at.i64()?);
        let run = Run {
            segment,
            leader_epoch,
            next: Offset(at.i64()?),
            position: at.u64()?,
            span: at.u32()?,
            bytes: at.u32()?,
            max_timestamp: at.i64()?,
            append_ms: at.i64()?,
        };
        at.take(8)?;
        Some(Self {
            partition,
            base,
            run,
        })
    }
}

pub(crate) fn epoch_to_wire(epoch: Option<LeaderEpoch>) -> i32 {
    epoch.map_or(-1, |epoch| epoch.0)
}

fn head_crc(head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&head[..44]), &head[48..])
}

/// Reads big-endian numbers off the front of a slice.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }
}

/// The place of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAt {
    pub segment: SegmentId,
    pub position: u64,
}

impl FrameAt {
    pub fn new(segment: SegmentId, position: u64) -> Self {
        Self { segment, position }
    }
}

/// Returns a run of one entry.
pub(crate) fn run_of(at: FrameAt, head: &FrameHead, entry: &EntryHead, end: u64) -> Run {
    Run {
        segment: at.segment,
        position: at.position,
        span: (end - at.position) as u32,
        bytes: entry.bytes,
        next: entry.next,
        max_timestamp: entry.max_timestamp,
        append_ms: head.append_ms,
        leader_epoch: entry.leader_epoch,
    }
}
