//! The log's own views: their keys and values, in memory and as bytes (big-endian).
//!
//! | table | id | offset | value |
//! | --- | --- | --- | --- |
//! | runs | partition | base offset | place of consecutive batches |
//! | slices | partition | first offset | a partition's part of a segment |
//! | bounds | partition | 0 | log start, end, epoch, live bytes, compacted up to |
//! | segments | segment | 0 | generation, whether cold, live bytes |
//! | applied | 0 | 0 | versions that wrote the views, last commit in them |

use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use super::{Base, Space};
use crate::api::{LogBounds, Slice};
use crate::error::Error;
use crate::format::{Reader, Run, epoch_to_wire};
use crate::ids::{SegmentId, Sequence};

/// Version of the tables: incremented when a key or a value changes. Views of another version are
/// rebuilt.
pub const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    Runs = 1,
    Slices = 2,
    Bounds = 3,
    Segments = 4,
    /// The number was 5 before the value began with versions: code for one number does not find the
    /// other, and rebuilds the views.
    Applied = 6,
}

/// 17 bytes: table, id, offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogKey {
    pub table: Table,
    pub id: u64,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogValue {
    Run(Run),
    Slice(Slice),
    Bounds(Bounds),
    Segment(Segment),
    Applied(ViewsVersion, Applied),
}

/// A partition's bounds and the bytes of its live slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub log: LogBounds,
    pub live_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub generation: u64,
    pub is_cold: bool,
    pub live_slices: u64,
    pub live_bytes: u64,
}

/// The versions that wrote the views: of these tables, and of the caller's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewsVersion {
    pub tables: u8,
    pub caller: u8,
}

/// The last commit that the views contain, and the position of its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub sequence: Sequence,
    pub segment: SegmentId,
    pub generation: u64,
    pub position: u64,
    pub end: u64,
    /// The largest append clock of all commits so far.
    pub append_ms: i64,
}

impl ViewsVersion {
    /// Returns the version that is written now.
    pub const fn with_caller(caller: u8) -> Self {
        let tables = VERSION;
        Self { tables, caller }
    }

    /// Returns the version of the views in `base`; `None` if they are not marked as complete.
    pub fn of(base: &dyn Base) -> Result<Option<Self>, Error> {
        let value = base.get(Space::Log, &LogKey::APPLIED.encode())?;
        Ok(value.and_then(|value| Self::read(&mut Reader(&value))))
    }

    fn read(at: &mut Reader<'_>) -> Option<Self> {
        let [tables, caller] = *at.take(2)?.first_chunk()?;
        Some(Self { tables, caller })
    }
}

impl std::fmt::Display for ViewsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.tables, self.caller)
    }
}

impl LogKey {
    pub const APPLIED: Self = Self {
        table: Table::Applied,
        id: 0,
        offset: 0,
    };

    pub fn run(partition: PartitionId, base: Offset) -> Self {
        Self {
            table: Table::Runs,
            id: u64::from(partition.0),
            offset: base.0,
        }
    }

    pub fn slice(partition: PartitionId, first: Offset) -> Self {
        Self {
            table: Table::Slices,
            id: u64::from(partition.0),
            offset: first.0,
        }
    }

    pub fn bounds(partition: PartitionId) -> Self {
        Self {
            table: Table::Bounds,
            id: u64::from(partition.0),
            offset: 0,
        }
    }

    pub fn segment(id: SegmentId) -> Self {
        Self {
            table: Table::Segments,
            id: id.0,
            offset: 0,
        }
    }

    /// Returns the next smaller key of the table. Offsets are not negative.
    pub fn before(self) -> Option<Self> {
        if self.offset > 0 {
            let offset = self.offset - 1;
            return Some(Self { offset, ..self });
        }
        let id = self.id.checked_sub(1)?;
        let offset = i64::MAX;
        Some(Self { id, offset, ..self })
    }

    pub fn encode(self) -> [u8; 17] {
        let mut out = [0; 17];
        out[0] = self.table as u8;
        out[1..9].copy_from_slice(&self.id.to_be_bytes());
        out[9..].copy_from_slice(&self.offset.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut at = Reader(bytes);
        let tables = [
            Table::Runs,
            Table::Slices,
            Table::Bounds,
            Table::Segments,
            Table::Applied,
        ];
        let byte = *at.take(1)?.first()?;
        let table = tables.into_iter().find(|table| *table as u8 == byte)?;
        Some(Self {
            table,
            id: at.u64()?,
            offset: at.i64()?,
        })
    }

    pub fn offset(self) -> Offset {
        Offset(self.offset)
    }
}

impl LogValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Run(run) => {
                out.extend_from_slice(&run.segment.0.to_be_bytes());
                out.extend_from_slice(&run.position.to_be_bytes());
                out.extend_from_slice(&run.span.to_be_bytes());
                out.extend_from_slice(&run.bytes.to_be_bytes());
                out.extend_from_slice(&run.next.0.to_be_bytes());
                out.extend_from_slice(&run.max_timestamp.to_be_bytes());
                out.extend_from_slice(&run.append_ms.to_be_bytes());
                out.extend_from_slice(&epoch_to_wire(run.leader_epoch).to_be_bytes());
            }
            Self::Slice(slice) => {
                out.extend_from_slice(&slice.segment.0.to_be_bytes());
                out.extend_from_slice(&slice.next_offset.0.to_be_bytes());
                out.extend_from_slice(&slice.bytes.to_be_bytes());
                out.extend_from_slice(&slice.max_timestamp.to_be_bytes());
                out.extend_from_slice(&slice.append_ms.to_be_bytes());
                out.extend_from_slice(&slice.oldest_ms.to_be_bytes());
            }
            Self::Bounds(bounds) => {
                out.extend_from_slice(&bounds.log.log_start.0.to_be_bytes());
                out.extend_from_slice(&bounds.log.next_offset.0.to_be_bytes());
                out.extend_from_slice(&epoch_to_wire(bounds.log.leader_epoch).to_be_bytes());
                out.extend_from_slice(&bounds.log.compacted_until.0.to_be_bytes());
                out.extend_from_slice(&bounds.live_bytes.to_be_bytes());
            }
            Self::Segment(segment) => {
                out.extend_from_slice(&segment.generation.to_be_bytes());
                out.push(u8::from(segment.is_cold));
                out.extend_from_slice(&segment.live_slices.to_be_bytes());
                out.extend_from_slice(&segment.live_bytes.to_be_bytes());
            }
            Self::Applied(version, applied) => {
                out.extend_from_slice(&[version.tables, version.caller]);
                out.extend_from_slice(&applied.sequence.0.to_be_bytes());
                out.extend_from_slice(&applied.segment.0.to_be_bytes());
                out.extend_from_slice(&applied.generation.to_be_bytes());
                out.extend_from_slice(&applied.position.to_be_bytes());
                out.extend_from_slice(&applied.end.to_be_bytes());
                out.extend_from_slice(&applied.append_ms.to_be_bytes());
            }
        }
        out
    }

    /// Decodes a value; `key` determines its type.
    pub fn decode(key: LogKey, bytes: &[u8]) -> Option<Self> {
        let mut at = Reader(bytes);
        Some(match key.table {
            Table::Runs => Self::Run(Run {
                segment: SegmentId(at.u64()?),
                position: at.u64()?,
                span: at.u32()?,
                bytes: at.u32()?,
                next: Offset(at.i64()?),
                max_timestamp: at.i64()?,
                append_ms: at.i64()?,
                leader_epoch: LeaderEpoch::from_wire(at.i32()?),
            }),
            Table::Slices => Self::Slice(Slice {
                segment: SegmentId(at.u64()?),
                first_offset: key.offset(),
                next_offset: Offset(at.i64()?),
                bytes: at.u64()?,
                max_timestamp: at.i64()?,
                append_ms: at.i64()?,
                oldest_ms: at.i64()?,
            }),
            Table::Bounds => Self::Bounds(Bounds {
                log: LogBounds {
                    log_start: Offset(at.i64()?),
                    next_offset: Offset(at.i64()?),
                    leader_epoch: LeaderEpoch::from_wire(at.i32()?),
                    compacted_until: Offset(at.i64()?),
                },
                live_bytes: at.u64()?,
            }),
            Table::Segments => Self::Segment(Segment {
                generation: at.u64()?,
                is_cold: at.take(1)?.first() == Some(&1),
                live_slices: at.u64()?,
                live_bytes: at.u64()?,
            }),
            Table::Applied => {
                let version = ViewsVersion::read(&mut at).filter(|of| of.tables == VERSION)?;
                let applied = Applied {
                    sequence: Sequence(at.u64()?),
                    segment: SegmentId(at.u64()?),
                    generation: at.u64()?,
                    position: at.u64()?,
                    end: at.u64()?,
                    append_ms: at.i64()?,
                };
                Self::Applied(version, applied)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_has_applied_is_not_read() {
        let applied = Applied {
            sequence: Sequence(7),
            segment: SegmentId(2),
            generation: 3,
            position: 64,
            end: 4096,
            append_ms: 5,
        };
        let value = LogValue::Applied(ViewsVersion::with_caller(9), applied);
        let bytes = value.encode();
        assert_eq!(LogValue::decode(LogKey::APPLIED, &bytes), Some(value));
        for tables in (0..=u8::MAX).filter(|tables| *tables != VERSION) {
            let mut other = bytes.clone();
            other[0] = tables;
            assert_eq!(LogValue::decode(LogKey::APPLIED, &other), None, "{tables}");
        }
    }
}
