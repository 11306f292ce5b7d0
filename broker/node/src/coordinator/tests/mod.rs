//! Tests the journal without a broker: on a store in memory, with a real writer behind a gate at
//! which the test decides the outcome of each request.

mod outages;
mod shared;
mod simulation;
mod topics;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use async_channel::{Receiver, Sender};
use futures_lite::future::{block_on, poll_once};
use sedge_core::groups::Committer;
use sedge_core::log::AppendError;
use sedge_core::machine::Now;
use sedge_core::metadata::{Command, CommandError, CommandReply, TopicName};
use sedge_core::offsets::OffsetToCommit;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{Offset, PartitionId, PartitionIndex};
use sedge_storage::{LogStore, MemoryStore};

use super::{Coordinators, Groups, Journal, restore};
use crate::broker::Broker;
use crate::log::Log;
use crate::process::random::random_uuid;
use crate::test_broker::on_store;
use crate::writer::{AppendReply, Request, Unit, Writer, reply};

const START: Now = Now {
    wall_ms: 1_800_000_000_000,
    monotonic_ms: 1_000,
    append_ms: 1_700_000_000_000,
};

/// The outcome of a request to the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The writer gets the request.
    Write,
    /// The disk is full.
    Refuse,
    /// The writer gets the request, and the journal never gets the reply.
    WriteUnheard,
}

/// A disk and its only writer. It outlives the journals on it.
struct Disk {
    store: Arc<MemoryStore>,
    log: Arc<Log>,
    /// The journals' requests.
    gate: Receiver<Request>,
    writer: Writer,
    real: Sender<Request>,
    thread: Option<JoinHandle<()>>,
    now: Arc<Mutex<Now>>,
    /// Partitions of each written append, repeated for each of their batches.
    appends: Mutex<Vec<Vec<PartitionId>>>,
    _broker: Arc<Broker>,
}

impl Disk {
    fn new(store: MemoryStore) -> Self {
        let store = Arc::new(store);
        let (broker, state) = on_store(Arc::clone(&store) as Arc<dyn LogStore>);
        let log = Arc::clone(&broker.log);
        let (writer, gate) = Writer::new();
        let (real, queue) = async_channel::bounded(1);
        let thread = Writer::new().0.start(Arc::clone(&log), state, queue);
        Self {
            store,
            log,
            gate,
            writer,
            real,
            thread: Some(thread.unwrap()),
            now: Arc::new(Mutex::new(START)),
            appends: Mutex::default(),
            _broker: broker,
        }
    }

    fn now(&self) -> Now {
        *self.now.lock().unwrap()
    }

    fn wait(&self, ms: u64) {
        let mut now = self.now.lock().unwrap();
        now.monotonic_ms += ms;
        now.wall_ms += ms as i64;
        now.append_ms += ms as i64;
    }

    fn coordinators(&self) -> Coordinators {
        restore(&*self.store, &self.log.metadata.load(), self.now()).unwrap()
    }

    /// Returns the journal's writing task.
    fn task(&self, journal: &Journal) -> Pin<Box<dyn Future<Output = ()>>> {
        let clock = Arc::clone(&self.now);
        let now = move || *clock.lock().unwrap();
        let (log, writer) = (Arc::clone(&self.log), self.writer.clone());
        Box::pin(journal.clone().write_at(log, writer, now))
    }

    /// Handles the oldest request, if there is one.
    fn serve(&self, verdict: Verdict) -> bool {
        let Ok(request) = self.gate.try_recv() else {
            return false;
        };
        match request {
            Request::Append { units, done } => {
                let outcomes = match verdict {
                    Verdict::Refuse => refused(&units),
                    Verdict::Write | Verdict::WriteUnheard => self.append(units),
                };
                if verdict != Verdict::WriteUnheard {
                    done.send(outcomes);
                }
            }
            Request::Metadata { command, done } => {
                let outcome = match verdict {
                    Verdict::Refuse => Err(CommandError {
                        code: ErrorCode::KafkaStorageError,
                        message: "the disk is full".to_owned(),
                    }),
                    Verdict::Write | Verdict::WriteUnheard => self.command(command),
                };
                if verdict != Verdict::WriteUnheard {
                    done.send(outcome);
                }
            }
            // The request is part of a trim.
            Request::DeleteRecords { .. } => self.real.send_blocking(request).unwrap(),
            other => panic!("a journal does not ask for {other:?}"),
        }
        true
    }

    fn append(&self, units: Vec<Unit>) -> AppendReply {
        let parts = units.iter().flat_map(|unit| &unit.parts);
        let partitions: Vec<PartitionId> = parts.map(|part| part.partition).collect();
        let (done, reply) = reply::channel();
        let request = Request::Append { units, done };
        self.real.send_blocking(request).unwrap();
        let outcomes = block_on(reply).unwrap();
        if outcomes.iter().all(Result::is_ok) {
            self.appends.lock().unwrap().push(partitions);
        }
        outcomes
    }

    fn command(&self, command: Command) -> Result<CommandReply, CommandError> {
        let (done, reply) = reply::channel();
        let request = Request::Metadata { command, done };
        self.real.send_blocking(request).unwrap();
        block_on(reply).unwrap()
    }

    fn create_topic(&self, name: &str) {
        let command = Command::CreateTopic {
            name: name.to_owned(),
            id: random_uuid(),
            partitions: 4,
            configs: Vec::new(),
            validate_only: false,
        };
        self.command(command).unwrap();
    }

    fn delete_topic(&self, name: &str) {
        let topic = TopicName::Name(name.to_owned());
        self.command(Command::DeleteTopic { topic }).unwrap();
    }

    /// Commits as the handler does: the topic is looked up under the coordinator's lock. Returns
    /// `None` if the topic does not exist, or the committer is refused.
    fn commit(
        &self,
        groups: &Groups,
        committer: &Committer,
        (topic, partition): (&str, i32),
        offset: i64,
    ) -> Option<Receiver<Result<(), ErrorCode>>> {
        let (is_taken, written) = groups.plan(|machine| {
            let image = self.log.metadata.load();
            let found = image.topic(topic).map(|topic| topic.id);
            let offsets = found.map(|topic_id| OffsetToCommit {
                topic: topic.to_owned(),
                topic_id,
                partition: PartitionIndex(partition),
                offset: Offset(offset),
                ..OffsetToCommit::default()
            });
            let offsets = offsets.into_iter().collect();
            let planned = machine.handle_offset_commit(self.now(), committer, offsets);
            let is_taken = planned.reply.iter().all(Result::is_ok) && found.is_some();
            sedge_core::groups::Planned {
                reply: is_taken,
                actions: planned.actions,
            }
        });
        is_taken.then_some(written)
    }

    fn committed(&self, groups: &Groups, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let id = self.log.metadata.load().topic(topic)?.id;
        groups.with(|machine| {
            let offsets = machine.offsets();
            let found = offsets.get(group, topic, id, PartitionIndex(partition));
            found.map(|value| value.offset.get())
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.real.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A journal on a disk, until it crashes.
struct Node<'a> {
    disk: &'a Disk,
    journal: Journal,
    groups: Arc<Groups>,
    /// Whether the views lag, and the task has not asked the writer to update them yet.
    owes: bool,
    task: Pin<Box<dyn Future<Output = ()>>>,
}

impl<'a> Node<'a> {
    fn start(disk: &'a Disk) -> Self {
        let Coordinators {
            journal, groups, ..
        } = disk.coordinators();
        let node = Self::with(disk, journal, groups);
        node.tick();
        node
    }

    fn with(disk: &'a Disk, journal: Journal, groups: Arc<Groups>) -> Self {
        Self {
            owes: journal.is_behind(),
            task: disk.task(&journal),
            disk,
            journal,
            groups,
        }
    }

    /// Runs the task as far as it gets without the writer.
    fn run(&mut self) {
        loop {
            let _ = block_on(poll_once(&mut self.task));
            let waits_for_writer = !self.disk.gate.is_empty();
            self.owes &= !waits_for_writer;
            if waits_for_writer || (self.journal.is_idle() && !self.owes) {
                return;
            }
            // The task waits for a thread that reads.
            thread::yield_now();
        }
    }

    /// Lets everything be written.
    fn settle(&mut self) {
        loop {
            self.run();
            if !self.disk.serve(Verdict::Write) {
                return;
            }
        }
    }

    fn tick(&self) -> u64 {
        self.journal.tick(self.disk.now(), &self.disk.log)
    }
}

fn refused(units: &[Unit]) -> AppendReply {
    let full = AppendError::new(ErrorCode::KafkaStorageError, "the disk is full");
    let parts = units.iter().flat_map(|unit| &unit.parts);
    parts.map(|_| Err(full.clone())).collect()
}

/// Returns a consumer outside group management.
fn outsider(group: &str) -> Committer {
    Committer {
        group_id: group.to_owned(),
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
        knows_member_epochs: true,
    }
}
