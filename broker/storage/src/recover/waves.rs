//! The order in which segments are read so that each partition's records come in the order of their
//! offsets.
//!
//! The contents of a cold segment are normally older than those of the log's own segments, of which
//! a later one has later offsets. So cold segments come first, and each kind is ordered by number.
//! If a partition needs another order, because a cold segment holds something from its middle, the
//! rest of the partition is left to the next *wave*.

use std::collections::{BTreeMap, HashMap};

use sedge_protocol::ids::{Offset, PartitionId};

use crate::catalog::Catalog;
use crate::error::Error;
use crate::ids::SegmentId;
use crate::limits;
use crate::views::tables::{LogKey, LogValue, Table};

/// A live range of a partition in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub partition: PartitionId,
    pub first: Offset,
    pub next: Offset,
}

/// A visit to a segment; visits are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Visit {
    wave: u32,
    /// Whether the segment is one of the log's own; cold ones come first.
    is_of_log: bool,
    pub segment: SegmentId,
}

/// Pieces by partition and offset.
pub(super) type Waves = BTreeMap<Visit, Vec<Piece>>;

/// Returns the live slices from a partition on, and the partition to continue with.
pub(super) fn plan(
    catalog: &Catalog,
    from: PartitionId,
) -> Result<(Waves, Option<PartitionId>), Error> {
    let is_cold = cold_ones(catalog);
    let mut planned = Planned::default();
    let mut next = None;
    let low = LogKey::slice(from, Offset::ZERO);
    let high = LogKey {
        table: Table::Slices,
        id: u64::MAX,
        offset: i64::MAX,
    };
    catalog.merged().scan(low, high, &mut |key, value| {
        let LogValue::Slice(slice) = value else {
            return true;
        };
        let partition = PartitionId(key.id as u32);
        if planned.is_full_before(partition) {
            next = Some(partition);
            return false;
        }
        let cold = is_cold.get(&slice.segment).copied().unwrap_or_default();
        let piece = Piece {
            partition,
            first: slice.first_offset,
            next: slice.next_offset,
        };
        planned.add(slice.segment, cold, piece);
        true
    })?;
    let starts = log_starts(catalog, from, next)?;
    let mut waves = planned.waves;
    for pieces in waves.values_mut() {
        for piece in &mut *pieces {
            if let Some(log_start) = starts.get(&piece.partition) {
                piece.first = piece.first.max(*log_start);
            }
        }
        pieces.retain(|piece| piece.first < piece.next);
    }
    Ok((waves, next))
}

/// Returns the pieces that a part of a commit overlaps.
pub(super) fn touched(
    pieces: &[Piece],
    partition: PartitionId,
    (base, next): (Offset, Offset),
) -> impl Iterator<Item = &Piece> {
    let from = pieces.partition_point(|piece| (piece.partition, piece.next) <= (partition, base));
    let behind = pieces.get(from..).unwrap_or_default().iter();
    behind.take_while(move |piece| piece.partition == partition && piece.first < next)
}

fn cold_ones(catalog: &Catalog) -> HashMap<SegmentId, bool> {
    let state = catalog.read();
    let segments = state.segments.iter();
    segments
        .map(|(id, segment)| (*id, segment.is_cold))
        .collect()
}

/// Returns the log starts of the partitions in `from..until` that have lost something.
fn log_starts(
    catalog: &Catalog,
    from: PartitionId,
    until: Option<PartitionId>,
) -> Result<HashMap<PartitionId, Offset>, Error> {
    let mut starts = HashMap::new();
    let low = LogKey::bounds(from);
    let high = LogKey {
        table: Table::Bounds,
        id: until.map_or(u64::MAX, |until| u64::from(until.0)),
        offset: 0,
    };
    catalog.merged().scan(low, high, &mut |key, value| {
        if let LogValue::Bounds(bounds) = value
            && bounds.log.log_start > Offset::ZERO
        {
            starts.insert(PartitionId(key.id as u32), bounds.log.log_start);
        }
        true
    })?;
    Ok(starts)
}

#[derive(Debug, Default)]
struct Planned {
    waves: Waves,
    pieces: usize,
    /// The last partition, and the visit of its last piece.
    last: Option<(PartitionId, Visit)>,
}

impl Planned {
    /// Returns whether `partition` is left to another plan.
    fn is_full_before(&self, partition: PartitionId) -> bool {
        let is_another = self.last.is_none_or(|(last, _)| last != partition);
        is_another && self.pieces >= limits::REPLAY_PIECES_MAX
    }

    /// Adds a piece. Pieces come by partition and offset.
    fn add(&mut self, segment: SegmentId, is_cold: bool, piece: Piece) {
        let mut visit = Visit {
            wave: 0,
            is_of_log: !is_cold,
            segment,
        };
        if let Some((last, before)) = self.last
            && last == piece.partition
        {
            visit.wave = before.wave;
            if visit < before {
                visit.wave += 1;
            }
        }
        self.last = Some((piece.partition, visit));
        self.pieces += 1;
        self.waves.entry(visit).or_default().push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wave, segment, and the partitions and first offsets of its pieces.
    type Order = Vec<(u32, u64, Vec<(u32, i64)>)>;

    /// Returns the order for (partition, segment, whether cold), each ten offsets behind the one
    /// before.
    fn order(slices: &[(u32, u64, bool)]) -> Order {
        let mut planned = Planned::default();
        let mut ends = HashMap::new();
        for &(partition, segment, is_cold) in slices {
            let end: &mut i64 = ends.entry(partition).or_default();
            let piece = Piece {
                partition: PartitionId(partition),
                first: Offset(*end),
                next: Offset(*end + 10),
            };
            *end += 10;
            planned.add(SegmentId(segment), is_cold, piece);
        }
        let pieces = |of: Vec<Piece>| {
            let of = of.into_iter();
            of.map(|piece| (piece.partition.0, piece.first.0)).collect()
        };
        let waves = planned.waves.into_iter();
        waves
            .map(|(visit, of)| (visit.wave, visit.segment.0, pieces(of)))
            .collect()
    }

    #[test]
    fn each_partition_s_slices_come_in_the_order_of_their_offsets() {
        assert_eq!(order(&[]), []);
        assert_eq!(
            order(&[(1, 1, false), (1, 2, false), (2, 1, false)]),
            [(0, 1, vec![(1, 0), (2, 0)]), (0, 2, vec![(1, 10)])]
        );
        // Cleaned data is older.
        assert_eq!(
            order(&[(1, 5, true), (1, 4, false), (2, 4, false)]),
            [(0, 5, vec![(1, 0)]), (0, 4, vec![(1, 10), (2, 0)])]
        );
        // Cleaned data is between others: the last segment is read once more.
        assert_eq!(
            order(&[
                (1, 3, false),
                (1, 5, true),
                (1, 4, false),
                (2, 3, false),
                (2, 4, false)
            ]),
            [
                (0, 3, vec![(1, 0), (2, 0)]),
                (0, 4, vec![(2, 10)]),
                (1, 5, vec![(1, 10)]),
                (1, 4, vec![(1, 20)])
            ]
        );
    }

    #[test]
    fn a_part_is_found_in_the_pieces_that_it_reaches_into() {
        let piece = |partition, first, next| Piece {
            partition: PartitionId(partition),
            first: Offset(first),
            next: Offset(next),
        };
        let pieces = [piece(1, 0, 10), piece(1, 20, 30), piece(3, 5, 9)];
        let check = |partition, (base, next), expected: &[usize]| {
            let range = (Offset(base), Offset(next));
            let found: Vec<&Piece> = touched(&pieces, PartitionId(partition), range).collect();
            let expected: Vec<&Piece> = expected.iter().map(|at| &pieces[*at]).collect();
            assert_eq!(found, expected, "{partition} {base} {next}");
        };
        check(1, (0, 1), &[0]);
        check(1, (5, 15), &[0]);
        check(1, (10, 20), &[]);
        check(1, (15, 21), &[1]);
        check(1, (9, 40), &[0, 1]);
        check(1, (30, 31), &[]);
        check(2, (5, 9), &[]);
        check(3, (0, 5), &[]);
        check(3, (4, 6), &[2]);
        check(4, (0, 1), &[]);
    }
}
