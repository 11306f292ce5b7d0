//! Plans all partitions of a link.

#[cfg(test)]
mod tests;

mod classes;
mod commits;
mod outcomes;
mod transactions;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};

use super::budget::{Meter, Priority};
use super::exchange::{Counts, Limits, Outgoing, Position, Read};
use super::spread::{Spread, Target};
use super::stamp::{Prepared, advance, stamp};
use super::stream::{Hold, Moved, Sent, Stream};
use super::verdict::Trouble;
use super::window::Window;

use transactions::Transactions;

pub use transactions::{Cursor, Step, StepOutcome, TransactionLimits, choose_cursor};

/// The state of a link. See the module's documentation for its rules.
#[derive(Debug)]
pub struct Link {
    limits: Limits,
    streams: BTreeMap<PartitionId, Stream>,
    /// Partitions that may have something to read.
    ready: BTreeSet<PartitionId>,
    /// Waiting partitions, by the time until which they wait.
    waiting: BTreeSet<(u64, PartitionId)>,
    /// Partitions whose cursor has moved since it was committed.
    dirty: BTreeSet<PartitionId>,
    last_read: Option<PartitionId>,
    producer: Option<(ProducerId, ProducerEpoch)>,
    /// The next sequences of this epoch in partitions upstream that get records of several.
    sequences: BTreeMap<Target, i32>,
    bytes_in_flight: usize,
    counts: Counts,
    /// `None` if the link sends at least once.
    transactions: Option<Transactions>,
    /// `None` if nothing is limited.
    meter: Option<Meter>,
    /// The classes that may send now, as last looked at.
    open: [bool; Priority::ALL.len()],
    /// Whether partitions have different classes.
    has_classes: bool,
    /// Bounds what classes below high have in flight, if there are classes.
    window: Window,
    /// When a class with something to send may send again.
    opens_at_ms: Option<u64>,
}

impl Link {
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            streams: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            dirty: BTreeSet::new(),
            last_read: None,
            producer: None,
            sequences: BTreeMap::new(),
            bytes_in_flight: 0,
            counts: Counts {
                sent_records: 0,
                sent_bytes: 0,
                retries: 0,
                lost_to_retention: 0,
                lost_to_deletion: 0,
                late: 0,
                skipped: 0,
                committed: 0,
                aborted: 0,
            },
            transactions: None,
            meter: None,
            open: [true; Priority::ALL.len()],
            has_classes: false,
            window: Window::new(limits.window_bytes),
            opens_at_ms: None,
        }
    }

    // Getters.

    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    #[must_use]
    pub const fn bytes_in_flight(&self) -> usize {
        self.bytes_in_flight
    }

    #[must_use]
    pub fn has(&self, partition: PartitionId) -> bool {
        self.streams.contains_key(&partition)
    }

    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.streams.keys().copied()
    }

    /// Returns whether batches of this generation still matter.
    #[must_use]
    pub fn is_current(&self, partition: PartitionId, generation: u32) -> bool {
        self.streams
            .get(&partition)
            .is_some_and(|stream| stream.generation == generation)
    }

    /// Returns the cursor: all records below it are upstream for good.
    #[must_use]
    pub fn cursor(&self, partition: PartitionId) -> Option<Offset> {
        self.streams.get(&partition).map(|stream| stream.settled)
    }

    /// Returns the cursor with the leader epoch of the last record below, if that is known.
    #[must_use]
    pub fn settled(&self, partition: PartitionId) -> Option<Cursor> {
        let stream = self.streams.get(&partition)?;
        let is_known = stream.cursor == stream.settled;
        Some(Cursor {
            partition,
            offset: stream.settled,
            leader_epoch: stream.leader_epoch.filter(|_| is_known),
        })
    }

    /// Returns the number of local records that are not upstream.
    #[must_use]
    pub fn lag(&self) -> i64 {
        self.streams.values().map(Stream::lag).sum()
    }

    /// Returns the partitions that lag, with their cursors.
    pub fn lagging(&self) -> impl Iterator<Item = (PartitionId, Offset)> + '_ {
        let lagging = self.streams.iter().filter(|(_, stream)| stream.lag() > 0);
        lagging.map(|(partition, stream)| (*partition, stream.settled))
    }

    /// Returns the timestamps of the first batches that are not upstream, where they are known.
    pub fn oldest_timestamps(&self) -> impl Iterator<Item = (PartitionId, i64)> + '_ {
        let lagging = self.streams.iter().filter(|(_, stream)| stream.lag() > 0);
        lagging.filter_map(|(partition, stream)| Some((*partition, stream.oldest_timestamp?)))
    }

    /// Returns the partitions that are held, with the reasons.
    pub fn holds(&self) -> impl Iterator<Item = (PartitionId, Hold)> + '_ {
        let held = |(id, stream): (&PartitionId, &Stream)| Some((*id, stream.hold()?));
        self.streams.iter().filter_map(held)
    }

    /// Returns whether there is something to send and no producer id for it. A link with
    /// transactions always needs one: the upstream may have an open transaction of the last one.
    #[must_use]
    pub fn needs_producer(&self) -> bool {
        let wants_read = |p: &PartitionId| self.streams.get(p).is_some_and(Stream::wants_read);
        self.producer.is_none()
            && (self.transactions.is_some() || self.ready.iter().any(wants_read))
    }

    /// Returns when the next waiting partition may continue, or the transaction may end.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let waiting = self.waiting.first().map(|(at_ms, _)| *at_ms);
        let ends = self
            .transactions
            .as_ref()
            .and_then(Transactions::deadline_ms);
        let opens = self.opens_at_ms;
        waiting.into_iter().chain(ends).chain(opens).min()
    }

    // Events.

    /// Opens a partition at its last position. A cursor above the end (the log lost its tail)
    /// becomes the end.
    pub fn open(&mut self, partition: PartitionId, position: Position) {
        let cursor = position
            .cursor
            .unwrap_or(position.log_start)
            .min(position.high_watermark);
        let mut stream = Stream::new(cursor, position.cursor, &self.limits);
        // A backlog has waited long enough.
        stream.lingered_until = position.high_watermark.max(cursor);
        if let Some(transactions) = &mut self.transactions {
            stream.is_transactional = true;
            // What is committed here only follows the upstream.
            stream.committed = None;
            if position.is_moved {
                stream.moved = Moved::Uncarried;
                stream.is_forgotten = position.is_forgotten;
                transactions.uncarried.insert(partition);
            }
        }
        self.streams.insert(partition, stream);
        self.handle_bounds(partition, position.log_start, position.high_watermark, 0);
        self.settle(partition);
    }

    /// Closes a partition whose topic was deleted. Returns the number of records that were not
    /// acknowledged.
    pub fn close(&mut self, partition: PartitionId) -> i64 {
        let lost = self.leave(partition);
        self.counts.lost_to_deletion += lost.unsigned_abs();
        lost
    }

    /// Stops copying a partition whose topic stays. Returns its lag.
    pub fn leave(&mut self, partition: PartitionId) -> i64 {
        // Another partition may be sent to the same one upstream, starting at sequence 0.
        self.retire_producer(partition);
        if self.has(partition) {
            // Before the partition is opened again, its cursor is read again.
            self.abort();
        }
        let mut lag = 0;
        if let Some(mut stream) = self.streams.remove(&partition) {
            lag = stream.lag();
            self.bytes_in_flight -= stream.rewind();
            if let Some(at_ms) = stream.resume_at_ms {
                self.waiting.remove(&(at_ms, partition));
            }
        }
        self.ready.remove(&partition);
        self.dirty.remove(&partition);
        if let Some(transactions) = &mut self.transactions {
            transactions.uncarried.remove(&partition);
        }
        lag
    }

    /// Moves the cursor up or down, on a decision from outside. Returns the number of skipped
    /// records.
    pub fn seek(&mut self, partition: PartitionId, to: Offset) -> i64 {
        self.retire_producer(partition);
        let Some(stream) = self.streams.get_mut(&partition) else {
            return 0;
        };
        let to = to.min(stream.end);
        let skipped = (to.get() - stream.settled.get().max(stream.log_start.get())).max(0);
        self.counts.skipped += skipped.unsigned_abs();
        self.bytes_in_flight -= stream.seek(to);
        if let Some(transactions) = &mut self.transactions {
            stream.moved = Moved::Uncarried;
            stream.is_forgotten = false;
            transactions.uncarried.insert(partition);
        }
        if let Some(at_ms) = stream.resume_at_ms.take() {
            self.waiting.remove(&(at_ms, partition));
        }
        self.settle(partition);
        skipped
    }

    /// Sets where the records of a partition go: to the partitions of a topic upstream, or to its
    /// twin. A link without transactions cannot spread.
    pub fn spread(&mut self, partition: PartitionId, spread: Option<Spread>) {
        let stream = self.streams.get(&partition);
        if stream.is_none_or(|stream| stream.spread == spread) {
            return;
        }
        assert!(spread.is_none() || self.transactions.is_some());
        // What was read is for other partitions, and under their sequences.
        self.retire_producer(partition);
        if let Some(stream) = self.streams.get_mut(&partition) {
            self.bytes_in_flight -= stream.go_back();
            stream.spread = spread;
        }
        self.settle(partition);
    }

    /// Begins again with a new upstream partition: everything from the cursor on is sent to that
    /// one.
    pub fn begin_again(&mut self, partition: PartitionId) {
        if let Some(cursor) = self.cursor(partition) {
            self.seek(partition, cursor);
        }
        if let Some(stream) = self.streams.get_mut(&partition) {
            // Of the earlier one.
            stream.placed.clear();
        }
    }

    /// Holds a partition until [`Link::seek`] says where to continue.
    pub fn pause(&mut self, partition: PartitionId, trouble: Trouble) {
        if self.is_in_transaction(partition) {
            self.abort();
        }
        if let Some(stream) = self.streams.get_mut(&partition) {
            self.bytes_in_flight -= stream.rewind();
            stream.pause(trouble);
            self.ready.remove(&partition);
        }
    }

    /// Records that the log has grown, or that retention has moved its start.
    pub fn handle_bounds(
        &mut self,
        partition: PartitionId,
        log_start: Offset,
        high_watermark: Offset,
        now_ms: u64,
    ) {
        let linger_ms = self.limits.linger_ms;
        let Some(stream) = self.streams.get_mut(&partition) else {
            return;
        };
        stream.log_start = log_start;
        stream.end = stream.end.max(high_watermark);
        if linger_ms == 0 {
            stream.lingered_until = stream.end;
        } else if stream.begins_to_linger() {
            stream.resume_at_ms = Some(now_ms + linger_ms);
            self.waiting.insert((now_ms + linger_ms, partition));
        }
        if stream.wants_read() {
            self.ready.insert(partition);
        }
    }

    /// Takes a producer id that was never used.
    pub fn handle_producer(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        self.producer = Some((id, epoch));
    }

    /// Returns the next read, of each partition in turn, as long as the window has room.
    pub fn poll_read(&mut self, now_ms: u64) -> Option<Read> {
        self.wake(now_ms);
        self.look_at_budget(now_ms);
        self.producer?;
        let left = self
            .limits
            .window_bytes
            .saturating_sub(self.bytes_in_flight);
        if left == 0 {
            return None;
        }
        while let Some(partition) = self.next_ready() {
            self.ready.remove(&partition);
            let Some(stream) = self.streams.get_mut(&partition) else {
                continue;
            };
            let lost = stream.skip_lost();
            if lost > 0 {
                self.counts.lost_to_retention += lost.unsigned_abs();
                self.dirty.insert(partition);
            }
            let is_alone = self
                .transactions
                .as_ref()
                .is_some_and(Transactions::is_alone);
            let is_single = is_alone || self.meter.as_ref().is_some_and(Meter::is_tight);
            let batches_max = stream
                .room(now_ms)
                .min(if is_single { 1 } else { usize::MAX });
            // There is nothing to read below the log start. The batches in flight come back first,
            // and make the partition ready again.
            if !stream.wants_read() || batches_max == 0 || stream.read < stream.log_start {
                continue;
            }
            stream.reading = true;
            self.last_read = Some(partition);
            let ends = stream.ends();
            let mut packing = stream.packing;
            if self.has_classes && stream.class.priority != Priority::High {
                packing.batch_bytes = packing.batch_bytes.min(self.window.batch_bytes());
            }
            let meter = self.meter.as_ref();
            let late_before = meter.and_then(|it| stream.class.late_before(it.wall_ms(now_ms)));
            // What is sent again must be read as far as before. One joined batch always fits.
            let bytes_max = if ends.iter().any(Option::is_some) {
                self.limits.read_bytes
            } else {
                // What finds no room is read again. Batches vary a little in size.
                let each = stream.batch_bytes.max(packing.batch_bytes);
                let each = each + each / 8;
                let room = match stream.batch_bytes {
                    0 => usize::MAX,
                    _ => batches_max.saturating_mul(each),
                };
                let left = left.min(self.limits.read_bytes).min(room);
                left.max(packing.batch_bytes)
            };
            return Some(Read {
                partition,
                generation: stream.generation,
                from: stream.read,
                until: stream.end,
                bytes_max,
                batches_max,
                packing,
                apart_until: stream.apart_until,
                spread: stream.spread,
                late_before: late_before.filter(|_| ends.iter().all(Option::is_none)),
                ends,
            });
        }
        None
    }

    /// Takes the result of a read: whole batches, the first of which contains `read.from`. Returns
    /// the batches to send, in order. Batches above `batches_max` are left for the next read.
    pub fn handle_read(
        &mut self,
        read: &Read,
        batches: Vec<Prepared>,
        now_ms: u64,
    ) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        let Some(stream) = self.streams.get_mut(&read.partition) else {
            return outgoing;
        };
        if stream.generation != read.generation {
            return outgoing;
        }
        stream.reading = false;
        if stream.producer.is_none()
            && let Some(producer) = self.producer
        {
            stream.take_producer(producer);
        }
        let Some(producer) = stream.producer else {
            self.settle(read.partition);
            return outgoing;
        };
        let before = stream.read;
        let mut end = ReadEnd::Nothing;
        for prepared in batches.into_iter().take(read.batches_max) {
            if prepared.next <= stream.read {
                continue;
            }
            let batch = match prepared.batch.transpose() {
                Ok(batch) => batch,
                Err(error) => {
                    end = ReadEnd::Unfit(error, prepared.next);
                    break;
                }
            };
            let spread = stream.spread.filter(|_| batch.is_some());
            let parts = match (spread, batch) {
                (Some(spread), _) => {
                    let parts = prepared.parts.into_iter();
                    let part = |(index, part)| (spread.target(index), part);
                    parts.map(part).collect()
                }
                (None, Some(batch)) => Vec::from([(Target::Twin(read.partition), batch)]),
                (None, None) => Vec::new(),
            };
            if spread.is_some() && parts.is_empty() {
                // The caller has not split the batch.
                break;
            }
            let count = |(_, part): &(Target, Batch)| part.header.record_count();
            let sent = Sent {
                base: prepared.base,
                next: prepared.next,
                bytes: parts.iter().map(|(_, part)| part.bytes()).sum(),
                sequence: 0,
                count: parts.iter().map(count).sum(),
                leader_epoch: prepared.leader_epoch,
                max_timestamp: prepared.max_timestamp,
                is_joined: prepared.is_joined,
                late: prepared.late,
                read_ms: now_ms,
                is_resent: false,
                done: parts.is_empty(),
                parts_left: parts.len(),
                there: None,
            };
            let Some(sent) = stream.push(sent) else {
                end = ReadEnd::OtherProducer;
                break;
            };
            self.bytes_in_flight += sent.bytes;
            if !parts.is_empty() {
                stream.batch_bytes = sent.bytes;
            }
            // The last one is smaller only because there are no more records.
            if prepared.is_joined
                && prepared.next < read.until
                && stream.class.priority != Priority::High
            {
                self.window.join(read.packing.batch_bytes, sent.bytes);
            }
            if let Some(transactions) = &mut self.transactions {
                transactions.handle_read(sent.bytes);
            }
            if let Some(meter) = self.meter.as_mut().filter(|_| !parts.is_empty()) {
                meter.spend(sent.bytes, now_ms);
            }
            for (target, mut batch) in parts {
                let sequence = match target {
                    Target::Twin(_) => sent.sequence,
                    Target::Of { .. } => {
                        let next = self.sequences.entry(target).or_default();
                        let after = advance(*next, batch.header.record_count());
                        core::mem::replace(next, after)
                    }
                };
                let is_transactional = self.transactions.is_some();
                stamp(&mut batch, producer, sequence, is_transactional);
                outgoing.push(Outgoing {
                    partition: read.partition,
                    generation: read.generation,
                    base: sent.base,
                    target,
                    batch,
                });
            }
        }
        let has_more = stream.read > before && matches!(end, ReadEnd::Nothing);
        // The next batch is not handled before all batches in flight have come back.
        stream.waits_for_flight = !has_more && !stream.in_flight.is_empty();
        if !has_more && stream.in_flight.is_empty() {
            match end {
                ReadEnd::Unfit(error, until) => {
                    let until = Some(until);
                    self.fail(read.partition, Trouble::Unfit(error), until, now_ms, 0);
                }
                ReadEnd::OtherProducer => self.retire_producer(read.partition),
                // The read should have found a batch: do not repeat it at once.
                ReadEnd::Nothing => self.fail(read.partition, Trouble::Unread, None, now_ms, 0),
            }
        }
        self.settle(read.partition);
        outgoing
    }

    // Private functions.

    /// Returns the ready partition of the highest class after the last one read, in a circle.
    fn next_ready(&self) -> Option<PartitionId> {
        let last = self.last_read.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.ready.range((last, Bound::Unbounded));
        let mut in_turn = behind.chain(&self.ready).filter(|id| self.may_read(**id));
        if self.has_classes {
            in_turn.min_by_key(|id| self.priority(**id)).copied()
        } else {
            in_turn.next().copied()
        }
    }

    /// Makes waiting partitions ready when their time has come.
    fn wake(&mut self, now_ms: u64) {
        while let Some((at_ms, partition)) = self.waiting.first().copied() {
            if at_ms > now_ms {
                return;
            }
            self.waiting.remove(&(at_ms, partition));
            if let Some(stream) = self.streams.get_mut(&partition) {
                stream.resume_at_ms = None;
                stream.lingered_until = stream.end;
                self.ready.insert(partition);
            }
        }
    }

    /// Updates the partition's state after its window has changed.
    fn settle(&mut self, partition: PartitionId) {
        let Some(stream) = self.streams.get_mut(&partition) else {
            return;
        };
        let passed = stream.pass_done();
        self.bytes_in_flight -= passed.bytes;
        if stream.wants_read() {
            self.ready.insert(partition);
        }
        if stream.committed != Some(stream.settled) {
            self.dirty.insert(partition);
        }
        self.count_late(passed.late);
    }
}

/// What follows the usable batches of a read.
enum ReadEnd {
    Nothing,
    /// The next batch, which ends at this offset, cannot be sent.
    Unfit(super::StampError, Offset),
    /// The next batch cannot be sent under this producer.
    OtherProducer,
}
