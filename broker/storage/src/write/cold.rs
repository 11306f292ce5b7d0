//! Cold segments: batches of the log written again together, so that the segments that they leave
//! can be freed, and each partition's batches are read in one go.
//!
//! A cleaner's thread writes a cold segment, past the writer, complete and synced, footer included.
//! It counts only after a commit with [`Entry::Replace`](crate::Entry::Replace) refers to it: a
//! crash before leaves a file without live data, which the next start frees.

use std::io::IoSlice;
use std::sync::atomic::AtomicBool;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, PartitionId};

use crate::api::{Cold, ColdFile, ColdSegment};
use crate::error::{Error, io_error};
use crate::format::{
    EntryHead, EntryKind, Footer, FooterRun, FrameHead, Run, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::ids::{Sequence, new_generation};
use crate::limits;
use crate::store::{Store, spares};

/// The parts of one frame, before it is written.
#[derive(Debug, Default)]
struct Gathered {
    heads: Vec<EntryHead>,
    append_ms: Vec<i64>,
    batches: Vec<Batch>,
    bytes: u64,
}

/// See [`ColdSegment`].
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    store: &'a Store,
    file: ColdFile,
    generation: u64,
    frames: u64,
    position: u64,
    synced: u64,
    bytes: u64,
    gathered: Gathered,
    is_cut: bool,
    runs: Vec<FooterRun>,
    /// Bytes of a reused file, which is overwritten page by page.
    recycled_bytes: Option<u64>,
}

impl<'a> Writing<'a> {
    /// Begins a cold segment with room for `bytes` of batches; more may be pushed.
    pub fn begin(store: &'a Store, bytes: u64) -> Result<Self, Error> {
        store.check_health()?;
        let id = store.lock_writer().next_segment();
        let room = SEGMENT_HEADER_BYTES + bytes + bytes / limits::COLD_OVERHEAD_SHARE;
        store.ensure_reserve()?;
        let (file, previous_generation) = store.new_file(id, room)?;
        let file = ColdFile {
            file,
            disk: store.files.disk.clone(),
            id,
            is_adopted: AtomicBool::new(false),
        };
        let generation = new_generation();
        let header = SegmentHeader {
            id,
            generation,
            first_sequence: Sequence(0),
            previous_generation,
            is_cold: true,
        };
        // Synced before anything else, so that the leftovers of a crash are recognised.
        file.file
            .write_at(0, &[IoSlice::new(&header.encode())])
            .and_then(|()| file.file.sync_data())
            .map_err(|source| io_error("write a cold segment's header", source))?;
        store.count_cleaned(SEGMENT_HEADER_BYTES);
        Ok(Self {
            store,
            file,
            generation,
            frames: 0,
            position: SEGMENT_HEADER_BYTES,
            synced: SEGMENT_HEADER_BYTES,
            bytes: 0,
            gathered: Gathered::default(),
            is_cut: false,
            runs: Vec::new(),
            recycled_bytes: previous_generation.map(|_| room),
        })
    }

    fn write_frame(&mut self) -> Result<(), Error> {
        let gathered = std::mem::take(&mut self.gathered);
        if gathered.heads.is_empty() {
            return Ok(());
        }
        self.frames += 1;
        let slices: Vec<&[u8]> = gathered
            .batches
            .iter()
            .flat_map(|batch| [&batch.header.as_bytes()[..], &batch.body[..]])
            .collect();
        let head = FrameHead {
            padding: 0,
            generation: self.generation,
            sequence: Sequence(self.frames),
            append_ms: gathered.append_ms.iter().copied().max().unwrap_or_default(),
            body_bytes: gathered.bytes as u32,
            body_crc: slices
                .iter()
                .fold(0, |crc, slice| crc32c::crc32c_append(crc, slice)),
            entries: gathered.heads,
        };
        let front = head.encode();
        let mut all = Vec::with_capacity(2 + slices.len());
        all.push(IoSlice::new(&front));
        all.extend(slices.into_iter().map(IoSlice::new));
        if let Some(bytes) = self.recycled_bytes {
            let rest = spares::rest_of_page(self.position + head.frame_bytes(), bytes);
            all.push(IoSlice::new(rest));
        }
        self.file
            .file
            .write_at(self.position, &all)
            .map_err(|source| io_error("write a cold segment", source))?;
        for (entry, append_ms) in head.entries.iter().zip(gathered.append_ms) {
            let run = Run {
                segment: self.file.id,
                position: self.position,
                span: head.frame_bytes() as u32,
                bytes: entry.bytes,
                next: entry.next,
                max_timestamp: entry.max_timestamp,
                append_ms,
                leader_epoch: entry.leader_epoch,
            };
            self.runs.push(FooterRun {
                partition: entry.partition,
                base: entry.base,
                run,
            });
        }
        self.position += head.frame_bytes();
        self.store.count_cleaned(head.frame_bytes());
        // In small steps, so that no commit waits long behind it for the device.
        if self.position - self.synced >= limits::COLD_SYNC_BYTES {
            let synced = self.file.file.sync_data();
            synced.map_err(|source| io_error("sync a cold segment", source))?;
            self.synced = self.position;
        }
        Ok(())
    }
}

impl ColdSegment for Writing<'_> {
    fn push(&mut self, partition: PartitionId, batch: Batch, append_ms: i64) -> Result<(), Error> {
        self.bytes += batch.bytes() as u64;
        let is_cut = std::mem::take(&mut self.is_cut);
        // A run is walked by whole frames, so a frame has at most one stretch of a partition.
        if self.gathered.ends_with(partition, append_ms, is_cut) {
            self.write_frame()?;
        }
        self.gathered.push(partition, batch, append_ms);
        if self.gathered.bytes >= limits::RUN_BYTES_MAX
            || self.gathered.heads.len() >= limits::COLD_FRAME_PARTS_MAX
        {
            self.write_frame()?;
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.is_cut = true;
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(mut self: Box<Self>) -> Result<Cold, Error> {
        self.write_frame()?;
        let footer = Footer {
            generation: self.generation,
            last_sequence: Sequence(self.frames),
            frames_end: self.position,
            runs: std::mem::take(&mut self.runs),
            facts: Vec::new(),
        };
        let bytes = footer.encode();
        let end = self.position + bytes.len() as u64;
        let file = &self.file.file;
        file.sync_data()
            .and_then(|()| file.write_at(self.position, &[IoSlice::new(&bytes)]))
            .and_then(|()| file.truncate(end))
            .and_then(|()| file.sync_data())
            .map_err(|source| io_error("finish a cold segment", source))?;
        self.store.count_cleaned(bytes.len() as u64);
        // The replaced commits are synced first: if a crash took them, the copy would leave a gap
        // in the offsets before it.
        self.store.sync_log()?;
        let this = *self;
        Ok(Cold {
            segment: this.file.id,
            generation: this.generation,
            runs: footer.runs,
            file: Some(this.file),
            batches: Vec::new(),
        })
    }
}

impl Gathered {
    /// Returns whether the last stretch belongs to the partition and must not be extended.
    fn ends_with(&self, partition: PartitionId, append_ms: i64, is_cut: bool) -> bool {
        let last = self.heads.last().zip(self.append_ms.last());
        last.is_some_and(|(head, last_ms)| {
            head.partition == partition && (is_cut || *last_ms != append_ms)
        })
    }

    fn push(&mut self, partition: PartitionId, batch: Batch, append_ms: i64) {
        let header = &batch.header;
        let bytes = batch.bytes() as u32;
        let (next, max_timestamp) = (header.next_offset(), header.max_timestamp());
        let leader_epoch = LeaderEpoch::from_wire(header.leader_epoch().0);
        match self.heads.last_mut() {
            Some(head) if head.partition == partition => {
                head.next = next;
                head.max_timestamp = head.max_timestamp.max(max_timestamp);
                head.bytes += bytes;
                head.leader_epoch = leader_epoch;
            }
            _ => {
                self.heads.push(EntryHead {
                    kind: EntryKind::Moved,
                    partition,
                    base: header.base_offset(),
                    next,
                    max_timestamp,
                    bytes,
                    leader_epoch,
                });
                self.append_ms.push(append_ms);
            }
        }
        self.bytes += u64::from(bytes);
        self.batches.push(batch);
    }
}
