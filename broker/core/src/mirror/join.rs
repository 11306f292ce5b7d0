//! Packs stored batches for the way to the upstream: consecutive small ones become one, and what
//! was produced without compression is compressed.
//!
//! A batch has 61 bytes of header, and a request some 30 more for it. A topic of single records
//! would spend most of a narrow link on that. A large batch that is compressed already travels as
//! it is stored.
//!
//! | a stored batch | is sent |
//! | --- | --- |
//! | uncompressed, up to a [`SMALL_PART`] of `batch_bytes` | joined with its neighbours |
//! | compressed, up to a [`SMALL_COMPRESSED_PART`] of `batch_bytes` | likewise |
//! | uncompressed and larger | compressed, if that makes it smaller |
//! | any other | as it is |
//!
//! A joined batch has the records in their order, with their timestamps, keys, values and headers.
//! Its offsets are closed up, as those of a compacted batch are; control batches and batches
//! without records between its records are passed by.
//!
//! **Invariant:** a batch that the upstream may have under the next sequences is sent again with
//! the same records, whatever was appended since (`Read::ends`).

use alloc::vec::Vec;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::Offset;
use sedge_protocol::records::{
    BatchBuilder, Compression, Records, compress_batch, compression_of, decompress,
};

use super::exchange::{Packing, Read};
use super::stamp::{Prepared, StampError, check, is_fit};

/// An uncompressed batch is small up to this part of `batch_bytes`: joining two larger ones would
/// save less than a hundredth of their bytes.
pub const SMALL_PART: usize = 2;
/// A compressed batch is small up to this part of `batch_bytes`: it has to be decompressed.
pub const SMALL_COMPRESSED_PART: usize = 16;
/// Smaller joined batches save too little: an upstream that refuses these gets none.
pub const JOINED_BYTES_MIN: usize = 1 << 10;
/// The records of a joined batch take at most this many times `batch_bytes`, decompressed. Batches
/// that would be larger together are sent as they are stored.
const OPENED_PART: usize = 16;

/// Packs the batches of a read. Compresses and decompresses, so do not call this on the executor's
/// threads.
pub fn pack(read: &Read, batches: impl IntoIterator<Item = Batch>) -> Vec<Prepared> {
    let mut packed = Vec::new();
    let mut run = Run::default();
    for batch in batches {
        if run.takes(read, &batch) {
            run.push(batch);
            if run.is_at_end(read) {
                run.close(read, &mut packed);
            }
            continue;
        }
        run.close(read, &mut packed);
        if packed.len() >= read.batches_max {
            return packed;
        }
        if is_late(read, &batch) {
            packed.push(Prepared::late(&batch));
        } else if may_join(read, &batch) {
            run.push(batch);
        } else {
            packed.push(alone(batch, read.packing));
        }
    }
    // The next read has the rest of a batch that must be the same again.
    let is_cut = run.has_more(read) && !packed.is_empty();
    if packed.len() < read.batches_max && !is_cut {
        run.close(read, &mut packed);
    }
    packed
}

/// Returns whether [`pack`] leaves the batch as it is stored, which costs no more than its CRC.
#[must_use]
pub fn stays(read: &Read, batch: &Batch) -> bool {
    let is_packed = may_join(read, batch)
        || (batch.header.compression() == 0 && read.packing.compression.is_some());
    let is_changed = is_packed || read.spread.is_some() || !is_fit(&batch.header);
    is_passed_by(batch) || is_late(read, batch) || !is_changed
}

fn is_late(read: &Read, batch: &Batch) -> bool {
    let is_late = |before| batch.header.max_timestamp() < before;
    read.late_before.is_some_and(is_late) && !is_passed_by(batch)
}

/// Returns whether a batch may begin a joined one.
fn may_join(read: &Read, batch: &Batch) -> bool {
    let header = &batch.header;
    let part = if header.compression() == 0 {
        SMALL_PART
    } else {
        SMALL_COMPRESSED_PART
    };
    let is_small = batch.body.len() <= read.packing.batch_bytes / part;
    read.packing.batch_bytes > 0
        && is_small
        && header.base_offset() >= read.apart_until
        && !is_passed_by(batch)
        && !is_late(read, batch)
}

fn is_passed_by(batch: &Batch) -> bool {
    batch.header.is_control() || batch.header.record_count() == 0
}

/// Consecutive batches that become one.
#[derive(Default)]
struct Run {
    batches: Vec<Batch>,
    bytes: usize,
}

impl Run {
    fn push(&mut self, batch: Batch) {
        self.bytes += batch.body.len();
        self.batches.push(batch);
    }

    fn takes(&self, read: &Read, batch: &Batch) -> bool {
        let end = self.end(read);
        let next = batch.header.next_offset();
        let is_within = end.is_none_or(|end| next <= end);
        let fits = self.bytes + batch.body.len() <= read.packing.batch_bytes;
        let is_to_join = is_passed_by(batch) || (fits && may_join(read, batch));
        !self.batches.is_empty() && is_within && is_to_join
    }

    /// Returns the offset at which the run must end, if there is one.
    fn end(&self, read: &Read) -> Option<Offset> {
        let base = self.batches.first()?.header.base_offset();
        let mut ends = read.ends.iter().flatten().copied();
        ends.find(|end| *end > base)
    }

    fn next(&self) -> Option<Offset> {
        self.batches.last().map(|batch| batch.header.next_offset())
    }

    fn is_at_end(&self, read: &Read) -> bool {
        self.next().is_some() && self.end(read) == self.next()
    }

    fn has_more(&self, read: &Read) -> bool {
        let next = self.next();
        self.end(read)
            .is_some_and(|end| next.is_some_and(|next| next < end))
    }

    /// Appends what the run becomes, and begins anew.
    fn close(&mut self, read: &Read, packed: &mut Vec<Prepared>) {
        let batches = core::mem::take(&mut self.batches);
        self.bytes = 0;
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return;
        };
        let with_records = batches.iter().filter(|batch| !is_passed_by(batch));
        let is_joined = with_records.count() > 1;
        let joined = is_joined.then(|| join(&batches, read.packing));
        if let Some(Ok(batch)) = joined {
            packed.push(Prepared {
                base: first.header.base_offset(),
                next: last.header.next_offset(),
                leader_epoch: last.header.leader_epoch(),
                max_timestamp: first.header.max_timestamp(),
                batch: Some(Ok(batch)),
                parts: Vec::new(),
                is_joined,
                late: 0,
            });
            return;
        }
        // One of them cannot be read: it is found when it is sent alone.
        let batches = batches.into_iter();
        packed.extend(batches.map(|batch| alone(batch, read.packing)));
    }
}

/// Prepares a batch with the same records.
fn alone(batch: Batch, packing: Packing) -> Prepared {
    let mut prepared = Prepared::new(batch);
    if let (Some(Ok(batch)), Some(codec)) = (&mut prepared.batch, packing.compression)
        && let Ok(Some(compressed)) = compress_batch(codec, batch)
    {
        *batch = compressed;
    }
    prepared
}

/// Builds one batch of the records of several.
fn join(batches: &[Batch], packing: Packing) -> Result<Batch, StampError> {
    let unreadable = |_| StampError::Unreadable;
    let mut builder = BatchBuilder::new(Compression::None);
    let mut left = packing.batch_bytes.saturating_mul(OPENED_PART);
    let mut codec = packing.compression;
    for batch in batches.iter().filter(|batch| !is_passed_by(batch)) {
        check(batch)?;
        let header = &batch.header;
        let stored = compression_of(header).map_err(unreadable)?;
        if stored != Compression::None {
            codec = codec.or(Some(stored));
        }
        let body = decompress(header, &batch.body, left).map_err(unreadable)?;
        left = left.saturating_sub(body.len());
        for record in Records::new(header, &body) {
            let record = record.map_err(unreadable)?;
            let timestamp = if header.is_log_append_time() {
                header.max_timestamp()
            } else {
                header.base_timestamp().wrapping_add(record.timestamp_delta)
            };
            builder.push_with(timestamp, record.key, record.value, record.headers);
        }
    }
    let joined = builder.build().map_err(unreadable)?;
    let compressed = compress_batch(codec.unwrap_or(Compression::None), &joined);
    Ok(compressed.map_err(unreadable)?.unwrap_or(joined))
}

#[cfg(test)]
mod tests;
