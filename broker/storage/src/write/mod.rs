//! The writer: reserves room, writes commits as frames, and fills one segment after the other.

pub(crate) mod cold;
pub(crate) mod part;
mod segments;

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sedge_protocol::ids::Offset;

use crate::api::{Cold, ColdFile, Commit, Entry, Room, Urgency, ViewUpdate};
use crate::catalog::ColdRuns;
use crate::error::Error;
use crate::format::{ENTRY_BYTES, EntryHead, EntryKind, FRAME_HEAD_BYTES, FrameAt, FrameHead};
use crate::ids::Sequence;
use crate::limits;
use crate::store::writer::Writer;
use crate::store::{Store, spares};
use crate::write::part::Part;

impl Store {
    pub(crate) fn reserve_room(&self, room: Room) -> Result<(), Error> {
        self.check_health()?;
        if !room.fits_a_frame() {
            return Err(Error::Refused {
                why: "it is larger than a commit can be",
            });
        }
        // A write that fails after planning ends the process, so a write that is sure to fail is
        // refused before. The active segment has room even if the volume has none.
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
            self.make_room(&mut writer, bytes + kept)?;
        } else {
            self.make_room_to_free(&mut writer, bytes + kept)?;
        }
        writer.reserved = bytes;
        Ok(())
    }

    /// Handles too many pending view updates: flushes once more, and then the disk counts as full.
    /// Views that cannot be flushed may wait for the very space that is to be freed.
    fn check_pending(&self, urgency: Urgency) -> Result<(), Error> {
        let frees = urgency != Urgency::Ordinary;
        let bytes_max = if frees {
            limits::PENDING_BYTES_FREEING_MAX
        } else {
            limits::PENDING_BYTES_MAX
        };
        if self.catalog.pending_bytes() <= bytes_max {
            return Ok(());
        }
        let flushed = if frees {
            self.flush_to_free()
        } else if self.catalog.is_flush_hopeless() {
            Err(Error::Full)
        } else {
            self.flush(true)
        };
        flushed.map_err(|_| Error::Full)
    }

    pub(crate) fn append_commit(&self, commit: Commit) -> Result<Sequence, Error> {
        // Locked from here on, so that no cold segment is freed between its adoption and the rows
        // that refer to it.
        let mut writer = self.lock_writer();
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
                    let row = EntryHead {
                        kind: if is_compacted {
                            EntryKind::Compacted
                        } else {
                            EntryKind::Replaced
                        },
                        partition,
                        base,
                        next,
                        max_timestamp: cold.segment.0.cast_signed(),
                        bytes: 0,
                        leader_epoch,
                    };
                    // Dropped in this very commit.
                    let is_dropped = |part: &Part| {
                        part.head.kind == EntryKind::Drop && part.head.partition == partition
                    };
                    if parts.iter().any(is_dropped) || !self.is_to_replace(&row, &cold)? {
                        continue;
                    }
                    parts.push(Part::row(row));
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
        let appended =
            self.append_parts(&mut writer, parts, &runs, commit.updates, commit.append_ms);
        writer.reserved = 0;
        appended
    }

    /// Appends one frame. Nothing is written before room is made.
    pub(crate) fn append_parts(
        &self,
        writer: &mut Writer,
        mut parts: Vec<Part>,
        cold: &ColdRuns,
        updates: Vec<ViewUpdate>,
        append_ms: i64,
    ) -> Result<Sequence, Error> {
        self.check_health()?;
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
        self.make_room(writer, head_bytes + body_bytes)?;
        let active_id = writer.last_segment;
        for part in &mut parts {
            if part.head.kind == EntryKind::Drop && part.head.base == Offset::ZERO {
                part.head.base = Offset(active_id.0 as i64);
            }
        }
        let (at, head) = self.write_frame(writer, &parts, body_bytes, append_ms)?;
        // After the write nothing may fail: half-applied state is as bad as half a write.
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
            let rest = spares::rest_of_page(position + frame_bytes, active.capacity);
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

    /// Returns whether a replacing row still takes effect. The partition may have been dropped
    /// meanwhile, retention may have been faster, or all live data of the segment may be gone
    /// again.
    fn is_to_replace(&self, row: &EntryHead, cold: &Cold) -> Result<bool, Error> {
        let log = self.catalog.bounds(row.partition)?.log;
        let is_gone =
            row.next > log.next_offset || row.next <= log.log_start || row.base >= row.next;
        Ok(!is_gone && !self.is_freed(cold))
    }

    /// Returns whether an earlier commit adopted the segment and all of its live data is gone
    /// again.
    fn is_freed(&self, cold: &Cold) -> bool {
        cold.file.as_ref().is_some_and(ColdFile::is_adopted)
            && self.catalog.generation(cold.segment) != Some(cold.generation)
    }

    /// Makes the segment one of the log's, without live data until a commit refers to it.
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
}
