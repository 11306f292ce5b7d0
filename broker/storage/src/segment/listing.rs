//! Lists the contents of a segment, by its footer or by a scan of its frames.

use bytes::Bytes;
use sedge_protocol::ids::{Offset, PartitionId};

use super::scan::{Found, Scanner, read};
use crate::api::Wait;
use crate::disk::{SegmentFile, bytes_of};
use crate::error::{Error, io_error};
use crate::format::{
    EntryHead, Footer, FooterRun, FrameAt, FrameHead, SEGMENT_HEADER_BYTES, TRAILER_BYTES, run_of,
};
use crate::ids::{SegmentId, Sequence};

/// Reads the footer of a segment file, if it is sealed and whole.
pub(crate) fn read_footer(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
) -> Result<Option<Footer>, Error> {
    let failed = |source| io_error("read a segment", source);
    let length = file.bytes().map_err(failed)?;
    let Some(trailer_at) = length.checked_sub(TRAILER_BYTES) else {
        return Ok(None);
    };
    let trailer = file
        .read_at(trailer_at, TRAILER_BYTES as usize)
        .map_err(failed)?;
    let Some(whole) = Footer::peek(&trailer) else {
        return Ok(None);
    };
    let Some(at) = length.checked_sub(whole) else {
        return Ok(None);
    };
    let bytes = file.read_at(at, whole as usize).map_err(failed)?;
    let footer = Footer::decode(&bytes, id, generation);
    Ok(footer.filter(|footer| footer.frames_end == at))
}

type Contents = (Vec<FooterRun>, Vec<EntryHead>);

/// Returns the contents of a segment, from its footer or by a scan of its heads.
pub(crate) fn contents(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
    end: u64,
) -> Result<Contents, Error> {
    if let Some(footer) = read_footer(file, id, generation)? {
        return Ok((footer.runs, footer.facts));
    }
    Ok(listed(file, id, generation, end)?.0)
}

/// Returns the contents of the frames up to `end`; `None` if some are damaged, because a footer
/// would hide that.
pub(crate) fn whole_contents(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
    end: u64,
) -> Result<Option<Contents>, Error> {
    let (contents, is_whole) = listed(file, id, generation, end)?;
    Ok(is_whole.then_some(contents))
}

/// The contents of a segment without a footer, by its frames.
#[derive(Debug)]
pub(crate) struct Listed {
    /// A footer for these frames.
    pub footer: Footer,
    /// No frame is damaged, as far as they go.
    pub is_whole: bool,
    /// The rest of a cold segment's footer lies behind the frames, so all frames are there. A file
    /// that was cut between two frames has nothing there, and one that was cut in a frame has other
    /// bytes.
    pub had_footer: bool,
}

/// Lists the frames of a segment that was full once, and has no readable footer.
pub(crate) fn list_frames(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
) -> Result<Listed, Error> {
    let bytes = bytes_of(file)?;
    let (mut runs, mut facts) = (Vec::new(), Vec::new());
    let (mut is_whole, mut last_sequence) = (true, Sequence(0));
    // If only the body of a frame is damaged, its rows and the position of the next frame are
    // known.
    let mut scanner = Scanner::new(file, generation, SEGMENT_HEADER_BYTES, bytes);
    let frames_end = loop {
        match scanner.next()? {
            Found::Frame { position, head, .. } => {
                last_sequence = head.sequence;
                list_frame(id, position, &head, &mut runs, &mut facts);
            }
            Found::Hole { .. } => is_whole = false,
            Found::End { position, .. } => break position,
        }
    };
    let footer = Footer {
        generation,
        last_sequence,
        frames_end,
        runs,
        facts,
    };
    let expected = footer.encode();
    let rest = read(file, frames_end, expected.len() + 1, Wait::ForDisk)?;
    let same = rest.iter().zip(&expected).filter(|(a, b)| a == b).count();
    let is_footer = |rest: &Bytes| {
        let share = rest.len() - rest.len() / FOOTER_DAMAGED_SHARE;
        !rest.is_empty() && rest.len() <= expected.len() && same >= share
    };
    Ok(Listed {
        had_footer: is_footer(&rest),
        footer,
        is_whole,
    })
}

/// A stretch counts as a damaged footer if at most one byte in this many differs.
const FOOTER_DAMAGED_SHARE: usize = 4;

fn listed(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
    end: u64,
) -> Result<(Contents, bool), Error> {
    let (mut runs, mut facts) = (Vec::new(), Vec::new());
    let (mut is_whole, mut last) = (true, Sequence(0));
    let mut scanner = Scanner::new(file, generation, SEGMENT_HEADER_BYTES, end);
    loop {
        let (from, to) = match scanner.next()? {
            Found::Frame { position, head, .. } => {
                last = head.sequence;
                list_frame(id, position, &head, &mut runs, &mut facts);
                continue;
            }
            Found::Hole { position, end, .. } => (position, end),
            Found::End { position, .. } if position == end => {
                return Ok(((runs, facts), is_whole));
            }
            Found::End { position, .. } => (position, end),
        };
        is_whole = false;
        for (_, head) in scanner.heads(from, to, last)? {
            facts.extend(head.facts_of_damaged());
        }
        if to == end {
            return Ok(((runs, facts), is_whole));
        }
    }
}

fn list_frame(
    segment: SegmentId,
    position: u64,
    head: &FrameHead,
    runs: &mut Vec<FooterRun>,
    facts: &mut Vec<EntryHead>,
) {
    let at = FrameAt { segment, position };
    let end = position + head.frame_bytes();
    for entry in &head.entries {
        if entry.has_batches() {
            let run = run_of(at, head, entry, end);
            runs.push(FooterRun {
                partition: entry.partition,
                base: entry.base,
                run,
            });
        } else {
            facts.push(*entry);
        }
    }
}

/// A cold segment that rows point at and that ends before its footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutShort {
    pub frames_end: u64,
    /// A cold segment is written partition by partition, so the data of partitions before the last
    /// one is complete.
    last_partition: Option<PartitionId>,
}

impl CutShort {
    /// Takes the footer that was made for the existing frames.
    pub fn of(footer: &Footer) -> Self {
        Self {
            frames_end: footer.frames_end,
            last_partition: footer.runs.last().map(|of| of.partition),
        }
    }

    /// Returns the offset from which a stretch may be incomplete, if it may. The segment has its
    /// batches up to `there`, if any.
    pub fn lacks_from(
        &self,
        partition: PartitionId,
        base: Offset,
        there: Option<Offset>,
    ) -> Option<Offset> {
        match there {
            None => Some(base),
            Some(there) if self.last_partition == Some(partition) => Some(there),
            Some(_) => None,
        }
    }
}
