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
    /// Timestamp of the newest record here, ms.
    newest_ms: Option<i64>,
    /// Records and bytes here, from which the bytes of others are estimated.
    here: (u64, u64),
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
            newest_ms: None,
            here: (0, 0),
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

    /// Takes note of records that are here.
    pub fn see(&mut self, records: u64, bytes: u64, newest_ms: i64) {
        self.here.0 += records;
        self.here.1 += bytes;
        self.newest_ms = self.newest_ms.max(Some(newest_ms));
    }

    /// Returns the bytes of what is not here, if its records are as large as those that are.
    pub fn lag_bytes(&self) -> i64 {
        let (records, bytes) = self.here;
        let lag = i128::from(self.lag()) * i128::from(bytes);
        i64::try_from(lag / i128::from(records.max(1))).unwrap_or(i64::MAX)
    }

    /// Returns how old the newest record here is, if there are later ones upstream: what is not
    /// here is no older.
    pub fn lag_ms(&self, wall_ms: i64) -> i64 {
        let newest_ms = self.newest_ms.filter(|_| self.lag() > 0);
        newest_ms.map_or(0, |newest_ms| (wall_ms - newest_ms).max(0))
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
