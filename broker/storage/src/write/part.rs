//! A part of a frame: one row of its table, and the batches that go with it.

use sedge_protocol::batch::{Batch, HEADER_BYTES};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use crate::error::Error;
use crate::format::{EntryHead, EntryKind};
use crate::limits;

/// A part of a frame: its row of the table, and its bytes as separate slices.
pub(crate) struct Part {
    pub head: EntryHead,
    pub batches: Vec<Batch>,
}

impl Part {
    pub fn append(partition: PartitionId, batches: Vec<Batch>) -> Result<Option<Self>, Error> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Ok(None);
        };
        let (base, next) = (first.header.base_offset(), last.header.next_offset());
        let leader_epoch = Some(last.header.leader_epoch()).filter(|epoch| epoch.0 >= 0);
        let max_timestamp = batches
            .iter()
            .map(|batch| batch.header.max_timestamp())
            .max()
            .unwrap_or(-1);
        let mut bytes = 0u64;
        let mut expected = base;
        for batch in &batches {
            if batch.header.batch_bytes() != Some(HEADER_BYTES + batch.body.len()) {
                return Err(Error::Refused {
                    why: "the length field of a batch does not match its bytes",
                });
            }
            if batch.header.base_offset() < expected || batch.header.next_offset() <= expected {
                return Err(Error::Refused {
                    why: "the offsets of its batches go backwards",
                });
            }
            expected = batch.header.next_offset();
            bytes += batch.bytes() as u64;
        }
        if bytes > limits::COMMIT_BYTES_MAX {
            return Err(Error::Refused {
                why: "it is larger than a commit can be",
            });
        }
        let bytes = bytes as u32;
        let kind = EntryKind::Append;
        let head = EntryHead {
            kind,
            partition,
            base,
            next,
            max_timestamp,
            bytes,
            leader_epoch,
        };
        Ok(Some(Self { head, batches }))
    }

    pub fn fact(
        kind: EntryKind,
        partition: PartitionId,
        base: Offset,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Self {
        let (next, max_timestamp) = (Offset::ZERO, 0);
        let head = EntryHead {
            kind,
            partition,
            base,
            next,
            max_timestamp,
            bytes: 0,
            leader_epoch,
        };
        Self {
            head,
            batches: Vec::new(),
        }
    }

    /// Returns a row without batches.
    pub fn row(head: EntryHead) -> Self {
        Self {
            head,
            batches: Vec::new(),
        }
    }

    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.batches
            .iter()
            .flat_map(|batch| [&batch.header.as_bytes()[..], &batch.body[..]])
    }
}
