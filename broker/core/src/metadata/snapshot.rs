//! Snapshots of `__cluster_metadata`: the whole state as batches of records, so that earlier
//! records can be deleted.
//!
//! As in `KRaft`, a snapshot is kept beside the log, not in it. A snapshot has an *end offset*,
//! contains the log before that offset, and is a sequence of batches: a control record as its
//! header, the same records as in the log, a control record as its footer. `KRaft` writes a file;
//! sedge writes to a partition of the broker's own. There are two such partitions,
//! [`SNAPSHOT_PARTITIONS`], and each snapshot is written to both. A partition may hold several
//! snapshots in sequence; a snapshot without its footer, or with a hole, is ignored.
//!
//! The caller decides when snapshots are written and writes them: this module has no clock and no
//! disk.
//!
//! **Invariant:** a snapshot counts only if each of its offsets exists, from its header to its
//! footer (`Frames`).

use alloc::vec::Vec;

use sedge_protocol::batch::Batch;
use sedge_protocol::error::Error;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::records::{BatchBuilder, Compression, Records};
use sedge_protocol::snapshot_records::SnapshotRecord;

use super::MetadataMachine;
use crate::limits::{SNAPSHOT_BATCH_BYTES, SNAPSHOT_BATCH_RECORDS_MAX};
use crate::machine::Machine as _;

/// The partitions that hold the two copies of each snapshot.
pub const SNAPSHOT_PARTITIONS: [PartitionId; 2] = [
    PartitionId::RESERVED_FROM,
    PartitionId(PartitionId::RESERVED_FROM.0 + 1),
];

/// The position of a whole snapshot in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The snapshot contains the log before this offset.
    pub end_offset: Offset,
    /// Offset of its header.
    pub first: Offset,
    /// The offset after its footer.
    pub next: Offset,
}

/// Finds whole snapshots in the batches of one of the [`SNAPSHOT_PARTITIONS`].
#[derive(Clone, Debug, Default)]
pub struct Frames {
    open: Option<Place>,
    whole: Option<Place>,
}

/// The part that a batch plays among the snapshots around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The batch begins a snapshot.
    Header,
    /// The batch has records of the snapshot that has begun.
    Records,
    /// The batch completes a snapshot.
    Footer,
    /// The batch belongs to a snapshot that is not whole.
    Stray,
}

impl Frames {
    /// Takes the next batch, in the order of the offsets. A damaged one counts as missing.
    ///
    /// # Errors
    /// The batch is undamaged, but this version does not understand it.
    pub fn take(&mut self, batch: &Batch) -> Result<Part, Error> {
        let header = &batch.header;
        if header.computed_crc(&batch.body) != header.crc() {
            return Ok(Part::Stray);
        }
        // A gap ends the open snapshot.
        let open = self.open.take();
        let open = open.filter(|open| open.next == header.base_offset());
        let control = if header.is_control() {
            control_record(batch)?
        } else {
            None
        };
        let next = header.next_offset();
        Ok(match (control, open) {
            (Some(SnapshotRecord::Header { end_offset, .. }), _) => {
                let first = header.base_offset();
                self.open = Some(Place {
                    end_offset,
                    first,
                    next,
                });
                Part::Header
            }
            (None, Some(open)) => {
                self.open = Some(Place { next, ..open });
                Part::Records
            }
            (Some(SnapshotRecord::Footer { end_offset }), Some(open))
                if end_offset == open.end_offset =>
            {
                self.whole = Some(Place { next, ..open });
                Part::Footer
            }
            (_, None) | (Some(SnapshotRecord::Footer { .. }), Some(_)) => Part::Stray,
        })
    }

    /// Returns the newest whole snapshot.
    #[must_use]
    pub const fn whole(&self) -> Option<Place> {
        self.whole
    }
}

fn control_record(batch: &Batch) -> Result<Option<SnapshotRecord>, Error> {
    for record in Records::new(&batch.header, &batch.body) {
        let record = record?;
        let key = record.key.unwrap_or_default();
        let found = SnapshotRecord::decode(key, record.value.unwrap_or_default())?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Reads one of the [`SNAPSHOT_PARTITIONS`] into machines.
#[derive(Debug)]
pub struct Reader {
    frames: Frames,
    blank: MetadataMachine,
    open: Option<MetadataMachine>,
    whole: Option<MetadataMachine>,
}

impl Reader {
    /// Starts a reader. `blank` is the state without any records.
    #[must_use]
    pub fn new(blank: MetadataMachine) -> Self {
        Self {
            frames: Frames::default(),
            blank,
            open: None,
            whole: None,
        }
    }

    /// Takes the next batch; see [`Frames::take`].
    ///
    /// # Errors
    /// The batch is undamaged, but this version does not understand it.
    pub fn take(&mut self, batch: &Batch) -> Result<(), Error> {
        match self.frames.take(batch)? {
            Part::Header => self.open = Some(self.blank.clone()),
            Part::Records => {
                if let Some(machine) = &mut self.open
                    && !batch.header.is_control()
                {
                    apply_all(machine, batch)?;
                }
            }
            Part::Footer => self.whole = self.open.take(),
            Part::Stray => {}
        }
        Ok(())
    }

    /// Returns the state of the newest whole snapshot.
    #[must_use]
    pub fn finish(self) -> Option<MetadataMachine> {
        self.whole
    }
}

fn apply_all(machine: &mut MetadataMachine, batch: &Batch) -> Result<(), Error> {
    for record in Records::new(&batch.header, &batch.body) {
        let record = MetadataRecord::decode(record?.value.unwrap_or_default())?;
        machine.apply(batch.header.base_offset(), &record);
    }
    Ok(())
}

/// The timestamps of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The time at which the snapshot is made, ms.
    pub now_ms: i64,
    /// The time of the newest record before the end offset, ms; 0 without one.
    pub last_record_ms: i64,
}

/// Returns the batches of a snapshot of `machine`, which contains the log before `end_offset`. Each
/// has base offset 0, which the appender patches.
pub fn batches(
    machine: &MetadataMachine,
    end_offset: Offset,
    times: Times,
) -> impl Iterator<Item = Batch> + '_ {
    let control = move |record: SnapshotRecord| {
        let (key, value) = record.encode();
        let mut builder = BatchBuilder::new(Compression::None).control();
        builder.push(times.now_ms, Some(&key), Some(&value), &[]);
        build(builder, machine)
    };
    let header = control(SnapshotRecord::Header {
        last_contained_log_timestamp: times.last_record_ms,
        end_offset,
    });
    let mut records = machine.snapshot().peekable();
    let content = core::iter::from_fn(move || {
        records.peek()?;
        let mut builder = BatchBuilder::new(Compression::None);
        while builder.bytes() < SNAPSHOT_BATCH_BYTES
            && builder.count() < SNAPSHOT_BATCH_RECORDS_MAX
            && let Some(record) = records.next()
        {
            builder.push(times.now_ms, None, Some(&record.encode()), &[]);
        }
        Some(build(builder, machine))
    });
    let footer = core::iter::once_with(move || control(SnapshotRecord::Footer { end_offset }));
    core::iter::once(header).chain(content).chain(footer)
}

fn build(builder: BatchBuilder, machine: &MetadataMachine) -> Batch {
    let mut batch = builder
        .build()
        .expect("the batch has a record, and is far below the limits of a batch");
    batch
        .header
        .set_leader_epoch(machine.image().leader_epoch());
    batch
}

/// `metadata.log.max.record.bytes.between.snapshots` and `metadata.log.max.snapshot.interval.ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub record_bytes_max: u64,
    /// `None`: snapshots are not made for their age.
    pub interval_ms: Option<u64>,
}

/// Counts since the last snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Bytes of records in the log.
    pub record_bytes: u64,
    /// Bytes of one copy of the last snapshot.
    pub snapshot_bytes: u64,
    pub ms: u64,
}

impl Policy {
    /// Returns whether a snapshot is due. Without new records none is. A snapshot larger than all
    /// records behind it would save nothing, so none is due then either; flash is written at most
    /// three times for a byte of records.
    #[must_use]
    pub fn is_due(&self, since: &Since) -> bool {
        let enough = self.record_bytes_max.max(since.snapshot_bytes);
        let is_time = self.interval_ms.is_some_and(|every| since.ms >= every);
        since.record_bytes >= enough.max(1) || (is_time && since.record_bytes > 0)
    }
}

/// Groups the batches into appends of up to about `bytes`.
pub fn in_appends(
    batches: impl Iterator<Item = Batch>,
    bytes: usize,
) -> impl Iterator<Item = Vec<Batch>> {
    let mut batches = batches.peekable();
    core::iter::from_fn(move || {
        let mut some = Vec::new();
        let mut taken = 0;
        while taken < bytes
            && let Some(batch) = batches.next()
        {
            taken += batch.bytes();
            some.push(batch);
        }
        (!some.is_empty()).then_some(some)
    })
}

#[cfg(test)]
mod tests;
