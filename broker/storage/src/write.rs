//! The writer: room for commits, commits into frames, one segment after the other.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sedge_protocol::batch::{Batch, HEADER_BYTES};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use crate::api::{Commit, Entry, SegmentId, Sequence, ViewUpdate};
use crate::catalog::{ColdRuns, FrameAt};
use crate::cold::{Cold, ColdFile};
use crate::disk::SegmentFile;
use crate::disk::directory::io_error;
use crate::error::Error;
use crate::format::{
    ENTRY_BYTES, EntryHead, EntryKind, FRAME_HEAD_BYTES, Footer, FooterRun, FrameHead, PAGE_BYTES,
    SEGMENT_HEADER_BYTES, SegmentHeader, frame_starts,
};
use crate::limits;
use crate::recycle::{self, Reused};
use crate::room::{Room, Urgency, headroom_bytes};
use crate::scan;
use crate::store::Store;

/// What only the writer knows. Everything else is in the catalog.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub sequence: Sequence,
    pub active: Option<Active>,
    pub last_segment: SegmentId,
    pub closed: bool,
}

#[derive(Debug)]
pub(crate) struct Active {
    pub id: SegmentId,
    pub generation: u64,
    pub file: Arc<dyn SegmentFile>,
    /// Where the next frame goes.
    pub position: u64,
    pub capacity: u64,
    /// Behind `position` are bytes of another segment.
    pub is_recycled: bool,
}

impl Writer {
    /// A number for a segment. Where the segment does not come to be, it is not used.
    pub fn next_segment(&mut self) -> SegmentId {
        self.last_segment.0 += 1;
        self.last_segment
    }
}

impl Active {
    /// What to leave free before the next frame. The last page is on the disk already, and writing
    /// on in it writes it once more: a frame that fits into fewer pages of its own begins on one.
    fn padding(&self, frame_bytes: u64, is_synced: bool) -> u16 {
        let [packed, aligned] = frame_starts(self.position);
        let pages = |start: u64| (start + frame_bytes).div_ceil(PAGE_BYTES) - start / PAGE_BYTES;
        let is_worth_it =
            is_synced && pages(aligned) < pages(packed) && aligned + frame_bytes <= self.capacity;
        if is_worth_it {
            (aligned - packed) as u16
        } else {
            0
        }
    }
}

/// A full segment whose frames are not yet synced.
#[derive(Debug)]
pub(crate) struct Sealing {
    id: SegmentId,
    file: Arc<dyn SegmentFile>,
    position: u64,
    footer: Vec<u8>,
}

/// A part of a frame: its row of the table, and its bytes as they lie about.
pub(crate) struct Part {
    pub head: EntryHead,
    pub batches: Vec<Batch>,
}

impl Part {
    pub fn append(partition: PartitionId, batches: Vec<Batch>) -> Result<Option<Self>, Error> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Ok(None);
        };
        let (base, next) = (first.header.base_offset(), last.header.next_offset());
        let leader_epoch = Some(last.header.leader_epoch()).filter(|epoch| epoch.0 >= 0);
        let max_timestamp = batches
            .iter()
            .map(|batch| batch.header.max_timestamp())
            .max()
            .unwrap_or(-1);
        let mut bytes = 0u64;
        let mut expected = base;
        for batch in &batches {
            if batch.header.batch_bytes() != Some(HEADER_BYTES + batch.body.len()) {
                return Err(Error::Refused {
                    why: "a batch's length field does not match it",
                });
            }
            if batch.header.base_offset() < expected || batch.header.next_offset() <= expected {
                return Err(Error::Refused {
                    why: "offsets of batches go back",
                });
            }
            expected = batch.header.next_offset();
            bytes += batch.bytes() as u64;
        }
        if bytes > limits::COMMIT_BYTES_MAX {
            return Err(Error::Refused {
                why: "it is larger than a commit can be",
            });
        }
        let bytes = bytes as u32;
        let kind = EntryKind::Append;
        let head = EntryHead {
            kind,
            partition,
            base,
            next,
            max_timestamp,
            bytes,
            leader_epoch,
        };
        Ok(Some(Self { head, batches }))
    }

    pub fn fact(
        kind: EntryKind,
        partition: PartitionId,
        base: Offset,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Self {
        let (next, max_timestamp) = (Offset::ZERO, 0);
        let head = EntryHead {
            kind,
            partition,
            base,
            next,
            max_timestamp,
            bytes: 0,
            leader_epoch,
        };
        Self {
            head,
            batches: Vec::new(),
        }
    }

    /// A row without batches, as it is.
    pub fn row(head: EntryHead) -> Self {
        Self {
            head,
            batches: Vec::new(),
        }
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.batches
            .iter()
            .flat_map(|batch| [&batch.header.as_bytes()[..], &batch.body[..]])
    }
}

impl Store {
    pub(crate) fn reserve_room(&self, room: Room) -> Result<(), Error> {
        self.check_health()?;
        if !room.fits_a_frame() {
            return Err(Error::Refused {
                why: "it is larger than a commit can be",
            });
        }
        // A write that fails when it was planned already ends the process, so one that will is
        // refused before: the active segment has room whatever the volume says.
        if self.files.disk.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.check_pending(room.urgency)?;
        if room.is_empty() {
            return Ok(());
        }
        let mut writer = self.lock_writer();
        let kept = room.urgency.keeps_bytes(self.options.segment_bytes);
        let bytes = room.frame_bytes();
        if room.urgency == Urgency::Ordinary {
            self.make_room(&mut writer, bytes + kept)
        } else {
            self.make_room_to_free(&mut writer, bytes + kept)
        }
    }

    /// The same as [`Store::make_room`] for what frees space, which does with less than a whole
    /// segment: a start on a full disk may have ended the one that had headroom.
    pub(crate) fn make_room_to_free(&self, writer: &mut Writer, bytes: u64) -> Result<(), Error> {
        let mut made = self.make_room(writer, bytes);
        for segment_bytes in [headroom_bytes(self.options.segment_bytes), 0] {
            if let Err(Error::Full) = made {
                made = self.start_segment(writer, bytes, segment_bytes);
            }
        }
        made
    }

    /// Too much waits for the views: they get one more chance, and then the disk counts as full.
    /// Views that cannot be flushed may wait for the very space that is to be freed.
    fn check_pending(&self, urgency: Urgency) -> Result<(), Error> {
        let bytes_max = match urgency {
            Urgency::Ordinary => limits::PENDING_BYTES_MAX,
            Urgency::Upkeep | Urgency::Command => limits::PENDING_BYTES_FREEING_MAX,
        };
        if self.catalog.pending_bytes() > bytes_max {
            if self.catalog.is_flush_hopeless() {
                return Err(Error::Full);
            }
            self.flush(true).map_err(|_| Error::Full)?;
        }
        Ok(())
    }

    pub(crate) fn append_commit(&self, commit: Commit) -> Result<Sequence, Error> {
        let mut parts = Vec::with_capacity(commit.entries.len());
        let mut adopted: Vec<Arc<Cold>> = Vec::new();
        let mut runs = ColdRuns::default();
        for entry in commit.entries {
            match entry {
                Entry::Append { partition, batches } => {
                    parts.extend(Part::append(partition, batches)?);
                }
                Entry::LogStart { partition, offset } => {
                    let epoch = self.catalog.bounds(partition)?.log.leader_epoch;
                    parts.push(Part::fact(EntryKind::LogStart, partition, offset, epoch));
                }
                Entry::Drop { partition } => {
                    parts.push(Part::fact(EntryKind::Drop, partition, Offset::ZERO, None));
                }
                Entry::Replace {
                    cold,
                    partition,
                    base,
                    next,
                    leader_epoch,
                    is_compacted,
                } => {
                    let log = self.catalog.bounds(partition)?.log;
                    // Dropped meanwhile, or retention was quicker.
                    let is_dropped = |part: &Part| {
                        part.head.kind == EntryKind::Drop && part.head.partition == partition
                    };
                    let is_gone = next > log.next_offset
                        || next <= log.log_start
                        || base >= next
                        || parts.iter().any(is_dropped);
                    if is_gone || self.is_freed(&cold) {
                        continue;
                    }
                    let kind = if is_compacted {
                        EntryKind::Compacted
                    } else {
                        EntryKind::Replaced
                    };
                    parts.push(Part::row(EntryHead {
                        kind,
                        partition,
                        base,
                        next,
                        max_timestamp: cold.segment.0.cast_signed(),
                        bytes: 0,
                        leader_epoch,
                    }));
                    if !runs.has(cold.segment) {
                        runs.insert(cold.segment, cold.runs.clone());
                        adopted.push(cold);
                    }
                }
            }
        }
        for cold in &adopted {
            self.adopt(cold);
        }
        let sequence = self.append_parts(parts, &runs, commit.updates, commit.append_ms)?;
        if self.catalog.pending_bytes() >= self.options.views_flush_bytes
            && !self.catalog.is_flush_hopeless()
            && let Err(error) = self.flush(true)
        {
            // What is pending stays readable and is bounded by `reserve`.
            self.check_health().map_err(|_| error)?;
        }
        Ok(sequence)
    }

    /// One frame. Nothing is written before room is made.
    pub(crate) fn append_parts(
        &self,
        mut parts: Vec<Part>,
        cold: &ColdRuns,
        updates: Vec<ViewUpdate>,
        append_ms: i64,
    ) -> Result<Sequence, Error> {
        self.check_health()?;
        let mut writer = self.lock_writer();
        if writer.closed {
            return Err(Error::Refused {
                why: "the store is closed",
            });
        }
        if parts.is_empty() {
            self.catalog.put_updates(updates);
            return Ok(writer.sequence);
        }
        let body_bytes: u64 = parts.iter().map(|part| u64::from(part.head.bytes)).sum();
        if body_bytes > limits::COMMIT_BYTES_MAX
            || parts.len() > limits::COMMIT_ENTRIES_MAX as usize
        {
            return Err(Error::Refused {
                why: "it is larger than a commit can be",
            });
        }
        let head_bytes = FRAME_HEAD_BYTES + parts.len() as u64 * ENTRY_BYTES;
        self.make_room(&mut writer, head_bytes + body_bytes)?;
        let active_id = writer.last_segment;
        for part in &mut parts {
            if part.head.kind == EntryKind::Drop && part.head.base == Offset::ZERO {
                part.head.base = Offset(active_id.0 as i64);
            }
        }
        let (at, head) = self.write_frame(&mut writer, &parts, body_bytes, append_ms)?;
        // Behind the write nothing may fail: a state half applied is as bad as half a write.
        self.catalog
            .apply(at, &head, cold, updates)
            .inspect_err(|_| self.poison())?;
        Ok(head.sequence)
    }

    fn write_frame(
        &self,
        writer: &mut Writer,
        parts: &[Part],
        body_bytes: u64,
        append_ms: i64,
    ) -> Result<(FrameAt, FrameHead), Error> {
        let sequence = Sequence(writer.sequence.0 + 1);
        let is_synced = self.is_synced();
        let active = writer.active.as_mut().ok_or(Error::Full)?;
        let frame_bytes = FRAME_HEAD_BYTES + parts.len() as u64 * ENTRY_BYTES + body_bytes;
        let padding = active.padding(frame_bytes, is_synced);
        let position = active.position + u64::from(padding);
        let slices: Vec<&[u8]> = parts.iter().flat_map(Part::slices).collect();
        let head = FrameHead {
            padding,
            generation: active.generation,
            sequence,
            append_ms,
            body_bytes: body_bytes as u32,
            body_crc: slices
                .iter()
                .fold(0, |crc, slice| crc32c::crc32c_append(crc, slice)),
            entries: parts.iter().map(|part| part.head).collect(),
        };
        let front = head.encode();
        let mut all = Vec::with_capacity(2 + slices.len());
        all.push(IoSlice::new(&front));
        all.extend(slices.into_iter().map(IoSlice::new));
        if active.is_recycled {
            let rest = recycle::rest_of_page(position + frame_bytes, active.capacity);
            all.push(IoSlice::new(rest));
        }
        active.file.write_at(position, &all).map_err(|source| {
            self.poison();
            Error::Io {
                doing: "write a commit",
                source,
            }
        })?;
        let at = FrameAt {
            segment: active.id,
            position,
        };
        active.position = position + frame_bytes;
        self.note_unsynced(&active.file);
        writer.sequence = sequence;
        self.counters
            .payload_bytes
            .fetch_add(body_bytes, Ordering::Relaxed);
        self.counters
            .log_bytes
            .fetch_add(frame_bytes, Ordering::Relaxed);
        Ok((at, head))
    }

    /// Whether an earlier commit adopted the segment and all that it said was of use is gone again.
    fn is_freed(&self, cold: &Cold) -> bool {
        cold.file.as_ref().is_some_and(ColdFile::is_adopted)
            && self.catalog.generation(cold.segment) != Some(cold.generation)
    }

    /// The segment is one of the log's: nothing lives in it until a commit says so.
    fn adopt(&self, cold: &Cold) {
        let Some(file) = &cold.file else { return };
        self.files.keep(cold.segment, file.file.clone());
        let mut state = self.catalog.write();
        let known = state.segments.get(&cold.segment);
        if known.is_none_or(|known| known.generation != cold.generation) {
            state.add_segment(cold.segment, cold.generation, true);
        }
        file.adopt();
    }

    /// See [`crate::LogStore::roll`].
    pub(crate) fn roll_segment(&self) -> Result<(), Error> {
        self.check_health()?;
        let mut writer = self.lock_writer();
        if writer
            .active
            .as_ref()
            .is_some_and(|active| active.position > SEGMENT_HEADER_BYTES)
        {
            self.start_segment(&mut writer, 0, self.options.segment_bytes)?;
        }
        Ok(())
    }

    /// Room for `bytes` of frames in the active segment, which may be a new one.
    pub(crate) fn make_room(&self, writer: &mut Writer, bytes: u64) -> Result<(), Error> {
        if let Some(active) = &writer.active
            && active.position + bytes <= active.capacity
        {
            return Ok(());
        }
        self.start_segment(writer, bytes, self.options.segment_bytes)
    }

    /// Begins a segment of `segment_bytes`, or of what `bytes` of frames take, if that is more.
    fn start_segment(
        &self,
        writer: &mut Writer,
        bytes: u64,
        segment_bytes: u64,
    ) -> Result<(), Error> {
        let id = writer.next_segment();
        let capacity = segment_bytes.max(SEGMENT_HEADER_BYTES + bytes);
        let (file, previous_generation) = self.new_file(id, capacity)?;
        let generation = new_generation();
        let first_sequence = Sequence(writer.sequence.0 + 1);
        let header = SegmentHeader {
            id,
            generation,
            first_sequence,
            previous_generation,
            is_cold: false,
        };
        // Without its header nothing in a segment can be told from old bytes, so it is on the disk
        // first.
        let begun = file
            .write_at(0, &[IoSlice::new(&header.encode())])
            .and_then(|()| file.sync_data());
        if let Err(source) = begun {
            self.files.remove(id)?;
            return Err(io_error("write a segment's header", source));
        }
        self.counters
            .log_bytes
            .fetch_add(SEGMENT_HEADER_BYTES, Ordering::Relaxed);
        if let Some(full) = writer.active.take() {
            self.seal(&full, writer.sequence);
        }
        self.files.keep(id, file.clone());
        self.catalog.write().start_segment(id, generation);
        let position = SEGMENT_HEADER_BYTES;
        writer.active = Some(Active {
            id,
            generation,
            file,
            position,
            capacity,
            is_recycled: previous_generation.is_some(),
        });
        Ok(())
    }

    /// One that was used before, if there is one, with the generation of what is still in it.
    pub(crate) fn new_file(
        &self,
        id: SegmentId,
        capacity: u64,
    ) -> Result<(Arc<dyn SegmentFile>, Option<u64>), Error> {
        if let Some(Reused { file, generation }) = self.reuse_file(id, capacity)? {
            return Ok((file, Some(generation)));
        }
        let created = match self.files.disk.create(id, capacity) {
            // Files that may not be used yet take up room all the same.
            Err(Error::Full) if self.drop_spares()? => self.files.disk.create(id, capacity),
            created => created,
        };
        Ok((created?, None))
    }

    /// Nothing is written any more. What follows the last frame of a file that was used before
    /// cannot be told from a torn frame, so its segment is sealed: the next process begins another.
    pub(crate) fn close_writer(&self) {
        let mut writer = self.lock_writer();
        writer.closed = true;
        let sequence = writer.sequence;
        let recycled = writer.active.take_if(|active| active.is_recycled);
        if let Some(active) = recycled
            && self.catalog.read().active.complete
        {
            self.seal(&active, sequence);
        }
    }

    /// Hands the footer to the next sync, which writes it when the frames are safe: views are
    /// rebuilt from what it says. A segment that stays without a footer is scanned then: no reason
    /// to stop.
    fn seal(&self, full: &Active, last_sequence: Sequence) {
        match self.footer_of(full, last_sequence) {
            Ok(footer) => {
                let footer = footer.encode();
                let (id, file, position) = (full.id, full.file.clone(), full.position);
                let sealing = Sealing {
                    id,
                    file,
                    position,
                    footer,
                };
                self.sealing
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(sealing);
            }
            Err(error) => log::warn!("segment {} stays without a footer: {error}", full.id.0),
        }
    }

    /// Writes a footer behind frames that are synced, and gives back the room that was not used.
    pub(crate) fn write_footer(&self, of: &Sealing) {
        let bytes = of.footer.len() as u64;
        let written = of
            .file
            .write_at(of.position, &[IoSlice::new(&of.footer)])
            .and_then(|()| of.file.truncate(of.position + bytes));
        match written {
            Ok(()) => {
                self.counters.log_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.note_unsynced(&of.file);
            }
            Err(error) => {
                log::warn!("segment {} stays without a footer: {error}", of.id.0);
                // A full disk takes a part of it, which is of use to nobody. Where that cannot be
                // cut off either, a scan passes over it.
                let _ = of.file.truncate(of.position);
            }
        }
    }

    fn footer_of(&self, full: &Active, last_sequence: Sequence) -> Result<Footer, Error> {
        let complete = self.catalog.read().active.complete;
        let (runs, facts): (Vec<FooterRun>, Vec<EntryHead>) = if complete {
            let mut state = self.catalog.write();
            let contents = std::mem::take(&mut state.active);
            let list = |(key, run): (crate::views::tables::LogKey, _)| FooterRun {
                partition: PartitionId(key.id as u32),
                base: key.offset(),
                run,
            };
            (
                contents.runs.into_iter().map(list).collect(),
                contents.facts,
            )
        } else {
            scan::whole_contents(&*full.file, full.id, full.generation, full.position)?.ok_or(
                Error::Corrupt {
                    segment: full.id,
                    position: 0,
                    what: "a frame of it is damaged",
                },
            )?
        };
        let generation = full.generation;
        Ok(Footer {
            generation,
            last_sequence,
            frames_end: full.position,
            runs,
            facts,
        })
    }
}

/// Not to be guessed: the hasher's keys are the operating system's random numbers.
pub(crate) fn new_generation() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
