//! Retention: every `log.retention.check.interval.ms`, moves log starts as `retention.ms` and
//! `retention.bytes` require.

use std::sync::Arc;
use std::time::Instant;

use async_io::Timer;
use log::{info, warn};
use sedge_core::metadata::Topic;
use sedge_core::retention::{RetentionPolicy, SliceFacts, plan_retention};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Error;

use crate::log::Log;
use crate::writer::Writer;

const RETENTION_CHECK_INTERVAL: &str = "log.retention.check.interval.ms";

/// Runs until the task is dropped.
pub async fn run(log: Arc<Log>, writer: Writer) {
    let mut last = Instant::now();
    loop {
        Timer::at(last + log.interval(RETENTION_CHECK_INTERVAL)).await;
        last = Instant::now();
        let planning = Arc::clone(&log);
        let moves = blocking::unblock(move || plan(&planning)).await;
        let log_starts = moves.iter().map(|of| (of.partition, of.offset)).collect();
        match writer.retain(&log, log_starts).await {
            Ok(count) => moves.iter().take(count).for_each(|of| of.tell(&log)),
            Err(_) => return,
        }
    }
}

/// A log start to move, and what is deleted by that.
struct Move {
    partition: PartitionId,
    /// The partition's name, for the log.
    name: String,
    offset: Offset,
    records: i64,
    bytes: u64,
}

impl Move {
    fn tell(&self, log: &Log) {
        let Self {
            name,
            offset,
            records,
            bytes,
            ..
        } = self;
        info!(
            target: "sedge::retention",
            "{name}: retention deletes {records} records ({bytes} bytes); the log starts at offset \
             {offset}"
        );
        log.metrics.retention.limits(self.records, self.bytes);
    }
}

fn plan(log: &Log) -> Vec<Move> {
    let image = log.metadata.load();
    let now_ms = log.clock.append_ms();
    let mut moves = Vec::new();
    for topic in image
        .topics()
        .filter(|topic| !topic.is_internal && topic.config.is_deleted_by_retention())
    {
        for (index, partition) in topic.partitions().enumerate() {
            match plan_partition(log, topic, partition, now_ms) {
                Ok(None) => {}
                Ok(Some((offset, records, bytes))) => moves.push(Move {
                    partition,
                    name: format!("{}-{index}", topic.name),
                    offset,
                    records,
                    bytes,
                }),
                Err(failure) => {
                    warn!(target: "sedge::retention", "{}-{index}: {failure}", topic.name);
                }
            }
        }
    }
    moves
}

/// Returns the new log start, and the records and bytes that are deleted.
fn plan_partition(
    log: &Log,
    topic: &Topic,
    id: PartitionId,
    now_ms: i64,
) -> Result<Option<(Offset, i64, u64)>, Error> {
    let policy = RetentionPolicy::of(&topic.config);
    if policy == RetentionPolicy::default() {
        return Ok(None);
    }
    let slices = log.store.slices(id)?;
    let facts: Vec<SliceFacts> = slices
        .iter()
        .map(|slice| SliceFacts {
            next_offset: slice.next_offset,
            bytes: slice.bytes,
            append_ms: slice.append_ms,
        })
        .collect();
    let log_start = plan_retention(&facts, policy, now_ms);
    Ok(log_start.map(|offset| {
        let gone = || {
            slices
                .iter()
                .take_while(|slice| slice.next_offset <= offset)
        };
        let records = gone().map(|slice| slice.next_offset.get() - slice.first_offset.get());
        (offset, records.sum(), gone().map(|slice| slice.bytes).sum())
    }))
}
