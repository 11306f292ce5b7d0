//! The transactions of an exactly-once link: what it sends, and the cursors behind that, become
//! visible upstream together.
//!
//! The upstream's committed cursors are the truth. A link begins by taking a new epoch of its
//! transactional producer, which ends the transaction that an earlier process or this one left
//! open and refuses late requests of the earlier epoch. Then it reads the cursors. So a link goes
//! back to the beginning after each outcome that is not a success, known or not: nothing is
//! repaired inside a transaction.
//!
//! | phase | what happens | ends with |
//! | --- | --- | --- |
//! | `Unbegun` | nothing is sent | [`Link::handle_begun`]: a new epoch, and the cursors |
//! | `Idle` | nothing is to be sent | a partition has something: [`Step::Add`] |
//! | `Open` | batches of added partitions are read and sent | what was gathered is sent, or time or bytes are over |
//! | `Closing` | the last answers are awaited | [`Step::Commit`] |
//! | `Committing` | the cursors and the end of the transaction are sent | its outcome |
//!
//! **Invariant:** a batch is sent only in a transaction to which its partition was added, and a
//! transaction is committed only when every batch of it is acknowledged; its cursors are exactly
//! behind these (`simulation/exactly_once.rs`).
//! **Invariant:** a cursor that was moved here is committed upstream, and then here as one that
//! follows the upstream, before anything is sent from it (`Moved`).
//!
//! A partition that the upstream refuses does not hold up the others: after a lasting error, or
//! [`crate::mirror::FAILURES_MIN`] failures, it is tried in a transaction of its own.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId};

use super::Link;
use crate::mirror::stream::{Moved, Stream};
use crate::mirror::verdict::Trouble;

/// Bounds of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct TransactionLimits {
    /// How long a transaction gathers records, even if all records are sent.
    pub gather_ms: u64,
    /// How long a transaction may stay open; between these, the longer the more a commit takes.
    pub open_ms_min: u64,
    pub open_ms_max: u64,
    /// Bytes after which a transaction is committed.
    pub bytes_max: usize,
    /// Partitions that one request adds.
    pub partitions_max: usize,
}

/// A transaction stays open this many times as long as the last commit took.
const OPEN_PER_COMMIT: u64 = 20;

/// A cursor, to be committed in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub partition: PartitionId,
    pub offset: Offset,
    /// The leader epoch of the last record below the offset, if known.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// A request about the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add partitions, and the first time the group of the cursors.
    Add {
        partitions: Vec<PartitionId>,
        is_first: bool,
    },
    /// Commit these cursors, and then the transaction.
    Commit(Vec<Cursor>),
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    Done,
    /// The upstream refuses these partitions.
    Refused(Vec<(PartitionId, ErrorCode)>),
    /// The step failed, or its outcome is not known.
    Failed,
}

/// Returns the cursor with which a partition is opened, and whether the upstream's transactions do
/// not have it yet. A cursor that was committed here after the last transaction, by an operator or
/// by a link without transactions, wins; one that only follows the upstream does not.
#[must_use]
pub fn choose_cursor(
    here: Option<(Offset, bool)>,
    upstream: Option<Offset>,
) -> (Option<Offset>, bool) {
    match (here, upstream) {
        (Some((offset, follows_upstream)), _) if !follows_upstream => (Some(offset), true),
        (_, Some(offset)) => (Some(offset), false),
        // The upstream has forgotten the cursor.
        (Some((offset, _)), None) => (Some(offset), true),
        (None, None) => (None, false),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unbegun,
    Idle,
    Open,
    Closing,
    Committing,
}

/// The transaction of a link.
#[derive(Debug)]
pub(super) struct Transactions {
    limits: TransactionLimits,
    phase: Phase,
    /// Names the step in progress. The outcome of any other is ignored.
    round: u32,
    step: Option<Step>,
    added: BTreeSet<PartitionId>,
    /// Partitions with a cursor that was moved here.
    pub uncarried: BTreeSet<PartitionId>,
    /// The one partition of this transaction, because it makes others fail.
    alone: Option<PartitionId>,
    was_alone: bool,
    opened_ms: u64,
    is_gathered: bool,
    closed_ms: u64,
    deadline_ms: Option<u64>,
    open_ms: u64,
    bytes: usize,
    pub acknowledged_bytes: u64,
    pub acknowledged_records: u64,
    /// Records that were left out because they are late.
    pub late: u64,
}

impl Transactions {
    const fn new(limits: TransactionLimits) -> Self {
        Self {
            limits,
            phase: Phase::Unbegun,
            round: 0,
            step: None,
            added: BTreeSet::new(),
            uncarried: BTreeSet::new(),
            alone: None,
            was_alone: false,
            opened_ms: 0,
            is_gathered: false,
            closed_ms: 0,
            deadline_ms: None,
            open_ms: limits.open_ms_min,
            bytes: 0,
            acknowledged_bytes: 0,
            acknowledged_records: 0,
            late: 0,
        }
    }

    /// Returns when an open transaction may be over.
    pub const fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    pub const fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    pub const fn handle_read(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    fn may_read(&self, partition: PartitionId) -> bool {
        let is_tried = self.alone.is_some() && self.bytes > 0;
        self.phase == Phase::Open && self.added.contains(&partition) && !is_tried
    }

    fn start(&mut self, step: Step) -> (u32, Step) {
        self.round = self.round.wrapping_add(1);
        self.step = Some(step.clone());
        (self.round, step)
    }

    /// Ends the transaction, however it ended.
    fn end(&mut self, phase: Phase) {
        self.phase = phase;
        self.round = self.round.wrapping_add(1);
        self.step = None;
        self.added.clear();
        self.was_alone = self.alone.take().is_some();
        self.deadline_ms = None;
        self.is_gathered = false;
        self.bytes = 0;
        self.acknowledged_bytes = 0;
        self.acknowledged_records = 0;
        self.late = 0;
    }
}

impl Link {
    /// Has the link send in transactions. Call this before partitions are opened.
    pub fn use_transactions(&mut self, limits: TransactionLimits) {
        self.transactions = Some(Transactions::new(limits));
    }

    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.transactions.is_some()
    }

    /// Returns whether the upstream may have an open transaction.
    #[must_use]
    pub fn is_transaction_open(&self) -> bool {
        let transactions = self.transactions.as_ref();
        transactions.is_some_and(|it| it.phase != Phase::Idle)
    }

    /// Returns whether a cursor waits for its commit here.
    #[must_use]
    pub fn has_carried(&self) -> bool {
        let mut streams = self.streams.values();
        streams.any(|stream| stream.moved == Moved::Carried)
    }

    /// Takes a new epoch of the transactional producer, and the cursors that the upstream has.
    pub fn handle_begun(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        cursors: &[(PartitionId, Offset)],
    ) {
        let Some(transactions) = &mut self.transactions else {
            return;
        };
        transactions.end(Phase::Idle);
        self.producer = Some((id, epoch));
        self.sequences.clear();
        for (partition, offset) in cursors {
            let Some(stream) = self.streams.get_mut(partition) else {
                continue;
            };
            if stream.moved == Moved::Uncarried && !stream.is_forgotten {
                continue;
            }
            if core::mem::take(&mut stream.is_forgotten) {
                stream.moved = Moved::No;
                transactions.uncarried.remove(partition);
            }
            let offset = (*offset).min(stream.end);
            // The transaction whose outcome was not known was committed.
            self.counts.sent_records += (offset.get() - stream.settled.get()).max(0).unsigned_abs();
            stream.settle_unplaced(offset);
            self.dirty.insert(*partition);
            if stream.wants_read() {
                self.ready.insert(*partition);
            }
        }
    }

    /// Returns the next request about the transaction. There is one at a time.
    pub fn poll_step(&mut self, now_ms: u64) -> Option<(u32, Step)> {
        self.transactions.as_ref().filter(|it| it.step.is_none())?;
        self.wake(now_ms);
        self.look_at_budget(now_ms);
        let phase = self.transactions.as_ref()?.phase;
        match phase {
            Phase::Unbegun | Phase::Committing => None,
            Phase::Idle => self.open_transaction(now_ms),
            Phase::Open if !self.is_over(now_ms) => {
                let partitions = self.joining();
                let step = Step::Add {
                    is_first: false,
                    partitions,
                };
                let is_any =
                    !matches!(&step, Step::Add { partitions, .. } if partitions.is_empty());
                is_any.then(|| self.transactions.as_mut().map(|it| it.start(step)))?
            }
            Phase::Open | Phase::Closing => self.close_transaction(now_ms),
        }
    }

    /// Takes the outcome of a step. `random` is for the backoff's jitter.
    pub fn handle_step(&mut self, round: u32, outcome: StepOutcome, now_ms: u64, random: u64) {
        let Some(transactions) = self.transactions.as_mut().filter(|it| it.round == round) else {
            return;
        };
        let Some(step) = transactions.step.take() else {
            return;
        };
        match (step, outcome) {
            (Step::Add { partitions, .. }, StepOutcome::Done) => {
                transactions.added.extend(partitions);
            }
            (Step::Commit(cursors), StepOutcome::Done) => self.handle_commit(&cursors, now_ms),
            (_, StepOutcome::Refused(refused)) => {
                for (partition, code) in refused {
                    self.fail(partition, Trouble::Refused(code), None, now_ms, random);
                }
                self.abort();
            }
            (_, StepOutcome::Failed) => self.abort(),
        }
    }

    /// Returns whether a partition's batches may be sent now.
    pub(super) fn may_read(&self, partition: PartitionId) -> bool {
        let transactions = self.transactions.as_ref();
        self.is_open(partition) && transactions.is_none_or(|it| it.may_read(partition))
    }

    pub(super) fn is_in_transaction(&self, partition: PartitionId) -> bool {
        let transactions = self.transactions.as_ref();
        transactions.is_some_and(|it| it.added.contains(&partition))
    }

    /// Returns whether the partition has used the producer's epoch, or is in the transaction with
    /// its records or its cursor.
    pub(super) fn is_used(&self, partition: PartitionId) -> bool {
        let has_sent = |stream: &Stream| stream.producer.is_some();
        let transactions = self.transactions.as_ref();
        self.is_in_transaction(partition)
            || transactions.is_some_and(|it| it.uncarried.contains(&partition))
            || self.streams.get(&partition).is_some_and(has_sent)
    }

    /// Gives up the producer's epoch: all partitions go back to what is upstream for good, until
    /// [`Link::handle_begun`].
    pub(super) fn abort(&mut self) {
        let Some(transactions) = &mut self.transactions else {
            return;
        };
        if !matches!(transactions.phase, Phase::Unbegun | Phase::Idle) {
            self.counts.aborted += 1;
        }
        transactions.end(Phase::Unbegun);
        self.producer = None;
        for (partition, stream) in &mut self.streams {
            self.counts.retries += stream.in_flight.len() as u64;
            self.bytes_in_flight -= stream.go_back();
            if stream.wants_read() {
                self.ready.insert(*partition);
            }
        }
    }

    // Private functions.

    fn open_transaction(&mut self, now_ms: u64) -> Option<(u32, Step)> {
        let carriable = self.carriable();
        let partitions = if carriable.is_empty() {
            let suspect = self.ready_suspect();
            let joining = self.joining();
            let was_alone = self.transactions.as_ref()?.was_alone;
            let alone = suspect.filter(|_| joining.is_empty() || !was_alone);
            let transactions = self.transactions.as_mut()?;
            transactions.alone = alone;
            transactions.was_alone = false;
            alone.map_or(joining, |suspect| Vec::from([suspect]))
        } else {
            Vec::new()
        };
        let transactions = self.transactions.as_mut()?;
        if partitions.is_empty() && carriable.is_empty() {
            return None;
        }
        transactions.phase = Phase::Open;
        transactions.opened_ms = now_ms;
        let step = Step::Add {
            partitions,
            is_first: true,
        };
        Some(transactions.start(step))
    }

    /// Returns whether the open transaction takes no more batches. It takes what was there when it
    /// had gathered; what comes later is for the next one, or a steady stream would keep it open.
    fn is_over(&mut self, now_ms: u64) -> bool {
        let has_carriable = !self.carriable().is_empty();
        let Some(transactions) = &mut self.transactions else {
            return true;
        };
        let age_ms = now_ms.saturating_sub(transactions.opened_ms);
        let is_gathered = age_ms >= transactions.limits.gather_ms || transactions.is_alone();
        if is_gathered && !transactions.is_gathered {
            transactions.is_gathered = true;
            for id in &transactions.added {
                if let Some(stream) = self.streams.get_mut(id) {
                    stream.gathered_until = stream.end;
                }
            }
        }
        let open = self.open;
        let has_more = |id: &PartitionId| {
            let stream = self.streams.get(id);
            let has_more = |it: &Stream| {
                it.wants_read() && it.read < it.gathered_until && it.class.is_in(open)
            };
            transactions.may_read(*id) && stream.is_some_and(has_more)
        };
        let is_over = has_carriable
            || age_ms >= transactions.open_ms
            || transactions.bytes >= transactions.limits.bytes_max
            || (is_gathered && !transactions.added.iter().any(has_more));
        let next_ms = if is_gathered {
            transactions.open_ms
        } else {
            transactions.limits.gather_ms
        };
        transactions.deadline_ms = (!is_over).then_some(transactions.opened_ms + next_ms);
        is_over
    }

    /// Returns the partitions whose moved cursors can be committed upstream now.
    fn carriable(&self) -> BTreeSet<PartitionId> {
        let uncarried = self.transactions.iter().flat_map(|it| &it.uncarried);
        let is_carriable = |id: &PartitionId| {
            let stream = self.streams.get(id);
            stream.is_some_and(|it| !it.is_paused && it.resume_at_ms.is_none())
        };
        uncarried.copied().filter(is_carriable).collect()
    }

    /// Returns the partitions to add to the open transaction.
    fn joining(&self) -> Vec<PartitionId> {
        let Some(transactions) = &self.transactions else {
            return Vec::new();
        };
        if transactions.is_alone() {
            return Vec::new();
        }
        let is_joining = |id: &PartitionId| {
            let stream = self.streams.get(id);
            !transactions.added.contains(id)
                && stream.is_some_and(|it| it.wants_read() && !it.is_suspect())
                && self.is_open(*id)
        };
        let joining = self.ready.iter().copied().filter(is_joining);
        let mut joining: Vec<PartitionId> = joining.collect();
        if self.has_classes {
            joining.sort_by_key(|id| self.priority(*id));
        }
        joining.truncate(transactions.limits.partitions_max);
        joining
    }

    fn ready_suspect(&self) -> Option<PartitionId> {
        let is_suspect = |id: &PartitionId| {
            let stream = self.streams.get(id);
            stream.is_some_and(|it| it.wants_read() && it.is_suspect()) && self.is_open(*id)
        };
        self.ready.iter().copied().find(is_suspect)
    }

    /// Commits the transaction when all its batches are acknowledged.
    fn close_transaction(&mut self, now_ms: u64) -> Option<(u32, Step)> {
        let carriable = self.carriable();
        let transactions = self.transactions.as_mut()?;
        if transactions.phase == Phase::Open {
            transactions.phase = Phase::Closing;
            transactions.closed_ms = now_ms;
            transactions.deadline_ms = None;
        }
        let is_reading = |id: &PartitionId| self.streams.get(id).is_some_and(|it| it.reading);
        if self.bytes_in_flight > 0 || transactions.added.iter().any(is_reading) {
            return None;
        }
        transactions.phase = Phase::Committing;
        let cursor = |id: &PartitionId| {
            let stream = self.streams.get(id)?;
            let is_due = stream.cursor != stream.settled || carriable.contains(id);
            is_due.then_some(Cursor {
                partition: *id,
                offset: stream.cursor,
                leader_epoch: stream.leader_epoch,
            })
        };
        let partitions = transactions.added.union(&carriable);
        let cursors = partitions.filter_map(cursor).collect();
        Some(transactions.start(Step::Commit(cursors)))
    }

    fn handle_commit(&mut self, cursors: &[Cursor], now_ms: u64) {
        let Some(transactions) = &mut self.transactions else {
            return;
        };
        self.counts.committed += 1;
        self.counts.sent_bytes += transactions.acknowledged_bytes;
        self.counts.sent_records += transactions.acknowledged_records;
        self.counts.late += transactions.late;
        let limits = transactions.limits;
        let took_ms = now_ms.saturating_sub(transactions.closed_ms);
        let open_ms = took_ms.saturating_mul(OPEN_PER_COMMIT);
        transactions.open_ms = open_ms.clamp(limits.open_ms_min, limits.open_ms_max);
        transactions.end(Phase::Idle);
        for cursor in cursors {
            let Some(stream) = self.streams.get_mut(&cursor.partition) else {
                continue;
            };
            transactions.uncarried.remove(&cursor.partition);
            stream.handle_commit(cursor.offset);
            self.dirty.insert(cursor.partition);
        }
    }
}
