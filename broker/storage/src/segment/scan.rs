//! Scans the frames of a segment as they are on disk, for recovery, footers and the fuzzer.
//!
//! Bytes that are no frame are a *hole* if a valid frame of the same generation follows in the
//! segment, and the *end* otherwise. What lies between the end and the last byte that is not zero
//! is *torn*.
//!
//! In a reused file, the bytes behind the end are those of the earlier segment, and reading all of
//! them at each start is expensive. There the search for frames behind damaged bytes ends at the
//! first whole frame of the earlier generation: synced data has no gaps, so none of it lies behind
//! one. Only bytes that begin like a frame of this generation count as torn.

use std::io::{self};

use bytes::Bytes;

use crate::api::Wait;
use crate::disk::SegmentFile;
use crate::error::{Error, io_error};
use crate::format::{
    FRAME_HEAD_BYTES, FRAME_MAGIC, FrameHead, SEGMENT_HEADER_BYTES, SegmentHeader, frame_starts,
};
use crate::ids::Sequence;
use crate::limits;

/// One result of the scan.
#[derive(Clone, Debug)]
pub enum Found {
    Frame {
        position: u64,
        head: FrameHead,
        body: Bytes,
    },
    /// Bytes that are no frame, from `position` to `end`; with the head if the head is whole and
    /// only the body is damaged.
    Hole {
        position: u64,
        end: u64,
        head: Option<FrameHead>,
    },
    /// Frames end at `position`; non-zero bytes reach up to `torn_end`.
    End {
        position: u64,
        torn_end: u64,
        head: Option<FrameHead>,
    },
}

/// Reads a file through a window, so that small adjacent reads become one call.
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

    /// Returns `bytes` at `position`, reading `ahead` bytes if they are not in the window; fewer at
    /// the end of the file.
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

    /// Returns `bytes` at `position` if they are in the window.
    pub fn held(&self, position: u64, bytes: u64) -> Option<Bytes> {
        let from = usize::try_from(position.checked_sub(self.at)?).ok()?;
        let to = from.checked_add(usize::try_from(bytes).ok()?)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

/// Reads from the file; fewer than `bytes` at the end of the file.
///
/// # Errors
/// [`Error::NotCached`] if the read would have to wait and must not.
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

/// Scans frames; see the module.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    window: Window<'a>,
    file: &'a dyn SegmentFile,
    generation: u64,
    position: u64,
    /// Position of a frame that begins there independent of the bytes before it.
    anchor: u64,
    end: u64,
}

impl<'a> Scanner<'a> {
    /// Scans frames from `position` to `end`.
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

    /// Returns the next result. After `End`, returns the same `End` again.
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

    /// Returns the whole frame heads in `from..to` that come after commit `last`, with their
    /// positions. The body of such a frame may be damaged. A head with a lower
    /// sequence than the one before it is ignored: it is a copy of an older frame inside a record.
    pub fn heads(
        &mut self,
        from: u64,
        to: u64,
        last: Sequence,
    ) -> Result<Vec<(u64, FrameHead)>, Error> {
        let (mut from, mut last) = (from, last);
        let mut found = Vec::new();
        while let Some(candidate) = self.next_magic(from)?.filter(|at| *at < to) {
            from = candidate + 1;
            let head = self.head_at(candidate, self.generation)?;
            if let Some(head) = head.filter(|head| head.sequence > last) {
                from = candidate + head.frame_bytes();
                last = head.sequence;
                found.push((candidate, head));
            }
        }
        Ok(found)
    }

    /// Returns the generation of the file's earlier segment. Needed only if something is wrong.
    fn previous_generation(&self) -> Result<Option<u64>, Error> {
        let header = read_header(self.file)?;
        let of_this = header.filter(|header| header.generation == self.generation);
        Ok(of_this.and_then(|header| header.previous_generation))
    }

    /// Returns whether a whole frame of `generation` is at the position.
    fn is_frame(&mut self, position: u64, generation: u64) -> Result<bool, Error> {
        match self.head_at(position, generation)? {
            Some(head) => Ok(self.body_of(position, &head)?.is_some()),
            None => Ok(false),
        }
    }

    /// Returns the end of an incomplete frame that begins after `position`.
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

    /// Returns the next valid frame at or after `from`, before any of the generation `previous`.
    fn find_frame(&mut self, from: u64, previous: Option<u64>) -> Result<Option<u64>, Error> {
        let mut from = from;
        while let Some(candidate) = self.next_magic(from)? {
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
        Ok(None)
    }

    /// Returns where the next frame at or after `from` may begin.
    fn next_magic(&self, from: u64) -> Result<Option<u64>, Error> {
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
            match find_magic(&chunk) {
                Some(at) => return Ok(Some(from + at as u64)),
                None if chunk.len() < FRAME_MAGIC.len() => return Ok(None),
                None => from += (chunk.len() - FRAME_MAGIC.len() + 1) as u64,
            }
        }
    }

    /// Returns the end of the last non-zero bytes behind `from`.
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

/// Returns where the first frame may begin. The rest of a segment is mostly zeros, and a file
/// system without holes has all of them read, so zeros are skipped a block at a time.
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

/// Returns the position of the last non-zero byte.
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

/// Reads the header of a segment file, if it is whole.
pub(crate) fn read_header(file: &dyn SegmentFile) -> Result<Option<SegmentHeader>, Error> {
    let bytes = file
        .read_at(0, SEGMENT_HEADER_BYTES as usize)
        .map_err(|source| io_error("read a segment", source))?;
    Ok(SegmentHeader::decode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start took 6 s in a development build, because each byte of an empty segment was compared
    /// alone.
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
