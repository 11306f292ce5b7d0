//! The header of a segment, and its substitute if the header is damaged.
//!
//! The contents of a header are repeated elsewhere: every frame and the footer have the generation,
//! the frames have their sequences, and their rows show the kind of segment. Only the generation of
//! the file's earlier use is nowhere else, so nothing is ever written behind the frames of such a
//! segment.

use crate::api::Wait;
use crate::disk::{SegmentFile, bytes_of};
use crate::error::Error;
use crate::format::{
    EntryKind, FRAME_HEAD_BYTES, Footer, FrameHead, SEGMENT_HEADER_BYTES, SegmentHeader,
    TRAILER_BYTES, frame_starts,
};
use crate::ids::SegmentId;
use crate::segment::listing;
use crate::segment::scan::{self, Found, Scanner};

/// A segment's header, and whether it was read from the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub header: SegmentHeader,
    /// The header in the file is damaged; this one was derived from the rest of the segment.
    pub is_damaged: bool,
}

/// Returns the header of segment `id`; `None` if the file was never begun or nothing in it is
/// whole.
pub(crate) fn header_of(file: &dyn SegmentFile, id: SegmentId) -> Result<Option<Known>, Error> {
    if let Some(header) = scan::read_header(file)? {
        return Ok(Some(Known {
            header,
            is_damaged: false,
        }));
    }
    let header = derive(file, id)?;
    Ok(header.map(|header| Known {
        header,
        is_damaged: true,
    }))
}

fn derive(file: &dyn SegmentFile, id: SegmentId) -> Result<Option<SegmentHeader>, Error> {
    let sealed = footer_of(file, id)?;
    let generation = match &sealed {
        Some(footer) => Some(footer.generation),
        None => generation_of_first_frame(file)?,
    };
    let Some(generation) = generation else {
        return Ok(None);
    };
    let end = match &sealed {
        Some(footer) => footer.frames_end,
        None => bytes_of(file)?,
    };
    let mut scanner = Scanner::new(file, generation, SEGMENT_HEADER_BYTES, end);
    let first = loop {
        match scanner.next()? {
            Found::Frame { head, .. } => break head,
            Found::Hole { .. } => {}
            Found::End { .. } => return Ok(None),
        }
    };
    let is_moved = |kind: EntryKind| kind == EntryKind::Moved;
    Ok(Some(SegmentHeader {
        id,
        generation,
        first_sequence: first.sequence,
        // An unsealed segment is treated as one in a reused file: bytes behind its frames are
        // ignored, and nothing is written there.
        previous_generation: sealed.is_none().then_some(!generation),
        is_cold: !first.entries.is_empty() && first.entries.iter().all(|of| is_moved(of.kind)),
    }))
}

/// Returns the footer, taking the generation from the footer itself; its checksum covers it.
fn footer_of(file: &dyn SegmentFile, id: SegmentId) -> Result<Option<Footer>, Error> {
    let Some(at) = bytes_of(file)?.checked_sub(TRAILER_BYTES) else {
        return Ok(None);
    };
    let trailer = scan::read(file, at, TRAILER_BYTES as usize, Wait::ForDisk)?;
    match Footer::generation(&trailer) {
        Some(generation) => listing::read_footer(file, id, generation),
        None => Ok(None),
    }
}

/// Reads the generation of the first frame: no producer's batch can be at that position.
fn generation_of_first_frame(file: &dyn SegmentFile) -> Result<Option<u64>, Error> {
    for start in frame_starts(SEGMENT_HEADER_BYTES) {
        let front = scan::read(file, start, FRAME_HEAD_BYTES as usize, Wait::ForDisk)?;
        let Some(generation) = FrameHead::generation(&front) else {
            continue;
        };
        let Some(whole) = FrameHead::peek(&front, generation) else {
            continue;
        };
        let bytes = scan::read(file, start, whole as usize, Wait::ForDisk)?;
        let follows = |head: &FrameHead| u64::from(head.padding) == start - SEGMENT_HEADER_BYTES;
        if FrameHead::decode(&bytes, generation).is_some_and(|head| follows(&head)) {
            return Ok(Some(generation));
        }
    }
    Ok(None)
}
