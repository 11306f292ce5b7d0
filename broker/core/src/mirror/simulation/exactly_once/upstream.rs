//! An upstream with transactions, as careless as the oldest brokers.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{Offset, PartitionId};

use super::super::super::stamp::advance;
use super::super::super::{BATCHES_IN_FLIGHT_MAX, Cursor, Outgoing, Step, Target};
use super::super::{RECORDS_MAX, records_of};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Open,
    Committed,
    Aborted,
}

/// One upstream partition.
#[derive(Default)]
pub struct Partition {
    /// Records by their local partitions and offsets.
    pub records: Vec<((PartitionId, i64), State)>,
    /// The newest epoch, from batches and markers.
    pub epoch: i16,
    /// First and last sequence, and offset, of the newest batches of that epoch.
    pub batches: VecDeque<(i32, i32, i64)>,
}

impl Partition {
    pub fn append(&mut self, sent: &Outgoing) -> Result<i64, ErrorCode> {
        let header = &sent.batch.header;
        assert!(header.is_transactional());
        let epoch = header.producer_epoch().0;
        let (first, count) = (header.base_sequence(), header.record_count());
        let last = advance(first, count - 1);
        if epoch < self.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if epoch > self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
        let mut known = self.batches.iter();
        if let Some((.., at)) = known.find(|known| (known.0, known.1) == (first, last)) {
            return Ok(*at);
        }
        let next = self
            .batches
            .back()
            .map_or(0, |(_, last, _)| advance(*last, 1));
        if first != next {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        if sent.partition.get() == 2 && count > RECORDS_MAX {
            return Err(ErrorCode::MessageTooLarge);
        }
        let at = self.records.len() as i64;
        self.batches.push_back((first, last, at));
        if self.batches.len() > BATCHES_IN_FLIGHT_MAX {
            self.batches.pop_front();
        }
        let records = records_of(&sent.batch).into_iter();
        let of = |it| ((sent.partition, it), State::Open);
        self.records.extend(records.map(of));
        Ok(at)
    }

    pub fn mark(&mut self, epoch: i16, state: State) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
        for (_, it) in &mut self.records {
            if *it == State::Open {
                *it = state;
            }
        }
    }
}

/// The first partition that gets spread records.
const SPREAD_FROM: u32 = 100;

/// The upstream: partitions, the coordinator of the transactional id, and the group of the cursors.
#[derive(Default)]
pub struct Upstream {
    pub partitions: BTreeMap<u32, Partition>,
    pub epoch: i16,
    pub is_ongoing: bool,
    pub added: BTreeSet<u32>,
    pub has_group: bool,
    pub group_epoch: i16,
    pub pending: BTreeMap<PartitionId, Offset>,
    pub cursors: BTreeMap<PartitionId, Offset>,
    /// The epoch whose last transaction was committed.
    pub committed: Option<i16>,
    /// The epoch whose transaction took too long.
    pub timed_out: Option<i16>,
    /// Partitions that the records of all local ones are spread over; 0 for none.
    pub spread: u32,
}

impl Upstream {
    pub fn finish(&mut self, epoch: i16, state: State) {
        for partition in core::mem::take(&mut self.added) {
            self.partitions
                .entry(partition)
                .or_default()
                .mark(epoch, state);
        }
        if core::mem::take(&mut self.has_group) {
            self.group_epoch = epoch;
            let pending = core::mem::take(&mut self.pending);
            if state == State::Committed {
                self.cursors.extend(pending);
            }
        }
        self.is_ongoing = false;
    }

    /// Aborts the open transaction, and refuses its epoch.
    pub fn fence(&mut self) {
        if self.is_ongoing {
            self.epoch += 1;
            self.finish(self.epoch, State::Aborted);
        }
    }

    pub fn init(&mut self) -> i16 {
        self.fence();
        self.epoch += 1;
        self.epoch
    }

    pub fn time_out(&mut self) {
        if self.is_ongoing {
            self.timed_out = Some(self.epoch);
            self.fence();
        }
    }

    pub fn check(&self, epoch: i16) -> Result<(), ErrorCode> {
        let is_current = epoch == self.epoch;
        is_current.then_some(()).ok_or(ErrorCode::ProducerFenced)
    }

    pub fn take(&mut self, request: &Request) -> Result<i64, ErrorCode> {
        match request {
            Request::Produce(sent) => {
                let to = match sent.target {
                    Target::Twin(partition) => partition.get(),
                    Target::Of { index, .. } => SPREAD_FROM + index.cast_unsigned(),
                };
                let partition = self.partitions.entry(to).or_default();
                let before = partition.records.len();
                let answer = partition.append(sent);
                let is_in = self.is_ongoing && self.added.contains(&to);
                let is_new = partition.records.len() > before;
                assert!(!is_new || is_in, "a batch outside of any transaction");
                answer
            }
            Request::Add { epoch, step, .. } => {
                self.check(*epoch)?;
                let Step::Add {
                    partitions,
                    is_first,
                } = step
                else {
                    unreachable!()
                };
                self.is_ongoing = true;
                self.has_group |= is_first;
                self.added.extend(partitions.iter().map(|it| it.get()));
                // The caller adds all partitions that the records may go to.
                self.added.extend(SPREAD_FROM..SPREAD_FROM + self.spread);
                Ok(0)
            }
            Request::Offsets { epoch, cursors, .. } => {
                if *epoch < self.group_epoch {
                    return Err(ErrorCode::InvalidProducerEpoch);
                }
                assert!(self.has_group, "cursors outside of any transaction");
                let cursors = cursors.iter().map(|it| (it.partition, it.offset));
                self.pending.extend(cursors);
                Ok(0)
            }
            Request::End { epoch, .. } => {
                self.check(*epoch)?;
                if !self.is_ongoing {
                    let is_repeated = self.committed == Some(*epoch);
                    return is_repeated.then_some(0).ok_or(ErrorCode::InvalidTxnState);
                }
                self.committed = Some(*epoch);
                self.finish(*epoch, State::Committed);
                Ok(0)
            }
        }
    }
}

#[derive(Clone)]
pub enum Request {
    Produce(Outgoing),
    Add {
        round: u32,
        epoch: i16,
        step: Step,
    },
    Offsets {
        round: u32,
        epoch: i16,
        cursors: Vec<Cursor>,
    },
    End {
        round: u32,
        epoch: i16,
    },
}
