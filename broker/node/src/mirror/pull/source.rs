//! One upstream partition, and its copy here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sedge_core::backoff::Backoff;
use sedge_core::metadata::Topic;
use sedge_core::mirror::pull;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::kafka::KafkaUuid;

use crate::client::fetches::FetchedPartition;
use crate::mirror::limits;
use crate::writer::Copied;

/// One upstream partition, and its copy here.
pub struct Source {
    pub partition: PartitionId,
    /// The topic here.
    pub topic: Arc<Topic>,
    /// The topic's id upstream; zero if the upstream has no ids.
    pub upstream_id: KafkaUuid,
    /// The next offset to fetch.
    pub next: Offset,
    /// Reason why the partition waits.
    pub why: Option<String>,
    /// The end upstream, as last told.
    end: Offset,
    ready_at: Option<Instant>,
    backoff: Backoff,
}

impl Source {
    pub fn new(
        partition: PartitionId,
        topic: Arc<Topic>,
        upstream_id: KafkaUuid,
        next: Offset,
    ) -> Self {
        let ms = |duration: Duration| duration.as_millis() as u64;
        Self {
            partition,
            topic,
            upstream_id,
            next,
            why: None,
            end: next,
            ready_at: None,
            backoff: Backoff::new(ms(limits::PULL_BACKOFF), ms(limits::RECHECK_EVERY)),
        }
    }

    /// Returns when a partition that waits is tried again.
    pub fn ready_at(&self) -> Option<Instant> {
        self.ready_at
    }

    pub fn is_ready(&self, now: Instant) -> bool {
        self.ready_at.is_none_or(|at| at <= now)
    }

    /// Returns the offsets that are upstream and not here.
    pub fn lag(&self) -> i64 {
        (self.end.get() - self.next.get()).max(0)
    }

    /// Makes the partition wait, longer each time.
    pub fn wait(&mut self, why: String) {
        let wait = Duration::from_millis(self.backoff.fail(fastrand::u64(..)));
        self.ready_at = Some(Instant::now() + wait);
        self.why = Some(why);
    }

    pub fn succeed(&mut self) {
        self.backoff.succeed();
        self.ready_at = None;
        self.why = None;
    }

    /// Takes the answer to a fetch of `asked`. Returns the batches to write, and where the next
    /// fetch begins once they are written; `None` if there is nothing to write.
    pub fn take(&mut self, asked: Offset, fetched: FetchedPartition) -> Option<(Copied, Offset)> {
        self.end = fetched.end;
        let taken = match pull::take(asked, self.next, fetched.batches, fetched.aborted) {
            Ok(taken) => taken,
            Err(unfit) => {
                self.wait(unfit.to_string());
                return None;
            }
        };
        if taken.batches.is_empty() {
            self.next = taken.next;
            self.succeed();
            return None;
        }
        let copied = Copied {
            partition: self.partition,
            topic: Arc::clone(&self.topic),
            batches: taken.batches,
        };
        Some((copied, taken.next))
    }
}
