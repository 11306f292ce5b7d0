//! `__consumer_offsets`: where a group's records go, their view, and the way back at start.
//!
//! The view ([`View::Offsets`]) is the topic compacted: partition id (u32 BE) and the record's key
//! -> the record's value. The partition id alone -> the offset (i64 BE) up to which the view
//! follows the log. At start the view is read and then the log from there, so that neither a crash
//! (the view is behind) nor a lost view (there is no such entry: it is not read at all) changes
//! what is known.

use sedge_core::groups::{Coordinator, GroupConfig};
use sedge_core::machine::Now;
use sedge_core::metadata::{Image, Topic};
use sedge_protocol::batch::Batch;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::records::{BatchBuilder, Compression};
use sedge_storage::{LogStore, View, ViewUpdate};

use crate::limits::COORDINATOR_BATCH_BYTES;
use crate::metadata_log;

/// Kafka's name of the topic.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The coordinator as it was.
#[derive(Debug)]
pub struct Restored {
    pub coordinator: Coordinator,
    /// What the view does not have yet: it goes with the next append.
    pub owed: Vec<ViewUpdate>,
}

/// Reads what groups there were and what they had committed.
///
/// # Errors
/// The store cannot be read.
pub fn restore(
    store: &dyn LogStore,
    image: &Image,
    config: GroupConfig,
    now: Now,
) -> Result<Restored, sedge_storage::Error> {
    let mut coordinator = Coordinator::new(config, now);
    let mut owed = Vec::new();
    for id in image
        .topic(OFFSETS_TOPIC)
        .into_iter()
        .flat_map(|topic| topic.partitions())
    {
        restore_partition(store, id, now, &mut coordinator, &mut owed)?;
    }
    coordinator.finish_restore(now);
    Ok(Restored { coordinator, owed })
}

fn restore_partition(
    store: &dyn LogStore,
    id: PartitionId,
    now: Now,
    coordinator: &mut Coordinator,
    owed: &mut Vec<ViewUpdate>,
) -> Result<(), sedge_storage::Error> {
    let mut take = |key: &[u8], value: Option<&[u8]>| match CoordinatorRecord::decode(key, value) {
        Ok(record) => coordinator.restore(now, &record),
        // Of a newer version, or not ours: what it says is not for this one.
        Err(error) => ::log::warn!(
            target: "sedge::groups",
            "a record of {OFFSETS_TOPIC} is skipped: {error}"
        ),
    };
    let prefix = id.get().to_be_bytes();
    let followed = store.view_get(View::Offsets, &prefix)?;
    let followed = followed
        .and_then(|value| value.first_chunk().copied())
        .map(i64::from_be_bytes);
    if followed.is_some() {
        store.view_scan(View::Offsets, &prefix, &mut |key, value| {
            if let Some(key) = key.get(prefix.len()..).filter(|key| !key.is_empty()) {
                take(key, Some(value));
            }
        })?;
    }
    let from = Offset(followed.unwrap_or(0));
    let mut missed = Vec::new();
    let next = metadata_log::for_each_record(store, id, from, |_, key, value| {
        let key = key.unwrap_or_default();
        take(key, value);
        missed.push(update(id, key, value.map(<[u8]>::to_vec)));
        Ok::<(), sedge_storage::Error>(())
    })?;
    if !missed.is_empty() {
        owed.append(&mut missed);
        owed.push(follows(id, next));
    }
    Ok(())
}

fn update(id: PartitionId, key: &[u8], value: Option<Vec<u8>>) -> ViewUpdate {
    let key = [&id.get().to_be_bytes(), key].concat();
    ViewUpdate {
        view: View::Offsets,
        key,
        value,
    }
}

/// The view follows the partition's log up to `next`.
pub fn follows(id: PartitionId, next: Offset) -> ViewUpdate {
    update(id, &[], Some(next.get().to_be_bytes().to_vec()))
}

/// Records of one partition as batches, with the changes of the view that belong to them.
///
/// # Errors
/// A text of a record is longer than Kafka's format can say.
pub fn batches<'a>(
    id: PartitionId,
    records: impl Iterator<Item = &'a CoordinatorRecord>,
    now_ms: i64,
    updates: &mut Vec<ViewUpdate>,
) -> Result<Vec<Batch>, sedge_protocol::error::Error> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let (key, value) = record.encode()?;
        if builder.bytes() > COORDINATOR_BATCH_BYTES {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(Compression::None));
            batches.push(full.build()?);
        }
        builder.push(now_ms, Some(&key), value.as_deref(), &[]);
        updates.push(update(id, &key, value));
    }
    if !builder.is_empty() {
        batches.push(builder.build()?);
    }
    Ok(batches)
}

/// The partition of the topic that keeps a group, as Kafka's clients and tools reckon it.
pub fn partition_of(topic: &Topic, group_id: &str) -> Option<PartitionId> {
    let count = topic.partition_count().max(1);
    topic.partition(hash_code(group_id).checked_abs().unwrap_or(0) % count)
}

/// Java's `String.hashCode`.
fn hash_code(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_java() {
        assert_eq!(hash_code(""), 0);
        assert_eq!(hash_code("g"), 103);
        assert_eq!(hash_code("console-consumer-12345"), 158_455_506);
        assert_eq!(hash_code("polygenelubricants"), i32::MIN);
        assert_eq!(hash_code("größe"), 98_762_257);
    }
}
