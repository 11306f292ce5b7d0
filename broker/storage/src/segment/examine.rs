//! Examines one segment, frame by frame and batch by batch, for the doctor, the scrub and the
//! backup.
//!
//! Damage is kept as small as it is: if a frame's checksum does not match, its batches are checked
//! one by one, and only those whose own checksum does not match are damaged. If the head of a frame
//! is damaged, the whole frame is: its bytes cannot be attributed to partitions.

use bytes::Bytes;
use sedge_protocol::batch::{Batch, BatchHeader, HEADER_BYTES};
use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Damaged, LostRange};
use crate::disk::SegmentFile;
use crate::error::{Error, io_error};
use crate::format::{EntryHead, EntryKind, FRAME_HEAD_BYTES, Footer, FrameHead};
use crate::ids::{SegmentId, Sequence};
use crate::segment::scan::{Found, Scanner};

/// A stretch of a segment to examine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked<'a> {
    pub file: &'a dyn SegmentFile,
    pub id: SegmentId,
    pub generation: u64,
    /// Position at which the frames end, or the file.
    pub end: u64,
    /// The footer, if there is one: it tells the contents of a frame without a head.
    pub footer: Option<&'a Footer>,
    /// Whether frames must reach up to `end`.
    pub is_full: bool,
}

/// The extent of a damaged stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    /// A batch whose bytes are not those that were sent.
    Batch,
    /// A stretch without frames, where frames should be.
    Frame,
}

/// One result of the examination.
#[derive(Debug)]
pub(crate) enum Seen<'a> {
    /// A frame with a whole head. If `is_whole` is false, some of its batches may be damaged, and
    /// only the rows of [`FrameHead::facts_of_damaged`] count.
    Frame {
        position: u64,
        head: &'a FrameHead,
        is_whole: bool,
    },
    /// A batch whose checksum matches.
    Batch {
        entry: &'a EntryHead,
        batch: &'a Batch,
    },
    /// A damaged batch, or a stretch without frames.
    Damaged { damaged: Damaged, what: Hit },
    /// The table of a frame contradicts its batches.
    Wrong {
        position: u64,
        partition: PartitionId,
        what: &'static str,
    },
    /// There are no more frames; non-zero bytes reach up to `torn_end`.
    End { position: u64, torn_end: u64 },
}

impl Looked<'_> {
    /// Examines about `bytes_max` from `from`. Returns the position at which to continue, `None` at
    /// the end.
    pub fn look(
        &self,
        from: u64,
        bytes_max: u64,
        each: &mut dyn FnMut(Seen<'_>),
    ) -> Result<Option<u64>, Error> {
        let mut scanner = Scanner::new(self.file, self.generation, from, self.end);
        loop {
            let behind = match scanner.next()? {
                Found::Frame {
                    position,
                    head,
                    body,
                } => {
                    each(Seen::Frame {
                        position,
                        head: &head,
                        is_whole: true,
                    });
                    self.batches(position, &head, &body, each);
                    position + head.frame_bytes()
                }
                Found::Hole { position, end, .. } => {
                    self.hole(position, end, each)?;
                    end
                }
                Found::End {
                    position, torn_end, ..
                } => {
                    if self.is_full && position < self.end {
                        self.hole(position, self.end, each)?;
                        each(Seen::End {
                            position: self.end,
                            torn_end: self.end,
                        });
                    } else {
                        each(Seen::End { position, torn_end });
                    }
                    return Ok(None);
                }
            };
            if behind - from >= bytes_max {
                return Ok(Some(behind));
            }
        }
    }

    /// Examines bytes between whole frames: frames whose body is damaged, or that have no head.
    pub fn hole(&self, from: u64, end: u64, each: &mut dyn FnMut(Seen<'_>)) -> Result<(), Error> {
        let mut position = from;
        while position < end {
            let Some((start, head)) = self.head_behind(position, end)? else {
                if self.is_left_out(position, end)? {
                    return Ok(());
                }
                let mut scanner = Scanner::new(self.file, self.generation, position, end);
                let heads = scanner.heads(position + 1, end, Sequence(0))?;
                let to = heads.first().map_or(end, |(at, _)| *at);
                let damaged = self.damaged(position, to, self.lost_between(position, to)?);
                let what = Hit::Frame;
                each(Seen::Damaged { damaged, what });
                position = to;
                continue;
            };
            let at = start + head.bytes();
            let body = self.read(at, u64::from(head.body_bytes))?;
            each(Seen::Frame {
                position: start,
                head: &head,
                is_whole: false,
            });
            let mut is_told = false;
            self.batches(start, &head, &body, &mut |seen| {
                is_told |= matches!(seen, Seen::Damaged { .. } | Seen::Wrong { .. });
                each(seen);
            });
            // The checksum of a batch does not cover its leader epoch.
            if let Some(first) = head.entries.first().filter(|_| !is_told) {
                each(Seen::Wrong {
                    position: start,
                    partition: first.partition,
                    what: "the frame's checksum does not match, and those of its batches do",
                });
            }
            position = start + head.frame_bytes();
        }
        Ok(())
    }

    /// Returns whether the frame at `end` declares the bytes before it to be padding.
    fn is_left_out(&self, position: u64, end: u64) -> Result<bool, Error> {
        let front = self.read(end, FRAME_HEAD_BYTES)?;
        let Some(whole) = FrameHead::peek(&front, self.generation) else {
            return Ok(false);
        };
        let head = FrameHead::decode(&self.read(end, whole)?, self.generation);
        Ok(head.is_some_and(|head| u64::from(head.padding) == end - position))
    }

    fn head_behind(&self, position: u64, end: u64) -> Result<Option<(u64, FrameHead)>, Error> {
        for start in crate::format::frame_starts(position) {
            let front = self.read(start, FRAME_HEAD_BYTES)?;
            let Some(whole) = FrameHead::peek(&front, self.generation) else {
                continue;
            };
            let bytes = self.read(start, whole)?;
            let fits = |head: &FrameHead| {
                let follows = start == position || u64::from(head.padding) == start - position;
                follows && start + head.frame_bytes() <= end
            };
            if let Some(head) = FrameHead::decode(&bytes, self.generation).filter(fits) {
                return Ok(Some((start, head)));
            }
        }
        Ok(None)
    }

    /// Checks the parts of a frame against its table.
    fn batches(
        &self,
        position: u64,
        head: &FrameHead,
        body: &Bytes,
        each: &mut dyn FnMut(Seen<'_>),
    ) {
        let mut at = 0;
        for entry in &head.entries {
            let to = at + entry.bytes as usize;
            if entry.has_batches() {
                let bytes = body.slice(at.min(body.len())..to.min(body.len()));
                self.part(position + head.bytes() + at as u64, entry, bytes, each);
            }
            at = to;
        }
    }

    fn part(&self, position: u64, entry: &EntryHead, bytes: Bytes, each: &mut dyn FnMut(Seen<'_>)) {
        let whole = bytes.clone();
        let mut rest = bytes;
        let mut next = entry.base;
        let mut largest = i64::MIN;
        let mut is_damaged = false;
        while !rest.is_empty() {
            let at = whole.len() - rest.len();
            if let Some(batch) = sound_batch(&rest, entry, next) {
                rest = rest.slice(batch.bytes()..);
                next = batch.header.next_offset();
                largest = largest.max(batch.header.max_timestamp());
                each(Seen::Batch {
                    entry,
                    batch: &batch,
                });
                continue;
            }
            is_damaged = true;
            // The next batch that can be trusted limits the damage of this one.
            let behind = (1..rest.len()).find_map(|skip| {
                let batch = sound_batch(&rest.slice(skip..), entry, next)?;
                Some((skip, batch.header.base_offset()))
            });
            let (skip, until) = behind.unwrap_or((rest.len(), entry.next));
            let lost = LostRange {
                partition: entry.partition,
                base_offset: next,
                next_offset: until,
            };
            let from = position + at as u64;
            let damaged = self.damaged(from, from + skip as u64, vec![lost]);
            let what = Hit::Batch;
            each(Seen::Damaged { damaged, what });
            rest = rest.slice(skip..);
            next = until;
        }
        let wrong = if next != entry.next && entry.kind == EntryKind::Append {
            "the table's end offset differs from that of the batches"
        } else if !is_damaged && largest != entry.max_timestamp {
            "the table's largest timestamp differs from that of the batches"
        } else {
            return;
        };
        each(Seen::Wrong {
            position,
            partition: entry.partition,
            what: wrong,
        });
    }

    /// Returns the contents of a stretch without heads: what the segment's footer lists and no
    /// frame around the stretch has.
    fn lost_between(&self, from: u64, to: u64) -> Result<Vec<LostRange>, Error> {
        let Some(footer) = self.footer else {
            return Ok(Vec::new());
        };
        let over = |position: u64, span: u32| position < to && position + u64::from(span) > from;
        let mut lost = Vec::new();
        for of in footer
            .runs
            .iter()
            .filter(|of| over(of.run.position, of.run.span))
        {
            let run_end = of.run.position + u64::from(of.run.span);
            let mut there = Vec::new();
            let mut position = of.run.position;
            while position < run_end {
                // There are no heads inside the stretch; a position that frames walk across counts
                // like a head.
                if (from..to).contains(&position) {
                    position = to;
                    continue;
                }
                let mut scanner = Scanner::new(self.file, self.generation, position, run_end);
                match scanner.next()? {
                    Found::Frame {
                        position: at, head, ..
                    } => {
                        let mine = |entry: &&EntryHead| {
                            entry.partition == of.partition && entry.has_batches()
                        };
                        let ranges = head.entries.iter().filter(mine);
                        there.extend(ranges.map(|entry| (entry.base, entry.next)));
                        position = at + head.frame_bytes();
                    }
                    Found::Hole { head, end, .. } => {
                        let heads = head.into_iter().flat_map(|head| head.entries);
                        let mine = heads.filter(|entry| entry.partition == of.partition);
                        there.extend(mine.map(|entry| (entry.base, entry.next)));
                        position = end;
                    }
                    Found::End { .. } => break,
                }
            }
            there.sort_unstable();
            let mut next = of.base;
            for (base, until) in there.into_iter().chain([(of.run.next, of.run.next)]) {
                if base > next {
                    lost.push(LostRange {
                        partition: of.partition,
                        base_offset: next,
                        next_offset: base,
                    });
                }
                next = next.max(until);
            }
        }
        Ok(lost)
    }

    pub fn damaged(&self, position: u64, end: u64, lost: Vec<LostRange>) -> Damaged {
        Damaged {
            segment: self.id,
            generation: self.generation,
            position,
            end,
            lost,
        }
    }

    fn read(&self, at: u64, bytes: u64) -> Result<Bytes, Error> {
        self.file
            .read_at(at, bytes as usize)
            .map_err(|source| io_error("read a segment", source))
    }
}

/// Returns the batch at the front of `bytes`, if `entry` may hold it at or behind `next` and its
/// own checksum matches.
fn sound_batch(bytes: &Bytes, entry: &EntryHead, next: Offset) -> Option<Batch> {
    let header = BatchHeader::read(bytes)?;
    let sane = header.magic() == 2
        && header.base_offset() >= next
        && header.last_offset_delta() >= 0
        && header.next_offset() <= entry.next
        && header.batch_bytes()? <= bytes.len();
    if !sane {
        return None;
    }
    let body = bytes.slice(HEADER_BYTES..header.batch_bytes()?);
    (header.computed_crc(&body) == header.crc()).then_some(Batch { header, body })
}
