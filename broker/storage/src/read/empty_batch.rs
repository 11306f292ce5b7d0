//! A batch that stands in for lost ones.

use bytes::Bytes;
use sedge_protocol::batch::{BatchHeader, HEADER_BYTES};
use sedge_protocol::ids::Offset;

/// Returns a batch without records over these offsets, as Kafka keeps one if compaction has removed
/// all records of a batch: consumers continue behind it, also at the end of the log.
pub(crate) fn empty_batch(base: Offset, next: Offset) -> Bytes {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&base.0.to_be_bytes());
    header[8..12].copy_from_slice(&((HEADER_BYTES - 12) as i32).to_be_bytes());
    // No leader epoch, timestamps, producer or sequence.
    header[12..16].fill(0xFF);
    header[16] = 2;
    let last_delta = i32::try_from(next.0 - base.0 - 1).unwrap_or(i32::MAX);
    header[23..27].copy_from_slice(&last_delta.to_be_bytes());
    header[27..57].fill(0xFF);
    let header = BatchHeader::read(&header).expect("61 bytes are a header");
    Bytes::copy_from_slice(header.with_computed_crc(&[]).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_batch_is_a_batch() {
        let bytes = empty_batch(Offset(5), Offset(9));
        let header = BatchHeader::read(&bytes).unwrap();
        assert_eq!(header.batch_bytes(), Some(bytes.len()));
        assert_eq!(
            (header.base_offset(), header.next_offset()),
            (Offset(5), Offset(9))
        );
        assert_eq!((header.magic(), header.record_count()), (2, 0));
        assert_eq!(header.crc(), header.computed_crc(&[]));
        assert_eq!(header.producer_id(), None);
    }
}
