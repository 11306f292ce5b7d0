//! Rebuilds the metadata machine at a start: from the newest whole snapshot and the log behind it.

use std::collections::BTreeSet;
use std::fmt;

use sedge_core::machine::Machine as _;
use sedge_core::metadata::snapshot::{Frames, Place, Reader, SNAPSHOT_PARTITIONS};
use sedge_core::metadata::{METADATA_PARTITION, MetadataMachine};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::records::Records;
use sedge_storage::{Commit, Entry, LogBounds, LogStore, Room, SegmentId, Urgency};

use super::log::{Lost, for_each_batch};

/// Reason why `__cluster_metadata` cannot be replayed.
#[derive(Debug)]
pub enum ReplayError {
    Store(sedge_storage::Error),
    /// A record that this version cannot decode, at this offset of a partition.
    Record {
        partition: PartitionId,
        offset: Offset,
        reason: String,
    },
    /// Records are missing, so the topics are not known.
    Lost(Lost),
    /// The log begins after a snapshot of which neither copy is whole.
    Snapshots {
        log_start: Offset,
        /// Lost parts of the first copy, and of the second.
        lost: Box<[Lost; 2]>,
    },
    /// The log has a partition that no record mentions, so records are missing.
    Unknown {
        partition: PartitionId,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Record {
                partition,
                offset,
                reason,
            } => {
                let what = if *partition == METADATA_PARTITION {
                    "__cluster_metadata"
                } else {
                    "a snapshot of __cluster_metadata"
                };
                write!(
                    f,
                    "{what} cannot be read at offset {offset}: {reason}; start the version of \
                     sedge that wrote it, or restore a backup"
                )
            }
            Self::Lost(lost) => write!(
                f,
                "the list of topics is incomplete: __cluster_metadata has lost {lost}"
            ),
            Self::Snapshots { log_start, lost } => {
                write!(
                    f,
                    "the list of topics is incomplete: __cluster_metadata starts at offset \
                     {log_start}, and neither copy of the snapshot before that is whole"
                )?;
                for (copy, lost) in (1..).zip(&**lost).filter(|(_, lost)| !lost.is_empty()) {
                    write!(f, "; copy {copy} has lost {lost}")?;
                }
                Ok(())
            }
            Self::Unknown { partition } => write!(
                f,
                "the list of topics is incomplete: the log has partition {partition}, and \
                 __cluster_metadata has no record of its creation"
            ),
        }
    }
}

impl std::error::Error for ReplayError {}

impl From<sedge_storage::Error> for ReplayError {
    fn from(error: sedge_storage::Error) -> Self {
        Self::Store(error)
    }
}

/// The state that a start has read from `__cluster_metadata`.
#[derive(Debug)]
pub struct Replayed {
    pub machine: MetadataMachine,
    pub copies: Copies,
    /// Bytes of the records after the snapshot.
    pub record_bytes: u64,
}

impl Replayed {
    /// Moves the end of the log to the end offset of the snapshot, if the disk has lost the records
    /// before it: otherwise the snapshot would seem to contain the next records.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn extend_log(
        &self,
        store: &dyn LogStore,
        append_ms: i64,
    ) -> Result<(), sedge_storage::Error> {
        let partition = METADATA_PARTITION;
        let end = store.bounds(partition)?.next_offset;
        let Some((
            _,
            Place {
                end_offset: offset, ..
            },
        )) = self.copies.newest()
        else {
            return Ok(());
        };
        if offset <= end {
            return Ok(());
        }
        log::error!(
            target: "sedge::log",
            "__cluster_metadata ends at offset {end}, and its snapshot at {offset}: the disk lost \
             records that the snapshot contains; new records follow the snapshot"
        );
        store.reserve(Room {
            batch_bytes: 0,
            rows: 1,
            urgency: Urgency::Command,
        })?;
        store.append(Commit {
            entries: vec![Entry::LogStart { partition, offset }],
            updates: Vec::new(),
            append_ms,
        })?;
        store.sync()
    }
}

/// Rebuilds the machine, none of whose records may be missing. `blank` is its state without any.
///
/// **Invariant:** the machine has the newest whole snapshot and every record after it, and has
/// handed out every partition id in the log: so an id that it hands out was never used.
///
/// # Errors
/// The log cannot be read, is incomplete, or has records that this version cannot decode.
pub fn replay(store: &dyn LogStore, blank: MetadataMachine) -> Result<Replayed, ReplayError> {
    let bounds = store.bounds(METADATA_PARTITION)?;
    let copies = Copies::find(store)?;
    let newest = copies.newest();
    if newest.is_none() && bounds.log_start > Offset::ZERO && copies.were_written {
        let log_start = bounds.log_start;
        let lost = Box::new(copies.found.map(|found| found.lost));
        return Err(ReplayError::Snapshots { log_start, lost });
    }
    let (mut machine, from) = match newest {
        Some((id, place)) => (read_snapshot(store, id, &place, blank)?, place.end_offset),
        None => (blank, bounds.log_start),
    };
    let mut record_bytes = 0;
    let read = for_each_batch(store, METADATA_PARTITION, from, |batch| {
        record_bytes += batch.bytes() as u64;
        for record in Records::new(&batch.header, &batch.body) {
            let offset = batch.header.base_offset();
            let failed = |error| not_understood(METADATA_PARTITION, offset, &error);
            let record = record.map_err(failed)?;
            let offset = offset.plus(i64::from(record.offset_delta));
            if offset >= from {
                let record = MetadataRecord::decode(record.value.unwrap_or_default());
                machine.apply(offset, &record.map_err(failed)?);
            }
        }
        Ok::<_, ReplayError>(())
    })?;
    if !read.lost.is_empty() {
        return Err(ReplayError::Lost(read.lost));
    }
    match store.newest_partition()? {
        Some(partition) if machine.has_missed(partition) => Err(ReplayError::Unknown { partition }),
        _ => Ok(Replayed {
            machine,
            copies,
            record_bytes,
        }),
    }
}

fn not_understood(
    partition: PartitionId,
    offset: Offset,
    error: &sedge_protocol::Error,
) -> ReplayError {
    ReplayError::Record {
        partition,
        offset,
        reason: error.to_string(),
    }
}

fn read_snapshot(
    store: &dyn LogStore,
    id: PartitionId,
    place: &Place,
    blank: MetadataMachine,
) -> Result<MetadataMachine, ReplayError> {
    let mut reader = Reader::new(blank);
    let read = for_each_batch(store, id, place.first, |batch| {
        let taken = reader.take(batch);
        taken.map_err(|error| not_understood(id, batch.header.base_offset(), &error))
    })?;
    // The same snapshot was readable a moment ago.
    reader.finish().ok_or(ReplayError::Lost(read.lost))
}

/// The two copies of the snapshots, as far as they exist.
#[derive(Clone, Debug)]
pub struct Copies {
    found: [Found; 2],
    /// The log start of the records: snapshots that end before it are useless.
    log_start: Offset,
    /// Whether snapshots were ever written. If not, a log that starts after offset 0 begins with
    /// all of the state: a repair by a version without snapshots wrote it so.
    were_written: bool,
    /// Whether the copies have no segment in common.
    are_apart: bool,
}

#[derive(Clone, Debug, Default)]
struct Found {
    whole: Option<Place>,
    lost: Lost,
}

impl Copies {
    /// Reads both copies batch by batch, without decoding records.
    ///
    /// # Errors
    /// The log cannot be read, or has batches that this version does not understand.
    pub fn find(store: &dyn LogStore) -> Result<Self, ReplayError> {
        let mut copies = Self {
            found: Default::default(),
            log_start: store.bounds(METADATA_PARTITION)?.log_start,
            were_written: false,
            are_apart: true,
        };
        let mut segments: BTreeSet<SegmentId> = BTreeSet::new();
        for (id, found) in SNAPSHOT_PARTITIONS.into_iter().zip(&mut copies.found) {
            copies.were_written |= store.bounds(id)? != LogBounds::default();
            let mut frames = Frames::default();
            let read = for_each_batch(store, id, Offset::ZERO, |batch| {
                let taken = frames.take(batch).map(drop);
                taken.map_err(|error| not_understood(id, batch.header.base_offset(), &error))
            })?;
            found.lost = read.lost;
            let log_start = copies.log_start;
            found.whole = frames.whole().filter(|of| of.end_offset >= log_start);
            for segment in segments_of(store, id, found.whole.as_ref())? {
                copies.are_apart &= segments.insert(segment);
            }
        }
        Ok(copies)
    }

    /// Returns the newest whole snapshot, and the partition that holds it.
    #[must_use]
    pub fn newest(&self) -> Option<(PartitionId, Place)> {
        let found = SNAPSHOT_PARTITIONS.into_iter().zip(&self.found);
        let whole = found.filter_map(|(id, found)| Some((id, found.whole?)));
        // If both are equal, the first copy.
        whole.rev().max_by_key(|(_, place)| place.end_offset)
    }

    /// Returns the damaged copies with their numbers: a part of a copy is lost, or all of what the
    /// log needs. A snapshot that was torn by a crash does not count.
    pub fn damaged(&self) -> impl Iterator<Item = (usize, &Lost)> {
        let needed = self.log_start > Offset::ZERO && self.were_written;
        let found = (1..).zip(&self.found);
        let is_damaged =
            move |found: &Found| !found.lost.is_empty() || (needed && found.whole.is_none());
        let damaged = found.filter(move |(_, found)| is_damaged(found));
        damaged.map(|(copy, found)| (copy, &found.lost))
    }

    /// Returns whether the newest whole snapshots of the two copies are at these places.
    #[must_use]
    pub fn are_at(&self, places: [Place; 2]) -> bool {
        let [first, second] = &self.found;
        [first.whole, second.whole] == places.map(Some)
    }

    /// Returns whether the copies have no segment in common.
    #[must_use]
    pub const fn are_apart(&self) -> bool {
        self.are_apart
    }

    /// Returns whether the newest snapshot exists twice, in different segments, or no snapshot
    /// exists yet.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        let [first, second] = &self.found;
        let end_offset = |found: &Found| found.whole.map(|place| place.end_offset);
        let is_damaged = self.damaged().next().is_some();
        !is_damaged && self.are_apart && end_offset(first) == end_offset(second)
    }
}

/// Returns the segments that hold parts of a snapshot.
///
/// # Errors
/// The index cannot be read.
pub fn segments_of(
    store: &dyn LogStore,
    id: PartitionId,
    place: Option<&Place>,
) -> Result<BTreeSet<SegmentId>, sedge_storage::Error> {
    let Some(place) = place else {
        return Ok(BTreeSet::new());
    };
    let slices = store.slices(id)?.into_iter();
    let of_it = slices.filter(|of| of.first_offset < place.next && of.next_offset > place.first);
    Ok(of_it.map(|slice| slice.segment).collect())
}
