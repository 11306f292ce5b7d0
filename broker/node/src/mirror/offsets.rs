//! Keeps which offset upstream each record has.
//!
//! A link writes what was added to the map every few seconds, and when it stops; what a crash
//! leaves out translates to a lower offset. Blocks that are wholly below the start of their log are
//! removed.

use std::sync::Arc;
use std::time::Instant;

use sedge_core::metadata::OFFSETS_TOPIC;
use sedge_core::mirror::offsets::{Block, Tracker};
use sedge_core::partitioner::murmur2;
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::offset_map_records::{Mapped, batches_of};

use super::limits;
use super::link::{Destination, Link};
use super::offset_log::{append, for_each};

/// Returns the hash by which a block tells one upstream topic from another of its name.
fn upstream_tag(to: &Destination) -> u32 {
    let id = to.upstream_id.as_deref();
    id.map_or(0, |id| murmur2(id.as_bytes()))
}

impl Link {
    /// Adds what was acknowledged to the map, and writes it if it is time.
    pub(super) async fn keep_offsets(&mut self) {
        let placed = self.plan.take_placed();
        if !self.config.keeps_offsets {
            return;
        }
        for (id, cursor, placed) in placed {
            let first = placed.first().map_or(cursor, |first| first.base);
            let tracker = self.offsets.trackers.entry(id);
            let tracker = tracker.or_insert_with(|| Tracker::new(first));
            for placed in &placed {
                tracker.handle_placed(placed);
            }
            tracker.handle_cursor(cursor);
        }
        let destinations = &self.destinations;
        let trackers = &mut self.offsets.trackers;
        trackers.retain(|id, _| destinations.contains_key(id));
        if Instant::now() >= self.offsets.write_at {
            self.write_offsets().await;
        }
    }

    /// Writes what is not written yet.
    pub(super) async fn write_offsets(&mut self) {
        self.offsets.write_at = Instant::now() + limits::OFFSETS_WRITTEN_EVERY;
        let mut blocks: Vec<(KafkaUuid, i32, Block)> = Vec::new();
        for (id, tracker) in &mut self.offsets.trackers {
            let to = self.destinations.get(id).filter(|_| tracker.has_blocks());
            let Some(to) = to else {
                continue;
            };
            let upstream = upstream_tag(to);
            let taken = tracker.take().into_iter();
            blocks.extend(taken.map(|block| (to.topic_id, to.index, Block { upstream, ..block })));
        }
        let mut removed = Vec::new();
        if Instant::now() >= self.offsets.prune_at {
            self.offsets.prune_at = Instant::now() + limits::OFFSETS_PRUNED_EVERY;
            removed = self.outlived().await;
        }
        let link = self.config.name.as_str();
        let of = |topic, partition| Mapped {
            link,
            topic,
            partition,
        };
        let written = blocks
            .iter()
            .map(|(topic, index, block)| (of(*topic, *index), block.from, Some(block)));
        let removed = removed
            .iter()
            .map(|(topic, index, from)| (of(*topic, *index), *from, None));
        let now_ms = self.local.log.clock.now().wall_ms;
        let batches = batches_of(written.chain(removed), now_ms);
        let written = match batches {
            Ok(batches) => append(&self.local, batches).await,
            Err(error) => Err(error.to_string()),
        };
        let told = written.err();
        if told != self.offsets.told
            && let Some(why) = &told
        {
            log::warn!(
                target: "sedge::mirror",
                "{link}: offsets cannot be written to {OFFSETS_TOPIC}: {why}; those of the last \
                 seconds will not translate exactly"
            );
        }
        self.offsets.told = told;
    }

    /// Returns the blocks, by topic, partition and first offset, that nobody can ask for any more.
    async fn outlived(&self) -> Vec<(KafkaUuid, i32, Offset)> {
        let (log, link) = (Arc::clone(&self.local.log), self.config.name.clone());
        let outlived = blocking::unblock(move || {
            let image = log.metadata.load();
            let mut outlived = Vec::new();
            let read = for_each(&log, &link, |of, from, block| {
                let topic = image.topic_by_id(of.topic);
                let id = topic.and_then(|topic| topic.partition(of.partition));
                let start = id.map(|id| {
                    let partition = log.partition(id);
                    partition.map_or(Offset::ZERO, |partition| partition.log_start())
                });
                if block.is_some_and(|block| start.is_none_or(|start| block.until < start)) {
                    outlived.push((of.topic, of.partition, from));
                }
            });
            read.map(|()| outlived)
        });
        outlived.await.unwrap_or_else(|error| {
            log::warn!(target: "sedge::mirror", "{OFFSETS_TOPIC} cannot be read: {error}");
            Vec::new()
        })
    }
}
