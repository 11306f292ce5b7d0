//! The writer thread's loop: drain, plan and apply, persist, acknowledge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, TryRecvError};
use log::warn;
use sedge_core::log::{AppendError, Planned};
use sedge_core::machine::{Machine as _, Now};
use sedge_core::metadata::{
    Command, CommandError, CommandReply, METADATA_PARTITION, MetadataMachine,
};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId, ProducerId};
use sedge_storage::{Commit, Entry, Error};

use super::gather::Gather;
use super::partition::{self, ActivePartitions};
use super::{AppendPart, AppendReply, Appended, Done, Request};
use crate::broker::Broker;
use crate::exit;
use crate::metadata_log;
use crate::recovery;

/// What only the writer thread changes.
#[derive(Debug)]
pub struct State {
    pub metadata: MetadataMachine,
    pub partitions: ActivePartitions,
    /// Segments wait to be freed.
    pub must_free: bool,
}

/// Runs until [`Request::Stop`] or until nobody can ask any more.
pub fn run(
    broker: &Arc<Broker>,
    mut state: State,
    queue: &Receiver<Request>,
    is_dirty: &AtomicBool,
) {
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
                    request.is_flushed(broker)
                });
                stopping = requests
                    .iter()
                    .any(|request| matches!(request, Request::Stop));
                let waiting = requests.len();
                let flush = Round::new(broker, &mut state, is_dirty).run(requests.drain(..));
                if let Some(took) = flush {
                    gather.handle_flush(waiting, took);
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed) => break,
        }
        if state.must_free {
            state.must_free = free(broker);
        }
    }
    if let Err(failure) = broker.store.sync() {
        exit::fatal("flush the log at shutdown", &failure);
    }
}

impl Request {
    /// Bytes that it may write.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append { parts, .. } => parts
                .iter()
                .filter_map(|part| part.batch.as_ref())
                .map(Batch::bytes)
                .sum(),
            Self::Metadata { command, .. } => metadata_log::bytes_guess(command),
            Self::Probe { bytes } => *bytes,
            Self::Replace { entries, .. } => entries.len() * ROW_BYTES,
            _ => 0,
        }
    }

    /// Whether it is a small write that a flush has to follow.
    fn is_flushed(&self, broker: &Broker) -> bool {
        match self {
            Self::Append { parts, .. } => {
                parts.iter().any(|part| broker.is_sync(&part.topic.config))
            }
            _ => false,
        }
    }
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
    Retain(Done<bool>),
    Replace(Done<()>),
    ExpireProducers(Done<usize>, usize),
}

/// Of a commit's table.
const ROW_BYTES: usize = sedge_storage::format::ENTRY_BYTES as usize;

/// One commit in the making.
struct Round<'a> {
    broker: &'a Arc<Broker>,
    state: &'a mut State,
    is_dirty: &'a AtomicBool,
    now: Now,
    commit: Commit,
    replies: Vec<Reply>,
    /// Partitions that grew, with the bytes they grew by.
    grown: Vec<(PartitionId, usize)>,
    log_starts: Vec<(PartitionId, Offset)>,
    dropped: Vec<PartitionId>,
    metadata_changed: bool,
    must_sync: bool,
    must_roll: bool,
}

impl<'a> Round<'a> {
    fn new(broker: &'a Arc<Broker>, state: &'a mut State, is_dirty: &'a AtomicBool) -> Self {
        let now = broker.clock.now();
        Self {
            broker,
            state,
            is_dirty,
            now,
            commit: Commit {
                append_ms: broker.clock.append_ms(),
                ..Commit::default()
            },
            replies: Vec::new(),
            grown: Vec::new(),
            log_starts: Vec::new(),
            dropped: Vec::new(),
            metadata_changed: false,
            must_sync: false,
            must_roll: false,
        }
    }

    /// How long the flush took, where there was one.
    fn run(mut self, requests: impl Iterator<Item = Request>) -> Option<Duration> {
        let requests: Vec<Request> = requests.collect();
        let bytes: usize = requests.iter().map(Request::bytes).sum();
        match self.broker.store.reserve(bytes) {
            Ok(()) => {}
            Err(refusal @ (Error::Full | Error::ReadOnly)) => {
                self.broker.storage.refuses(&refusal, bytes);
                refuse_all(requests, &refusal);
                return None;
            }
            Err(failure) => exit::fatal("make room in the log", &failure),
        }
        self.broker.storage.accepts(bytes);
        for request in requests {
            self.plan(request);
        }
        let flush = self.persist();
        self.publish();
        self.acknowledge();
        if self.must_roll {
            self.roll();
        }
        flush
    }

    fn plan(&mut self, request: Request) {
        match request {
            Request::Append {
                parts,
                updates,
                done,
            } => {
                let outcomes = parts
                    .into_iter()
                    .map(|part| self.plan_append(part))
                    .collect();
                self.commit.updates.extend(updates);
                self.replies.push(Reply::Append(done, outcomes));
            }
            Request::Metadata { command, done } => {
                let outcome = self.plan_metadata(command);
                self.replies.push(Reply::Metadata(done, outcome));
            }
            Request::DeleteRecords {
                partition,
                before,
                done,
            } => {
                let outcome = self.plan_delete_records(partition, before);
                self.replies.push(Reply::DeleteRecords(done, outcome));
            }
            Request::Retain { log_starts, done } => {
                for (partition, offset) in log_starts {
                    let _ = self.plan_delete_records(partition, Some(offset));
                }
                self.state.must_free = true;
                self.replies.push(Reply::Retain(done));
            }
            Request::Replace { entries, done } => {
                self.commit.entries.extend(entries);
                self.replies.push(Reply::Replace(done));
            }
            Request::ExpireProducers {
                silent,
                until_ms,
                done,
            } => {
                let count = self.plan_expiry(&silent, until_ms);
                self.replies.push(Reply::ExpireProducers(done, count));
            }
            Request::Roll => self.must_roll = true,
            Request::Flush => self.must_sync |= self.is_dirty.load(Ordering::Acquire),
            Request::Probe { .. } => {}
            Request::Stop => self.must_sync = true,
        }
    }

    fn plan_append(&mut self, part: AppendPart) -> Result<Appended, AppendError> {
        let AppendPart {
            partition: id,
            topic,
            sequence,
            batch,
        } = part;
        let image = self.state.metadata.image();
        if image.topic_by_id(topic.id).is_none() {
            // Deleted while the batch was on its way.
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let epoch = image.leader_epoch();
        let partition = self
            .state
            .partitions
            .get(self.broker, id)
            .map_err(|error| partition::storage_error(&error))?;
        let log_start = partition.log.log_start();
        let base_offset = match partition.plan(sequence.as_ref())? {
            Planned::Append { base_offset } => base_offset,
            Planned::Duplicate(written) => {
                let log_append_time_ms = topic
                    .config
                    .is_log_append_time()
                    .then_some(written.timestamp_ms);
                return Ok(Appended {
                    base_offset: written.base_offset,
                    log_append_time_ms,
                    log_start,
                });
            }
        };
        let mut log_append_time_ms = None;
        let batch = batch.map(|mut batch| {
            batch.header.set_base_offset(base_offset);
            batch.header.set_leader_epoch(epoch);
            if topic.config.is_log_append_time() {
                batch
                    .header
                    .set_log_append_time(self.now.wall_ms, &batch.body);
                log_append_time_ms = Some(self.now.wall_ms);
            }
            batch
        });
        let header = batch.as_ref().map(|batch| &batch.header);
        partition.apply(
            id,
            sequence.as_ref(),
            header,
            (self.now, self.commit.append_ms),
            &mut self.commit.updates,
        );
        if let Some(batch) = batch {
            self.must_sync |= self.broker.is_sync(&topic.config);
            self.push_batch(id, batch);
        }
        Ok(Appended {
            base_offset,
            log_append_time_ms,
            log_start,
        })
    }

    fn push_batch(&mut self, id: PartitionId, batch: Batch) {
        self.grown.push((id, batch.bytes()));
        match self.commit.entries.last_mut() {
            Some(Entry::Append { partition, batches }) if *partition == id => batches.push(batch),
            _ => self.commit.entries.push(Entry::Append {
                partition: id,
                batches: vec![batch],
            }),
        }
    }

    fn plan_metadata(&mut self, command: Command) -> Result<CommandReply, CommandError> {
        let plan = self.state.metadata.decide(command)?;
        if plan.records.is_empty() {
            return Ok(plan.reply);
        }
        let partition = self
            .state
            .partitions
            .get(self.broker, METADATA_PARTITION)
            .map_err(|error| CommandError {
                code: ErrorCode::KafkaStorageError,
                message: error.to_string(),
            })?;
        let epoch = self.state.metadata.image().leader_epoch();
        for mut batch in metadata_log::batches(&plan.records, self.now.wall_ms) {
            batch.header.set_base_offset(partition.log.next_offset());
            batch.header.set_leader_epoch(epoch);
            partition.log.apply_append(batch.header.next_offset());
            self.grown.push((METADATA_PARTITION, batch.bytes()));
            self.commit.entries.push(Entry::Append {
                partition: METADATA_PARTITION,
                batches: vec![batch],
            });
        }
        for record in &plan.records {
            self.state.metadata.apply(Offset::ZERO, record);
        }
        if let CommandReply::Deleted { partitions, .. } = &plan.reply {
            for id in partitions {
                self.commit
                    .updates
                    .extend(recovery::removals(&*self.broker.store, *id));
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

    fn plan_delete_records(
        &mut self,
        id: PartitionId,
        before: Option<Offset>,
    ) -> Result<Offset, AppendError> {
        let partition = self
            .state
            .partitions
            .get(self.broker, id)
            .map_err(|error| partition::storage_error(&error))?;
        let offset = partition.log.plan_delete_records(before)?;
        if offset > partition.log.log_start() {
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
        let store = &*self.broker.store;
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
        let store = &self.broker.store;
        if !self.commit.entries.is_empty() || !self.commit.updates.is_empty() {
            let commit = std::mem::take(&mut self.commit);
            if let Err(failure) = store.append(commit) {
                exit::fatal("write to the log", &failure);
            }
            self.broker.metrics.commits.increment();
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
        let broker = self.broker;
        if self.metadata_changed {
            broker
                .metadata
                .publish(Arc::new(self.state.metadata.image().clone()));
        }
        for (id, offset) in &self.log_starts {
            if let Ok(partition) = broker.partitions.get(&*broker.store, *id) {
                partition.publish_log_start(*offset);
            }
        }
        for (id, bytes) in &self.grown {
            if let Ok(partition) = self.state.partitions.get(broker, *id) {
                partition
                    .published
                    .publish_high_watermark(partition.log.next_offset());
                broker.appended(*id, *bytes);
            }
        }
        for id in &self.dropped {
            broker.partitions.remove(*id);
            broker.appended(*id, 0);
        }
        if !self.log_starts.is_empty() || !self.dropped.is_empty() {
            broker.shrunk.notify(usize::MAX);
        }
    }

    fn acknowledge(&mut self) {
        // Who does not wait any more has dropped the other end.
        for reply in self.replies.drain(..) {
            let _ = match reply {
                Reply::Append(done, outcomes) => done.try_send(outcomes).is_ok(),
                Reply::Metadata(done, outcome) => done.try_send(outcome).is_ok(),
                Reply::DeleteRecords(done, outcome) => done.try_send(outcome).is_ok(),
                Reply::Retain(done) => done.try_send(true).is_ok(),
                Reply::Replace(done) => done.try_send(()).is_ok(),
                Reply::ExpireProducers(done, count) => done.try_send(count).is_ok(),
            };
        }
    }

    fn roll(&self) {
        match self.broker.store.roll() {
            Ok(()) => {}
            Err(refusal @ (Error::Full | Error::ReadOnly)) => {
                warn!(target: "sedge::cleaner", "the segment is not ended: {refusal}");
            }
            Err(failure) => exit::fatal("begin a segment", &failure),
        }
    }
}

/// Frees some segments; whether there are more.
fn free(broker: &Broker) -> bool {
    match broker.store.free_segments() {
        Ok(freed) => {
            let segments = u64::from(freed.segments);
            broker.metrics.segments_freed.add(segments);
            // Those that cannot be freed on a full disk stay: they are for the next round.
            freed.more && segments > 0
        }
        Err(refusal @ (Error::Full | Error::ReadOnly)) => {
            warn!(target: "sedge::retention", "no segment was freed: {refusal}");
            false
        }
        Err(failure) => exit::fatal("free segments", &failure),
    }
}

/// Answers requests that there is no room for.
fn refuse_all(requests: Vec<Request>, refusal: &Error) {
    let error = || partition::storage_error(refusal);
    for request in requests {
        let _ = match request {
            Request::Append { parts, done, .. } => done
                .try_send(parts.iter().map(|_| Err(error())).collect())
                .is_ok(),
            Request::Metadata { done, .. } => done
                .try_send(Err(CommandError {
                    code: ErrorCode::KafkaStorageError,
                    message: refusal.to_string(),
                }))
                .is_ok(),
            Request::DeleteRecords { done, .. } => done.try_send(Err(error())).is_ok(),
            Request::Retain { done, .. } => done.try_send(false).is_ok(),
            Request::ExpireProducers { done, .. } => done.try_send(0).is_ok(),
            // Nobody waits for the others, or hears of it by the end of its reply.
            Request::Replace { .. }
            | Request::Roll
            | Request::Flush
            | Request::Probe { .. }
            | Request::Stop => true,
        };
    }
}
