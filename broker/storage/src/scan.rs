//! Frames of a segment, one after the other, as they are found on disk: what recovery, footers and
//! the fuzzer read with.
//!
//! Bytes that are no frame are a *hole* where a valid frame of the same generation follows in the
//! segment, and the *end* otherwise. What lies between the end and the last byte that is not zero
//! is *torn*.
//!
//! In a file that was used before, the bytes behind the end are those of the segment before, and
//! reading all of them at each start is dear. There the search for what may follow damaged bytes
//! ends at the first whole frame of the generation before: what is synced has no gaps, so nothing
//! that is lies behind one; and torn is only what has the beginning of a frame of this generation.

use std::io::{self, IoSlice};

use bytes::{Bytes, BytesMut};

use crate::api::{SegmentId, Sequence, Wait};
use crate::disk::directory::io_error;
use crate::disk::{SegmentFile, bytes_of};
use crate::error::Error;
use crate::format::{
    EntryHead, FRAME_HEAD_BYTES, FRAME_MAGIC, Footer, FooterRun, FrameHead, Run,
    SEGMENT_HEADER_BYTES, SegmentHeader, TRAILER_BYTES, frame_starts,
};
use crate::limits;

/// One thing found.
#[derive(Clone, Debug)]
pub enum Found {
    Frame {
        position: u64,
        head: FrameHead,
        body: Bytes,
    },
    /// From `position` to `end`; its head where that is whole and only the body is damaged.
    Hole {
        position: u64,
        end: u64,
        head: Option<FrameHead>,
    },
    /// Frames end at `position`; up to `torn_end` there are bytes that are not zero.
    End {
        position: u64,
        torn_end: u64,
        head: Option<FrameHead>,
    },
}

/// Reads a file through a window, so that small reads next to each other are one call.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn SegmentFile,
    wait: Wait,
    at: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    pub fn new(file: &'a dyn SegmentFile) -> Self {
        Self::waiting(file, Wait::ForDisk)
    }

    pub fn waiting(file: &'a dyn SegmentFile, wait: Wait) -> Self {
        Self {
            file,
            wait,
            at: 0,
            bytes: Bytes::new(),
        }
    }

    /// `bytes` at `position`, having read `ahead` where they were not there; fewer at the end of
    /// the file.
    pub fn get(&mut self, position: u64, bytes: u64, ahead: u64) -> Result<Bytes, Error> {
        if let Some(found) = self.held(position, bytes) {
            return Ok(found);
        }
        let want = bytes.max(ahead) as usize;
        self.bytes = read(self.file, position, want, self.wait)?;
        self.at = position;
        let there = self.bytes.len().min(bytes as usize);
        Ok(self.bytes.slice(..there))
    }

    /// The same, where it is in the window already.
    pub fn held(&self, position: u64, bytes: u64) -> Option<Bytes> {
        let from = usize::try_from(position.checked_sub(self.at)?).ok()?;
        let to = from.checked_add(usize::try_from(bytes).ok()?)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// Fewer than `bytes` at the end of the file.
///
/// # Errors
/// [`Error::NotCached`] where it may not wait and would have to.
pub(crate) fn read(
    file: &dyn SegmentFile,
    position: u64,
    bytes: usize,
    wait: Wait,
) -> Result<Bytes, Error> {
    let read = match wait {
        Wait::ForDisk => file.read_at(position, bytes),
        Wait::Never => file.read_cached(position, bytes),
    };
    read.map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => Error::NotCached,
        _ => io_error("read a segment", source),
    })
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    window: Window<'a>,
    file: &'a dyn SegmentFile,
    generation: u64,
    position: u64,
    /// A frame that begins here does so whatever lies before it.
    anchor: u64,
    end: u64,
}

impl<'a> Scanner<'a> {
    /// Frames from `position` to `end`.
    pub fn new(file: &'a dyn SegmentFile, generation: u64, position: u64, end: u64) -> Self {
        Self {
            window: Window::new(file),
            file,
            generation,
            position,
            anchor: position,
            end,
        }
    }

    /// After `End`, the same `End` again.
    pub fn next(&mut self) -> Result<Found, Error> {
        let (position, anchor) = (self.position, self.anchor);
        let mut head = None;
        for start in frame_starts(position) {
            let follows =
                |head: &FrameHead| start == anchor || u64::from(head.padding) == start - position;
            let Some(here) = self.head_at(start, self.generation)?.filter(follows) else {
                continue;
            };
            if let Some(body) = self.body_of(start, &here)? {
                self.position = start + here.frame_bytes();
                return Ok(Found::Frame {
                    position: start,
                    head: here,
                    body,
                });
            }
            head = Some(here);
        }
        let previous = self.previous_generation()?;
        let found = match previous {
            Some(previous) if self.is_frame(position, previous)? => None,
            previous => self.find_frame(position + 1, previous)?,
        };
        match found {
            Some(end) => {
                (self.position, self.anchor) = (end, end);
                Ok(Found::Hole {
                    position,
                    end,
                    head,
                })
            }
            None => Ok(Found::End {
                position,
                torn_end: match previous {
                    None => self.last_data(position)?,
                    Some(_) => self.begun_end(position, head.as_ref())?,
                },
                head,
            }),
        }
    }

    /// Where the next whole frame begins at or behind `from`, whatever lies before it.
    pub fn find(&mut self, from: u64) -> Result<Option<u64>, Error> {
        self.find_frame(from, None)
    }

    /// Of the segment that the file held before. Asked for where something is not as it should be.
    fn previous_generation(&self) -> Result<Option<u64>, Error> {
        let header = read_header(self.file)?;
        let of_this = header.filter(|header| header.generation == self.generation);
        Ok(of_this.and_then(|header| header.previous_generation))
    }

    /// Whether a whole frame of `generation` is there.
    fn is_frame(&mut self, position: u64, generation: u64) -> Result<bool, Error> {
        match self.head_at(position, generation)? {
            Some(head) => Ok(self.body_of(position, &head)?.is_some()),
            None => Ok(false),
        }
    }

    /// Where a frame behind `position` would end that was begun and is not whole.
    fn begun_end(&mut self, position: u64, head: Option<&FrameHead>) -> Result<u64, Error> {
        if let Some(head) = head {
            return Ok(position + u64::from(head.padding) + head.frame_bytes());
        }
        for start in frame_starts(position) {
            let end = start + FRAME_HEAD_BYTES;
            if end > self.end {
                break;
            }
            let front = self.window.get(start, FRAME_HEAD_BYTES, FRAME_HEAD_BYTES)?;
            if FrameHead::peek(&front, self.generation).is_some() {
                return Ok(end);
            }
        }
        Ok(position)
    }

    fn head_at(&mut self, position: u64, generation: u64) -> Result<Option<FrameHead>, Error> {
        if position + FRAME_HEAD_BYTES > self.end {
            return Ok(None);
        }
        let ahead = limits::SCAN_READ_BYTES.min(self.end - position);
        let front = self.window.get(position, FRAME_HEAD_BYTES, ahead)?;
        let Some(whole) = FrameHead::peek(&front, generation) else {
            return Ok(None);
        };
        if position + whole > self.end {
            return Ok(None);
        }
        let bytes = self.window.get(position, whole, ahead)?;
        let head = FrameHead::decode(&bytes, generation);
        Ok(head.filter(|head| position + head.frame_bytes() <= self.end))
    }

    fn body_of(&mut self, position: u64, head: &FrameHead) -> Result<Option<Bytes>, Error> {
        let at = position + head.bytes();
        let bytes = u64::from(head.body_bytes);
        let body = self
            .window
            .get(at, bytes, limits::SCAN_READ_BYTES.min(self.end - at))?;
        let whole = body.len() as u64 == bytes && crc32c::crc32c(&body) == head.body_crc;
        Ok(whole.then_some(body))
    }

    /// The next valid frame at or after `from`, before one of the generation `previous`.
    fn find_frame(&mut self, from: u64, previous: Option<u64>) -> Result<Option<u64>, Error> {
        let mut from = from;
        loop {
            let Some(data) = self.next_data(from)? else {
                return Ok(None);
            };
            from = from.max(data);
            if from + FRAME_HEAD_BYTES > self.end {
                return Ok(None);
            }
            let want = limits::SCAN_READ_BYTES.min(self.end - from);
            let chunk = self.read(from, want)?;
            let magic = find_magic(&chunk);
            match magic {
                Some(at) => {
                    let candidate = from + at as u64;
                    if self.is_frame(candidate, self.generation)? {
                        return Ok(Some(candidate));
                    }
                    if let Some(previous) = previous
                        && self.is_frame(candidate, previous)?
                    {
                        return Ok(None);
                    }
                    from = candidate + 1;
                }
                None if chunk.len() < FRAME_MAGIC.len() => return Ok(None),
                None => from += (chunk.len() - FRAME_MAGIC.len() + 1) as u64,
            }
        }
    }

    /// The end of the last bytes behind `from` that are not zero.
    fn last_data(&mut self, from: u64) -> Result<u64, Error> {
        let mut last = from;
        let mut at = from;
        while let Some(data) = self.next_data(at)? {
            at = at.max(data);
            let chunk = self.read(at, limits::SCAN_READ_BYTES.min(self.end.saturating_sub(at)))?;
            if chunk.is_empty() {
                break;
            }
            if let Some(found) = last_not_zero(&chunk) {
                last = at + found as u64 + 1;
            }
            at += chunk.len() as u64;
        }
        Ok(last)
    }

    fn next_data(&self, from: u64) -> Result<Option<u64>, Error> {
        if from >= self.end {
            return Ok(None);
        }
        let found = self
            .file
            .next_data(from)
            .map_err(|source| io_error("seek in a segment", source))?;
        Ok(found.filter(|at| *at < self.end))
    }

    fn read(&self, at: u64, bytes: u64) -> Result<Bytes, Error> {
        self.file
            .read_at(at, bytes as usize)
            .map_err(|source| io_error("read a segment", source))
    }
}

const ZEROS: [u8; 4096] = [0; 4096];

/// Where the first frame may begin. The rest of a segment is zeros for the most part, and a file
/// system that knows no holes has all of it read, so zeros are passed over a block at a time.
fn find_magic(chunk: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(block) = chunk.get(start..(start + ZEROS.len()).min(chunk.len())) {
        if block.is_empty() {
            return None;
        }
        if block != &ZEROS[..block.len()] {
            // A magic may begin before the block or end behind it.
            let from = start.saturating_sub(FRAME_MAGIC.len() - 1);
            let to = (start + block.len() + FRAME_MAGIC.len() - 1).min(chunk.len());
            let found = chunk.get(from..to).and_then(|near| {
                near.windows(FRAME_MAGIC.len())
                    .position(|at| at == FRAME_MAGIC)
            });
            if let Some(at) = found {
                return Some(from + at);
            }
        }
        start += block.len();
    }
    None
}

/// The last byte that is not zero.
fn last_not_zero(chunk: &[u8]) -> Option<usize> {
    let mut end = chunk.len();
    for block in chunk.rchunks(ZEROS.len()) {
        let start = end - block.len();
        if block != &ZEROS[..block.len()] {
            return block
                .iter()
                .rposition(|byte| *byte != 0)
                .map(|at| start + at);
        }
        end = start;
    }
    None
}

/// The header of a segment file, where it is whole.
pub(crate) fn read_header(file: &dyn SegmentFile) -> Result<Option<SegmentHeader>, Error> {
    let bytes = file
        .read_at(0, SEGMENT_HEADER_BYTES as usize)
        .map_err(|source| io_error("read a segment", source))?;
    Ok(SegmentHeader::decode(&bytes))
}

/// The footer of a segment file, where it is sealed and whole.
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

/// What a segment holds, from its footer or by a scan of its heads.
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

/// What frames up to `end` hold. `None` where some of them are damaged: a footer would hide that.
pub(crate) fn whole_contents(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
    end: u64,
) -> Result<Option<Contents>, Error> {
    let (contents, is_whole) = listed(file, id, generation, end)?;
    Ok(is_whole.then_some(contents))
}

/// What the frames of a segment without a footer say.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The one that goes with them.
    pub footer: Footer,
    /// None of them is damaged, as far as they go.
    pub is_whole: bool,
    /// Behind them lies what is left of the footer of a cold segment, so they are all there. A file
    /// that was cut between two frames has nothing there, and one that was cut in a frame has
    /// something else.
    pub had_footer: bool,
}

/// The frames of a segment that was full once, and has no footer that can be read.
pub(crate) fn list_frames(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
) -> Result<Listed, Error> {
    let bytes = bytes_of(file)?;
    let (mut runs, mut facts) = (Vec::new(), Vec::new());
    let (mut is_whole, mut last_sequence) = (true, Sequence(0));
    // The rows of a frame whose body is damaged are known, and so is where the next one begins.
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

/// At most one byte in so many of what is taken for a footer is not as it was.
const FOOTER_DAMAGED_SHARE: usize = 4;

fn listed(
    file: &dyn SegmentFile,
    id: SegmentId,
    generation: u64,
    end: u64,
) -> Result<(Contents, bool), Error> {
    let (mut runs, mut facts) = (Vec::new(), Vec::new());
    let mut is_whole = true;
    let mut scanner = Scanner::new(file, generation, SEGMENT_HEADER_BYTES, end);
    loop {
        match scanner.next()? {
            Found::Frame { position, head, .. } => {
                list_frame(id, position, &head, &mut runs, &mut facts);
            }
            Found::Hole { .. } => is_whole = false,
            Found::End { position, .. } => {
                return Ok(((runs, facts), is_whole && position == end));
            }
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
    let at = crate::catalog::FrameAt { segment, position };
    let end = position + head.frame_bytes();
    for entry in &head.entries {
        if entry.has_batches() {
            let run: Run = crate::catalog::run_of(at, head, entry, end);
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

/// Everything in the bytes of a segment: what a fuzzer feeds. `None` where the header is no header.
#[must_use]
pub fn scan_segment(bytes: &[u8]) -> Option<(SegmentHeader, Vec<Found>, Option<Footer>)> {
    let file = BytesFile(Bytes::copy_from_slice(bytes));
    let header = read_header(&file).ok()??;
    let footer = read_footer(&file, header.id, header.generation).ok()?;
    let end = footer
        .as_ref()
        .map_or(bytes.len() as u64, |footer| footer.frames_end);
    let mut scanner = Scanner::new(&file, header.generation, SEGMENT_HEADER_BYTES, end);
    let mut found = Vec::new();
    loop {
        let next = scanner.next().ok()?;
        let last = matches!(next, Found::End { .. });
        found.push(next);
        if last {
            return Some((header, found, footer));
        }
    }
}

/// Bytes in memory as a file that is only read.
#[derive(Debug)]
struct BytesFile(Bytes);

impl SegmentFile for BytesFile {
    fn write_at(&self, _position: u64, _parts: &[IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        let from = self
            .0
            .len()
            .min(usize::try_from(position).unwrap_or(usize::MAX));
        let to = self.0.len().min(from.saturating_add(bytes));
        Ok(self.0.slice(from..to))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// Zeros over `from..to`, so that what was there cannot come back.
pub(crate) fn wipe(file: &dyn SegmentFile, from: u64, to: u64) -> Result<(), Error> {
    let failed = |source| io_error("cut a torn frame", source);
    let zeros = BytesMut::zeroed(limits::SCAN_READ_BYTES as usize);
    let mut at = from;
    while at < to {
        let bytes = (to - at).min(zeros.len() as u64);
        file.write_at(at, &[IoSlice::new(&zeros[..bytes as usize])])
            .map_err(failed)?;
        at += bytes;
    }
    file.sync_data().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starting took 6 s in a development build: each byte of an empty segment was looked at alone.
    #[test]
    fn zeros_are_passed_over_and_nothing_in_them_is_missed() {
        for bytes in [0, 1, 3, 4096, 4097, 10_000] {
            let zeros = vec![0; bytes];
            assert_eq!((find_magic(&zeros), last_not_zero(&zeros)), (None, None));
            for at in (0..bytes.saturating_sub(4)).step_by(97).chain(4090..4099) {
                let mut chunk = zeros.clone();
                let Some(place) = chunk.get_mut(at..at + 4) else {
                    continue;
                };
                place.copy_from_slice(FRAME_MAGIC);
                assert_eq!(find_magic(&chunk), Some(at), "of {bytes}");
                assert_eq!(last_not_zero(&chunk), Some(at + 3), "of {bytes}");
            }
        }
    }
}
