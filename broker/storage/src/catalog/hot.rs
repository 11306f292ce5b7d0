//! The hot state of recently written partitions.

use std::collections::VecDeque;

use sedge_protocol::ids::{Offset, PartitionId};

use super::{Mark, State};
use crate::api::Slice;
use crate::error::Error;
use crate::format::Run;
use crate::ids::SegmentId;
use crate::limits;
use crate::views::Base;
use crate::views::layers::Merged;
use crate::views::tables::{Bounds, LogKey, LogValue};

/// The hot state of a partition. A cache: all of it is in the layers or the base too.
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

impl Tail {
    /// Forgets the marks of a segment. Marks are in log order, and there may be thousands.
    pub fn forget_segment(&mut self, id: SegmentId) {
        let from = self.marks.partition_point(|mark| mark.segment < id);
        let to = self.marks.partition_point(|mark| mark.segment <= id);
        self.marks.drain(from..to);
    }

    pub fn forget_range(&mut self, base: Offset, next: Offset) {
        let from = self.marks.partition_point(|mark| mark.next <= base);
        let to = self.marks.partition_point(|mark| mark.base < next);
        self.marks.drain(from..to.max(from));
    }
}

impl State {
    /// Sets the number of marks that fit segments of this size.
    pub fn set_marks_max(&mut self, segment_bytes: u64) {
        self.marks_max = (segment_bytes / limits::SEGMENT_BYTES_A_MARK) as usize;
    }

    /// Adds a commit's mark: the newest few of each partition are kept, and more if there is room.
    pub(super) fn mark(&mut self, tail: &mut Tail, mark: Mark) {
        let is_full = self.marks >= self.marks_max;
        if is_full && tail.marks.len() >= limits::TAIL_MARKS_MAX {
            tail.marks.pop_front();
        } else {
            self.marks += 1;
        }
        tail.marks.push_back(mark);
    }

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

    /// Evicts tails not touched since the flush before the last one, if there are many, and most of
    /// their marks, if other partitions need them.
    pub(super) fn let_tails_go(&mut self) {
        let round = self.flush_round;
        let is_idle = |tail: &Tail| round.wrapping_sub(tail.touched_round) > 1;
        if self.tails.len() > limits::TAILS_MAX / 2 {
            self.tails.retain(|_, tail| !is_idle(tail));
        }
        if self.marks >= self.marks_max {
            for tail in self.tails.values_mut().filter(|tail| is_idle(tail)) {
                let over = tail.marks.len().saturating_sub(limits::TAIL_MARKS_MAX);
                tail.marks.drain(..over);
                tail.marks.shrink_to_fit();
            }
        }
        self.marks = self.tails.values().map(|tail| tail.marks.len()).sum();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: usize) -> Mark {
        Mark {
            base: Offset(number as i64),
            next: Offset(number as i64 + 1),
            segment: SegmentId(1),
            position: 0,
            bytes: 1,
        }
    }

    fn push(state: &mut State, partition: u32, count: usize) -> Vec<i64> {
        let id = PartitionId(partition);
        let mut tail = state.tails.remove(&id).unwrap_or_else(|| Tail {
            bounds: Bounds::default(),
            run: None,
            slice: None,
            marks: VecDeque::new(),
            touched_round: 0,
        });
        tail.touched_round = state.flush_round;
        for number in 0..count {
            state.mark(&mut tail, mark(number));
        }
        let bases = tail.marks.iter().map(|mark| mark.base.0).collect();
        state.tails.insert(id, tail);
        bases
    }

    #[test]
    fn marks_of_a_segment_and_of_a_range_are_forgotten() {
        let mut state = State::default();
        push(&mut state, 1, 10);
        let tail = state.tails.get_mut(&PartitionId(1)).unwrap();
        for mark in tail.marks.range_mut(4..) {
            mark.segment = SegmentId(mark.base.0 as u64);
        }
        let mut check = |change: &dyn Fn(&mut Tail), left: &[i64]| {
            change(tail);
            let bases: Vec<i64> = tail.marks.iter().map(|mark| mark.base.0).collect();
            assert_eq!(bases, left);
        };
        check(
            &|tail| tail.forget_segment(SegmentId(7)),
            &[0, 1, 2, 3, 4, 5, 6, 8, 9],
        );
        check(
            &|tail| tail.forget_range(Offset(2), Offset(5)),
            &[0, 1, 5, 6, 8, 9],
        );
        check(
            &|tail| tail.forget_range(Offset(7), Offset(8)),
            &[0, 1, 5, 6, 8, 9],
        );
        check(&|tail| tail.forget_segment(SegmentId(1)), &[5, 6, 8, 9]);
        check(&|tail| tail.forget_segment(SegmentId(1)), &[5, 6, 8, 9]);
        check(&|tail| tail.forget_range(Offset(0), Offset(100)), &[]);
    }

    #[test]
    fn a_partition_has_more_marks_while_there_is_room() {
        let mut state = State {
            marks_max: 5000,
            ..State::default()
        };
        let all = push(&mut state, 1, 5010);
        assert_eq!((all.len(), all[0]), (5000, 10));
        let few = push(&mut state, 2, 100);
        assert_eq!(
            (few.len(), few[0]),
            (limits::TAIL_MARKS_MAX, 100 - limits::TAIL_MARKS_MAX as i64)
        );

        // The first partition is idle meanwhile.
        state.flush_round = 2;
        push(&mut state, 2, 1);
        state.let_tails_go();
        assert_eq!(
            state.tails[&PartitionId(1)].marks.len(),
            limits::TAIL_MARKS_MAX
        );
        assert_eq!(state.marks, 2 * limits::TAIL_MARKS_MAX);
        let more = push(&mut state, 2, 1000);
        assert_eq!(more.len(), 1000 + limits::TAIL_MARKS_MAX);
    }
}
