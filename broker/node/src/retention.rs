//! Retention: every `log.retention.check.interval.ms` the log starts that `retention.ms` and `retention.bytes` ask for.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use log::{info, warn};
use sedge_core::metadata::Topic;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Error;

use crate::broker::Broker;

const RETENTION_CHECK_INTERVAL: &str = "log.retention.check.interval.ms";

/// Runs until the task is dropped.
pub async fn run(broker: Arc<Broker>) {
    loop {
        let interval = broker
            .metadata
            .load()
            .defaults()
            .number(RETENTION_CHECK_INTERVAL);
        let interval = u64::try_from(interval).unwrap_or(0).max(1);
        Timer::after(Duration::from_millis(interval)).await;
        let planning = Arc::clone(&broker);
        let log_starts = blocking::unblock(move || plan(&planning)).await;
        if broker.writer.retain(log_starts).await.is_err() {
            return;
        }
    }
}

fn plan(broker: &Broker) -> Vec<(PartitionId, Offset)> {
    let image = broker.metadata.load();
    let now_ms = broker.clock.append_ms();
    let mut log_starts = Vec::new();
    for topic in image
        .topics()
        .filter(|topic| topic.config.is_deleted_by_retention())
    {
        for (index, id) in topic.partitions().enumerate() {
            match plan_partition(broker, topic, id, now_ms) {
                Ok(None) => {}
                Ok(Some(offset)) => {
                    info!(target: "sedge::retention", "{}-{index}: log start moves to {offset}", topic.name);
                    log_starts.push((id, offset));
                }
                Err(failure) => {
                    warn!(target: "sedge::retention", "{}-{index}: {failure}", topic.name);
                }
            }
        }
    }
    log_starts
}

fn plan_partition(
    broker: &Broker,
    topic: &Topic,
    id: PartitionId,
    now_ms: i64,
) -> Result<Option<Offset>, Error> {
    let oldest_ms = topic
        .config
        .retention_ms()
        .map(|ms| now_ms.saturating_sub(ms));
    let bytes_max = topic.config.retention_bytes();
    if oldest_ms.is_none() && bytes_max.is_none() {
        return Ok(None);
    }
    let slices = broker.store.slices(id)?;
    let mut bytes: i64 = slices.iter().map(|slice| slice.bytes as i64).sum();
    let mut log_start = None;
    for slice in &slices {
        let is_old = oldest_ms.is_some_and(|oldest| slice.append_ms < oldest);
        // Kafka keeps at least `retention.bytes`: a slice goes only where what is left is still that much.
        let is_over = bytes_max.is_some_and(|max| bytes - slice.bytes as i64 >= max);
        if !is_old && !is_over {
            break;
        }
        bytes -= slice.bytes as i64;
        log_start = Some(slice.next_offset);
    }
    Ok(log_start)
}
