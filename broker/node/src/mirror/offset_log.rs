//! The topic `__sedge_mirror_offsets`: which offset upstream each record of a link's topics has.
//!
//! [`sedge_core::mirror::offsets`] has the map, and `offsets` what a link does with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use sedge_core::log::Write;
use sedge_core::metadata::OFFSETS_TOPIC;
use sedge_core::mirror::offsets::{Block, OffsetMap, Tracker};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::limits::DECOMPRESSED_BYTES_MAX;
use sedge_protocol::offset_map_records::{Mapped, each_block};
use sedge_protocol::records::{Records, decompress};

use crate::log::Log;
use crate::metadata::log::for_each_batch;
use crate::writer::AppendPart;

use super::{Local, limits};

/// The maps of a link's topics, by id and partition.
pub(super) type OffsetMaps = HashMap<(KafkaUuid, i32), OffsetMap>;

/// What is not written yet.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub trackers: HashMap<PartitionId, Tracker>,
    pub write_at: Instant,
    pub prune_at: Instant,
    /// Why the last write failed, as logged.
    pub told: Option<String>,
}

impl Default for Unwritten {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            trackers: HashMap::new(),
            write_at: now + limits::OFFSETS_WRITTEN_EVERY,
            prune_at: now,
            told: None,
        }
    }
}

impl Unwritten {
    /// Takes note of the records that were read of a partition from an offset on: what
    /// [`add_spans`] made.
    pub fn see(&mut self, partition: PartitionId, from: Offset, spans: Vec<(Offset, i64)>) {
        let tracker = self.trackers.entry(partition);
        let tracker = tracker.or_insert_with(|| Tracker::new(from));
        tracker.handle_read(spans.into_iter());
    }

    /// Forgets what was not written of a partition, which goes on in another topic upstream.
    pub fn forget(&mut self, partition: PartitionId) {
        self.trackers.remove(&partition);
    }
}

/// Adds the offsets of a batch's records: first ones and numbers. Decompresses a batch with holes,
/// so do not call this on the executor's threads.
pub(super) fn add_spans(batch: &Batch, spans: &mut Vec<(Offset, i64)>) {
    let header = &batch.header;
    let (base, count) = (header.base_offset(), i64::from(header.record_count()));
    if header.is_control() || count == 0 {
        return;
    }
    if count == header.next_offset().get() - base.get() {
        spans.push((base, count));
        return;
    }
    // What cannot be read is not sent either.
    let Ok(body) = decompress(header, &batch.body, DECOMPRESSED_BYTES_MAX) else {
        return;
    };
    let records = Records::new(header, &body).flatten();
    spans.extend(records.map(|record| {
        let offset = base.get() + i64::from(record.offset_delta);
        (Offset(offset), 1)
    }));
}

/// Reads the maps of a link. Blocks.
///
/// # Errors
/// The log cannot be read.
pub(super) fn read_maps(log: &Log, link: &str) -> Result<OffsetMaps, sedge_storage::Error> {
    let mut maps = OffsetMaps::new();
    for_each(log, link, |of, _, block| {
        if let Some(block) = block {
            let map = maps.entry((of.topic, of.partition)).or_default();
            map.add(block);
        }
    })?;
    Ok(maps)
}

/// Calls `each` with the blocks of a link, in the order in which they were written.
pub(super) fn for_each(
    log: &Log,
    link: &str,
    mut each: impl FnMut(&Mapped<'_>, Offset, Option<Block>),
) -> Result<(), sedge_storage::Error> {
    let image = log.metadata.load();
    let topic = image.topic(OFFSETS_TOPIC);
    let Some(partition) = topic.and_then(|topic| topic.partition(0)) else {
        return Ok(());
    };
    let read =
        for_each_batch::<sedge_storage::Error>(&*log.store, partition, Offset::ZERO, |batch| {
            let read = each_block(batch, |of, from, block| {
                if of.link == link {
                    each(of, from, block);
                }
            });
            if let Err(why) = read {
                let offset = batch.header.base_offset();
                log::error!(target: "sedge::mirror", "{OFFSETS_TOPIC} at offset {offset}: {why}");
            }
            Ok(())
        });
    read.map(drop)
}

/// Appends batches to the topic, which is created if it is missing.
pub(super) async fn append(local: &Local, batches: Vec<Batch>) -> Result<(), String> {
    const STOPPING: &str = "the broker is stopping";
    if batches.is_empty() {
        return Ok(());
    }
    let topic = || local.log.metadata.load().topic(OFFSETS_TOPIC).cloned();
    if topic().is_none() {
        let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
        let created = local.writer.create_topic(OFFSETS_TOPIC, 1, configs).await;
        let created = created.map_err(|_| STOPPING.to_owned())?;
        created.map_err(|error| error.message)?;
    }
    let topic = topic().ok_or_else(|| "the topic is gone".to_owned())?;
    let partition = topic
        .partition(0)
        .ok_or_else(|| "the topic is gone".to_owned())?;
    let parts = batches.into_iter().map(|batch| AppendPart {
        partition,
        topic: Arc::clone(&topic),
        write: Write::Plain,
        batch: Ok(Some(batch)),
        elsewhere: Vec::new(),
        awaits: None,
    });
    let appended = local.writer.append(parts.collect(), Vec::new()).await;
    let outcomes = appended.map_err(|_| STOPPING.to_owned())?;
    let refused = outcomes.into_iter().find_map(Result::err);
    refused.map_or(Ok(()), |error| Err(error.code.to_string()))
}
