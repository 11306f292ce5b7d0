//! What a pull link takes of the answer to a fetch. No I/O.
//!
//! A copied partition has the offsets of its upstream twin. So the end of its log is the link's
//! cursor: the records and how far they go are one commit, and a restart goes on at the end of the
//! log. What the link leaves out (control batches, and records of aborted transactions) leaves
//! holes, as compaction does.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, ProducerId};
use sedge_protocol::records::{EndTransactionMarker, TransactionResult};

/// A transaction that was aborted, as a fetch answers it (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    pub producer: ProducerId,
    pub first_offset: Offset,
}

/// The batches to write, and where the next fetch begins.
#[derive(Clone, Debug)]
pub struct Taken {
    pub batches: Vec<Batch>,
    pub next: Offset,
}

/// Reason why an answer cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The bytes are not those that a producer sent (CRC).
    Corrupt(Offset),
    /// Messages of the formats before Kafka 0.11.
    OldFormat,
    /// A batch with other offsets than the ones after those that are here.
    OutOfPlace(Offset),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(at) => write!(
                f,
                "the upstream's batch at {at} is corrupt (CRC); check the upstream's disk"
            ),
            Self::OldFormat => f.write_str(
                "the upstream has messages in a format of before Kafka 0.11; only batches can be \
                 copied",
            ),
            Self::OutOfPlace(at) => write!(
                f,
                "the upstream's batch at {at} does not come after what is here; delete the topic \
                 here to copy it from its beginning"
            ),
        }
    }
}

/// Takes the batches of an answer that were committed. `asked` is the offset that was fetched, and
/// `from` the one that is needed by now: an answer to another question is not taken, since a topic
/// that was deleted here meanwhile begins again, and would have a gap. `aborted` has the aborted
/// transactions of the answer, in any order.
///
/// A batch loses its producer: its id is one of the upstream's, and could be another producer's
/// here. Everything else of it stays, byte for byte.
///
/// # Errors
/// The answer must not be written. Nothing of it is taken.
pub fn take(
    asked: Offset,
    from: Offset,
    batches: Vec<Batch>,
    aborted: impl IntoIterator<Item = Aborted>,
) -> Result<Taken, Unfit> {
    let mut begins: BTreeMap<Offset, Vec<ProducerId>> = BTreeMap::new();
    for transaction in aborted {
        let begun = begins.entry(transaction.first_offset).or_default();
        begun.push(transaction.producer);
    }
    let mut open: BTreeSet<ProducerId> = BTreeSet::new();
    let mut taken = Taken {
        batches: Vec::new(),
        next: from,
    };
    if asked != from {
        return Ok(taken);
    }
    for mut batch in batches {
        let header = &batch.header;
        if header.magic() != 2 {
            return Err(Unfit::OldFormat);
        }
        let (base, next) = (header.base_offset(), header.next_offset());
        if header.computed_crc(&batch.body) != header.crc() {
            return Err(Unfit::Corrupt(base));
        }
        while let Some(first) = begins.first_entry().filter(|it| *it.key() < next) {
            open.extend(first.remove());
        }
        if next <= taken.next {
            continue;
        }
        if base < taken.next {
            return Err(Unfit::OutOfPlace(base));
        }
        taken.next = next;
        if header.is_control() {
            if let Some(producer) = header.producer_id()
                && is_abort(&batch)
            {
                open.remove(&producer);
            }
            continue;
        }
        let is_aborted = |producer: ProducerId| open.contains(&producer);
        if header.is_transactional() && header.producer_id().is_some_and(is_aborted) {
            continue;
        }
        batch.header.clear_producer(&batch.body);
        taken.batches.push(batch);
    }
    Ok(taken)
}

/// Returns whether a control batch ends a transaction by an abort.
fn is_abort(batch: &Batch) -> bool {
    EndTransactionMarker::read(batch)
        .is_some_and(|marker| marker.result == TransactionResult::Abort)
}

/// The bounds of an upstream partition, against the end of the log here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// The next offset is there, or will be.
    Within,
    /// Retention deleted records upstream before they were copied: the next offset, and how many
    /// offsets are passed over.
    Behind { next: Offset, lost: i64 },
    /// The upstream ends before the log here: the upstream lost records, or is another topic.
    Ahead,
}

/// Compares the end of the log here with the upstream's bounds.
#[must_use]
pub fn compare(end: Offset, start: Offset, upstream_end: Offset) -> Bounds {
    if end > upstream_end {
        Bounds::Ahead
    } else if end < start {
        let lost = start.get() - end.get();
        Bounds::Behind { next: start, lost }
    } else {
        Bounds::Within
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use sedge_protocol::Bytes;
    use sedge_protocol::batch::BatchHeader;

    use super::*;

    const DATA: i16 = 0;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x30;

    /// A batch of one record, of this producer.
    fn batch(at: i64, producer: i64, attributes: i16, key: &[u8]) -> Batch {
        let mut bytes = [0; 61];
        bytes[..8].copy_from_slice(&at.to_be_bytes());
        bytes[16] = 2;
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[43..51].copy_from_slice(&producer.to_be_bytes());
        bytes[57..].copy_from_slice(&1_i32.to_be_bytes());
        let header = BatchHeader::read(&bytes).expect("a header");
        // A record: length, attributes, timestamp and offset deltas, key, null value, no headers.
        let mut record = vec![0, 0, 0, (key.len() * 2) as u8];
        record.extend_from_slice(key);
        record.extend_from_slice(&[1, 0]);
        let mut body = vec![(record.len() * 2) as u8];
        body.extend_from_slice(&record);
        let body = Bytes::from(body);
        let length = (49 + body.len()) as i32;
        bytes = *header.as_bytes();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let header = BatchHeader::read(&bytes).expect("a header");
        Batch {
            header: header.with_computed_crc(&body),
            body,
        }
    }

    fn marker(at: i64, producer: i64, is_commit: bool) -> Batch {
        batch(at, producer, CONTROL, &[0, 0, 0, u8::from(is_commit)])
    }

    fn taken(from: i64, batches: Vec<Batch>, aborted: &[(i64, i64)]) -> (Vec<i64>, i64) {
        let aborted = aborted.iter().map(|(producer, first)| Aborted {
            producer: ProducerId(*producer),
            first_offset: Offset(*first),
        });
        let from = Offset(from);
        let taken = take(from, from, batches, aborted).expect("it can be written");
        let bases = taken.batches.iter();
        let bases = bases.map(|batch| batch.header.base_offset().get());
        (bases.collect(), taken.next.get())
    }

    #[test]
    fn aborted_records_and_markers_are_left_out() {
        let batches = vec![
            batch(10, 1, TRANSACTIONAL, b"aborted"),
            batch(11, 2, TRANSACTIONAL, b"committed"),
            batch(12, -1, DATA, b"plain"),
            marker(13, 1, false),
            batch(14, 1, TRANSACTIONAL, b"the next one"),
            marker(15, 2, true),
            batch(16, 1, DATA, b"idempotent"),
            marker(17, 1, true),
        ];
        assert_eq!(taken(10, batches, &[(1, 10)]), (vec![11, 12, 14, 16], 18));
    }

    #[test]
    fn a_transaction_that_began_before_the_answer_is_aborted_too() {
        let batches = vec![
            batch(20, 1, TRANSACTIONAL, b"aborted"),
            marker(21, 1, false),
            batch(22, 1, TRANSACTIONAL, b"committed"),
        ];
        assert_eq!(taken(20, batches, &[(1, 5)]), (vec![22], 23));
    }

    #[test]
    fn what_is_here_is_not_taken_again() {
        let batches = vec![batch(3, -1, DATA, b"a"), batch(7, -1, DATA, b"b")];
        assert_eq!(taken(4, batches, &[]), (vec![7], 8));
        assert_eq!(taken(4, Vec::new(), &[]), (vec![], 4));
    }

    /// A copy that was deleted while a fetch was under way began with what came after it.
    #[test]
    fn an_answer_to_an_earlier_fetch_leaves_no_gap() {
        let batches = vec![batch(5, -1, DATA, b"a")];
        let taken = take(Offset(5), Offset(0), batches, []).expect("it can be written");
        assert!(taken.batches.is_empty());
        assert_eq!(taken.next, Offset(0));
    }

    #[test]
    fn a_batch_has_no_producer_and_a_right_crc() {
        let batches = vec![batch(0, 7, TRANSACTIONAL, b"k")];
        let taken = take(Offset(0), Offset(0), batches, []).expect("it can be written");
        let header = &taken.batches[0].header;
        assert_eq!(header.producer_id(), None);
        assert!(!header.is_transactional());
        assert_eq!(header.crc(), header.computed_crc(&taken.batches[0].body));
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let check = |batch: Batch, why: Unfit| {
            let refused = take(Offset(5), Offset(5), vec![batch], []);
            assert_eq!(refused.err(), Some(why));
        };
        let mut rotten = batch(5, -1, DATA, b"k");
        rotten.body = Bytes::from_static(b"other bytes");
        check(rotten, Unfit::Corrupt(Offset(5)));
        let mut old = batch(5, -1, DATA, b"k");
        let mut bytes = *old.header.as_bytes();
        bytes[16] = 1;
        old.header = BatchHeader::read(&bytes).expect("a header");
        check(old, Unfit::OldFormat);
        let mut before = batch(4, -1, DATA, b"k");
        let mut bytes = *before.header.as_bytes();
        bytes[23..27].copy_from_slice(&1_i32.to_be_bytes());
        before.header = BatchHeader::read(&bytes).expect("a header");
        before.header = before.header.with_computed_crc(&before.body);
        check(before, Unfit::OutOfPlace(Offset(4)));
    }

    #[test]
    fn bounds_are_compared() {
        let check = |end, start, upstream_end, expected| {
            let bounds = compare(Offset(end), Offset(start), Offset(upstream_end));
            assert_eq!(bounds, expected);
        };
        check(0, 0, 0, Bounds::Within);
        check(5, 5, 5, Bounds::Within);
        let next = Offset(5);
        check(3, 5, 9, Bounds::Behind { next, lost: 2 });
        check(6, 0, 5, Bounds::Ahead);
    }
}
