//! What becomes of the batches that a link has sent, or could not read.

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{Offset, PartitionId};

use super::Link;
use crate::mirror::HOLD_MS;
use crate::mirror::budget::Priority;
use crate::mirror::exchange::Read;
use crate::mirror::verdict::{Outcome, Trouble, Verdict, is_about_size, judge};

impl Link {
    /// Takes the outcome of sending a batch. `random` is for the backoff's jitter.
    pub fn handle_outcome(
        &mut self,
        partition: PartitionId,
        generation: u32,
        base: Offset,
        outcome: Outcome,
        now_ms: u64,
        random: u64,
    ) -> Option<Verdict> {
        let stream = self.streams.get_mut(&partition)?;
        if stream.generation != generation {
            return None;
        }
        let outcome = match outcome {
            // Some brokers answer this instead of the offset.
            Outcome::Refused(ErrorCode::DuplicateSequenceNumber) if stream.is_resent(base) => {
                Outcome::Acknowledged(None)
            }
            outcome => outcome,
        };
        let (verdict, trouble) = match outcome {
            Outcome::Acknowledged(there) if stream.is_believable(base, there) => {
                let sent = stream.in_flight.iter().find(|sent| sent.base == base);
                let sent = sent.filter(|sent| sent.parts_left <= 1);
                let bytes = sent.map_or(0, |sent| sent.bytes as u64);
                if let Some(sent) = sent.filter(|_| stream.class.priority != Priority::High) {
                    self.window.acknowledge(sent.bytes, sent.read_ms, now_ms);
                }
                let passed = stream.acknowledge(base, there, now_ms);
                let records = passed.records;
                self.bytes_in_flight -= passed.bytes;
                if let Some(transactions) = &mut self.transactions {
                    transactions.acknowledged_bytes += bytes;
                    transactions.acknowledged_records += records.unsigned_abs();
                } else {
                    self.counts.sent_bytes += bytes;
                    self.counts.sent_records += records.unsigned_abs();
                }
                self.count_late(passed.late);
                self.dirty.insert(partition);
                self.settle(partition);
                return Some(Verdict::Acknowledged);
            }
            Outcome::Acknowledged(_) | Outcome::Refused(ErrorCode::DuplicateSequenceNumber) => {
                (Verdict::Disbelieved, Trouble::Disbelieved)
            }
            Outcome::Refused(code) if judge(code) == Verdict::Hold => {
                if stream.take_apart(base, is_about_size(code)) {
                    (Verdict::NewProducer, Trouble::RefusedJoined(code))
                } else {
                    (Verdict::Hold, Trouble::Refused(code))
                }
            }
            Outcome::Refused(code) => (judge(code), Trouble::Refused(code)),
            Outcome::Lost => (Verdict::Retry, Trouble::NoAnswer),
        };
        self.fail(partition, trouble, None, now_ms, random);
        if matches!(verdict, Verdict::NewProducer | Verdict::Disbelieved) {
            self.retire_producer(partition);
        }
        Some(verdict)
    }

    /// Records that a read failed.
    pub fn handle_read_failure(&mut self, read: &Read, why: Trouble, now_ms: u64, random: u64) {
        if self.is_current(read.partition, read.generation) {
            self.fail(read.partition, why, None, now_ms, random);
        }
    }

    // Private functions.

    /// Reads again from the cursor, at `at_ms`.
    fn again(&mut self, partition: PartitionId, at_ms: u64) {
        let Some(stream) = self.streams.get_mut(&partition) else {
            return;
        };
        self.counts.retries += stream.in_flight.len() as u64;
        self.bytes_in_flight -= stream.rewind();
        if let Some(before_ms) = stream.resume_at_ms.replace(at_ms) {
            self.waiting.remove(&(before_ms, partition));
        }
        self.waiting.insert((at_ms, partition));
        self.ready.remove(&partition);
    }

    /// Reads again from the cursor after a delay: a growing one or, if retries do not help, a long
    /// one.
    pub(super) fn fail(
        &mut self,
        partition: PartitionId,
        trouble: Trouble,
        until: Option<Offset>,
        now_ms: u64,
        random: u64,
    ) {
        let held_after_ms = self.limits.held_after_ms;
        let Some(stream) = self.streams.get_mut(&partition) else {
            return;
        };
        let is_in_flight = !stream.in_flight.is_empty();
        let backoff_ms = stream.backoff.fail(random);
        stream.fail(trouble, until, held_after_ms, now_ms);
        let wait_ms = if trouble.is_lasting() {
            HOLD_MS
        } else {
            backoff_ms
        };
        self.again(partition, now_ms + wait_ms);
        // The upstream may have some of these batches in the transaction.
        if is_in_flight && self.transactions.is_some() {
            self.abort();
        }
    }

    /// Gives the partition another producer for what it sends next, and so does every partition
    /// that has none yet.
    pub(super) fn retire_producer(&mut self, partition: PartitionId) {
        if self.transactions.is_some() {
            // The next epoch of the producer is a new one for all partitions.
            if self.is_used(partition) {
                self.abort();
            }
        } else if let Some(stream) = self.streams.get_mut(&partition)
            && let Some(producer) = stream.producer
        {
            // If the link has another one already, this partition takes that.
            if self.producer == Some(producer) {
                self.producer = None;
            }
            stream.drop_producer();
        }
    }
}
