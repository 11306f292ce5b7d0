//! Reads the existing records of a fetch's partitions, up to the end that its isolation allows.
//!
//! Large batches are only located: the kernel sends them from their segment. Small ones are held in
//! memory, up to `memory_max`; a read that ends there is cut, and the next fetch continues. KIP-74:
//! the first batch is returned however large it is.

use std::sync::Arc;

use sedge_core::fetch::session::{Outcome, Wanted};
use sedge_core::log::AbortedTransaction;
use sedge_core::metadata::Topic;
use sedge_protocol::ids::Offset;
use sedge_protocol::{ErrorCode, parts};
use sedge_storage::{Chunk, Error, Located, LogStore, ReadLimits, Wait};

use super::Source;
use super::plan::{Found, Target};
use crate::limits::{FETCH_COLD_BYTES_MAX, FETCH_PARTITIONS_AT_ONCE};
use crate::log::partitions::Partition;
use crate::log::transactions::aborted_among;

pub use super::isolation::Isolation;

/// Limits shared by all reads of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes_max: usize,
    pub memory_max: usize,
    pub isolation: Isolation,
}

/// The result of reading one partition.
pub struct Read {
    pub wanted: Wanted,
    pub error: Option<ErrorCode>,
    /// The offsets before the read; `None` if the partition was not found.
    pub ends: Option<Ends>,
    pub chunks: Vec<Chunk>,
    /// The offset after the batches; 0 if there are none.
    pub next_offset: Offset,
    /// For `read_committed`: the aborted transactions among the batches.
    pub aborted: Vec<AbortedTransaction>,
    /// Whether the read ended at a limit of memory or of cold data.
    pub is_cut: bool,
    /// The topic, if its fetch filters apply and have not run yet: all chunks are in memory.
    pub(super) filtered_by: Option<Arc<Topic>>,
    pub(super) partition: Option<Arc<Partition>>,
}

/// The published offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start: Offset,
}

impl Ends {
    fn of(partition: &Partition) -> Self {
        let last_stable_offset = partition.last_stable_offset();
        Self {
            high_watermark: partition.high_watermark(),
            last_stable_offset,
            log_start: partition.log_start(),
        }
    }

    fn visible(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset,
        }
    }
}

impl Read {
    /// Returns the bytes of the batches that were read.
    pub fn bytes(&self) -> usize {
        parts::frame_bytes(&self.chunks)
    }

    /// Returns how many offsets the batches span, from the wanted one on.
    pub fn offsets(&self) -> u64 {
        let offsets = self.next_offset.get() - self.wanted.fetch_offset;
        u64::try_from(offsets).unwrap_or(0)
    }

    /// Replaces what was read by an error.
    pub fn refuse(&mut self, error: ErrorCode) {
        self.error = Some(error);
        self.ends = None;
        self.chunks.clear();
        self.aborted.clear();
    }

    /// Returns the outcome for the fetch session.
    pub fn outcome(&self) -> Outcome {
        let wire = |end: Option<Offset>| end.map_or(-1, Offset::get);
        Outcome {
            high_watermark: wire(self.ends.map(|ends| ends.high_watermark)),
            log_start_offset: wire(self.ends.map(|ends| ends.log_start)),
            record_bytes: self.bytes(),
            is_error: self.error.is_some(),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::memory_bytes).sum()
    }

    /// Returns whether more records became visible since the read.
    pub(super) fn has_grown(&self, isolation: Isolation) -> bool {
        let (Some(partition), Some(ends)) = (&self.partition, &self.ends) else {
            return false;
        };
        isolation.end_of(partition) > ends.visible(isolation)
    }
}

/// Reads the existing records: on this thread if they are in memory, where two hand-offs to another
/// thread would take longer than the read; otherwise off the executor, as they come from flash.
pub async fn read(source: &Source<'_>, targets: Vec<Target>, limits: Limits) -> Vec<Read> {
    let store = Arc::clone(&source.log.store);
    let has_data = |target: &&Target| target.has_data(limits.isolation);
    let with_data = targets.iter().filter(has_data).count();
    if with_data <= FETCH_PARTITIONS_AT_ONCE
        && let Some(reads) = read_all(&*store, &targets, limits, Wait::Never)
    {
        return reads;
    }
    let work = move || {
        read_all(&*store, &targets, limits, Wait::ForDisk)
            .expect("a read with Wait::ForDisk is never NotCached")
    };
    source.disk_work.run(work).await
}

/// Returns `None` if data is not in memory and the read must not wait.
pub(super) fn read_all(
    store: &dyn LogStore,
    targets: &[Target],
    limits: Limits,
    wait: Wait,
) -> Option<Vec<Read>> {
    let mut room = Room {
        left: limits.bytes_max,
        memory_left: limits.memory_max,
        is_first: true,
        isolation: limits.isolation,
        wait,
    };
    let read = |target: &Target| {
        let read = read_one(store, target, room)?;
        let bytes = read.bytes();
        room.left = room.left.saturating_sub(bytes);
        room.memory_left = room.memory_left.saturating_sub(read.memory_bytes());
        room.is_first &= bytes == 0;
        Some(read)
    };
    targets.iter().map(read).collect()
}

/// The room that a partition has in the answer.
#[derive(Clone, Copy)]
struct Room {
    left: usize,
    memory_left: usize,
    /// Whether nothing was read yet.
    is_first: bool,
    isolation: Isolation,
    wait: Wait,
}

fn read_one(store: &dyn LogStore, target: &Target, room: Room) -> Option<Read> {
    let mut read = Read {
        wanted: target.wanted.clone(),
        error: None,
        ends: None,
        chunks: Vec::new(),
        next_offset: Offset::ZERO,
        aborted: Vec::new(),
        is_cut: false,
        filtered_by: None,
        partition: None,
    };
    match &target.found {
        Err(error) => read.error = Some(*error),
        Ok(found) => {
            read.ends = Some(Ends::of(&found.partition));
            read.partition = Some(Arc::clone(&found.partition));
            read.filtered_by.clone_from(&found.filtered_by);
            match read_records(store, found, &target.wanted, room)? {
                Ok(located) => match aborted(store, found, &target.wanted, room, &located)? {
                    Ok(aborted) => {
                        read.aborted = aborted;
                        read.chunks = located.chunks;
                        read.next_offset = located.next_offset;
                        read.is_cut = located.is_cut;
                    }
                    Err(error) => read.error = Some(error),
                },
                Err(error) => read.error = Some(error),
            }
        }
    }
    Some(read)
}

fn read_records(
    store: &dyn LogStore,
    found: &Found,
    wanted: &Wanted,
    room: Room,
) -> Option<Result<Located, ErrorCode>> {
    let partition = &*found.partition;
    let until = room.isolation.end_of(partition);
    // As in Kafka, an offset between the last visible record and the high watermark is not an
    // error.
    let Some(from) = Offset::from_wire(wanted.fetch_offset)
        .filter(|from| (partition.log_start()..=partition.high_watermark()).contains(from))
    else {
        return Some(Err(ErrorCode::OffsetOutOfRange));
    };
    let bytes_max = usize::try_from(wanted.partition_max_bytes)
        .unwrap_or(0)
        .min(room.left);
    if from >= until || (!room.is_first && bytes_max == 0) {
        return Some(Ok(Located::default()));
    }
    let limits = ReadLimits {
        bytes_max,
        memory_max: room.memory_left,
        cold_max: FETCH_COLD_BYTES_MAX,
        takes_places: found.filtered_by.is_none(),
    };
    match store.locate(partition.id, from, until, limits, room.wait) {
        // KIP-74: only the first batch of the answer may break the limits.
        Ok(located) if !room.is_first && parts::frame_bytes(&located.chunks) > bytes_max => {
            Some(Ok(Located::default()))
        }
        // The same applies to memory: the next fetch has room for it.
        Ok(located) if !room.is_first && is_over(&located, room.memory_left) => Some(Ok(Located {
            is_cut: true,
            ..Located::default()
        })),
        Ok(located) => Some(Ok(located)),
        Err(Error::NotCached) => None,
        Err(error) => {
            log::error!(target: "sedge::fetch", "partition {} at {from}: {error}", partition.id);
            Some(Err(ErrorCode::KafkaStorageError))
        }
    }
}

/// Returns the aborted transactions among the batches, if the reader wants to know them. Returns
/// `None` if they have to be read from the view, and the read must not wait.
fn aborted(
    store: &dyn LogStore,
    found: &Found,
    wanted: &Wanted,
    room: Room,
    located: &Located,
) -> Option<Result<Vec<AbortedTransaction>, ErrorCode>> {
    let from = Offset(wanted.fetch_offset);
    let is_committed = room.isolation == Isolation::ReadCommitted;
    if !is_committed || located.chunks.is_empty() || !found.partition.may_have_aborted(from) {
        return Some(Ok(Vec::new()));
    }
    if room.wait == Wait::Never {
        return None;
    }
    let read = aborted_among(store, &found.partition, from, located.next_offset);
    Some(read.map_err(|error| {
        log::error!(target: "sedge::fetch", "partition {}: {error}", found.partition.id);
        ErrorCode::KafkaStorageError
    }))
}

fn is_over(located: &Located, memory_left: usize) -> bool {
    let held: usize = located.chunks.iter().map(Chunk::memory_bytes).sum();
    held > memory_left
}
