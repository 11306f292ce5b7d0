//! Replays all live records, for views that are rebuilt.
//!
//! The index says where a partition's batches are, but a walk to them passes the frames of all
//! other partitions: partition by partition, a segment of a hundred thousand partitions would be
//! read that many times. So a segment's frames are walked once for all of its partitions, in the
//! order of [`waves`]. If few partitions have live data in it, or something in it is damaged, it is
//! walked by the index.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sedge_protocol::batch::{Batch, BatchHeader, HEADER_BYTES};
use sedge_protocol::ids::PartitionId;

use super::Opening;
use super::waves::{self, Piece};
use crate::api::{Slice, Wait};
use crate::disk::SegmentFile;
use crate::error::Error;
use crate::format::{FrameHead, SEGMENT_HEADER_BYTES};
use crate::ids::SegmentId;
use crate::limits;
use crate::read::damaged;
use crate::read::walk::{self, Extent};
use crate::segment::scan::Window;
use crate::store::Store;

/// Approximate bytes of a group of batches passed to recovery.
const REPLAY_GROUP_BYTES: usize = 1 << 20;

impl Opening<'_> {
    /// Replays all live records, each partition in the order of its offsets.
    pub(super) fn replay_live(&mut self) -> Result<(), Error> {
        let mut from = Some(PartitionId(0));
        while let Some(first) = from {
            let (waves, next) = waves::plan(&self.store.catalog, first)?;
            for (visit, pieces) in waves {
                self.replay_pieces(visit.segment, &pieces)?;
            }
            from = next;
        }
        Ok(())
    }

    fn replay_pieces(&mut self, segment: SegmentId, pieces: &[Piece]) -> Result<(), Error> {
        let damaged = self.store.counters.damaged.load(Ordering::Relaxed);
        match self.frames_end.get(&segment).copied() {
            Some(end) if pieces.len() >= limits::WIDE_PIECES_MIN => {
                self.replay_frames(segment, end, pieces)?;
            }
            _ => {
                for piece in pieces {
                    self.replay_by_index(segment, piece)?;
                }
            }
        }
        if self.store.counters.damaged.load(Ordering::Relaxed) > damaged {
            self.note_hole(segment, SEGMENT_HEADER_BYTES, 0, &[])?;
        }
        Ok(())
    }

    /// Replays all pieces together, frame by frame.
    fn replay_frames(
        &mut self,
        segment: SegmentId,
        end: u64,
        pieces: &[Piece],
    ) -> Result<(), Error> {
        let (Some(file), Some(generation)) = (
            self.store.files.get(segment)?,
            self.store.catalog.generation(segment),
        ) else {
            return Ok(());
        };
        let mut frames = Frames::new(&file, segment, generation, end);
        while let Some((position, head)) = frames.next(self.store)? {
            for (entry, extent) in walk::parts_of(segment, position, &head) {
                if !entry.has_batches() {
                    continue;
                }
                let range = (entry.base, entry.next);
                for piece in waves::touched(pieces, entry.partition, range) {
                    let headers_only = !self.recovery.needs_bodies(piece.partition);
                    let batches = frames.batches(self.store, piece, extent, headers_only)?;
                    self.replay_group(piece.partition, &batches, head.append_ms)?;
                }
            }
        }
        Ok(())
    }

    fn replay_by_index(&mut self, segment: SegmentId, piece: &Piece) -> Result<(), Error> {
        let partition = piece.partition;
        let headers_only = !self.recovery.needs_bodies(partition);
        let slice = Slice {
            segment,
            first_offset: piece.first,
            next_offset: piece.next,
            bytes: 0,
            max_timestamp: -1,
            append_ms: 0,
            oldest_ms: 0,
        };
        for (first, run) in walk::runs_of(self.store, partition, &slice)? {
            let mut groups: BTreeMap<u64, Vec<Batch>> = BTreeMap::new();
            let (mut group, mut bytes) = (0, 0);
            walk::batches_of_run(
                self.store,
                partition,
                &run,
                first.max(piece.first),
                headers_only,
                &mut |header, whole| {
                    let batch = batch_of(header, whole);
                    bytes += batch.bytes();
                    if bytes > REPLAY_GROUP_BYTES {
                        (group, bytes) = (group + 1, 0);
                    }
                    groups.entry(group).or_default().push(batch);
                },
            )?;
            for batches in groups.into_values() {
                self.replay_group(partition, &batches, run.append_ms)?;
            }
        }
        Ok(())
    }

    fn replay_group(
        &mut self,
        partition: PartitionId,
        batches: &[Batch],
        append_ms: i64,
    ) -> Result<(), Error> {
        if batches.is_empty() {
            return Ok(());
        }
        let catalog = &self.store.catalog;
        let updates = self.recovery.replay(catalog, partition, batches, append_ms);
        self.report.frames_replayed += 1;
        if !updates.is_empty() {
            catalog.put_updates(updates);
            self.relieve()?;
        }
        Ok(())
    }
}

/// Returns the whole batch, or its header only.
fn batch_of(header: BatchHeader, whole: Option<Bytes>) -> Batch {
    let body = whole.map(|bytes| bytes.slice(HEADER_BYTES.min(bytes.len())..));
    Batch {
        header,
        body: body.unwrap_or_default(),
    }
}

/// The frames of a segment, and the batches in them.
struct Frames<'a> {
    file: &'a Arc<dyn SegmentFile>,
    window: Window<'a>,
    segment: SegmentId,
    generation: u64,
    behind: u64,
    /// Position of a frame that begins there independent of the bytes before it.
    anchor: u64,
    end: u64,
    ahead: u64,
}

impl<'a> Frames<'a> {
    fn new(file: &'a Arc<dyn SegmentFile>, segment: SegmentId, generation: u64, end: u64) -> Self {
        Self {
            file,
            window: Window::new(&**file),
            segment,
            generation,
            behind: SEGMENT_HEADER_BYTES,
            anchor: SEGMENT_HEADER_BYTES,
            end,
            ahead: limits::HEAD_READ_BYTES,
        }
    }

    /// Skips damaged frames, and counts them.
    fn next(&mut self, store: &Store) -> Result<Option<(u64, FrameHead)>, Error> {
        while self.behind < self.end {
            let at = (self.behind, self.anchor);
            let found = walk::next_frame(
                &mut self.window,
                self.generation,
                at,
                self.end,
                self.ahead,
                false,
            )?;
            if let Some((position, head)) = found {
                self.behind = position + head.frame_bytes();
                self.ahead = ahead_of(&head);
                return Ok(Some((position, head)));
            }
            let next = match store.damage.end_at(self.segment, self.behind) {
                Some(known_to) => Some(known_to),
                None => damaged::frame_behind(
                    store,
                    &**self.file,
                    self.segment,
                    self.generation,
                    self.behind,
                    self.end,
                )?,
            };
            let Some(next) = next else { break };
            (self.behind, self.anchor) = (next, next);
        }
        Ok(None)
    }

    /// Returns the batches of a part of a frame that belong to the piece.
    fn batches(
        &mut self,
        store: &Store,
        piece: &Piece,
        extent: Extent,
        headers_only: bool,
    ) -> Result<Vec<Batch>, Error> {
        let mut places = Vec::new();
        for sound in walk::sound_parts(store, extent) {
            let read = self.headers(sound, &mut |header: BatchHeader, at| {
                if header.next_offset() > piece.first && header.base_offset() < piece.next {
                    places.push((header, at));
                }
            });
            damaged::read_over(store, piece.partition, read)?;
        }
        let mut batches = Vec::with_capacity(places.len());
        for (header, at) in places {
            let whole = if headers_only && !header.is_control() {
                None
            } else {
                Some(walk::read_at(&**self.file, at, at.bytes, Wait::ForDisk)?)
            };
            batches.push(batch_of(header, whole));
        }
        Ok(batches)
    }

    fn headers(
        &mut self,
        extent: Extent,
        each: &mut dyn FnMut(BatchHeader, Extent),
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < extent.bytes {
            let here = Extent {
                position: extent.position + at,
                ..extent
            };
            let ahead = self.ahead.min(self.end.saturating_sub(here.position));
            let front = self.window.get(here.position, HEADER_BYTES as u64, ahead)?;
            let header = BatchHeader::read(&front);
            let found = header
                .and_then(|header| Some((header, walk::check_header(&header, here)? as u64)))
                .filter(|(_, bytes)| *bytes <= extent.bytes - at);
            let (header, bytes) = found.ok_or_else(|| walk::corrupt(here, 0, "no batch"))?;
            each(header, Extent { bytes, ..here });
            at += bytes;
        }
        Ok(())
    }
}

/// Returns how much to read ahead: the whole frame if its parts are small, otherwise their heads.
fn ahead_of(head: &FrameHead) -> u64 {
    let parts = head.entries.len().max(1) as u64;
    if u64::from(head.body_bytes) / parts < limits::WIDE_PART_BYTES {
        limits::SCAN_READ_BYTES
    } else {
        limits::HEAD_READ_BYTES
    }
}
