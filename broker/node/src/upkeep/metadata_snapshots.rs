//! Snapshots of `__cluster_metadata`: written when enough records were appended
//! (`metadata.log.max.record.bytes.between.snapshots`), when the last one is old
//! (`metadata.log.max.snapshot.interval.ms`), and soon after records or a copy were found damaged,
//! from the state in memory. The two copies are written one by one while the broker serves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::future;
use log::{debug, info, warn};
use sedge_core::log::AppendError;
use sedge_core::metadata::snapshot::{Policy, SNAPSHOT_PARTITIONS, Since};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::LogStore;

use crate::limits::{SNAPSHOT_FREE_SEGMENTS_MIN, SNAPSHOT_MEND_PAUSE, SNAPSHOT_RETRY_EVERY};
use crate::log::Log;
use crate::metadata::snapshot::{Snapshot, SnapshotError, SnapshotLog};
use crate::writer::{Stopped, Writer};

const RECORD_BYTES_MAX: &str = "metadata.log.max.record.bytes.between.snapshots";
const INTERVAL_MS: &str = "metadata.log.max.snapshot.interval.ms";

/// Runs until the task is dropped.
pub async fn run(log: Arc<Log>, writer: Writer) {
    let mut last = Instant::now();
    let mut is_told = false;
    loop {
        let changed = log.metadata_growth.listen();
        let policy = policy(&log);
        let is_damaged = log.metadata_growth.is_damaged();
        if is_damaged {
            Timer::after(SNAPSHOT_MEND_PAUSE).await;
            // Damage found during the write triggers another snapshot.
            log.metadata_growth.take_damaged();
        } else if !policy.is_due(&since(&log, last)) {
            wait(changed, &policy, last).await;
            continue;
        }
        let mut started = None;
        loop {
            match write(&log, &writer, &mut started).await {
                Ok(()) => break,
                Err(SnapshotError::Stopped) => return,
                Err(error) if is_told => {
                    debug!(target: "sedge::metadata", "still no snapshot: {error}");
                }
                Err(error) => {
                    warn!(
                        target: "sedge::metadata",
                        "a snapshot of __cluster_metadata cannot be written: {error}; nothing is \
                         lost, retrying"
                    );
                    is_told = true;
                }
            }
            Timer::after(SNAPSHOT_RETRY_EVERY).await;
        }
        if is_damaged {
            info!(
                target: "sedge::metadata",
                "a new snapshot replaces what was damaged of __cluster_metadata"
            );
            log.metrics.metadata_damaged.set(0);
        }
        last = Instant::now();
        is_told = false;
    }
}

fn policy(log: &Log) -> Policy {
    let image = log.metadata.load();
    let number = |key| image.defaults().number(key);
    Policy {
        record_bytes_max: u64::try_from(number(RECORD_BYTES_MAX)).unwrap_or(0),
        interval_ms: u64::try_from(number(INTERVAL_MS)).ok().filter(|ms| *ms > 0),
    }
}

fn since(log: &Log, last: Instant) -> Since {
    Since {
        record_bytes: log.metadata_growth.record_bytes(),
        // `None` if the index cannot be read: then the rule without this size applies.
        snapshot_bytes: log
            .store
            .partition_bytes(SNAPSHOT_PARTITIONS[0])
            .unwrap_or(0),
        ms: u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

async fn wait(changed: event_listener::EventListener, policy: &Policy, last: Instant) {
    let every = policy.interval_ms.map(Duration::from_millis);
    let left = every.and_then(|every| every.checked_sub(last.elapsed()));
    let over = async {
        match left {
            Some(left) => drop(Timer::after(left).await),
            // The interval has passed without new records: wait for the next record.
            None => future::pending().await,
        }
    };
    future::or(changed, over).await;
}

/// Continues the snapshot that was started, or starts one.
async fn write(
    log: &Arc<Log>,
    writer: &Writer,
    started: &mut Option<(Snapshot, u64)>,
) -> Result<(), SnapshotError> {
    let (mut snapshot, record_bytes) = match started.take() {
        Some(started) => started,
        None => start(log, writer).await?,
    };
    let began = Instant::now();
    let mut through = ThroughWriter {
        log: Arc::clone(log),
        writer: writer.clone(),
    };
    let (snapshot, written) = blocking::unblock(move || {
        let written = snapshot.write(&mut through, true);
        (snapshot, written)
    })
    .await;
    match written {
        Ok(()) => {
            log.metadata_growth.take(record_bytes);
            log.metrics.metadata_snapshots.increment();
            info!(
                target: "sedge::metadata",
                "both copies of a snapshot of __cluster_metadata up to offset {} with {} topics \
                 are written in {} ms",
                snapshot.end_offset,
                snapshot.machine.image().topic_count(),
                began.elapsed().as_millis()
            );
            Ok(())
        }
        Err(error) => {
            *started = Some((snapshot, record_bytes));
            Err(error)
        }
    }
}

async fn start(log: &Log, writer: &Writer) -> Result<(Snapshot, u64), SnapshotError> {
    let state = writer.metadata_state().await;
    let state = state.map_err(|Stopped| SnapshotError::Stopped)?;
    let now_ms = log.clock.now().wall_ms;
    let snapshot = Snapshot::new(state.machine, state.end_offset, now_ms);
    Ok((snapshot, state.record_bytes))
}

/// Writes through the writer thread, from a thread that may block.
struct ThroughWriter {
    log: Arc<Log>,
    writer: Writer,
}

impl SnapshotLog for ThroughWriter {
    fn store(&self) -> &dyn LogStore {
        &*self.log.store
    }

    fn append(
        &mut self,
        partition: PartitionId,
        batches: Vec<Batch>,
    ) -> Result<Offset, SnapshotError> {
        if let Some(refusing) = self.log.storage.refusing() {
            return Err(SnapshotError::Refused(refusing.to_owned()));
        }
        let appended = future::block_on(self.writer.append_snapshot(partition, batches));
        let appended = appended.map_err(|Stopped| SnapshotError::Stopped)?;
        let refused = |refusal: AppendError| refusal.message.unwrap_or_default();
        appended.map_err(|refusal| SnapshotError::Refused(refused(refusal)))
    }

    fn end_segment(&mut self) -> Result<(), SnapshotError> {
        let usage = self.log.store.usage();
        let wanted = usage
            .segment_bytes
            .saturating_mul(SNAPSHOT_FREE_SEGMENTS_MIN);
        // Otherwise the next segment begins when other data fills this one.
        if usage.volume_free_bytes.is_none_or(|free| free >= wanted) {
            self.writer.roll();
        }
        Ok(())
    }

    fn move_log_starts(&mut self, to: Vec<(PartitionId, Offset)>) -> Result<(), SnapshotError> {
        let count = to.len();
        let moved = future::block_on(self.writer.retain(&self.log, to));
        match moved.map_err(|Stopped| SnapshotError::Stopped)? {
            moved if moved == count => Ok(()),
            _ => Err(SnapshotError::Refused("the disk is full".to_owned())),
        }
    }
}
