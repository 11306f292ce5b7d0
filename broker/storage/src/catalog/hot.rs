//! The hot state of partitions that are written to.

use std::collections::VecDeque;

use sedge_protocol::ids::{Offset, PartitionId};

use super::{Mark, State};
use crate::api::Slice;
use crate::error::Error;
use crate::format::Run;
use crate::limits;
use crate::views::Base;
use crate::views::layers::Merged;
use crate::views::tables::{Bounds, LogKey, LogValue};

/// The hot state of a partition. A cache: everything in it is in the layers or the base too.
#[derive(Debug)]
pub(super) struct Tail {
    pub bounds: Bounds,
    pub run: Option<OpenRun>,
    pub slice: Option<Slice>,
    pub marks: VecDeque<Mark>,
    pub touched_round: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenRun {
    pub base: Offset,
    pub run: Run,
    pub first_frame: u32,
}

impl State {
    pub(super) fn take_tail(
        &mut self,
        base: &dyn Base,
        partition: PartitionId,
    ) -> Result<Tail, Error> {
        if let Some(tail) = self.tails.remove(&partition) {
            return Ok(tail);
        }
        let merged = Merged {
            layers: &self.layers,
            base,
        };
        let bounds = match merged.get(LogKey::bounds(partition))? {
            Some(LogValue::Bounds(bounds)) => bounds,
            _ => Bounds::default(),
        };
        let mut slice = None;
        if bounds.live_bytes > 0 {
            let (low, high) = (Offset::ZERO, Offset(i64::MAX));
            let last = merged.last(
                LogKey::slice(partition, low),
                LogKey::slice(partition, high),
            )?;
            if let Some((_, LogValue::Slice(last))) = last {
                slice = Some(last);
            }
        }
        let marks = VecDeque::new();
        Ok(Tail {
            bounds,
            run: None,
            slice,
            marks,
            touched_round: self.flush_round,
        })
    }

    pub(super) fn put_tail(&mut self, partition: PartitionId, mut tail: Tail) {
        self.layers
            .put(LogKey::bounds(partition), LogValue::Bounds(tail.bounds));
        tail.touched_round = self.flush_round;
        if self.tails.len() >= limits::TAILS_MAX {
            let round = self.flush_round;
            self.tails.retain(|_, tail| tail.touched_round == round);
            if self.tails.len() >= limits::TAILS_MAX {
                self.tails.clear();
            }
        }
        self.tails.insert(partition, tail);
    }

    /// Tails not touched since the flush before the last one, when there are many.
    pub(super) fn let_tails_go(&mut self) {
        if self.tails.len() > limits::TAILS_MAX / 2 {
            let round = self.flush_round;
            self.tails
                .retain(|_, tail| round.wrapping_sub(tail.touched_round) <= 1);
        }
        if self.tails.is_empty() {
            self.tails.shrink_to_fit();
        }
    }
}

impl OpenRun {
    pub(super) fn takes(&self, base: Offset, one: &Run, frame: u32) -> bool {
        if self.run.segment != one.segment || self.run.next != base {
            return false;
        }
        let span = (one.position + u64::from(one.span)).saturating_sub(self.run.position);
        let frames = frame.saturating_sub(self.first_frame);
        u64::from(self.run.bytes) + u64::from(one.bytes) <= limits::RUN_BYTES_MAX
            && (frames <= limits::RUN_FRAMES_MAX || span <= limits::RUN_SPAN_BYTES_MAX)
            && u32::try_from(span).is_ok()
    }

    pub(super) fn extended(&self, one: &Run) -> Self {
        let span = one.position + u64::from(one.span) - self.run.position;
        let run = Run {
            span: span as u32,
            bytes: self.run.bytes + one.bytes,
            next: one.next,
            max_timestamp: self.run.max_timestamp.max(one.max_timestamp),
            append_ms: self.run.append_ms.max(one.append_ms),
            leader_epoch: one.leader_epoch,
            ..self.run
        };
        Self { run, ..*self }
    }
}
