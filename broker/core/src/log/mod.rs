//! One partition's log, as far as it is decided and not stored: where it starts, what offset comes
//! next, what its producers wrote.

mod check;
pub mod derive;
pub mod producers;

use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::Offset;

pub use check::{Checked, check_body, check_header, is_opened};
pub use producers::{Producers, SequenceRange, SequenceVerdict, WrittenBatch};

/// One record of a batch that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Its number within the batch, from 0.
    pub index: i32,
    pub message: Option<String>,
}

/// Why a batch is refused, in the terms of the Produce response.
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

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Write it at this offset.
    Append { base_offset: Offset },
    /// It is there already.
    Duplicate(WrittenBatch),
}

/// The state of one partition that the next batch is judged by.
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

    /// The log end offset.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Judges a batch by its producer's sequence, which is the one that was sent, also where a
    /// filter left less.
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

    /// Takes records up to `next_offset`.
    pub fn apply_append(&mut self, next_offset: Offset) {
        debug_assert!(next_offset >= self.next_offset, "offsets only grow");
        self.next_offset = next_offset;
    }

    /// The new log start for a request to delete what is before `before` (all of it where `None`).
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE beyond the end of the log.
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
