//! What stays of each batch.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;

use sedge_protocol::batch::Batch;
use sedge_protocol::error::{Error, Result};
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::records::{Compacted, RecordView, Records, decompress};

use super::keys::KeyOffsets;
use super::transactions::Transactions;

/// What becomes of a batch.
#[derive(Clone, Debug)]
pub enum Filtered {
    /// It stays as it is, byte for byte.
    Whole,
    /// This stays of it.
    Part(Batch),
    /// Nothing of it stays.
    Nothing,
}

/// Of each producer that is still known: its epoch, and where its last data batch begins, if it
/// has any. That batch is kept, empty if need be, because a restart reads the producer's sequence
/// from it.
pub type LastBatches = BTreeMap<ProducerId, (ProducerEpoch, Option<Offset>)>;

/// One pass over a partition; it is shown all batches from the log start on, in order.
#[derive(Debug)]
pub struct Filter<'a> {
    pub keys: &'a KeyOffsets,
    pub transactions: Transactions,
    pub last_batches: &'a LastBatches,
    /// Where the log ends: the batch before it stays too, empty if need be, so that a consumer
    /// which reads on gets there.
    pub log_end: Offset,
    /// By the append clock.
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    /// Records that went.
    pub records_removed: u64,
    /// Batches that stay as they are because their records cannot be read.
    pub unreadable_batches: u64,
}

impl Filter<'_> {
    /// What stays of the batch: all of it, where its records cannot be read.
    ///
    /// # Errors
    /// What building gives.
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
        // KIP-534: when this is over, removals and empty markers may go.
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
        // Refused on produce; written before the topic was compacted.
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
            // The producer's last word was a marker, which has its epoch.
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
    /// Takes the keys of a batch. False where it has no room for all of them: the batch is for the
    /// next pass then. (What it took of it does no harm: those records are behind all that this
    /// pass looks at.) A batch that cannot be read hides nothing: consumers do not see what is in
    /// it either.
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

/// The uncompressed body of a batch, if every record in it can be read and lies at an offset that
/// is the batch's own. Older versions did not look at that, and
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

/// A batch is what its checksum says.
///
/// # Errors
/// It is not.
pub fn check_crc(batch: &Batch) -> Result<()> {
    if batch.header.computed_crc(&batch.body) == batch.header.crc() {
        Ok(())
    } else {
        Err(Error::Invalid {
            what: "the checksum of a batch",
        })
    }
}
