//! The only writer thread: plans, applies, persists and acknowledges (ARCHITECTURE.md, "The way of
//! a Produce").
//!
//! Every change of the log comes here as a [`Request`] over a bounded queue. The thread takes all
//! queued requests, plans them on its own state, and writes them as one commit. Requests that wait
//! for a flush are settled by another thread (`flusher`), while the writer goes on with the next
//! commits. Small commits that wait for a flush wait a little for others (`gather`), so many
//! producers share one.
//!
//! **Invariants**
//! - Nothing is applied before [`LogStore::reserve`] has made room for its batches and its rows: a
//!   full disk is a reply. A sixteenth of each segment is kept for commits that free space
//!   (`HEADROOM_SHARE` of storage), so a full disk can be emptied.
//! - The batches and changes of views that an append asks for together are all written or not at
//!   all (`Unit`).
//! - A write or flush that fails after that ends the process: memory would be ahead of the disk.
//! - High watermarks move, fetches wake and replies are sent after the topics' durability is
//!   reached (`settlement`). A request that waits for no flush is settled before older ones that
//!   do.

mod appends;
mod copies;
mod flusher;
mod flushes;
mod gather;
mod metadata;
pub mod partition;
pub mod reply;
mod room;
mod round;
mod settlement;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod upkeep;

use std::fmt::Debug;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::future;
use sedge_core::log::{AppendError, Write};
use sedge_core::metadata::{Command, CommandError, CommandReply, MetadataMachine, Topic};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId, ProducerId};
use sedge_storage::limits::FREEING_ROWS_MAX;
use sedge_storage::{Entry, Room, ViewUpdate};

use crate::limits::{ROLL_WAIT_MAX, WRITER_QUEUE_MAX, WRITER_STACK_BYTES};
use crate::log::Log;
use crate::process::random::random_uuid;
use flusher::Flusher;
use flushes::Flushes;

/// One batch for one partition.
#[derive(Clone, Debug)]
pub struct AppendPart {
    pub partition: PartitionId,
    pub topic: Arc<Topic>,
    /// What the batch is for the partition's log.
    pub write: Write,
    /// The batch; `None` if a filter dropped every record, so that only the sequence advances; or
    /// the reason why it is refused already, which is recorded in the order of arrival, so that a
    /// later batch does not take its place.
    pub batch: Result<Option<Batch>, AppendError>,
    /// The batches that a partitioner made of records for other partitions of the topic, those that
    /// filters routed to other topics, and those of the filters' state. They are written in the
    /// same commit, and not if the batch was written already.
    pub elsewhere: Vec<Elsewhere>,
    /// Kept until the part is settled.
    pub awaits: Option<Arc<dyn Awaits>>,
}

/// A batch that is written with a part, to another partition.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    pub partition: PartitionId,
    /// The topic of the partition; `None` for that of the part and for the broker's own.
    pub topic: Option<Arc<Topic>>,
    pub batch: Batch,
}

impl From<(PartitionId, Batch)> for Elsewhere {
    fn from((partition, batch): (PartitionId, Batch)) -> Self {
        Self {
            partition,
            topic: None,
            batch,
        }
    }
}

/// What waits for a part. It is told once the part is applied: the part will be written before all
/// that is queued later, or the process ends. It is dropped once the part is settled, before the
/// reply. It is dropped without a word if the part is refused or was written before.
pub trait Awaits: Debug + Send + Sync {
    fn applied(&self);
}

impl AppendPart {
    /// Returns all batches of the part.
    fn batches(&self) -> impl Iterator<Item = &Batch> + Clone {
        let here = self.batch.as_ref().ok().and_then(Option::as_ref);
        here.into_iter()
            .chain(self.elsewhere.iter().map(|elsewhere| &elsewhere.batch))
    }

    /// Returns the topics that the part's batches are for.
    fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        let others = self.elsewhere.iter();
        std::iter::once(&self.topic).chain(others.filter_map(|elsewhere| elsewhere.topic.as_ref()))
    }
}

/// The result of an [`AppendPart`].
#[derive(Clone, Debug)]
pub struct Appended {
    pub base_offset: Offset,
    /// The append time, for `LogAppendTime` topics.
    pub log_append_time_ms: Option<i64>,
    pub log_start: Offset,
}

/// Parts that are written completely or not at all.
#[derive(Clone, Debug)]
pub struct Unit {
    pub parts: Vec<AppendPart>,
    /// View updates that belong to the batches.
    pub updates: Vec<ViewUpdate>,
}

/// Batches for the end of one partition, with their offsets. Holes between them are allowed.
#[derive(Clone, Debug)]
pub struct Copied {
    pub partition: PartitionId,
    pub topic: Arc<Topic>,
    pub batches: Vec<Batch>,
}

/// The ends of the partitions to which batches were copied, in the order of the copies.
pub type CopyReply = Vec<Result<Offset, AppendError>>;

/// One result per part, in the order of the parts.
pub type AppendReply = Vec<Result<Appended, AppendError>>;

/// A request to the writer thread.
#[derive(Debug)]
pub enum Request {
    /// Appends batches, all in one commit. Each unit is judged separately.
    Append {
        units: Vec<Unit>,
        done: Done<AppendReply>,
    },
    /// Writes what a pull link copies, all in one commit. Each copy is judged separately.
    Copy {
        copies: Vec<Copied>,
        done: Done<CopyReply>,
    },
    /// A command to the controller.
    Metadata {
        command: Command,
        done: Done<Result<CommandReply, CommandError>>,
    },
    /// Returns a copy of the metadata machine, for a snapshot.
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
    /// Retention: moves log starts. The reply is the number of log starts that were moved: the
    /// first ones.
    Retain {
        log_starts: Vec<(PartitionId, Offset)>,
        done: Done<usize>,
    },
    /// Replaces ranges by what a cleaner has written. If that fails, `done` is dropped.
    Replace { entries: Vec<Entry>, done: Done<()> },
    /// Forgets producers that have not written since `until_ms`. The reply is their number.
    ExpireProducers {
        silent: Vec<(PartitionId, ProducerId)>,
        until_ms: i64,
        done: Done<usize>,
    },
    /// Rolls the active segment, so that it can be cleaned.
    Roll { done: Done<()> },
    /// Reserves room without writing, to learn whether the disk accepts writes again.
    Probe { room: Room },
    /// Ends the thread after the queued requests.
    Stop,
}

/// The metadata machine at one moment.
#[derive(Debug)]
pub struct MetadataState {
    pub machine: MetadataMachine,
    /// The machine contains the log before this offset.
    pub end_offset: Offset,
    /// Bytes of records that no snapshot contained at that time.
    pub record_bytes: u64,
}

/// The handle for requests. Clones share the same writer.
#[derive(Clone, Debug)]
pub struct Writer {
    requests: Sender<Request>,
    flushes: Arc<Flushes>,
}

/// The broker is shutting down: the writer no longer answers.
#[derive(Debug)]
pub struct Stopped;

impl Writer {
    /// Returns the handle, and the queue for the thread.
    pub fn new() -> (Self, Receiver<Request>) {
        let (requests, queue) = async_channel::bounded(WRITER_QUEUE_MAX);
        (
            Self {
                requests,
                flushes: Arc::default(),
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
        let flushes = Arc::clone(&self.flushes);
        let flusher = Flusher::start(Arc::clone(&log), Arc::clone(&flushes))?;
        std::thread::Builder::new()
            .name("sedge-writer".to_owned())
            .stack_size(WRITER_STACK_BYTES)
            .spawn(move || thread::run(&log, state, &queue, &flushes, flusher))
    }

    /// Appends all of the parts, with the view updates, or none. Waits for the durability that the
    /// topics require.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn append(
        &self,
        parts: Vec<AppendPart>,
        updates: Vec<ViewUpdate>,
    ) -> Result<AppendReply, Stopped> {
        let (done, reply) = reply::channel();
        let units = vec![Unit { parts, updates }];
        self.send(Request::Append { units, done }).await?;
        reply.await
    }

    /// Queues an append whose parts are judged separately. The order of the calls is the order in
    /// the log.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn start_append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<Awaited<AppendReply>, Stopped> {
        let (done, reply) = reply::channel();
        let unit = |part| Unit {
            parts: vec![part],
            updates: Vec::new(),
        };
        let units = parts.into_iter().map(unit).collect();
        self.send(Request::Append { units, done }).await?;
        Ok(reply)
    }

    /// Writes what a pull link copies, and waits for the durability that the topics require.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn copy(&self, copies: Vec<Copied>) -> Result<CopyReply, Stopped> {
        let (done, reply) = reply::channel();
        self.send(Request::Copy { copies, done }).await?;
        reply.await
    }

    /// Sends a command to the controller, and waits until its records are durable.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn metadata(
        &self,
        command: Command,
    ) -> Result<Result<CommandReply, CommandError>, Stopped> {
        let (done, reply) = reply::channel();
        self.send(Request::Metadata { command, done }).await?;
        reply.await
    }

    /// Returns a copy of the metadata machine.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn metadata_state(&self) -> Result<Box<MetadataState>, Stopped> {
        let (done, reply) = reply::channel();
        self.send(Request::MetadataState { done }).await?;
        reply.await
    }

    /// Appends batches of a snapshot, with base offset 0, and waits until they are durable. Returns
    /// the offset of the first one.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn append_snapshot(
        &self,
        partition: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Result<Offset, AppendError>, Stopped> {
        let (done, reply) = reply::channel();
        let request = Request::AppendSnapshot {
            partition,
            batches,
            done,
        };
        self.send(request).await?;
        reply.await
    }

    /// Creates a topic if none of this name exists.
    ///
    /// # Errors
    /// The broker is shutting down. In the result: the name or a configuration is invalid, or the
    /// disk is full.
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
        let (done, reply) = reply::channel();
        self.send(Request::DeleteRecords {
            partition,
            before,
            done,
        })
        .await?;
        reply.await
    }

    /// Moves log starts, some at a time, and waits until that is durable; segments are freed in
    /// between. Returns how many were moved, the first ones: fewer if the disk refuses more, and
    /// the next round asks for the rest.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn retain(
        &self,
        log: &Arc<Log>,
        log_starts: Vec<(PartitionId, Offset)>,
    ) -> Result<usize, Stopped> {
        let mut count = 0;
        // Without log starts, segments are freed all the same.
        let mut rest = &log_starts[..];
        loop {
            let (some, more) = rest.split_at(rest.len().min(FREEING_ROWS_MAX));
            let (done, moved) = reply::channel();
            let log_starts = some.to_vec();
            self.send(Request::Retain { log_starts, done }).await?;
            let moved = moved.await?;
            count += moved;
            let log = Arc::clone(log);
            blocking::unblock(move || log.free_segments()).await;
            if more.is_empty() || moved < some.len() {
                return Ok(count);
            }
            rest = more;
        }
    }

    /// Forgets those of the producers that have not written since `until_ms`. Returns their number.
    ///
    /// # Errors
    /// The broker is shutting down.
    pub async fn expire_producers(
        &self,
        silent: Vec<(PartitionId, ProducerId)>,
        until_ms: i64,
    ) -> Result<usize, Stopped> {
        let (done, count) = reply::channel();
        self.send(Request::ExpireProducers {
            silent,
            until_ms,
            done,
        })
        .await?;
        count.await
    }

    /// Replaces the cleaned ranges. Blocks; returns false if the disk is full or the broker is
    /// shutting down.
    pub fn replace(&self, entries: Vec<Entry>) -> bool {
        let (done, reply) = reply::channel();
        let request = Request::Replace { entries, done };
        self.requests.send_blocking(request).is_ok() && future::block_on(reply).is_ok()
    }

    /// Rolls the active segment. Blocks. A full disk may refuse the roll, and a very busy writer
    /// may do it after the wait has ended.
    pub fn roll(&self) {
        let (done, reply) = reply::channel();
        let asked = async {
            if self.requests.send(Request::Roll { done }).await.is_ok() {
                let _ = reply.await;
            }
        };
        let over = async {
            Timer::after(ROLL_WAIT_MAX).await;
        };
        future::block_on(future::or(asked, over));
    }

    /// Flushes what was acknowledged with interval durability, while the writer goes on. Blocks.
    pub fn flush_if_dirty(&self, log: &Log) {
        if self.flushes.is_dirty() {
            self.flushes.flush(&*log.store);
        }
    }

    /// Queues a check whether the disk has this room.
    pub fn probe(&self, room: Room) {
        // A full queue is as good: its requests show the same.
        let _ = self.requests.try_send(Request::Probe { room });
    }

    /// Ends the thread after the queued requests; later ones are refused.
    pub async fn stop(&self) {
        let _ = self.requests.send(Request::Stop).await;
        self.requests.close();
    }

    async fn send(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}

pub use reply::{Awaited, Done};
pub use state::State;
