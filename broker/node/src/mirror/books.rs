//! A link's bookkeeping: its cursors, and its metrics.

use std::sync::Arc;
use std::time::Instant;

use sedge_protocol::batch::BatchHeader;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::LogStore;

use super::cursors::{Cursor, Origin};
use super::limits;
use super::link::Link;

/// A partition with records that are not upstream.
#[derive(Clone, Copy)]
struct Behind {
    partition: PartitionId,
    cursor: Offset,
    end: Offset,
}

impl Link {
    /// Commits the cursors that have moved; cursors that were moved from outside are adopted first.
    pub(super) async fn commit(&mut self) {
        self.commit_at = Instant::now() + limits::COMMIT_EVERY;
        self.follow_moves();
        let cursors = self.plan.uncommitted();
        if cursors.is_empty() {
            return;
        }
        let image = self.local.log.metadata.load();
        let named = cursors.iter().filter_map(|(partition, offset)| {
            let to = self.destinations.get(partition)?;
            // A deleted topic's cursor would be taken for its successor's.
            let is_there = image
                .topic(&to.topic)
                .is_some_and(|it| it.id == to.topic_id);
            let origin = Origin {
                topic: Some(to.topic_id.to_string()),
                upstream: to.upstream_id.clone(),
                is_created_again: to.is_created_again,
            };
            is_there.then(|| Cursor {
                topic: to.topic.to_string(),
                topic_id: to.topic_id,
                index: to.index,
                offset: *offset,
                origin,
            })
        });
        match self.cursors.commit(named.collect()).await {
            Ok(()) => self.plan.handle_committed(&cursors),
            // The link continues: after a crash more is sent twice, and nothing is lost.
            Err(error) => {
                let name = &self.config.name;
                log::warn!(target: "sedge::mirror", "{name}: cursors cannot be committed: {error}");
            }
        }
    }

    /// Updates the metrics.
    pub(super) async fn measure(&mut self) {
        self.measure_at = Instant::now() + limits::MEASURE_EVERY;
        self.look_at_bounds();
        self.count();
        self.report_holds();
        let unopened = self.unopened();
        let opened: i64 = self.plan.lag();
        let waiting: i64 = unopened.iter().map(Behind::records).sum();
        self.metrics.lag_records.set(opened + waiting);
        let lagging: Vec<(PartitionId, Offset)> = self
            .plan
            .lagging()
            .chain(
                unopened
                    .iter()
                    .map(|behind| (behind.partition, behind.cursor)),
            )
            .collect();
        let known = self.plan.oldest_timestamp();
        let store = Arc::clone(&self.local.log.store);
        let (bytes, oldest) = blocking::unblock(move || {
            let bytes = |(partition, cursor): &(_, _)| bytes_from(&*store, *partition, *cursor);
            let first = unopened.iter().take(limits::OLDEST_READS_MAX);
            let timestamps = first.filter_map(|behind| behind.timestamp(&*store));
            (
                lagging.iter().map(bytes).sum(),
                timestamps.chain(known).min(),
            )
        })
        .await;
        self.metrics.lag_bytes.set(bytes);
        let age_ms = match oldest {
            Some(oldest) if opened + waiting > 0 => self.local.log.clock.now().wall_ms - oldest,
            _ => 0,
        };
        self.metrics.lag_ms.set(age_ms.max(0));
    }

    fn count(&self) {
        let counts = self.plan.counts();
        self.metrics.sent_records.set(counts.sent_records);
        self.metrics.sent_bytes.set(counts.sent_bytes);
        self.metrics.retries.set(counts.retries);
        let lost = counts
            .lost_to_retention
            .saturating_sub(self.metrics.lost_to_retention.get());
        if lost > 0 {
            let name = &self.config.name;
            log::error!(
                target: "sedge::mirror",
                "{name}: retention deleted {lost} records before they were copied"
            );
        }
        self.metrics.lost_to_retention.set(counts.lost_to_retention);
        self.metrics.lost_to_deletion.set(counts.lost_to_deletion);
        self.metrics.skipped.set(counts.skipped);
    }

    /// Returns selected partitions that wait for their upstream: it has not answered since the
    /// start, or refuses the topic.
    fn unopened(&self) -> Vec<Behind> {
        let image = self.local.log.metadata.load();
        let mut unopened = Vec::new();
        for topic in image.topics().filter(|topic| !topic.is_internal) {
            let partitions = topic.partitions().enumerate();
            let waiting = partitions.filter(|(_, id)| !self.plan.has(*id));
            if !self.config.selection.takes(&topic.name) {
                continue;
            }
            for (index, id) in waiting {
                let Ok(partition) = self.local.log.partition(id) else {
                    continue;
                };
                let cursor = self.cursors.get(&topic.name, index as i32);
                let cursor = cursor.filter(|(_, origin)| origin.is_of(topic.id));
                let offset = cursor.map_or(Offset::ZERO, |(offset, _)| offset);
                let behind = Behind {
                    partition: id,
                    cursor: offset.max(partition.log_start()),
                    end: partition.high_watermark(),
                };
                if behind.records() > 0 {
                    unopened.push(behind);
                }
            }
        }
        unopened
    }

    /// Adopts cursors that were moved from outside, by `sedge mirror skip` or Kafka's tools.
    fn follow_moves(&mut self) {
        let image = self.local.log.metadata.load();
        for moved in self.cursors.take_moved() {
            let Some(topic) = image.topic(&moved.topic) else {
                continue;
            };
            let Some(id) = usize::try_from(moved.index)
                .ok()
                .and_then(|index| topic.partitions().nth(index))
            else {
                continue;
            };
            let (Some(from), Some(to)) = (self.plan.cursor(id), self.destinations.get_mut(&id))
            else {
                continue;
            };
            if !moved.origin.is_of(topic.id) {
                continue;
            }
            // The cursor is valid for any topic upstream; the topic is checked again.
            to.upstream_id = None;
            self.is_stale = true;
            let skipped = self.plan.seek(id, moved.offset);
            let (link, topic, index) = (&self.config.name, &moved.topic, moved.index);
            log::warn!(
                target: "sedge::mirror",
                "{link}: the cursor of {topic}-{index} was moved from {from} to {}; {skipped} \
                 records are skipped",
                moved.offset
            );
        }
    }
}

impl Behind {
    fn records(&self) -> i64 {
        (self.end.get() - self.cursor.get()).max(0)
    }

    /// Returns the timestamp of the first batch that is not upstream.
    fn timestamp(&self, store: &dyn LogStore) -> Option<i64> {
        let read = store.read(self.partition, self.cursor, self.end, 1).ok()?;
        Some(BatchHeader::read(read.first()?)?.max_timestamp())
    }
}

/// Returns the bytes from `cursor` to the end, by the slices.
fn bytes_from(store: &dyn LogStore, partition: PartitionId, cursor: Offset) -> i64 {
    let Ok(slices) = store.slices(partition) else {
        return 0;
    };
    let of_slice = |slice: &sedge_storage::Slice| {
        let records = (slice.next_offset.get() - slice.first_offset.get()).max(1);
        let left = (slice.next_offset.get() - cursor.get()).clamp(0, records);
        i64::try_from(i128::from(slice.bytes) * i128::from(left) / i128::from(records)).unwrap_or(0)
    };
    slices.iter().map(of_slice).sum()
}
