//! The decisions about one partition's log, without its storage: where the log starts, which offset
//! comes next, and what its producers wrote.

mod check;
pub mod derive;
pub mod producers;

use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;

pub use check::{Checked, check_body, check_header, is_opened};
pub use producers::{Producers, SequenceRange, SequenceVerdict, WrittenBatch};

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

/// The decision about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Write it at this offset.
    Append { base_offset: Offset },
    /// The batch was written already.
    Duplicate(WrittenBatch),
}

/// The state of one partition against which the next batch is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLog {
    log_start: Offset,
    next_offset: Offset,
    pub producers: Producers,
}

impl PartitionLog {
    #[must_use]
    pub fn new(log_start: Offset, next_offset: Offset, producers: Producers) -> Self {
        Self {
            log_start,
            next_offset,
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

    /// Judges a batch by its producer's sequence. The sequence is the one that the producer sent,
    /// even if a filter removed records.
    ///
    /// # Errors
    /// INVALID_PRODUCER_EPOCH, OUT_OF_ORDER_SEQUENCE_NUMBER.
    pub fn plan_append(&self, sequence: Option<&SequenceRange>) -> Result<Planned, AppendError> {
        let verdict = sequence
            .map(|range| self.producers.check(range))
            .transpose()?;
        Ok(match verdict {
            Some(SequenceVerdict::Duplicate(written)) => Planned::Duplicate(written),
            Some(SequenceVerdict::Next) | None => Planned::Append {
                base_offset: self.next_offset,
            },
        })
    }

    /// Moves the log end to `next_offset`.
    pub fn apply_append(&mut self, next_offset: Offset) {
        debug_assert!(next_offset >= self.next_offset, "offsets only grow");
        self.next_offset = next_offset;
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
