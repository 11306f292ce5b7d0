//! Keeps the coordinators' topics small: when the log of a partition has grown to several times its
//! live records, these are written once more, and the log start moves to them.
//!
//! This has the effect of compaction, for a topic whose whole live content is in a view, and need
//! not read the log. It runs in the only task that appends to the topics, so that no other append
//! comes in between, and in parts, so that the content is never in memory as a whole. A crash in
//! the middle leaves a longer log with the same content. Records are written again byte for byte,
//! including their commit time, so a trim does not change an offset's age.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::{debug, warn};
use sedge_core::metadata::Topic;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};

use super::disk::{Disk, reason};
use super::log::{ContentSize, content, content_size};
use crate::limits::{COORDINATOR_LOG_BYTES_MIN, COORDINATOR_LOG_GROWTH_MAX};

/// The size of each partition's log, counted here: the store knows a log's size only by segment,
/// and the records that a trim leaves behind in a segment are freed only with that segment.
#[derive(Debug, Default)]
pub struct Trim {
    sizes: BTreeMap<PartitionId, Size>,
}

#[derive(Debug)]
struct Size {
    /// The topic, at the time when the log last grew.
    topic: Arc<Topic>,
    bytes: u64,
    /// The size after the last trim; at first the size of the content. `None` until it is computed.
    trimmed: Option<u64>,
}

impl Trim {
    /// Counts growth of a partition's log.
    pub fn grew(&mut self, disk: &Disk, topic: &Arc<Topic>, id: PartitionId, bytes: u64) {
        if let Some(size) = self.sizes.get_mut(&id) {
            size.bytes += bytes;
            size.topic = Arc::clone(topic);
        } else {
            let bytes = disk.log.store.partition_bytes(id).unwrap_or(bytes);
            let topic = Arc::clone(topic);
            let trimmed = None;
            self.sizes.insert(
                id,
                Size {
                    topic,
                    bytes,
                    trimmed,
                },
            );
        }
    }

    /// Trims partitions that have grown too large.
    pub async fn run(&mut self, disk: &Disk) {
        for (id, size) in &mut self.sizes {
            if let Err(reason) = size.look(disk, *id).await {
                let name = &size.topic.name;
                warn!(target: "sedge::groups", "{name} cannot be trimmed: {reason}");
            }
        }
    }
}

impl Size {
    async fn look(&mut self, disk: &Disk, id: PartitionId) -> Result<(), String> {
        if self.bytes <= COORDINATOR_LOG_BYTES_MIN {
            return Ok(());
        }
        if self.trimmed.is_none() {
            self.measure(disk, id).await?;
        }
        if !is_too_large(self.bytes, self.trimmed.unwrap_or(0)) {
            return Ok(());
        }
        let before = self.bytes;
        // After a failure, wait until the log has grown by the same factor again.
        self.trimmed = Some(before);
        let mut written = 0;
        let trimmed = trim(disk, &self.topic, id, &mut written).await;
        if trimmed.is_err() {
            self.bytes += written;
            return trimmed;
        }
        debug!(
            target: "sedge::groups",
            "{} is trimmed from {before} to {written} bytes", self.topic.name
        );
        self.bytes = written;
        self.trimmed = Some(written);
        Ok(())
    }

    /// Computes the size after a start, so that what an earlier process trimmed is not trimmed
    /// again at once. The records that it left behind still count in the store's size, but not in
    /// the number of records.
    async fn measure(&mut self, disk: &Disk, id: PartitionId) -> Result<(), String> {
        let store = Arc::clone(&disk.log.store);
        let measured = blocking::unblock(move || {
            let bounds = store.bounds(id)?;
            Ok::<_, sedge_storage::Error>((bounds, content_size(&*store, id)?))
        });
        let (bounds, content) = measured.await.map_err(|error| error.to_string())?;
        let records = bounds.next_offset.get() - bounds.log_start.get();
        let records = u64::try_from(records).unwrap_or(0);
        self.bytes = self.bytes.min(content.of_records(records));
        self.trimmed = Some(content.bytes);
        Ok(())
    }
}

fn is_too_large(bytes: u64, trimmed: u64) -> bool {
    let grown = trimmed.saturating_mul(COORDINATOR_LOG_GROWTH_MAX);
    bytes > grown.max(COORDINATOR_LOG_BYTES_MIN)
}

impl ContentSize {
    /// Returns the bytes of this many records, if they are as large as those of the content.
    fn of_records(self, records: u64) -> u64 {
        let bytes = u128::from(self.bytes) * u128::from(records);
        let bytes = bytes.checked_div(u128::from(self.records));
        bytes.map_or(u64::MAX, |bytes| u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

/// Trims a partition. Sets `written` to the bytes written.
async fn trim(
    disk: &Disk,
    topic: &Arc<Topic>,
    id: PartitionId,
    written: &mut u64,
) -> Result<(), String> {
    let now_ms = disk.log.clock.now().wall_ms;
    let mut begins_at = None;
    let mut from = Some(Vec::new());
    while let Some(key) = from {
        let store = Arc::clone(&disk.log.store);
        let page = blocking::unblock(move || content(&*store, id, &key, now_ms)).await?;
        let bytes: u64 = page.batches.iter().map(|batch| batch.bytes() as u64).sum();
        let appended_at = append(disk, topic, id, page.batches).await?;
        begins_at = begins_at.or(appended_at);
        *written += bytes;
        from = page.next;
    }
    match disk.writer.delete_records(id, begins_at).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refusal)) => Err(reason(&refusal)),
        Err(_) => Err("the broker is shutting down".to_owned()),
    }
}

/// Returns the offset at which the batches begin; `None` if there are none, so that nothing has to
/// be kept.
async fn append(
    disk: &Disk,
    topic: &Arc<Topic>,
    id: PartitionId,
    batches: Vec<Batch>,
) -> Result<Option<Offset>, String> {
    let mut updates = Vec::new();
    let parts = disk.parts(topic, id, batches, &mut updates);
    let parts = parts.map_err(|error| error.to_string())?.collect();
    let appended = disk.writer.append(parts, updates).await;
    let outcomes = appended.map_err(|_| "the broker is shutting down".to_owned())?;
    let mut begins_at = None;
    for outcome in outcomes {
        let appended = outcome.map_err(|refusal| reason(&refusal))?;
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
                is_too_large(bytes, trimmed),
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

    #[test]
    fn a_log_is_told_by_records_where_the_content_is_known() {
        let content = |records, bytes| ContentSize { records, bytes };
        assert_eq!(content(10, 1_000).of_records(25), 2_500);
        assert_eq!(content(0, 0).of_records(25), u64::MAX);
        assert_eq!(content(1, u64::MAX).of_records(25), u64::MAX);
    }
}
