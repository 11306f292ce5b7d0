//! One partition of a link: its cursor and the batches in flight above it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use sedge_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::budget::Class;
use super::exchange::{Limits, Packing};
use super::join::JOINED_BYTES_MIN;
use super::offsets::{PLACED_MAX, Placed};
use super::spread::Spread;
use super::stamp::advance;
use super::verdict::Trouble;
use super::{BATCHES_IN_FLIGHT_MAX, FAILURES_MIN, PRODUCER_IDLE_MS};
use crate::backoff::Backoff;

/// A partition that makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub trouble: Trouble,
    /// The first offset that is not upstream.
    pub at: Offset,
    /// The end of the batch that is in the way, if known.
    pub next: Option<Offset>,
}

/// A batch that was read and not acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub base: Offset,
    pub next: Offset,
    pub bytes: usize,
    pub sequence: i32,
    /// Records that are sent: 0 for a batch that is skipped.
    pub count: i32,
    pub leader_epoch: LeaderEpoch,
    pub max_timestamp: i64,
    /// The batch has the records of several stored ones.
    pub is_joined: bool,
    /// Records that are left out because they are late.
    pub late: i32,
    pub read_ms: u64,
    /// The batch was sent before under the same sequence.
    pub is_resent: bool,
    pub done: bool,
    /// Batches that this one became and that are not acknowledged.
    pub parts_left: usize,
    /// The upstream offset of the first record, once acknowledged, if the upstream reports it. The
    /// other records of `base..next` follow without holes, also those of a joined batch.
    pub there: Option<Offset>,
}

/// What a cursor has moved past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Bytes that left the window.
    pub bytes: usize,
    /// Records, without those that are late.
    pub records: i64,
    pub late: i64,
}

/// A cursor that was set here, by an operator or by a link without transactions. The upstream must
/// have it before anything is sent from it, and after that this broker must know that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    No,
    /// The upstream does not have the cursor yet.
    Uncarried,
    /// The upstream has it. The commit here that says so is not durable yet.
    Carried,
}

#[derive(Debug)]
pub(super) struct Stream {
    /// All records below this offset are upstream, if the transaction that is open is committed.
    pub cursor: Offset,
    /// All records below this offset are upstream for good.
    pub settled: Offset,
    /// The leader epoch of the last record below the cursor, if known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The transaction that is open takes the records below this offset.
    pub gathered_until: Offset,
    /// The partition is sent in transactions.
    pub is_transactional: bool,
    pub moved: Moved,
    /// The cursor that is uncarried is one that the upstream has forgotten.
    pub is_forgotten: bool,
    /// The next offset to read.
    pub read: Offset,
    pub log_start: Offset,
    pub end: Offset,
    /// Records below this offset have lingered.
    pub lingered_until: Offset,
    pub packing: Packing,
    /// Bytes of the batch that was sent last; 0 if there was none.
    pub batch_bytes: usize,
    pub class: Class,
    /// Where the records go, if not all of them go to one partition.
    pub spread: Option<Spread>,
    /// Records below this offset are sent in batches as they are stored.
    pub apart_until: Offset,
    pub committed: Option<Offset>,
    pub in_flight: VecDeque<Sent>,
    /// Batches that were sent under this producer and are read again. The upstream may have them,
    /// so their sequences belong to them.
    unsure: VecDeque<Sent>,
    /// Answers and batches of an earlier generation are ignored.
    pub generation: u32,
    pub next_sequence: i32,
    pub producer: Option<(ProducerId, ProducerEpoch)>,
    /// The upstream has accepted a batch from this producer, recently enough to still know it.
    proven: bool,
    /// The upstream offset of the newest batch below the cursor, from this producer.
    floor: Option<Offset>,
    last_ack_ms: u64,
    /// Records below this offset that retention deleted were counted.
    lost_until: Offset,
    pub backoff: Backoff,
    pub resume_at_ms: Option<u64>,
    trouble: Option<Trouble>,
    /// The end of the batch that the trouble is about.
    stuck_until: Offset,
    /// When the partition last made progress before it began to fail.
    failing_since_ms: u64,
    is_held: bool,
    /// The partition waits for a decision, without retries.
    pub is_paused: bool,
    /// The batch that was read last cannot be sent before those in flight have come back.
    pub waits_for_flight: bool,
    /// The largest timestamp of the first batch above the cursor, once read.
    pub oldest_timestamp: Option<i64>,
    /// A read is in progress.
    pub reading: bool,
    /// Where acknowledged batches are upstream, by their offsets here: those above `settled`.
    acked: BTreeMap<Offset, Placed>,
    /// Those below it, until [`super::Link::take_placed`].
    pub placed: Vec<Placed>,
}

impl Stream {
    pub fn new(cursor: Offset, committed: Option<Offset>, limits: &Limits) -> Self {
        Self {
            cursor,
            settled: cursor,
            leader_epoch: None,
            gathered_until: Offset::ZERO,
            is_transactional: false,
            moved: Moved::No,
            is_forgotten: false,
            read: cursor,
            log_start: Offset::ZERO,
            end: cursor,
            lingered_until: cursor,
            packing: limits.packing,
            batch_bytes: 0,
            class: Class::default(),
            spread: None,
            apart_until: Offset::ZERO,
            committed,
            in_flight: VecDeque::new(),
            unsure: VecDeque::new(),
            generation: 0,
            next_sequence: 0,
            producer: None,
            proven: false,
            floor: None,
            last_ack_ms: 0,
            lost_until: Offset::ZERO,
            backoff: limits.backoff,
            resume_at_ms: None,
            trouble: None,
            stuck_until: Offset::ZERO,
            failing_since_ms: 0,
            is_held: false,
            is_paused: false,
            waits_for_flight: false,
            oldest_timestamp: None,
            reading: false,
            acked: BTreeMap::new(),
            placed: Vec::new(),
        }
    }

    /// Returns the number of batches that may be read now.
    pub fn room(&self, now_ms: u64) -> usize {
        let proven = self.proven && now_ms.saturating_sub(self.last_ack_ms) < PRODUCER_IDLE_MS;
        let most = if proven { BATCHES_IN_FLIGHT_MAX } else { 1 };
        most.saturating_sub(self.in_flight.len())
    }

    pub fn wants_read(&self) -> bool {
        let may_read = !self.waits_for_flight || self.in_flight.is_empty();
        may_read
            && !self.reading
            && !self.is_paused
            && self.moved == Moved::No
            && self.resume_at_ms.is_none()
            && self.read < self.lingered_until
    }

    /// Returns whether new records are to linger from now on.
    pub fn begins_to_linger(&self) -> bool {
        self.read >= self.lingered_until
            && self.read < self.end
            && self.resume_at_ms.is_none()
            && !self.is_paused
    }

    /// Returns the ends of the batches that must be sent again with the same records.
    pub fn ends(&self) -> [Option<Offset>; BATCHES_IN_FLIGHT_MAX] {
        let mut ends = [None; BATCHES_IN_FLIGHT_MAX];
        for (end, sent) in ends.iter_mut().zip(&self.unsure) {
            *end = Some(sent.next);
        }
        ends
    }

    /// Takes apart a joined batch that the upstream refuses: it is sent again as it is stored. If
    /// it is too large, later ones have at most half of its bytes. Returns false if the batch is
    /// not a joined one.
    pub fn take_apart(&mut self, base: Offset, is_too_large: bool) -> bool {
        let joined = self
            .in_flight
            .iter()
            .find(|it| it.base == base && it.is_joined);
        let Some(joined) = joined else {
            return false;
        };
        self.apart_until = joined.next;
        if is_too_large {
            let half = self.packing.batch_bytes / 2;
            let is_worth_it = half >= JOINED_BYTES_MIN;
            self.packing.batch_bytes = if is_worth_it { half } else { 0 };
        }
        true
    }

    /// Moves past records that retention deleted. Returns the number of those that were not
    /// counted before.
    pub fn skip_lost(&mut self) -> i64 {
        if self.read >= self.log_start || !self.in_flight.is_empty() {
            return 0;
        }
        let counted = self.read.max(self.lost_until);
        let lost = (self.log_start.get() - counted.get()).max(0);
        self.lost_until = self.log_start;
        self.read = self.log_start;
        self.set_cursor(self.log_start, None);
        self.oldest_timestamp = None;
        lost
    }

    fn set_cursor(&mut self, to: Offset, leader_epoch: Option<LeaderEpoch>) {
        self.cursor = to;
        self.leader_epoch = leader_epoch;
        if !self.is_transactional {
            self.settled = to;
            self.place();
        }
    }

    /// Takes note of where a batch is upstream.
    fn note_place(&mut self, sent: Sent) {
        if sent.count == 0 {
            return;
        }
        // What is spread is at no one place.
        let is_spread = self.spread.is_some();
        let placed = Placed {
            base: sent.base,
            next: sent.next,
            count: if is_spread { 0 } else { sent.count.into() },
            there: sent.there.filter(|_| !is_spread),
        };
        let mut before = self.acked.range_mut(..placed.base);
        let before = before.next_back().map(|(_, before)| before);
        if !before.is_some_and(|before| before.extend(&placed)) {
            self.acked.insert(placed.base, placed);
        }
    }

    /// Moves the places of what is settled.
    fn place(&mut self) {
        let settled = self.settled;
        let is_settled =
            |entry: &alloc::collections::btree_map::OccupiedEntry<'_, Offset, Placed>| {
                entry.get().next <= settled
            };
        while let Some(first) = self.acked.first_entry().filter(is_settled) {
            let placed = first.remove();
            if !self
                .placed
                .last_mut()
                .is_some_and(|last| last.extend(&placed))
            {
                self.placed.push(placed);
            }
        }
        if self.acked.is_empty() {
            self.acked = BTreeMap::new();
        }
        let over = self.placed.len().saturating_sub(PLACED_MAX);
        if let (Some(first), Some(last)) = (self.placed.first(), self.placed.get(over))
            && over > 0
        {
            let unknown = Placed {
                base: first.base,
                next: last.next,
                count: 0,
                there: None,
            };
            self.placed.splice(..=over, [unknown]);
        }
    }

    /// Puts a batch in flight, if it may be sent. A sequence that the upstream may have seen is
    /// given only to the batch that first had it.
    pub fn push(&mut self, mut sent: Sent) -> Option<Sent> {
        if sent.count > 0 {
            sent.sequence = self.next_sequence;
            if let Some(before) = self.unsure.front() {
                let name = |sent: &Sent| (sent.base, sent.next, sent.count);
                if name(before) != name(&sent) {
                    return None;
                }
                sent.is_resent = true;
                self.unsure.pop_front();
            }
            self.next_sequence = advance(self.next_sequence, sent.count);
        }
        if self.in_flight.is_empty() {
            self.oldest_timestamp = Some(sent.max_timestamp);
        }
        self.read = sent.next;
        self.waits_for_flight = false;
        self.in_flight.push_back(sent);
        Some(sent)
    }

    /// Returns whether the upstream may have received this batch before.
    pub fn is_resent(&self, base: Offset) -> bool {
        let sent = self.in_flight.iter().find(|sent| sent.base == base);
        sent.is_none_or(|sent| sent.is_resent)
    }

    /// Returns whether the upstream can have given offset `there` to the batch at `base`: the
    /// offsets of a partition rise in the order of sequences.
    pub fn is_believable(&self, base: Offset, there: Option<Offset>) -> bool {
        // Sequences of an epoch are used once, so no batch is taken for another.
        if self.spread.is_some() {
            return true;
        }
        let Some(at) = self.in_flight.iter().position(|sent| sent.base == base) else {
            return true;
        };
        let Some(there) = there else {
            return true;
        };
        let known = |sent: &Sent| sent.there;
        let before = self.in_flight.range(..at).filter_map(known);
        let mut behind = self.in_flight.range(at + 1..).filter_map(known);
        self.floor.into_iter().chain(before).all(|it| it < there) && behind.all(|it| there < it)
    }

    /// Marks a batch as upstream. Returns what the cursor has moved past.
    pub fn acknowledge(&mut self, base: Offset, there: Option<Offset>, now_ms: u64) -> Passed {
        if let Some(sent) = self.in_flight.iter_mut().find(|sent| sent.base == base) {
            sent.parts_left = sent.parts_left.saturating_sub(1);
            sent.done = sent.parts_left == 0;
            sent.there = there;
            let sent = *sent;
            if sent.done {
                self.note_place(sent);
            }
        }
        self.proven = true;
        self.last_ack_ms = now_ms;
        if !self.is_transactional {
            self.get_on();
        }
        self.pass_done()
    }

    /// Moves the cursor past finished batches at the front.
    pub fn pass_done(&mut self) -> Passed {
        let mut passed = Passed::default();
        while let Some(sent) = self.in_flight.front().filter(|sent| sent.done) {
            let records = sent.next.get() - self.cursor.get().max(sent.base.get());
            passed.bytes += sent.bytes;
            passed.late += i64::from(sent.late);
            passed.records += if sent.late > 0 { 0 } else { records };
            let (next, leader_epoch, there) = (sent.next, sent.leader_epoch, sent.there);
            self.set_cursor(next, Some(leader_epoch));
            self.floor = there.or(self.floor);
            self.in_flight.pop_front();
            self.oldest_timestamp = self.in_flight.front().map(|sent| sent.max_timestamp);
        }
        if self.in_flight.is_empty() {
            // Most partitions of a link are idle.
            self.in_flight = VecDeque::new();
        }
        passed
    }

    /// Goes back to the cursor: batches in flight are read again. Returns the bytes that left the
    /// window.
    pub fn rewind(&mut self) -> usize {
        self.generation = self.generation.wrapping_add(1);
        self.acked.clear();
        self.read = self.cursor;
        self.reading = false;
        self.waits_for_flight = false;
        let bytes = self.in_flight.iter().map(|sent| sent.bytes).sum();
        let sent = self.in_flight.drain(..).filter(|sent| sent.count > 0);
        let mut unsure: VecDeque<Sent> = sent.collect();
        unsure.append(&mut self.unsure);
        self.unsure = unsure;
        if let Some(first) = self.unsure.front() {
            self.next_sequence = first.sequence;
        }
        bytes
    }

    /// Continues at `to`, under another producer, and has the new cursor committed. Returns the
    /// bytes that left the window.
    pub fn seek(&mut self, to: Offset) -> usize {
        let bytes = self.rewind();
        self.drop_producer();
        self.settle(to);
        self.committed = None;
        self.oldest_timestamp = None;
        self.is_paused = false;
        self.get_on();
        bytes
    }

    /// Continues at `to`: the records below it are upstream for good.
    pub fn settle(&mut self, to: Offset) {
        self.cursor = to;
        self.read = to;
        self.settled = to;
        self.leader_epoch = None;
    }

    /// Continues at `to`, where the upstream is: the places of the records before it are not known.
    pub fn settle_unplaced(&mut self, to: Offset) {
        if to > self.settled {
            self.placed.push(Placed {
                base: self.settled,
                next: to,
                count: 0,
                there: None,
            });
        }
        self.settle(to);
    }

    /// Goes back to what is upstream for good, after a transaction that was not committed. Returns
    /// the bytes that left the window.
    pub fn go_back(&mut self) -> usize {
        let bytes = self.rewind();
        self.drop_producer();
        self.settle(self.settled);
        bytes
    }

    /// Records that the transaction with the records below `to` was committed.
    pub fn handle_commit(&mut self, to: Offset) {
        self.settled = to;
        self.place();
        self.get_on();
        if self.moved == Moved::Uncarried {
            self.moved = Moved::Carried;
            self.is_forgotten = false;
        }
    }

    /// Returns whether the partition would make the transactions of others fail: it is tried alone.
    pub fn is_suspect(&self) -> bool {
        let is_lasting = self.trouble.is_some_and(Trouble::is_lasting);
        is_lasting || self.backoff.failures() >= FAILURES_MIN
    }

    /// Takes a producer that is not known upstream yet for the next batch.
    pub fn take_producer(&mut self, producer: (ProducerId, ProducerEpoch)) {
        self.drop_producer();
        self.producer = Some(producer);
        self.next_sequence = 0;
    }

    /// Stops sending under the current producer.
    pub fn drop_producer(&mut self) {
        self.producer = None;
        self.proven = false;
        self.floor = None;
        self.unsure.clear();
    }

    /// Records a failure of the batch that ends at `until`. A partition that has failed for
    /// `held_after_ms` is held.
    pub fn fail(
        &mut self,
        trouble: Trouble,
        until: Option<Offset>,
        held_after_ms: u64,
        now_ms: u64,
    ) {
        let until = until.or_else(|| self.in_flight.front().map(|sent| sent.next));
        self.stuck_until = until.unwrap_or(self.stuck_until);
        if self.trouble.is_none() {
            self.failing_since_ms = now_ms;
        }
        // No answer to a retry says less than the error before it.
        if !(self.is_held && trouble == Trouble::NoAnswer) {
            self.trouble = Some(trouble);
        }
        let is_long = now_ms.saturating_sub(self.failing_since_ms) >= held_after_ms
            && self.backoff.failures() >= FAILURES_MIN;
        self.is_held |= is_long || trouble.is_lasting();
    }

    pub fn pause(&mut self, trouble: Trouble) {
        self.trouble = Some(trouble);
        self.is_held = true;
        self.is_paused = true;
    }

    fn get_on(&mut self) {
        self.backoff.succeed();
        self.trouble = None;
        self.is_held = false;
    }

    pub fn hold(&self) -> Option<Hold> {
        let trouble = self.trouble.filter(|_| self.is_held)?;
        let (at, next) = (self.settled, Some(self.stuck_until));
        Some(Hold {
            trouble,
            at,
            next: next.filter(|next| *next > at),
        })
    }

    pub fn lag(&self) -> i64 {
        (self.end.get() - self.settled.get()).max(0)
    }
}
