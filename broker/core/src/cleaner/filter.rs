//! Filters the records of each batch in a compaction.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;

use sedge_protocol::batch::Batch;
use sedge_protocol::error::{Error, Result};
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{Compacted, RecordView, Records, decompress};

use super::keys::KeyOffsets;
use super::transactions::Transactions;

/// The outcome for a batch.
#[derive(Clone, Debug)]
pub enum Filtered {
    /// The batch stays as it is, byte for byte.
    Whole,
    /// This part of the batch stays.
    Part(Batch),
    /// The whole batch is removed.
    Nothing,
}

/// The epoch of each producer that is still known, and the base offset of its last data batch, if
/// it has one. That batch is kept, even if it is empty, because a restart reads the producer's
/// sequence from it.
pub type LastBatches = BTreeMap<ProducerId, (ProducerEpoch, Option<Offset>)>;

/// One pass over a partition. The caller passes it all batches from the log start on, in order.
#[derive(Debug)]
pub struct Filter<'a> {
    pub keys: &'a KeyOffsets,
    pub transactions: Transactions,
    pub last_batches: &'a LastBatches,
    /// The log end offset. The batch before it stays too, even if it is empty, so that a consumer
    /// that reads on reaches the end of the log.
    pub log_end: Offset,
    /// The time by the append clock.
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    /// Records that were removed.
    pub records_removed: u64,
    /// Batches that were left as they are because their records cannot be read.
    pub unreadable_batches: u64,
}

impl Filter<'_> {
    /// Filters one batch. A batch whose records cannot be read stays whole.
    ///
    /// # Errors
    /// The filtered batch cannot be built.
    pub fn filter(&mut self, batch: &Batch) -> Result<Filtered> {
        let header = &batch.header;
        let can_go = self.transactions.is_discarded(batch);
        let is_over = header.has_delete_horizon() && header.base_timestamp() <= self.now_ms;
        // A marker stays for `delete.retention.ms` after all data of its transaction is gone.
        let goes = can_go && (!header.is_control() || is_over);
        let is_last = self.is_last_of_producer(batch) || header.next_offset() == self.log_end;
        if goes && !is_last {
            self.records_removed += u64::from(header.record_count().max(0).cast_unsigned());
            return Ok(Filtered::Nothing);
        }
        if header.record_count() == 0 {
            return Ok(if is_last {
                Filtered::Whole
            } else {
                Filtered::Nothing
            });
        }
        let Some(body) = readable(batch) else {
            self.unreadable_batches += 1;
            return Ok(Filtered::Whole);
        };
        let mut counts = Counts::default();
        for record in Records::new(header, &body) {
            let record = record?;
            let stays = !goes && self.stays(batch, &record, is_over);
            counts.note(&record, stays);
        }
        self.records_removed += counts.gone;
        if counts.kept == 0 && !is_last {
            return Ok(Filtered::Nothing);
        }
        // KIP-534: tombstones and empty markers may be removed when the delete horizon has passed.
        let starts_clock = (counts.has_removals || (header.is_control() && can_go))
            && counts.kept > 0
            && !header.has_delete_horizon();
        if counts.gone == 0 && !starts_clock {
            return Ok(Filtered::Whole);
        }
        let horizon = starts_clock.then(|| self.now_ms.saturating_add(self.delete_retention_ms));
        let mut left = Compacted::new(header, horizon);
        for record in Records::new(header, &body) {
            let record = record?;
            if !goes && self.stays(batch, &record, is_over) {
                left.keep(&record);
            }
        }
        left.build().map(Filtered::Part)
    }

    fn stays(&self, batch: &Batch, record: &RecordView<'_>, is_over: bool) -> bool {
        if batch.header.is_control() {
            return true;
        }
        // Produce refuses such records now; this one was written before the topic became compacted.
        let Some(key) = record.key else { return false };
        let offset = batch.header.base_offset().plus(record.offset_delta.into());
        let is_newest = self.keys.get(key).is_none_or(|newest| offset >= newest);
        is_newest && (record.value.is_some() || !is_over)
    }

    fn is_last_of_producer(&self, batch: &Batch) -> bool {
        let header = &batch.header;
        let of = header
            .producer_id()
            .and_then(|producer| self.last_batches.get(&producer));
        match of {
            Some((_, Some(base))) => header.base_offset() == *base,
            // The producer's newest batch was a marker, which has its epoch.
            Some((epoch, None)) => header.is_control() && header.producer_epoch() == *epoch,
            None => false,
        }
    }
}

#[derive(Default)]
struct Counts {
    kept: u64,
    gone: u64,
    has_removals: bool,
}

impl Counts {
    fn note(&mut self, record: &RecordView<'_>, stays: bool) {
        if stays {
            self.kept += 1;
            self.has_removals |= record.value.is_none();
        } else {
            self.gone += 1;
        }
    }
}

impl KeyOffsets {
    /// Adds the keys of a batch. Returns false if the map has no room for all of them: the batch is
    /// then left to the next pass. (The keys added from it do no harm: those records lie behind all
    /// that this pass filters.) An unreadable batch supersedes no record, because consumers cannot
    /// read its records either.
    pub fn put_batch(&mut self, batch: &Batch, transactions: &mut Transactions) -> bool {
        let header = &batch.header;
        let is_discarded = transactions.is_discarded(batch);
        if header.is_control() || is_discarded || header.record_count() == 0 {
            return true;
        }
        let Some(body) = readable(batch) else {
            return true;
        };
        for record in Records::new(header, &body).map_while(Result::ok) {
            let offset = header.base_offset().plus(record.offset_delta.into());
            if let Some(key) = record.key
                && !self.put(key, offset)
            {
                return false;
            }
        }
        true
    }
}

/// Returns the uncompressed body of a batch, if every record in it can be read and lies at one of
/// the batch's own offsets. Older versions did not check that, and
/// `sedge.produce.validation=relaxed` does not.
fn readable(batch: &Batch) -> Option<Cow<'_, [u8]>> {
    let header = &batch.header;
    let body = decompress(header, &batch.body, DECOMPRESSED_BYTES_MAX).ok()?;
    let mut next = 0;
    for record in Records::new(header, &body) {
        let delta = record.ok()?.offset_delta;
        if !(next..=header.last_offset_delta()).contains(&delta) {
            return None;
        }
        next = delta.saturating_add(1);
    }
    Some(body)
}

/// Checks the checksum of a batch.
///
/// # Errors
/// The checksum does not match.
pub fn check_crc(batch: &Batch) -> Result<()> {
    if batch.header.computed_crc(&batch.body) == batch.header.crc() {
        Ok(())
    } else {
        Err(Error::Invalid {
            what: "the checksum of a batch",
        })
    }
}
