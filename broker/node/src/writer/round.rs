//! One round: room is reserved, requests are planned and applied, and the commit is persisted,
//! published and acknowledged, in this order.

use std::sync::Arc;
use std::time::Duration;

use sedge_core::log::AppendError;
use sedge_core::machine::Now;
use sedge_core::metadata::{CommandError, CommandReply};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Commit, Entry, Error, Room, Urgency};

use super::flushes::Flushes;
use super::room::NOTHING;
use super::state::State;
use super::{AppendReply, Awaits, CopyReply, Done, MetadataState, Request};
use crate::log::Log;
use crate::process::exit;

/// A reply that waits for the commit.
enum Reply {
    Append(Done<AppendReply>, AppendReply),
    Copy(Done<CopyReply>, CopyReply),
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

/// One commit under construction.
pub(super) struct Round<'a> {
    pub(super) log: &'a Log,
    pub(super) state: &'a mut State,
    flushes: &'a Flushes,
    pub(super) now: Now,
    pub(super) commit: Commit,
    /// The room needed by what is planned so far…
    taken: Room,
    /// …the room that is reserved…
    reserved: Option<Room>,
    /// …and the smallest room that the disk refused.
    refused: Option<Room>,
    replies: Vec<Reply>,
    /// Partitions that grew, with the bytes they grew by.
    pub(super) grown: Vec<(PartitionId, usize)>,
    /// Partitions in which a transaction ended, with the marker if it was aborted.
    pub(super) markers: Vec<(PartitionId, Option<Offset>)>,
    pub(super) log_starts: Vec<(PartitionId, Offset)>,
    pub(super) dropped: Vec<PartitionId>,
    pub(super) must_sync: bool,
    pub(super) rolls: Vec<Done<()>>,
    /// What waits for the parts that are written.
    pub(super) settled: Vec<Arc<dyn Awaits>>,
}

impl<'a> Round<'a> {
    pub(super) fn new(log: &'a Log, state: &'a mut State, flushes: &'a Flushes) -> Self {
        let now = log.clock.now();
        Self {
            log,
            state,
            flushes,
            now,
            commit: Commit {
                append_ms: now.append_ms,
                ..Commit::default()
            },
            taken: NOTHING,
            reserved: None,
            refused: None,
            replies: Vec::new(),
            grown: Vec::new(),
            markers: Vec::new(),
            log_starts: Vec::new(),
            dropped: Vec::new(),
            must_sync: false,
            rolls: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// Runs the round. Returns how long the flush took, if there was one.
    pub(super) fn run(mut self, requests: impl Iterator<Item = Request>) -> Option<Duration> {
        let requests: Vec<Request> = requests.collect();
        // Asks the disk once for all requests. If that is refused, each is asked for separately.
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

    /// Reserves room on top of what is planned already. Nothing is applied before.
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

    /// Asks the disk, unless it refused less a moment ago: asking a full disk takes time, and a
    /// request may have thousands of parts.
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
            Request::Copy { copies, done } => {
                let outcomes = copies.into_iter().map(|copy| self.plan_copy(copy));
                let outcomes = outcomes.collect();
                self.replies.push(Reply::Copy(done, outcomes));
            }
            Request::Metadata { command, done } => {
                let outcome = self.plan_command(command);
                self.replies.push(Reply::Metadata(done, outcome));
            }
            Request::MetadataState { done } => {
                // Otherwise the caller notices that its reply channel is closed.
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
                // The caller of a refused one notices that its reply channel is closed.
                if self.plan_replace(entries) {
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
            // The requests with it were reserved as well, or each for itself.
            Request::Probe { room } if self.reserved.is_none() => {
                if let Err(refusal) = self.reserve(room) {
                    self.log.storage.refuses(&refusal, room);
                    // Segments that could not be freed may be freeable now.
                    self.state.must_free = true;
                }
            }
            Request::Probe { .. } => {}
            Request::Stop => self.must_sync = true,
        }
    }

    /// Writes once, and flushes once if a request waits for it. Memory is ahead of the disk here: a
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
            self.flushes.note_written();
        }
        let is_due = self.must_sync && self.flushes.is_dirty();
        is_due.then(|| self.flushes.flush(&**store))
    }

    /// Publishes the new offsets to readers.
    fn publish(&mut self) {
        let log = self.log;
        self.state.controller.publish(log);
        for (id, offset) in &self.log_starts {
            if let Some(partition) = self.state.partitions.find(*id) {
                partition.published.publish_log_start(*offset);
                partition.publish_stable();
            }
        }
        for (id, aborted_at) in &self.markers {
            let partition = self.state.partitions.find(*id);
            if let (Some(partition), Some(at)) = (partition, aborted_at) {
                partition.published.publish_aborted(*at);
            }
        }
        for (id, bytes) in &self.grown {
            // A partition that the same round dropped is gone.
            if let Some(partition) = self.state.partitions.find(*id) {
                partition
                    .published
                    .publish_high_watermark(partition.log.next_offset());
                partition.publish_stable();
                log.appended(&partition.published, *bytes);
            }
        }
        // What a consumer of committed records may read has grown by more than the marker.
        for (id, _) in &self.markers {
            log.parking.wake(*id, 0);
        }
        for id in &self.dropped {
            log.dropped(*id);
        }
        if !self.log_starts.is_empty() || !self.dropped.is_empty() {
            log.has_shrunk();
        }
    }

    fn acknowledge(&mut self) {
        for awaits in self.settled.drain(..) {
            awaits.written();
        }
        // A caller that gave up has dropped its receiver.
        for reply in self.replies.drain(..) {
            let _ = match reply {
                Reply::Append(done, outcomes) => done.try_send(outcomes).is_ok(),
                Reply::Copy(done, outcomes) => done.try_send(outcomes).is_ok(),
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
}

/// Returns whether the commit fits the room that was reserved.
fn is_within(commit: &Commit, room: Room) -> bool {
    let bytes_of = |entry: &Entry| match entry {
        Entry::Append { batches, .. } => batches.iter().map(Batch::bytes).sum(),
        Entry::LogStart { .. } | Entry::Drop { .. } | Entry::Replace { .. } => 0,
    };
    let bytes: usize = commit.entries.iter().map(bytes_of).sum();
    commit.entries.len() as u64 <= room.rows && bytes as u64 <= room.batch_bytes
}
