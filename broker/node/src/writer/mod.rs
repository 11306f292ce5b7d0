//! The one writer thread: it plans, applies, persists and acknowledges (ARCHITECTURE.md, "The way
//! of a Produce").
//!
//! Everything that changes the log comes here as a [`Request`] over a bounded queue. The thread
//! drains what is there, plans all of it on its own state, and persists it as one commit: while one
//! flush runs, the next requests gather, and small commits wait a little for company (`gather`), so
//! many producers share a flush.
//!
//! **Invariants**
//! - Nothing is applied before [`LogStore::reserve`] has made room for its batches and its rows: a
//!   full disk is a reply.
//! - A write or flush that fails after that ends the process: memory would be ahead of the disk.
//! - High watermarks move, fetches wake and replies leave after the durability that the topics ask
//!   for.

mod appends;
mod gather;
mod metadata;
pub mod partition;
mod room;
mod round;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender, TrySendError};
use async_io::Timer;
use futures_lite::future;
use sedge_core::log::{AppendError, SequenceRange, Write};
use sedge_core::metadata::{Command, CommandError, CommandReply, MetadataMachine, Topic};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId, ProducerId};
use sedge_storage::limits::FREEING_ROWS_MAX;
use sedge_storage::{Entry, Room, ViewUpdate};

use crate::limits::{ROLL_WAIT_MAX, WRITER_QUEUE_MAX, WRITER_STACK_BYTES};
use crate::log::Log;
use crate::process::random::random_uuid;

/// Where a reply goes. Dropping it without one means that the broker stops.
pub type Done<T> = Sender<T>;

/// One batch for one partition.
#[derive(Clone, Debug)]
pub struct AppendPart {
    pub partition: PartitionId,
    pub topic: Arc<Topic>,
    /// The sequences that the producer sent, where it is idempotent.
    pub sequence: Option<SequenceRange>,
    /// `None` where a filter dropped every record: only the sequence advances. Why it is refused
    /// where it is already: that is noted in the order in which batches came, so that a later one
    /// does not take its place.
    pub batch: Result<Option<Batch>, AppendError>,
}

impl AppendPart {
    /// The part as its partition's log judges it.
    const fn write(&self) -> Write {
        Write {
            sequence: self.sequence,
        }
    }
}

/// What became of an [`AppendPart`].
#[derive(Clone, Debug)]
pub struct Appended {
    pub base_offset: Offset,
    /// For `LogAppendTime` topics.
    pub log_append_time_ms: Option<i64>,
    pub log_start: Offset,
}

/// What is written all or not at all.
#[derive(Clone, Debug)]
pub struct Unit {
    pub parts: Vec<AppendPart>,
    /// Changes of views that go with the batches.
    pub updates: Vec<ViewUpdate>,
}

/// One outcome a part, in the order of the parts.
pub type AppendReply = Vec<Result<Appended, AppendError>>;

/// What the writer thread is asked to do.
#[derive(Debug)]
pub enum Request {
    /// Appends batches, all in one commit. Each unit is judged for itself.
    Append {
        units: Vec<Unit>,
        done: Done<AppendReply>,
    },
    /// A command to the controller.
    Metadata {
        command: Command,
        done: Done<Result<CommandReply, CommandError>>,
    },
    /// Gives a copy of the metadata machine, for a snapshot.
    MetadataState { done: Done<Box<MetadataState>> },
    /// Appends batches of a snapshot to one of the broker's own partitions, and flushes them. The
    /// reply is the first offset.
    AppendSnapshot {
        partition: PartitionId,
        batches: Vec<Batch>,
        done: Done<Result<Offset, AppendError>>,
    },
    /// DeleteRecords: moves the log start; `None` is the high watermark. The reply is the new log
    /// start.
    DeleteRecords {
        partition: PartitionId,
        before: Option<Offset>,
        done: Done<Result<Offset, AppendError>>,
    },
    /// Retention: moves log starts, then frees segments. The reply is how many of them were moved:
    /// the first ones.
    Retain {
        log_starts: Vec<(PartitionId, Offset)>,
        done: Done<usize>,
    },
    /// What a cleaner wrote again takes the place of what it was. Where it cannot, `done` is
    /// dropped.
    Replace { entries: Vec<Entry>, done: Done<()> },
    /// Forgets producers that have not written since `until_ms`. The reply is how many.
    ExpireProducers {
        silent: Vec<(PartitionId, ProducerId)>,
        until_ms: i64,
        done: Done<usize>,
    },
    /// Ends the active segment, so that it can be cleaned.
    Roll { done: Done<()> },
    /// Flushes what interval durability has acknowledged already.
    Flush,
    /// Reserves room without writing, to learn whether the disk accepts writes again.
    Probe { room: Room },
    /// Ends the thread after what is queued.
    Stop,
}

/// The metadata machine at a moment.
#[derive(Debug)]
pub struct MetadataState {
    pub machine: MetadataMachine,
    /// The machine has the log before this offset.
    pub end_offset: Offset,
    /// Bytes of records that no snapshot had when it was taken.
    pub record_bytes: u64,
}

/// The handle by which everyone else asks. Clones are handles to the same writer.
#[derive(Clone, Debug)]
pub struct Writer {
    requests: Sender<Request>,
    is_dirty: Arc<AtomicBool>,
}

/// The broker is shutting down: there is nobody to ask.
#[derive(Debug)]
pub struct Stopped;

impl Writer {
    /// The handle, and what the thread will take from.
    pub fn new() -> (Self, Receiver<Request>) {
        let (requests, queue) = async_channel::bounded(WRITER_QUEUE_MAX);
        (
            Self {
                requests,
                // What the start read may not be on the disk yet.
                is_dirty: Arc::new(AtomicBool::new(true)),
            },
            queue,
        )
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(
        &self,
        log: Arc<Log>,
        state: State,
        queue: Receiver<Request>,
    ) -> std::io::Result<JoinHandle<()>> {
        let is_dirty = Arc::clone(&self.is_dirty);
        std::thread::Builder::new()
            .name("sedge-writer".to_owned())
            .stack_size(WRITER_STACK_BYTES)
            .spawn(move || thread::run(&log, state, &queue, &is_dirty))
    }

    /// Appends all of the parts, with the changes of views, or nothing, and waits for the
    /// durability that the topics ask for.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn append(
        &self,
        parts: Vec<AppendPart>,
        updates: Vec<ViewUpdate>,
    ) -> Result<AppendReply, Stopped> {
        let (done, reply) = async_channel::bounded(1);
        let units = vec![Unit { parts, updates }];
        self.send(Request::Append { units, done }).await?;
        reply.recv().await.map_err(|_| Stopped)
    }

    /// Queues an append of parts that are judged each for itself, so that the order of the calls is
    /// the order in the log.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn start_append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<Receiver<AppendReply>, Stopped> {
        let (done, reply) = async_channel::bounded(1);
        let unit = |part| Unit {
            parts: vec![part],
            updates: Vec::new(),
        };
        let units = parts.into_iter().map(unit).collect();
        self.send(Request::Append { units, done }).await?;
        Ok(reply)
    }

    /// Gives the controller a command, and waits until its records are durable.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn metadata(
        &self,
        command: Command,
    ) -> Result<Result<CommandReply, CommandError>, Stopped> {
        let (done, reply) = async_channel::bounded(1);
        self.send(Request::Metadata { command, done }).await?;
        reply.recv().await.map_err(|_| Stopped)
    }

    /// A copy of the metadata machine.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn metadata_state(&self) -> Result<Box<MetadataState>, Stopped> {
        let (done, reply) = async_channel::bounded(1);
        self.send(Request::MetadataState { done }).await?;
        reply.recv().await.map_err(|_| Stopped)
    }

    /// Appends batches of a snapshot, with base offset 0, and waits until they are durable. The
    /// first one gets the offset that is returned.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn append_snapshot(
        &self,
        partition: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Result<Offset, AppendError>, Stopped> {
        let (done, reply) = async_channel::bounded(1);
        let request = Request::AppendSnapshot {
            partition,
            batches,
            done,
        };
        self.send(request).await?;
        reply.recv().await.map_err(|_| Stopped)
    }

    /// Creates a topic where there is none of this name.
    ///
    /// # Errors
    /// The broker is shutting down. In the result: the name or a configuration is not valid, or
    /// the disk is full.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: Vec<(String, String)>,
    ) -> Result<Result<(), CommandError>, Stopped> {
        let command = Command::CreateTopic {
            name: name.to_owned(),
            id: random_uuid(),
            partitions,
            configs,
            validate_only: false,
        };
        Ok(match self.metadata(command).await? {
            Err(error) if error.code != ErrorCode::TopicAlreadyExists => Err(error),
            Ok(_) | Err(_) => Ok(()),
        })
    }

    /// Moves a log start (DeleteRecords).
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn delete_records(
        &self,
        partition: PartitionId,
        before: Option<Offset>,
    ) -> Result<Result<Offset, AppendError>, Stopped> {
        let (done, reply) = async_channel::bounded(1);
        self.send(Request::DeleteRecords {
            partition,
            before,
            done,
        })
        .await?;
        reply.recv().await.map_err(|_| Stopped)
    }

    /// Moves log starts, some at once, and waits until that is durable; segments are freed in
    /// between. Returns how many were moved, the first ones: fewer if the disk takes no more, and
    /// the next round asks for the rest.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn retain(&self, log_starts: Vec<(PartitionId, Offset)>) -> Result<usize, Stopped> {
        let mut count = 0;
        // One without any frees segments all the same.
        let mut rest = &log_starts[..];
        loop {
            let (some, more) = rest.split_at(rest.len().min(FREEING_ROWS_MAX));
            let (done, moved) = async_channel::bounded(1);
            let log_starts = some.to_vec();
            self.send(Request::Retain { log_starts, done }).await?;
            let moved = moved.recv().await.map_err(|_| Stopped)?;
            count += moved;
            if more.is_empty() || moved < some.len() {
                return Ok(count);
            }
            rest = more;
        }
    }

    /// Forgets those of the producers that have not written since `until_ms`, and says how many.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn expire_producers(
        &self,
        silent: Vec<(PartitionId, ProducerId)>,
        until_ms: i64,
    ) -> Result<usize, Stopped> {
        let (done, count) = async_channel::bounded(1);
        self.send(Request::ExpireProducers {
            silent,
            until_ms,
            done,
        })
        .await?;
        count.recv().await.map_err(|_| Stopped)
    }

    /// Has what a cleaner wrote take the place of what it was; from a thread that may wait. False
    /// where the disk is full, or the broker is shutting down.
    pub fn replace(&self, entries: Vec<Entry>) -> bool {
        let (done, reply) = async_channel::bounded(1);
        let request = Request::Replace { entries, done };
        self.requests.send_blocking(request).is_ok() && reply.recv_blocking().is_ok()
    }

    /// Ends the active segment; from a thread that may wait. A full disk may refuse that, and a
    /// writer that is very busy may do it later than is waited for.
    pub fn roll(&self) {
        let (done, reply) = async_channel::bounded(1);
        let asked = async {
            if self.requests.send(Request::Roll { done }).await.is_ok() {
                let _ = reply.recv().await;
            }
        };
        let over = async {
            Timer::after(ROLL_WAIT_MAX).await;
        };
        future::block_on(future::or(asked, over));
    }

    /// Frees segments, some time; from a thread that may wait.
    pub fn free(&self) {
        let (done, _) = async_channel::bounded(1);
        let log_starts = Vec::new();
        let request = Request::Retain { log_starts, done };
        let _ = self.requests.send_blocking(request);
    }

    /// Asks for a flush where interval durability has something unflushed.
    pub fn flush_if_dirty(&self) {
        if self.is_dirty.load(Ordering::Acquire) {
            match self.requests.try_send(Request::Flush) {
                // A full queue commits soon, and the next tick asks again.
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
            }
        }
    }

    /// Has the writer see whether there is room for so much.
    pub fn probe(&self, room: Room) {
        // A full queue is as good: what is in it shows the same.
        let _ = self.requests.try_send(Request::Probe { room });
    }

    /// Ends the thread after what is queued; everything that comes later is refused.
    pub async fn stop(&self) {
        let _ = self.requests.send(Request::Stop).await;
        self.requests.close();
    }

    async fn send(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}

pub use state::State;
