//! One round: room is reserved, requests are planned and applied, and the commit is written, in
//! this order. What follows is settled at once, or after a flush.

use sedge_core::machine::Now;
use sedge_protocol::batch::Batch;
use sedge_storage::{Commit, Entry, Error, Room, Urgency};

use super::flushes::Flushes;
use super::room::NOTHING;
use super::settlement::{Reply, Settlement};
use super::state::State;
use super::{AppendReply, Done, Request};
use crate::log::Log;
use crate::process::exit;

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
    /// What follows for the request that is planned…
    pub(super) settlement: Settlement,
    /// …and whether the flush comes first.
    pub(super) must_sync: bool,
    /// What follows for the requests that wait for the write alone…
    written: Settlement,
    /// …and for those that wait for a flush.
    flushed: Settlement,
    pub(super) rolls: Vec<Done<()>>,
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
            settlement: Settlement::default(),
            must_sync: false,
            written: Settlement::default(),
            flushed: Settlement::default(),
            rolls: Vec::new(),
        }
    }

    /// Runs the round. Settles what waits for the write alone, and returns what is left to be
    /// settled after a flush.
    pub(super) fn run(mut self, requests: impl Iterator<Item = Request>) -> Option<Settlement> {
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
            self.settlement.requests = 1;
            self.plan(request);
            let waits = std::mem::take(&mut self.must_sync);
            let with = if waits {
                &mut self.flushed
            } else {
                &mut self.written
            };
            with.append(&mut self.settlement);
        }
        self.persist();
        std::mem::take(&mut self.written).settle(self.log);
        self.roll();
        let segment = self.log.store.active_segment();
        if self.state.segment != segment {
            self.state.segment = segment;
            self.log.storage.wanted.notify(1);
        }
        let flushed = self.flushed;
        (!flushed.is_empty()).then_some(flushed)
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
                let parts = units.iter().map(|unit| unit.parts.len()).sum();
                let mut outcomes = AppendReply::with_capacity(parts);
                for unit in units {
                    self.plan_unit(unit, &mut outcomes);
                }
                self.settlement.replies.push(Reply::Append(done, outcomes));
            }
            Request::Copy { copies, done } => {
                let outcomes = copies.into_iter().map(|copy| self.plan_copy(copy));
                let outcomes = outcomes.collect();
                self.settlement.replies.push(Reply::Copy(done, outcomes));
            }
            Request::Metadata { command, done } => {
                let outcome = self.plan_command(command);
                self.settlement.replies.push(Reply::Metadata(done, outcome));
            }
            Request::MetadataState { done } => {
                // Otherwise the caller notices that its reply channel is closed.
                if let Ok(state) = self.metadata_state() {
                    self.settlement
                        .replies
                        .push(Reply::MetadataState(done, state));
                }
            }
            Request::AppendSnapshot {
                partition,
                batches,
                done,
            } => {
                let outcome = self.plan_snapshot(partition, batches);
                self.settlement.replies.push(Reply::Snapshot(done, outcome));
            }
            Request::DeleteRecords {
                partition,
                before,
                done,
            } => {
                let outcome = self.plan_log_start(partition, before, Urgency::Command);
                self.settlement
                    .replies
                    .push(Reply::DeleteRecords(done, outcome));
            }
            Request::Retain { log_starts, done } => {
                let count = self.plan_retain(&log_starts);
                self.settlement.replies.push(Reply::Retain(done, count));
            }
            Request::Replace { entries, done } => {
                // The caller of a refused one notices that its reply channel is closed.
                if self.plan_replace(entries) {
                    self.settlement.replies.push(Reply::Replace(done));
                }
            }
            Request::ExpireProducers {
                silent,
                until_ms,
                done,
            } => {
                let count = self.plan_expiry(&silent, until_ms);
                self.settlement
                    .replies
                    .push(Reply::ExpireProducers(done, count));
            }
            Request::Roll { done } => self.rolls.push(done),
            // The requests with it were reserved as well, or each for itself.
            Request::Probe { room } if self.reserved.is_none() => {
                if let Err(refusal) = self.reserve(room) {
                    self.log.storage.refuses(&refusal, room);
                    // Segments that could not be freed may be freeable now.
                    self.log.storage.dead.notify(1);
                }
            }
            Request::Probe { .. } | Request::Stop => {}
        }
    }

    /// Writes the commit. Memory is ahead of the disk here: a failure ends the process.
    fn persist(&mut self) {
        if self.commit.entries.is_empty() && self.commit.updates.is_empty() {
            return;
        }
        let commit = std::mem::take(&mut self.commit);
        debug_assert!(is_within(&commit, self.taken), "more than was reserved");
        if let Err(failure) = self.log.store.append(commit) {
            exit::fatal("write to the log", &failure);
        }
        self.log.metrics.commits.increment();
        self.flushes.note_written();
        if self.log.store.wants_view_flush() {
            self.log.storage.unflushed_views.notify(1);
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
