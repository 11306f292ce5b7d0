//! What follows once requests are as durable as they ask for: offsets and the metadata image are
//! published, fetches wake, and the replies are sent.

use std::sync::Arc;

use sedge_core::log::AppendError;
use sedge_core::metadata::{CommandError, CommandReply, Image};
use sedge_protocol::ids::{Offset, PartitionId};

use super::{AppendReply, Awaits, CopyReply, Done, MetadataState};
use crate::log::Log;
use crate::log::partitions::Partition;

/// A reply that waits for the commit.
#[derive(Debug)]
pub enum Reply {
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

/// A partition that grew by a batch.
#[derive(Debug)]
pub struct Grown {
    pub partition: Arc<Partition>,
    pub bytes: usize,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
}

/// A partition whose log start moved.
#[derive(Debug)]
pub struct Shortened {
    pub partition: Arc<Partition>,
    pub log_start: Offset,
    pub last_stable_offset: Offset,
}

/// A partition in which a transaction ended.
#[derive(Debug)]
pub struct Ended {
    pub partition: Arc<Partition>,
    /// The marker, if the transaction was aborted.
    pub aborted_at: Option<Offset>,
}

/// What follows for some requests of a commit.
///
/// It says where each partition ended with that commit. Later commits may be settled before it: no
/// published offset moves back.
#[derive(Debug, Default)]
pub struct Settlement {
    /// Requests that are settled.
    pub requests: usize,
    /// The metadata with the requests' commands.
    pub image: Option<Arc<Image>>,
    pub shortened: Vec<Shortened>,
    pub ended: Vec<Ended>,
    pub grown: Vec<Grown>,
    pub dropped: Vec<PartitionId>,
    /// What waits for the parts to be settled.
    pub awaiting: Vec<Arc<dyn Awaits>>,
    pub replies: Vec<Reply>,
}

impl Settlement {
    pub fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// Takes over the settlement of the next request of the same commit, and leaves it empty.
    pub fn append(&mut self, next: &mut Self) {
        self.requests += std::mem::take(&mut next.requests);
        self.image = next.image.take().or(self.image.take());
        self.shortened.append(&mut next.shortened);
        self.ended.append(&mut next.ended);
        self.grown.append(&mut next.grown);
        self.dropped.append(&mut next.dropped);
        self.awaiting.append(&mut next.awaiting);
        self.replies.append(&mut next.replies);
    }

    /// Publishes and replies. Does not block.
    pub fn settle(self, log: &Log) {
        self.publish(log);
        self.reply();
    }

    fn publish(&self, log: &Log) {
        if let Some(image) = &self.image {
            log.metadata.publish(Arc::clone(image));
        }
        for of in &self.shortened {
            of.partition.publish_log_start(of.log_start);
            of.partition
                .publish_last_stable_offset(of.last_stable_offset);
        }
        for of in &self.ended {
            if let Some(at) = of.aborted_at {
                of.partition.publish_aborted(at);
            }
        }
        for of in &self.grown {
            of.partition.publish_high_watermark(of.high_watermark);
            of.partition
                .publish_last_stable_offset(of.last_stable_offset);
            log.appended(&of.partition, of.bytes);
        }
        // What a consumer of committed records may read has grown by more than the marker.
        for of in &self.ended {
            log.parking.wake(of.partition.id, 0);
        }
        for id in &self.dropped {
            log.dropped(*id);
        }
        if !self.dropped.is_empty() {
            log.storage.dead.notify(1);
        }
        if !self.shortened.is_empty() || !self.dropped.is_empty() {
            log.has_shrunk();
        }
    }

    fn reply(self) {
        drop(self.awaiting);
        for reply in self.replies {
            match reply {
                Reply::Append(done, outcomes) => done.send(outcomes),
                Reply::Copy(done, outcomes) => done.send(outcomes),
                Reply::Metadata(done, outcome) => done.send(outcome),
                Reply::MetadataState(done, state) => done.send(state),
                Reply::DeleteRecords(done, outcome) | Reply::Snapshot(done, outcome) => {
                    done.send(outcome);
                }
                Reply::Replace(done) => done.send(()),
                Reply::Retain(done, count) | Reply::ExpireProducers(done, count) => {
                    done.send(count);
                }
            }
        }
    }
}
