//! Rewrites the header of a batch from the log for the link's own producer.

use alloc::vec::Vec;
use core::fmt;

use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{Kept, RecordView, Records, decompress, rebuild};

/// Reason why a batch cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampError {
    /// The bytes are not those that were written (CRC): a new CRC would hide that.
    Corrupt,
    /// The records cannot be read, so no batch with other timestamps or offsets can be built from
    /// them.
    Unreadable,
}

impl fmt::Display for StampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "a batch in the log here is corrupt (CRC)",
            Self::Unreadable => "the records of a batch in the log here cannot be read",
        })
    }
}

/// A batch of the log, checked and prepared for sending.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) max_timestamp: i64,
    /// `None` for a batch that is skipped: a control batch, which belongs to the local log only, or
    /// one of which compaction left no record.
    pub(super) batch: Option<Result<Batch, StampError>>,
    /// What the batch becomes, by the partitions upstream, if its records are spread.
    pub(super) parts: Vec<(i32, Batch)>,
    /// The batch has the records of several stored ones.
    pub(super) is_joined: bool,
    /// Records that are left out because they are late.
    pub(super) late: i32,
}

impl Prepared {
    /// Checks a batch, and rebuilds one that an upstream would refuse or show differently from what
    /// consumers see here. Rebuilding decompresses, so do not call it on the executor's threads.
    #[must_use]
    pub fn new(batch: Batch) -> Self {
        let header = batch.header;
        if header.is_control() || header.record_count() == 0 {
            return Self::passed_by(&header);
        }
        Self {
            batch: Some(fit(batch)),
            ..Self::passed_by(&header)
        }
    }

    /// Returns a batch that is not sent.
    fn passed_by(header: &BatchHeader) -> Self {
        Self {
            base: header.base_offset(),
            next: header.next_offset(),
            leader_epoch: header.leader_epoch(),
            max_timestamp: header.max_timestamp(),
            batch: None,
            parts: Vec::new(),
            is_joined: false,
            late: 0,
        }
    }

    /// Leaves out a batch whose records are late.
    pub(super) fn late(batch: &Batch) -> Self {
        Self {
            late: batch.header.record_count(),
            ..Self::passed_by(&batch.header)
        }
    }
}

/// Checks that a batch may be sent.
pub(super) fn check(batch: &Batch) -> Result<(), StampError> {
    let header = &batch.header;
    if header.computed_crc(&batch.body) != header.crc() {
        return Err(StampError::Corrupt);
    }
    Ok(())
}

/// Returns whether a producer could have sent a batch with this header; see [`fit`].
pub(super) fn is_fit(header: &BatchHeader) -> bool {
    let has_holes = i64::from(header.last_offset_delta()) + 1 != i64::from(header.record_count());
    !has_holes && !header.is_log_append_time()
}

/// Returns the batch as a producer could have sent it.
///
/// Brokers refuse offsets with holes from a producer, so the offsets of a compacted batch are
/// closed up. Brokers do not accept `LogAppendTime` from a producer either: the records become
/// `CreateTime` ones with the timestamp that the header gives to all of them, which is what
/// consumers here see. (The first producer's clock may be years off, and an upstream would act on
/// its timestamps.)
fn fit(batch: Batch) -> Result<Batch, StampError> {
    check(&batch)?;
    let header = &batch.header;
    if is_fit(header) {
        return Ok(batch);
    }
    let unreadable = |_| StampError::Unreadable;
    let body = decompress(header, &batch.body, DECOMPRESSED_BYTES_MAX).map_err(unreadable)?;
    let records: Vec<RecordView<'_>> = Records::new(header, &body)
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    let append_time = header
        .is_log_append_time()
        .then(|| header.max_timestamp().wrapping_sub(header.base_timestamp()));
    let kept = records.iter().map(|record| Kept {
        timestamp_delta: append_time.unwrap_or(record.timestamp_delta),
        key: record.key,
        value: record.value,
        headers: record.headers,
    });
    let rebuilt = rebuild(header, kept).map_err(unreadable)?;
    rebuilt.ok_or(StampError::Unreadable)
}

/// Writes the link's producer into the header of a prepared batch, as a producer would send it.
pub(super) fn stamp(
    batch: &mut Batch,
    (id, epoch): (ProducerId, ProducerEpoch),
    sequence: i32,
    is_transactional: bool,
) {
    let header = &mut batch.header;
    header.set_transactional(is_transactional);
    header.set_base_offset(Offset::ZERO);
    header.set_leader_epoch(LeaderEpoch(-1));
    header.clear_delete_horizon();
    header.set_producer(id, epoch, sequence, &batch.body);
}

/// Returns the sequence `count` records after `sequence`; wraps to 0 after the largest (KIP-98).
#[must_use]
pub fn advance(sequence: i32, count: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).unwrap_or(0)
}
