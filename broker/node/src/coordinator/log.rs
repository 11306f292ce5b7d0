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
use sedge_protocol::error::Error;
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
    let read = metadata_log::for_each_record(store, id, from, |_, key, value| {
        let key = key.unwrap_or_default();
        take(key, value);
        missed.push(update(id, key, value.map(<[u8]>::to_vec)));
        Ok::<(), sedge_storage::Error>(())
    })?;
    if !missed.is_empty() {
        owed.append(&mut missed);
        owed.push(follows(id, read.next));
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
) -> Result<Vec<Batch>, Error> {
    let mut gathered = Gathered::default();
    for record in records {
        let (key, value) = record.encode()?;
        gathered.push(now_ms, &key, value.as_deref())?;
        updates.push(update(id, &key, value));
    }
    gathered.finish()
}

/// What a partition says, by its view: the last value of each key.
///
/// # Errors
/// The view cannot be read; as text.
pub fn content(store: &dyn LogStore, id: PartitionId, now_ms: i64) -> Result<Vec<Batch>, String> {
    let prefix = id.get().to_be_bytes();
    let mut records = Vec::new();
    store
        .view_scan(View::Offsets, &prefix, &mut |key, value| {
            if let Some(key) = key.get(prefix.len()..).filter(|key| !key.is_empty()) {
                records.push((key.to_vec(), value.to_vec()));
            }
        })
        .map_err(|error| error.to_string())?;
    let mut gathered = Gathered::default();
    for (key, value) in records {
        gathered
            .push(now_ms, &key, Some(&value))
            .map_err(|error| error.to_string())?;
    }
    gathered.finish().map_err(|error| error.to_string())
}

/// Records on their way into batches of a bounded size.
#[derive(Default)]
struct Gathered {
    batches: Vec<Batch>,
    builder: Option<BatchBuilder>,
}

impl Gathered {
    fn push(&mut self, now_ms: i64, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let new = || BatchBuilder::new(Compression::None);
        let builder = self.builder.get_or_insert_with(new);
        builder.push(now_ms, Some(key), value, &[]);
        if builder.bytes() >= COORDINATOR_BATCH_BYTES
            && let Some(full) = self.builder.take()
        {
            self.batches.push(full.build()?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Batch>, Error> {
        if let Some(builder) = self.builder.take() {
            self.batches.push(builder.build()?);
        }
        Ok(self.batches)
    }
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
    use sedge_protocol::coordinator::{GroupValue, OffsetKey, OffsetValue};
    use sedge_protocol::ids::PartitionIndex;
    use sedge_storage::{Commit, Entry, MemoryStore};

    const ID: PartitionId = PartitionId(7);
    const NOW: Now = Now {
        wall_ms: 1_800_000_000_000,
        monotonic_ms: 0,
    };

    fn offset(partition: i32, offset: Option<i64>) -> CoordinatorRecord {
        CoordinatorRecord::Offset {
            key: OffsetKey {
                group: "g".to_owned(),
                topic: "t".to_owned(),
                partition: PartitionIndex(partition),
            },
            value: offset.map(|offset| OffsetValue {
                offset: Offset(offset),
                leader_epoch: None,
                metadata: String::new(),
                commit_ms: NOW.wall_ms,
                expire_ms: None,
                topic_id: None,
            }),
        }
    }

    /// Appends as the writer would; the view gets what of `updates` is given.
    fn append(store: &MemoryStore, mut batches: Vec<Batch>, updates: Vec<ViewUpdate>) -> Offset {
        let mut next = store.bounds(ID).unwrap().next_offset;
        for batch in &mut batches {
            batch.header.set_base_offset(next);
            next = batch.header.next_offset();
        }
        let entries = vec![Entry::Append {
            partition: ID,
            batches,
        }];
        let commit = Commit {
            entries,
            updates,
            append_ms: 0,
        };
        store.append(commit).unwrap();
        next
    }

    fn write(store: &MemoryStore, records: &[CoordinatorRecord], reaches_the_view: bool) {
        let mut updates = Vec::new();
        let batches = batches(ID, records.iter(), NOW.wall_ms, &mut updates).unwrap();
        let next = store
            .bounds(ID)
            .unwrap()
            .next_offset
            .plus(records.len() as i64);
        updates.push(follows(ID, next));
        append(
            store,
            batches,
            if reaches_the_view {
                updates
            } else {
                Vec::new()
            },
        );
    }

    fn restored(store: &MemoryStore) -> (Vec<(i32, i64)>, Vec<ViewUpdate>) {
        let mut coordinator = Coordinator::new(GroupConfig::default(), NOW);
        let mut owed = Vec::new();
        restore_partition(store, ID, NOW, &mut coordinator, &mut owed).unwrap();
        coordinator.finish_restore(NOW);
        let offsets = coordinator.offsets().of_group("g");
        let offsets = offsets.map(|(_, partition, value)| (partition.get(), value.offset.get()));
        (offsets.collect(), owed)
    }

    #[test]
    fn what_was_written_is_restored_with_and_without_its_view() {
        let records = [offset(0, Some(5)), offset(1, Some(6)), offset(2, Some(7))];
        for reaches_the_view in [true, false] {
            let store = MemoryStore::new();
            write(&store, &records, reaches_the_view);
            write(
                &store,
                &[offset(0, Some(9)), offset(1, None)],
                reaches_the_view,
            );
            let (offsets, owed) = restored(&store);
            assert_eq!(offsets, [(0, 9), (2, 7)]);
            assert_eq!(owed.is_empty(), reaches_the_view);
        }
    }

    #[test]
    fn what_a_crash_kept_from_the_view_is_read_from_the_log_and_owed() {
        let store = MemoryStore::new();
        write(&store, &[offset(0, Some(5)), offset(1, Some(6))], true);
        write(&store, &[offset(1, None), offset(2, Some(7))], false);
        let (offsets, owed) = restored(&store);
        assert_eq!(offsets, [(0, 5), (2, 7)]);
        append(&store, Vec::new(), owed);
        let (again, owed) = restored(&store);
        assert_eq!((again, owed.len()), (offsets, 0));
    }

    #[test]
    fn the_content_says_the_same_as_the_log() {
        let store = MemoryStore::new();
        for round in 0..50 {
            write(
                &store,
                &[offset(0, Some(round)), offset(1, Some(round))],
                true,
            );
        }
        let group = CoordinatorRecord::Group {
            group: "g".to_owned(),
            value: Some(GroupValue {
                generation: 3,
                ..GroupValue::default()
            }),
        };
        write(&store, &[offset(1, None), group], true);
        let begins_at = store.bounds(ID).unwrap().next_offset;
        let content = content(&store, ID, NOW.wall_ms).unwrap();
        append(&store, content, Vec::new());
        let entries = vec![Entry::LogStart {
            partition: ID,
            offset: begins_at,
        }];
        let commit = Commit {
            entries,
            ..Commit::default()
        };
        store.append(commit).unwrap();
        let bounds = store.bounds(ID).unwrap();
        assert_eq!(
            (bounds.log_start, bounds.next_offset),
            (begins_at, begins_at.plus(2))
        );
        // The view is lost: the log alone has to do.
        let prefix = ViewUpdate {
            view: View::Offsets,
            key: ID.get().to_be_bytes().to_vec(),
            value: None,
        };
        append(&store, Vec::new(), vec![prefix]);
        assert_eq!(restored(&store).0, [(0, 49)]);
    }

    #[test]
    fn records_are_cut_into_batches() {
        let count = COORDINATOR_BATCH_BYTES / 20;
        let records: Vec<CoordinatorRecord> = (0..count as i32)
            .map(|partition| offset(partition, Some(1)))
            .collect();
        let built = batches(ID, records.iter(), NOW.wall_ms, &mut Vec::new()).unwrap();
        assert!(built.len() > 1);
        let counted: i32 = built.iter().map(|batch| batch.header.record_count()).sum();
        assert_eq!(counted, count as i32);
        assert!(
            built
                .iter()
                .all(|batch| batch.bytes() < COORDINATOR_BATCH_BYTES + 200)
        );
    }

    #[test]
    fn groups_hash_as_in_java() {
        assert_eq!(hash_code(""), 0);
        assert_eq!(hash_code("g"), 103);
        assert_eq!(hash_code("console-consumer-12345"), 158_455_506);
        assert_eq!(hash_code("polygenelubricants"), i32::MIN);
        assert_eq!(hash_code("größe"), 98_762_257);
    }
}
