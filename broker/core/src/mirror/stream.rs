//! One partition of a link: its cursor and what is in flight above it.

use alloc::collections::VecDeque;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{Offset, ProducerEpoch, ProducerId};

use super::stamp::{StampError, advance};
use super::{BATCHES_IN_FLIGHT_MAX, PRODUCER_IDLE_MS};
use crate::backoff::Backoff;

/// Why a partition does not go on until somebody changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The upstream refuses a batch.
    Refused(ErrorCode),
    /// A batch cannot be sent on.
    Unfit(StampError),
}

/// A batch that was read and not acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub base: Offset,
    pub next: Offset,
    pub bytes: usize,
    pub sequence: i32,
    pub max_timestamp: i64,
    pub done: bool,
}

#[derive(Debug)]
pub(super) struct Stream {
    /// Everything below is upstream.
    pub cursor: Offset,
    /// The next to read.
    pub read: Offset,
    pub log_start: Offset,
    pub end: Offset,
    pub committed: Option<Offset>,
    pub in_flight: VecDeque<Sent>,
    /// Answers and batches of an earlier generation are nobody's.
    pub generation: u32,
    pub next_sequence: i32,
    pub producer: Option<(ProducerId, ProducerEpoch)>,
    /// The upstream has taken a batch from this producer, not too long ago.
    proven: bool,
    last_ack_ms: u64,
    pub backoff: Backoff,
    pub resume_at_ms: Option<u64>,
    pub hold: Option<Hold>,
    /// The largest timestamp of the first batch above the cursor, once it was read.
    pub oldest_timestamp: Option<i64>,
    /// A read is under way.
    pub reading: bool,
}

impl Stream {
    pub fn new(cursor: Offset, committed: Option<Offset>, backoff: Backoff) -> Self {
        Self {
            cursor,
            read: cursor,
            log_start: Offset::ZERO,
            end: cursor,
            committed,
            in_flight: VecDeque::new(),
            generation: 0,
            next_sequence: 0,
            producer: None,
            proven: false,
            last_ack_ms: 0,
            backoff,
            resume_at_ms: None,
            hold: None,
            oldest_timestamp: None,
            reading: false,
        }
    }

    /// Batches that may be read now.
    pub fn room(&self, now_ms: u64) -> usize {
        let proven = self.proven && now_ms.saturating_sub(self.last_ack_ms) < PRODUCER_IDLE_MS;
        let most = if proven { BATCHES_IN_FLIGHT_MAX } else { 1 };
        most.saturating_sub(self.in_flight.len())
    }

    pub fn wants_read(&self) -> bool {
        !self.reading && self.resume_at_ms.is_none() && self.read < self.end
    }

    /// Goes over what retention took; gives how many records that were.
    pub fn skip_lost(&mut self) -> i64 {
        if self.read >= self.log_start || !self.in_flight.is_empty() {
            return 0;
        }
        let lost = self.log_start.get() - self.read.get();
        self.read = self.log_start;
        self.cursor = self.log_start;
        self.oldest_timestamp = None;
        lost
    }

    pub fn push(&mut self, sent: Sent, count: i32) {
        if self.in_flight.is_empty() {
            self.oldest_timestamp = Some(sent.max_timestamp);
        }
        self.read = sent.next;
        self.next_sequence = advance(self.next_sequence, count);
        self.in_flight.push_back(sent);
    }

    /// Marks a batch as upstream; gives the bytes that left the window, and the records.
    pub fn acknowledge(&mut self, base: Offset, now_ms: u64) -> (usize, i64) {
        if let Some(sent) = self.in_flight.iter_mut().find(|sent| sent.base == base) {
            sent.done = true;
        }
        self.proven = true;
        self.last_ack_ms = now_ms;
        self.backoff.succeed();
        self.hold = None;
        self.pass_done()
    }

    /// Moves the cursor over what is done at the front.
    pub fn pass_done(&mut self) -> (usize, i64) {
        let (mut bytes, mut records) = (0, 0);
        while let Some(sent) = self.in_flight.front().filter(|sent| sent.done) {
            bytes += sent.bytes;
            records += sent.next.get() - self.cursor.get().max(sent.base.get());
            self.cursor = sent.next;
            self.in_flight.pop_front();
            self.oldest_timestamp = self.in_flight.front().map(|sent| sent.max_timestamp);
        }
        (bytes, records)
    }

    /// Back to the cursor: what is in flight is read again. Gives the bytes that left the window.
    pub fn rewind(&mut self) -> usize {
        self.generation = self.generation.wrapping_add(1);
        self.read = self.cursor;
        self.reading = false;
        if let Some(first) = self.in_flight.front() {
            self.next_sequence = first.sequence;
        }
        self.in_flight.drain(..).map(|sent| sent.bytes).sum()
    }

    /// The next batch goes under a producer that is not known upstream yet.
    pub fn take_producer(&mut self, producer: (ProducerId, ProducerEpoch)) {
        self.producer = Some(producer);
        self.next_sequence = 0;
        self.proven = false;
    }

    /// The upstream does not know it any more.
    pub fn drop_producer(&mut self) {
        self.producer = None;
        self.proven = false;
    }

    pub fn lag(&self) -> i64 {
        (self.end.get() - self.cursor.get()).max(0)
    }
}
