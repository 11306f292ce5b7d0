//! The decisions about one partition's log, without its storage: where the log starts, which offset
//! comes next, and what its producers wrote.

mod check;
pub mod derive;
pub mod producers;
pub mod transactions;

use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use crate::machine::Now;

pub use check::{Checked, check_body, check_header, is_opened};
use derive::Change;
pub use producers::{InTransaction, Producers, SequenceRange, SequenceVerdict, WrittenBatch};
pub use transactions::{AbortedBatches, AbortedTransaction, Marker};

/// A refused record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record within the batch, from 0.
    pub index: i32,
    pub message: Option<String>,
}

/// Reason why a batch is refused, as in the Produce response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendError {
    pub code: ErrorCode,
    pub message: Option<String>,
    pub record_errors: Vec<RecordError>,
}

impl AppendError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
            record_errors: Vec::new(),
        }
    }
}

impl From<ErrorCode> for AppendError {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            record_errors: Vec::new(),
        }
    }
}

/// A write to a partition, as far as its log judges it: records, and what their producer says of
/// them, or the end of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Write {
    /// Records of a producer that is not idempotent, or of the broker itself.
    #[default]
    Plain,
    /// Records with the sequences that their producer sent, even if a filter left fewer records.
    Sequenced(SequenceRange),
    /// A marker that a client sent.
    Marker(Marker),
    /// A marker of this broker's coordinator, whose word is final: if its partitions could refuse
    /// it, a client that writes under another producer's id could keep a transaction from ending.
    OwnMarker(Marker),
}

impl From<Option<SequenceRange>> for Write {
    fn from(sequence: Option<SequenceRange>) -> Self {
        sequence.map_or(Self::Plain, Self::Sequenced)
    }
}

/// The decision about a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Write it at the end of the log.
    Append,
    /// The batch was written already.
    Duplicate(WrittenBatch),
}

/// The state of one partition against which the next write is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLog {
    log_start: Offset,
    next_offset: Offset,
    /// Leader epoch of the last batch. The first batch with a later one starts that epoch.
    leader_epoch: Option<LeaderEpoch>,
    pub producers: Producers,
}

impl PartitionLog {
    #[must_use]
    pub const fn new(
        log_start: Offset,
        next_offset: Offset,
        leader_epoch: Option<LeaderEpoch>,
        producers: Producers,
    ) -> Self {
        Self {
            log_start,
            next_offset,
            leader_epoch,
            producers,
        }
    }

    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Returns the log end offset.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Returns the offset below which every transaction is decided.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        let open = self.producers.first_open();
        open.map_or(self.next_offset, |first| first.max(self.log_start))
    }

    /// Judges a write by what its producer wrote before.
    ///
    /// # Errors
    /// INVALID_PRODUCER_EPOCH, OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_TXN_STATE,
    /// TRANSACTION_COORDINATOR_FENCED, POLICY_VIOLATION.
    pub fn plan(&self, write: &Write) -> Result<Planned, AppendError> {
        match write {
            Write::Plain | Write::OwnMarker(_) => Ok(Planned::Append),
            Write::Marker(marker) => {
                self.producers.check_marker(marker)?;
                Ok(Planned::Append)
            }
            Write::Sequenced(range) => Ok(match self.producers.check(range)? {
                SequenceVerdict::Duplicate(written) => Planned::Duplicate(written),
                SequenceVerdict::Next => Planned::Append,
            }),
        }
    }

    /// Applies a planned write, and passes each change of the views of partition `id` to `changed`.
    /// `header` is that of the batch in the log, or `None` if a filter left no record.
    pub fn apply(
        &mut self,
        id: PartitionId,
        write: &Write,
        header: Option<&BatchHeader>,
        now: Now,
        mut changed: impl FnMut(Change),
    ) {
        let base_offset = self.next_offset;
        if let Some(header) = header {
            debug_assert!(header.base_offset() >= base_offset, "offsets only grow");
            if let Some(change) = derive::epoch_change(id, header, self.leader_epoch) {
                changed(change);
            }
            self.leader_epoch = Some(header.leader_epoch());
            self.next_offset = header.next_offset();
        }
        let known = &mut self.producers;
        match write {
            Write::Plain => {}
            Write::Sequenced(range) => {
                let timestamp = header.map_or(now.wall_ms, BatchHeader::max_timestamp);
                let forgotten = known.apply(range, base_offset, timestamp, now.append_ms);
                if header.is_some_and(BatchHeader::is_transactional) {
                    known.begin(range, base_offset);
                }
                for producer in [Some(range.producer_id), forgotten].into_iter().flatten() {
                    changed(derive::producer_change(id, producer, known));
                }
            }
            Write::Marker(marker) | Write::OwnMarker(marker) => {
                derive::end_transaction(id, marker, base_offset, known, now.append_ms, changed);
            }
        }
    }

    /// Records a write that was refused for a reason other than its sequence: a later batch of its
    /// producer must not take its place.
    pub fn refuse(&mut self, write: &Write) {
        if let Write::Sequenced(range) = write {
            self.producers.refuse(range);
        }
    }

    /// Returns the new log start for a request to delete the records before `before` (all records
    /// if `None`).
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE if `before` is beyond the end of the log.
    pub fn plan_delete_records(&self, before: Option<Offset>) -> Result<Offset, AppendError> {
        match before {
            None => Ok(self.next_offset),
            Some(before) if before > self.next_offset => Err(ErrorCode::OffsetOutOfRange.into()),
            Some(before) => Ok(before.max(self.log_start)),
        }
    }

    pub fn apply_log_start(&mut self, offset: Offset) {
        self.log_start = self.log_start.max(offset);
    }
}
