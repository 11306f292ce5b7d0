//! Making a batch from the log one of the link's own producer.

use alloc::vec::Vec;
use core::fmt;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{Kept, RecordView, Records, decompress, rebuild};

/// Why a batch cannot be sent on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampError {
    /// Its bytes are not what was written (CRC): a new CRC would hide that.
    Corrupt,
    /// Part of a transaction; whether it was committed is not known here yet.
    Transactional,
}

impl fmt::Display for StampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "a batch here is corrupt (CRC)",
            Self::Transactional => "a batch here is transactional, which is not mirrored yet",
        })
    }
}

/// Puts the link's producer into the header, as a producer would send the batch. Record bytes stay,
/// but for a batch of which compaction has left less: its records close up.
///
/// `LogAppendTime` becomes `CreateTime`, because brokers take no other from a producer: the records
/// have the time that their first producer gave them.
pub fn stamp(
    batch: &mut Batch,
    (id, epoch): (ProducerId, ProducerEpoch),
    sequence: i32,
) -> Result<(), StampError> {
    let header = &mut batch.header;
    if header.computed_crc(&batch.body) != header.crc() {
        return Err(StampError::Corrupt);
    }
    if header.is_transactional() {
        return Err(StampError::Transactional);
    }
    if i64::from(header.last_offset_delta()) + 1 != i64::from(header.record_count()) {
        *batch = without_holes(batch)?;
    }
    let header = &mut batch.header;
    header.set_base_offset(Offset::ZERO);
    header.set_leader_epoch(LeaderEpoch(-1));
    header.clear_log_append_time();
    header.set_producer(id, epoch, sequence, &batch.body);
    Ok(())
}

/// What compaction left of a batch: brokers refuse offsets with holes from a producer.
fn without_holes(batch: &Batch) -> Result<Batch, StampError> {
    let corrupt = |_| StampError::Corrupt;
    let body = decompress(&batch.header, &batch.body, DECOMPRESSED_BYTES_MAX).map_err(corrupt)?;
    let records: Vec<RecordView<'_>> = Records::new(&batch.header, &body)
        .collect::<Result<_, _>>()
        .map_err(corrupt)?;
    let kept = records.iter().map(|record| Kept {
        timestamp_delta: record.timestamp_delta,
        key: record.key,
        value: record.value,
        headers: record.headers,
    });
    let rebuilt = rebuild(&batch.header, kept).map_err(corrupt)?;
    rebuilt.ok_or(StampError::Corrupt)
}

/// The sequence after `count` records from `sequence` on: wraps to 0 behind the largest (KIP-98).
#[must_use]
pub fn advance(sequence: i32, count: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).unwrap_or(0)
}
