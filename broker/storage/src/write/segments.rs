//! The active segment: beginning it, ending it, and its footer.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sedge_protocol::ids::PartitionId;

use crate::api::headroom_bytes;
use crate::disk::SegmentFile;
use crate::error::{Error, io_error};
use crate::format::{EntryHead, Footer, FooterRun, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::ids::{SegmentId, Sequence, new_generation};
use crate::segment::listing;
use crate::store::Store;
use crate::store::spares::Reused;
use crate::store::sync::Sealing;
use crate::store::writer::{Active, Writer};

impl Store {
    /// Makes room for `bytes` of frames in the active segment, which may be a new one.
    pub(crate) fn make_room(&self, writer: &mut Writer, bytes: u64) -> Result<(), Error> {
        if let Some(active) = &writer.active
            && active.position + bytes <= active.capacity
        {
            return Ok(());
        }
        self.ensure_reserve()?;
        self.start_segment(writer, bytes, self.options.segment_bytes)
    }

    /// Like [`Store::make_room`], for commits that free space. A segment smaller than the usual
    /// size is enough: a start on a full disk may have ended the segment that had headroom.
    pub(crate) fn make_room_to_free(&self, writer: &mut Writer, bytes: u64) -> Result<(), Error> {
        let mut made = self.make_room(writer, bytes);
        for segment_bytes in [headroom_bytes(self.options.segment_bytes), 0] {
            if let Err(Error::Full) = made {
                made = self.start_segment(writer, bytes, segment_bytes);
            }
        }
        made
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
            self.ensure_reserve()?;
            self.start_segment(&mut writer, 0, self.options.segment_bytes)?;
        }
        Ok(())
    }

    /// Reserves bytes for the views, if they are not reserved yet. No segment begins before, except
    /// for commits that free space.
    ///
    /// # Errors
    /// [`Error::Full`] if the volume does not have them.
    pub(crate) fn ensure_reserve(&self) -> Result<(), Error> {
        let Some(reserve) = self.catalog.reserve() else {
            return Ok(());
        };
        if reserve.is_missing() {
            self.drop_spares()?;
        }
        if reserve.keep() {
            Ok(())
        } else {
            Err(Error::Full)
        }
    }

    /// Begins a segment of `segment_bytes`, or larger if `bytes` of frames need more.
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
        // Without its header, frames of a segment cannot be told from old bytes, so the header is
        // synced first.
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

    /// Returns a file: a reused one, if there is one, with the generation of its old frames.
    pub(crate) fn new_file(
        &self,
        id: SegmentId,
        capacity: u64,
    ) -> Result<(Arc<dyn SegmentFile>, Option<u64>), Error> {
        if let Some(Reused { file, generation }) = self.reuse_file(id, capacity)? {
            return Ok((file, Some(generation)));
        }
        let created = match self.files.disk.create(id, capacity) {
            // Spares that cannot be used yet occupy room.
            Err(Error::Full) if self.drop_spares()? => self.files.disk.create(id, capacity),
            created => created,
        };
        Ok((created?, None))
    }

    /// Ends writing. Bytes after the last frame of a reused file cannot be told from a torn frame,
    /// so such a segment is sealed: the next process begins another one.
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

    /// Hands the footer to the next sync, which writes it when the frames are durable: views are
    /// rebuilt from footers. A segment left without a footer is scanned instead, so a failure does
    /// not stop the writer.
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
            Err(error) => log::warn!("segment {} is left without a footer: {error}", full.id.0),
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
            listing::whole_contents(&*full.file, full.id, full.generation, full.position)?.ok_or(
                Error::Corrupt {
                    segment: full.id,
                    position: 0,
                    what: "one of its frames is damaged",
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
