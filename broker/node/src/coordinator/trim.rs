//! Keeps `__consumer_offsets` small: when its log has grown to several times what it says, what it
//! says is written once more, and the log start moves there.
//!
//! It is what compaction comes to for a topic whose whole content is in a view, and does not need
//! to read the log for it. Runs in the one task that appends there, so that nothing comes in
//! between. A crash in the middle leaves a longer log that says the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::{debug, warn};
use sedge_core::metadata::Topic;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use super::log::{OFFSETS_TOPIC, content, follows};
use crate::broker::Broker;
use crate::limits::{COORDINATOR_LOG_BYTES_MIN, COORDINATOR_LOG_GROWTH_MAX};
use crate::writer::AppendPart;

/// How large each partition's log is, counted here: the store tells a log's size by segments, and
/// what a trim leaves behind in one is gone with that segment only.
#[derive(Debug, Default)]
pub struct Trim {
    sizes: BTreeMap<PartitionId, Size>,
}

#[derive(Debug)]
struct Size {
    bytes: u64,
    /// After the last trim.
    trimmed: u64,
}

impl Trim {
    /// A partition's log has grown.
    pub fn grew(&mut self, broker: &Broker, id: PartitionId, bytes: u64) {
        if let Some(size) = self.sizes.get_mut(&id) {
            size.bytes += bytes;
        } else {
            let bytes = broker.store.partition_bytes(id).unwrap_or(bytes);
            self.sizes.insert(id, Size { bytes, trimmed: 0 });
        }
    }

    /// Trims what has grown too large.
    pub async fn run(&mut self, broker: &Broker) {
        let image = broker.metadata.load();
        let Some(topic) = image.topic(OFFSETS_TOPIC) else {
            return;
        };
        for (id, size) in &mut self.sizes {
            if !size.is_too_large() {
                continue;
            }
            let before = size.bytes;
            // Where it fails, it is tried again when the log has grown as much once more.
            size.trimmed = before;
            match trim(broker, topic, *id).await {
                Ok(bytes) => {
                    debug!(
                        target: "sedge::groups",
                        "{OFFSETS_TOPIC} trimmed from {before} to {bytes} bytes"
                    );
                    *size = Size {
                        bytes,
                        trimmed: bytes,
                    };
                }
                Err(reason) => {
                    warn!(target: "sedge::groups", "{OFFSETS_TOPIC} is not trimmed: {reason}");
                }
            }
        }
    }
}

impl Size {
    fn is_too_large(&self) -> bool {
        let grown = self.trimmed.saturating_mul(COORDINATOR_LOG_GROWTH_MAX);
        self.bytes > grown.max(COORDINATOR_LOG_BYTES_MIN)
    }
}

/// Bytes that it has come to.
async fn trim(broker: &Broker, topic: &Arc<Topic>, id: PartitionId) -> Result<u64, String> {
    let store = Arc::clone(&broker.store);
    let now_ms = broker.clock.now().wall_ms;
    let batches = blocking::unblock(move || content(&*store, id, now_ms)).await?;
    let bytes = batches.iter().map(|batch| batch.bytes() as u64).sum();
    let begins_at = append(broker, topic, id, batches).await?;
    match broker.writer.delete_records(id, begins_at).await {
        Ok(Ok(_)) => Ok(bytes),
        Ok(Err(error)) => Err(format!("{error:?}")),
        Err(_) => Err("the broker is shutting down".to_owned()),
    }
}

/// Where the batches begin; `None` where there are none, and so nothing to keep at all.
async fn append(
    broker: &Broker,
    topic: &Arc<Topic>,
    id: PartitionId,
    batches: Vec<Batch>,
) -> Result<Option<Offset>, String> {
    let end = broker
        .partitions
        .get(&*broker.store, id)
        .map_err(|error| error.to_string())?;
    let count: i64 = batches
        .iter()
        .map(|batch| i64::from(batch.header.record_count()))
        .sum();
    let updates = vec![follows(id, end.high_watermark().plus(count))];
    let parts = batches.into_iter().map(|batch| AppendPart {
        partition: id,
        topic: Arc::clone(topic),
        sequence: None,
        batch: Some(batch),
    });
    let appended = broker.writer.append(parts.collect(), updates).await;
    let outcomes = appended.map_err(|_| "the broker is shutting down".to_owned())?;
    let mut begins_at = None;
    for outcome in outcomes {
        let appended = outcome.map_err(|error| format!("{error:?}"))?;
        begins_at.get_or_insert(appended.base_offset);
    }
    Ok(begins_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_too_large_by_several_times_its_content() {
        let check = |bytes: u64, trimmed: u64, expected: bool| {
            assert_eq!(
                Size { bytes, trimmed }.is_too_large(),
                expected,
                "{bytes} of {trimmed}"
            );
        };
        check(COORDINATOR_LOG_BYTES_MIN, 0, false);
        check(COORDINATOR_LOG_BYTES_MIN + 1, 0, true);
        check(COORDINATOR_LOG_BYTES_MIN + 1, 100, true);
        let large = COORDINATOR_LOG_BYTES_MIN;
        check(COORDINATOR_LOG_GROWTH_MAX * large, large, false);
        check(COORDINATOR_LOG_GROWTH_MAX * large + 1, large, true);
        check(u64::MAX, u64::MAX, false);
    }
}
