//! The writer thread's loop: drain, plan and apply, persist, acknowledge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, TryRecvError};
use log::warn;
use sedge_core::log::producers::Producers;
use sedge_core::log::{AppendError, PartitionLog};
use sedge_core::machine::{Machine as _, Now};
use sedge_core::metadata::{
    Command, CommandError, CommandReply, METADATA_PARTITION, MetadataMachine,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId, ProducerId};
use sedge_storage::{Commit, Entry, Error, LogBounds, Room, SegmentId, Urgency};

use super::gather::Gather;
use super::partition::{self, ActivePartitions};
use super::room::{NOTHING, of_snapshot, rows_to_free, urgency_of};
use super::{AppendReply, Done, MetadataState, Request};
use crate::log::{Log, views};
use crate::metadata::log as metadata_log;
use crate::metadata::snapshot as metadata_snapshot;
use crate::process::exit;

/// What only the writer thread changes.
#[derive(Debug)]
pub struct State {
    pub metadata: MetadataMachine,
    pub partitions: ActivePartitions,
    /// Segments wait to be freed.
    pub must_free: bool,
    /// Where the last commit went.
    pub segment: Option<SegmentId>,
}

/// Runs until [`Request::Stop`] or until nobody can ask any more.
pub fn run(log: &Log, mut state: State, queue: &Receiver<Request>, is_dirty: &AtomicBool) {
    let mut requests = Vec::new();
    let mut gather = Gather::default();
    let mut stopping = false;
    while !stopping {
        // While segments wait to be freed, nothing is waited for.
        let first = if state.must_free {
            queue.try_recv()
        } else {
            queue.recv_blocking().map_err(|_| TryRecvError::Closed)
        };
        match first {
            Ok(first) => {
                gather.fill(first, queue, &mut requests, |request| {
                    request.is_flushed(log)
                });
                stopping = requests
                    .iter()
                    .any(|request| matches!(request, Request::Stop));
                while !requests.is_empty() {
                    let waiting = in_one_commit(&requests);
                    let some = requests.drain(..waiting);
                    let flush = Round::new(log, &mut state, is_dirty).run(some);
                    if let Some(took) = flush {
                        gather.handle_flush(waiting, took);
                    }
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed) => break,
        }
        if state.must_free {
            state.must_free = free(log);
        }
    }
    if let Err(failure) = log.store.sync() {
        exit::fatal("flush the log at shutdown", &failure);
    }
}

/// How many of the requests, of which there is one at least, go into one commit. What a snapshot
/// has is alone in its: damage costs the commit that it is in, and a rotten copy must not take
/// records with it.
pub(super) fn in_one_commit(requests: &[Request]) -> usize {
    let is_alone = |request: &Request| matches!(request, Request::AppendSnapshot { .. });
    let before = requests.iter().position(is_alone);
    before.unwrap_or(requests.len()).max(1)
}

/// A reply that waits for the commit.
enum Reply {
    Append(Done<AppendReply>, AppendReply),
    Metadata(
        Done<Result<CommandReply, CommandError>>,
        Result<CommandReply, CommandError>,
    ),
    DeleteRecords(
        Done<Result<Offset, AppendError>>,
        Result<Offset, AppendError>,
    ),
    MetadataState(Done<Box<MetadataState>>, Box<MetadataState>),
    Snapshot(
        Done<Result<Offset, AppendError>>,
        Result<Offset, AppendError>,
    ),
    Retain(Done<usize>, usize),
    Replace(Done<()>),
    ExpireProducers(Done<usize>, usize),
}

/// One commit in the making.
pub(super) struct Round<'a> {
    pub(super) log: &'a Log,
    pub(super) state: &'a mut State,
    is_dirty: &'a AtomicBool,
    pub(super) now: Now,
    pub(super) commit: Commit,
    /// What it may need as far as it is planned…
    taken: Room,
    /// …what there is room for…
    reserved: Option<Room>,
    /// …and the least that the disk was too full for.
    refused: Option<Room>,
    replies: Vec<Reply>,
    /// Partitions that grew, with the bytes they grew by.
    pub(super) grown: Vec<(PartitionId, usize)>,
    log_starts: Vec<(PartitionId, Offset)>,
    dropped: Vec<PartitionId>,
    metadata_changed: bool,
    pub(super) must_sync: bool,
    rolls: Vec<Done<()>>,
}

impl<'a> Round<'a> {
    pub(super) fn new(log: &'a Log, state: &'a mut State, is_dirty: &'a AtomicBool) -> Self {
        let now = log.clock.now();
        Self {
            log,
            state,
            is_dirty,
            now,
            commit: Commit {
                append_ms: log.clock.append_ms(),
                ..Commit::default()
            },
            taken: NOTHING,
            reserved: None,
            refused: None,
            replies: Vec::new(),
            grown: Vec::new(),
            log_starts: Vec::new(),
            dropped: Vec::new(),
            metadata_changed: false,
            must_sync: false,
            rolls: Vec::new(),
        }
    }

    /// How long the flush took, where there was one.
    pub(super) fn run(mut self, requests: impl Iterator<Item = Request>) -> Option<Duration> {
        let requests: Vec<Request> = requests.collect();
        // One look at the disk for all of them. Where it is refused, each has one for itself.
        let all = requests.iter().map(Request::room).reduce(Room::and);
        if let Some(all) = all
            && self.reserve(all).is_ok()
        {
            self.reserved = Some(all);
            self.log.storage.accepts(all);
        }
        for request in requests {
            self.plan(request);
        }
        let flush = self.persist();
        self.publish();
        self.acknowledge();
        self.roll();
        let segment = self.log.store.active_segment();
        if self.state.segment != segment {
            self.state.segment = segment;
            self.log.storage.wanted.notify(1);
        }
        flush
    }

    /// Room for what comes on top of what is planned already. Nothing is applied before.
    pub(super) fn take(&mut self, more: Room) -> Result<(), Error> {
        let taken = Room {
            urgency: more.urgency,
            ..self.taken.and(more)
        };
        let has_room = |reserved: Room| {
            taken.batch_bytes <= reserved.batch_bytes && taken.rows <= reserved.rows
        };
        if !self.reserved.is_some_and(has_room) {
            self.ask(taken).inspect_err(|refusal| {
                self.log.storage.refuses(refusal, more);
                self.log.storage.wanted.notify(1);
            })?;
        }
        self.taken = taken;
        Ok(())
    }

    /// Asks the disk, unless less was too much for it a moment ago: a look at a full disk takes
    /// its time, and a request may have thousands of parts.
    fn ask(&mut self, room: Room) -> Result<(), Error> {
        let is_more = |refused: Room| {
            room.urgency <= refused.urgency && room.frame_bytes() >= refused.frame_bytes()
        };
        if self.refused.is_some_and(is_more) {
            return Err(Error::Full);
        }
        let asked = self.reserve(room);
        if let Err(Error::Full) = asked {
            self.refused = Some(room);
        }
        asked
    }

    fn reserve(&self, room: Room) -> Result<(), Error> {
        let reserved = self.log.store.reserve(room);
        if let Err(failure) = &reserved
            && !failure.is_refusal()
        {
            exit::fatal("make room in the log", failure);
        }
        reserved
    }

    fn plan(&mut self, request: Request) {
        match request {
            Request::Append { units, done } => {
                let outcomes = units.into_iter().flat_map(|unit| self.plan_unit(unit));
                let outcomes = outcomes.collect();
                self.replies.push(Reply::Append(done, outcomes));
            }
            Request::Metadata { command, done } => {
                let outcome = self.plan_metadata(command);
                self.replies.push(Reply::Metadata(done, outcome));
            }
            Request::MetadataState { done } => {
                // Without it the one who asks hears of it by the end of its reply.
                if let Ok(state) = self.metadata_state() {
                    self.replies.push(Reply::MetadataState(done, state));
                }
            }
            Request::AppendSnapshot {
                partition,
                batches,
                done,
            } => {
                let outcome = self.plan_snapshot(partition, batches);
                self.replies.push(Reply::Snapshot(done, outcome));
            }
            Request::DeleteRecords {
                partition,
                before,
                done,
            } => {
                let outcome = self.plan_log_start(partition, before, Urgency::Command);
                self.replies.push(Reply::DeleteRecords(done, outcome));
            }
            Request::Retain { log_starts, done } => {
                let count = self.plan_retain(&log_starts);
                self.state.must_free = true;
                self.replies.push(Reply::Retain(done, count));
            }
            Request::Replace { entries, done } => {
                // A refused one hears of it by the end of its reply.
                if self
                    .take(rows_to_free(entries.len(), Urgency::Upkeep))
                    .is_ok()
                {
                    self.commit.entries.extend(entries);
                    self.replies.push(Reply::Replace(done));
                }
            }
            Request::ExpireProducers {
                silent,
                until_ms,
                done,
            } => {
                let count = self.plan_expiry(&silent, until_ms);
                self.replies.push(Reply::ExpireProducers(done, count));
            }
            Request::Roll { done } => self.rolls.push(done),
            Request::Flush => self.must_sync |= self.is_dirty.load(Ordering::Acquire),
            // What came with it was reserved as well, or each for itself.
            Request::Probe { room } if self.reserved.is_none() => {
                if let Err(refusal) = self.reserve(room) {
                    self.log.storage.refuses(&refusal, room);
                    // What could not be freed may be by now.
                    self.state.must_free = true;
                }
            }
            Request::Probe { .. } => {}
            Request::Stop => self.must_sync = true,
        }
    }

    fn plan_metadata(&mut self, command: Command) -> Result<CommandReply, CommandError> {
        let urgency = urgency_of(&command);
        let plan = self.state.metadata.plan(self.now, command)?;
        if plan.records.is_empty() {
            return Ok(plan.reply);
        }
        let batches: Vec<Batch> = metadata_log::batches(&plan.records, self.now.wall_ms).collect();
        let dropped = match &plan.reply {
            CommandReply::Deleted { partitions, .. } => partitions.len(),
            _ => 0,
        };
        let bytes: usize = batches.iter().map(Batch::bytes).sum();
        let room = Room {
            batch_bytes: bytes as u64,
            rows: (batches.len() + dropped) as u64,
            urgency,
        };
        let refused = |refusal: Error| CommandError {
            code: ErrorCode::KafkaStorageError,
            message: refusal.to_string(),
        };
        self.state
            .partitions
            .get(self.log, METADATA_PARTITION)
            .map_err(refused)?;
        self.take(room).map_err(refused)?;
        let epoch = self.state.metadata.image().leader_epoch();
        let partition = self.state.partitions.known(METADATA_PARTITION);
        for mut batch in batches {
            batch.header.set_base_offset(partition.log.next_offset());
            batch.header.set_leader_epoch(epoch);
            partition.log.apply_append(batch.header.next_offset());
            self.grown.push((METADATA_PARTITION, batch.bytes()));
            self.commit.entries.push(Entry::Append {
                partition: METADATA_PARTITION,
                batches: vec![batch],
            });
        }
        self.log.metadata_growth.add(bytes as u64);
        for record in &plan.records {
            self.state.metadata.apply(Offset::ZERO, record);
        }
        if let CommandReply::Deleted { partitions, .. } = &plan.reply {
            for id in partitions {
                self.commit
                    .updates
                    .extend(views::removals(&*self.log.store, *id));
                self.commit.entries.push(Entry::Drop { partition: *id });
                self.state.partitions.remove(*id);
            }
            self.dropped.extend(partitions);
            self.state.must_free = true;
        }
        self.metadata_changed = true;
        self.must_sync = true;
        Ok(plan.reply)
    }

    fn metadata_state(&mut self) -> Result<Box<MetadataState>, Error> {
        let log = self.state.partitions.get(self.log, METADATA_PARTITION)?;
        Ok(Box::new(MetadataState {
            end_offset: log.log.next_offset(),
            machine: self.state.metadata.clone(),
            record_bytes: self.log.metadata_growth.record_bytes(),
        }))
    }

    fn plan_snapshot(
        &mut self,
        id: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Offset, AppendError> {
        let failed = |error: Error| partition::storage_error(&error);
        self.state.partitions.get(self.log, id).map_err(failed)?;
        self.take(of_snapshot(&batches)).map_err(failed)?;
        let log = &mut self.state.partitions.known(id).log;
        let base = log.next_offset();
        let batches = metadata_snapshot::patched(batches, base);
        if let Some(last) = batches.last() {
            log.apply_append(last.header.next_offset());
        }
        self.commit.entries.push(Entry::Append {
            partition: id,
            batches,
        });
        self.must_sync = true;
        Ok(base)
    }

    /// How many are moved, or need not be: up to the first that there is no room for.
    fn plan_retain(&mut self, log_starts: &[(PartitionId, Offset)]) -> usize {
        let has_room = |(partition, offset): &&(PartitionId, Offset)| {
            let moved = self.plan_log_start(*partition, Some(*offset), Urgency::Upkeep);
            !matches!(moved, Err(error) if error.code == ErrorCode::KafkaStorageError)
        };
        log_starts.iter().take_while(has_room).count()
    }

    fn plan_log_start(
        &mut self,
        id: PartitionId,
        before: Option<Offset>,
        urgency: Urgency,
    ) -> Result<Offset, AppendError> {
        let failed = |error: Error| partition::storage_error(&error);
        let is_touched = self.state.partitions.find(id).is_some();
        if !is_touched && self.log.store.bounds(id).map_err(failed)? == LogBounds::default() {
            // Nothing in it yet, or it was dropped: then it is not to be remembered.
            let empty = PartitionLog::new(Offset::ZERO, Offset::ZERO, Producers::default());
            return empty.plan_delete_records(before);
        }
        let partition = self.state.partitions.get(self.log, id).map_err(failed)?;
        let offset = partition.log.plan_delete_records(before)?;
        if offset > partition.log.log_start() {
            self.take(rows_to_free(1, urgency)).map_err(failed)?;
            let partition = self.state.partitions.known(id);
            partition.log.apply_log_start(offset);
            self.commit.entries.push(Entry::LogStart {
                partition: id,
                offset,
            });
            self.log_starts.push((id, offset));
            self.must_sync = true;
        }
        Ok(offset)
    }

    /// How many are forgotten. What cannot be looked up is for the next time.
    fn plan_expiry(&mut self, silent: &[(PartitionId, ProducerId)], until_ms: i64) -> usize {
        if self.take(NOTHING).is_err() {
            return 0;
        }
        let store = &*self.log.store;
        let partitions = &mut self.state.partitions;
        let expire = |(id, producer): &(PartitionId, ProducerId)| {
            partitions
                .expire_producer(store, *id, *producer, until_ms)
                .ok()
                .flatten()
        };
        let before = self.commit.updates.len();
        self.commit.updates.extend(silent.iter().filter_map(expire));
        self.commit.updates.len() - before
    }

    /// One write, and one flush where somebody waits for it. Memory is ahead of the disk here: a
    /// failure ends the process.
    fn persist(&mut self) -> Option<Duration> {
        let store = &self.log.store;
        if !self.commit.entries.is_empty() || !self.commit.updates.is_empty() {
            let commit = std::mem::take(&mut self.commit);
            debug_assert!(is_within(&commit, self.taken), "more than was reserved");
            if let Err(failure) = store.append(commit) {
                exit::fatal("write to the log", &failure);
            }
            self.log.metrics.commits.increment();
            self.is_dirty.store(true, Ordering::Release);
        }
        if !self.must_sync || !self.is_dirty.load(Ordering::Acquire) {
            return None;
        }
        let began = Instant::now();
        if let Err(failure) = store.sync() {
            exit::fatal("flush the log", &failure);
        }
        self.is_dirty.store(false, Ordering::Release);
        Some(began.elapsed())
    }

    /// Lets readers see what now holds.
    fn publish(&mut self) {
        let log = self.log;
        if self.metadata_changed {
            log.metadata
                .publish(Arc::new(self.state.metadata.image().clone()));
        }
        for (id, offset) in &self.log_starts {
            if let Some(partition) = self.state.partitions.find(*id) {
                partition.published.publish_log_start(*offset);
            }
        }
        for (id, bytes) in &self.grown {
            // One that the same round dropped is gone.
            if let Some(partition) = self.state.partitions.find(*id) {
                partition
                    .published
                    .publish_high_watermark(partition.log.next_offset());
                log.appended(&partition.published, *bytes);
            }
        }
        for id in &self.dropped {
            log.dropped(*id);
        }
        if !self.log_starts.is_empty() || !self.dropped.is_empty() {
            log.has_shrunk();
        }
    }

    fn acknowledge(&mut self) {
        // Who does not wait any more has dropped the other end.
        for reply in self.replies.drain(..) {
            let _ = match reply {
                Reply::Append(done, outcomes) => done.try_send(outcomes).is_ok(),
                Reply::Metadata(done, outcome) => done.try_send(outcome).is_ok(),
                Reply::MetadataState(done, state) => done.try_send(state).is_ok(),
                Reply::DeleteRecords(done, outcome) | Reply::Snapshot(done, outcome) => {
                    done.try_send(outcome).is_ok()
                }
                Reply::Replace(done) => done.try_send(()).is_ok(),
                Reply::Retain(done, count) | Reply::ExpireProducers(done, count) => {
                    done.try_send(count).is_ok()
                }
            };
        }
    }

    /// Ends the segment that the commit went to, where that was asked for.
    fn roll(&mut self) {
        if self.rolls.is_empty() {
            return;
        }
        match self.log.store.roll() {
            Ok(()) => {}
            Err(refusal) if refusal.is_refusal() => {
                warn!(target: "sedge::cleaner", "the segment cannot be rolled: {refusal}");
            }
            Err(failure) => exit::fatal("begin a segment", &failure),
        }
        for done in self.rolls.drain(..) {
            let _ = done.try_send(());
        }
    }
}

/// Frees some segments; whether there are more.
fn free(log: &Log) -> bool {
    match log.store.free_segments() {
        Ok(freed) => {
            let segments = u64::from(freed.segments);
            log.metrics.segments_freed.add(segments);
            // Those that cannot be freed on a full disk stay: they are for the next round.
            freed.more && segments > 0
        }
        Err(refusal) if refusal.is_refusal() => {
            warn!(target: "sedge::retention", "segments cannot be freed: {refusal}");
            false
        }
        Err(failure) => exit::fatal("free segments", &failure),
    }
}

/// Whether no more is written than there was room for.
fn is_within(commit: &Commit, room: Room) -> bool {
    let bytes_of = |entry: &Entry| match entry {
        Entry::Append { batches, .. } => batches.iter().map(Batch::bytes).sum(),
        Entry::LogStart { .. } | Entry::Drop { .. } | Entry::Replace { .. } => 0,
    };
    let bytes: usize = commit.entries.iter().map(bytes_of).sum();
    commit.entries.len() as u64 <= room.rows && bytes as u64 <= room.batch_bytes
}
