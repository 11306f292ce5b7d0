//! A shard's topic, such as `__consumer_offsets`: its records, their view, and restoring them at a
//! start.
//!
//! The view ([`View::Offsets`]) is the topic compacted. It maps the partition id (u32 BE) and the
//! record's key to the record's value, and the partition id alone to the offset (i64 BE) up to
//! which the view follows the log. A start reads the view and then the log from that offset, so
//! that neither a crash (the view lags) nor a lost view (there is no such entry, and the whole log
//! is read) changes the state. Records that the view lacks are added in parts, each as large as an
//! append.

use sedge_core::machine::Now;
use sedge_core::metadata::{Image, Topic};
use sedge_core::shard::Shard;
use sedge_protocol::batch::Batch;
use sedge_protocol::error::Error;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::records::{BatchBuilder, Compression};
use sedge_storage::{LogStore, View, ViewUpdate};

use crate::limits::{COORDINATOR_APPEND_BYTES, COORDINATOR_BATCH_BYTES};
use crate::metadata::log as metadata_log;

/// Bytes of a record in a batch besides its key and value: lengths, deltas and the number of
/// headers.
const RECORD_FRAMING_BYTES: usize = 12;

/// A partition whose view lags behind the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub topic: &'static str,
    pub id: PartitionId,
    /// The offset up to which the view follows the log.
    pub from: Offset,
}

/// Restores a shard from its topic. Returns the partitions whose view lags behind.
///
/// # Errors
/// The store cannot be read.
pub fn restore<S: Shard>(
    store: &dyn LogStore,
    image: &Image,
    now: Now,
    shard: &mut S,
) -> Result<Vec<Behind>, sedge_storage::Error> {
    let mut behind = Vec::new();
    let topic = S::TOPIC.name;
    let partitions = image.topic(topic).into_iter();
    for id in partitions.flat_map(|topic| topic.partitions()) {
        let follows = restore_partition(store, id, now, shard)?;
        behind.extend(follows.map(|from| Behind { topic, id, from }));
    }
    Ok(behind)
}

/// Restores a partition. Returns the offset up to which its view follows the log, if it lags.
fn restore_partition<S: Shard>(
    store: &dyn LogStore,
    id: PartitionId,
    now: Now,
    shard: &mut S,
) -> Result<Option<Offset>, sedge_storage::Error> {
    let mut take = |key: &[u8], value: Option<&[u8]>| match S::decode(key, value) {
        Ok(record) => shard.restore(now, &record),
        // The record is of a newer version, or not a coordinator's: this version ignores it.
        Err(error) => ::log::warn!(
            target: "sedge::groups",
            "a record of {} cannot be read and is skipped: {error}", S::TOPIC.name
        ),
    };
    let prefix = id.get().to_be_bytes();
    let followed = followed(store, id)?;
    if followed.is_some() {
        store.view_scan(View::Offsets, &prefix, &mut |key, value| {
            if let Some(key) = key.get(prefix.len()..).filter(|key| !key.is_empty()) {
                take(key, Some(value));
            }
        })?;
    }
    let from = followed.unwrap_or(Offset::ZERO);
    let mut is_behind = false;
    metadata_log::for_each_record(store, id, from, |_, key, value| {
        take(key.unwrap_or_default(), value);
        is_behind = true;
        Ok::<(), sedge_storage::Error>(())
    })?;
    Ok(is_behind.then_some(from))
}

/// Returns the offset up to which a partition's view follows the log; `None` if the partition has
/// no view.
///
/// # Errors
/// The view cannot be read.
pub fn followed(
    store: &dyn LogStore,
    id: PartitionId,
) -> Result<Option<Offset>, sedge_storage::Error> {
    let value = store.view_get(View::Offsets, &id.get().to_be_bytes())?;
    let offset = value.and_then(|value| value.first_chunk().copied());
    Ok(offset.map(|bytes| Offset(i64::from_be_bytes(bytes))))
}

/// Returns the next updates for the view of a partition that follows the log up to `from`, and the
/// offset up to which it follows the log after them.
///
/// # Errors
/// The log cannot be read.
pub fn missed(
    store: &dyn LogStore,
    id: PartitionId,
    from: Offset,
) -> Result<(Vec<ViewUpdate>, Offset), sedge_storage::Error> {
    let mut updates = Vec::new();
    let mut bytes = 0;
    let read = metadata_log::for_each_record(store, id, from, |offset, key, value| {
        if bytes >= COORDINATOR_APPEND_BYTES {
            return Err(Stop::At(offset));
        }
        let key = key.unwrap_or_default();
        bytes += key.len() + value.map_or(0, <[u8]>::len);
        updates.push(update(id, key, value.map(<[u8]>::to_vec)));
        Ok(())
    });
    let next = match read {
        Ok(read) => read.next,
        Err(Stop::At(next)) => next,
        Err(Stop::Failed(error)) => return Err(error),
    };
    updates.push(follows(id, next));
    Ok((updates, next))
}

/// Reason why reading ends before the end of the log.
enum Stop {
    At(Offset),
    Failed(sedge_storage::Error),
}

impl From<sedge_storage::Error> for Stop {
    fn from(error: sedge_storage::Error) -> Self {
        Self::Failed(error)
    }
}

/// Returns the view update for a record.
pub fn update(id: PartitionId, key: &[u8], value: Option<Vec<u8>>) -> ViewUpdate {
    let key = [&id.get().to_be_bytes(), key].concat();
    ViewUpdate {
        view: View::Offsets,
        key,
        value,
    }
}

/// Returns the update that says that the view follows the partition's log up to `next`.
pub fn follows(id: PartitionId, next: Offset) -> ViewUpdate {
    update(id, &[], Some(next.get().to_be_bytes().to_vec()))
}

/// A part of a partition's live records.
#[derive(Debug)]
pub struct Page {
    pub batches: Vec<Batch>,
    /// The key at which the next part begins, unless this is the last.
    pub next: Option<Vec<u8>>,
}

/// Returns live records of a partition from its view: the last value of each key, from the key
/// `from` on, as many as fit one append.
///
/// # Errors
/// The view cannot be read; as text.
pub fn content(
    store: &dyn LogStore,
    id: PartitionId,
    from: &[u8],
    now_ms: i64,
) -> Result<Page, String> {
    let prefix = id.get().to_be_bytes();
    let from = [&prefix, from].concat();
    let mut gathered = Gathered::default();
    let mut failed = None;
    let mut bytes = 0;
    let mut next = None;
    let mut each = |key: &[u8], value: &[u8]| {
        let Some(key) = key.get(prefix.len()..).filter(|key| !key.is_empty()) else {
            return true;
        };
        if bytes >= COORDINATOR_APPEND_BYTES {
            next = Some(key.to_vec());
            return false;
        }
        bytes += key.len() + value.len();
        failed = gathered.push(now_ms, key, Some(value)).err();
        failed.is_none()
    };
    store
        .view_scan_from(View::Offsets, &prefix, &from, &mut each)
        .map_err(|error| error.to_string())?;
    let batches = failed.map_or_else(|| gathered.finish(), Err);
    let batches = batches.map_err(|error| error.to_string())?;
    Ok(Page { batches, next })
}

/// The size of a partition's live records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentSize {
    pub records: u64,
    pub bytes: u64,
}

/// Computes the size of a partition's live records.
///
/// # Errors
/// The view cannot be read.
pub fn content_size(
    store: &dyn LogStore,
    id: PartitionId,
) -> Result<ContentSize, sedge_storage::Error> {
    let prefix = id.get().to_be_bytes();
    let mut size = ContentSize::default();
    store.view_scan(View::Offsets, &prefix, &mut |key, value| {
        if key.len() > prefix.len() {
            size.records += 1;
            size.bytes += (key.len() - prefix.len() + value.len() + RECORD_FRAMING_BYTES) as u64;
        }
    })?;
    Ok(size)
}

/// Collects records into batches of a bounded size.
#[derive(Default)]
pub struct Gathered {
    batches: Vec<Batch>,
    builder: Option<BatchBuilder>,
}

impl Gathered {
    /// Adds a record.
    ///
    /// # Errors
    /// A batch is larger than Kafka's format allows.
    pub fn push(&mut self, now_ms: i64, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
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

    /// Returns the batches.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn finish(mut self) -> Result<Vec<Batch>, Error> {
        if let Some(builder) = self.builder.take() {
            self.batches.push(builder.build()?);
        }
        Ok(self.batches)
    }
}

/// Returns the partition of a topic for this key, such as a group's id, as Kafka's clients and
/// tools compute it.
pub fn partition_of(topic: &Topic, key: &str) -> Option<PartitionId> {
    let count = topic.partition_count().max(1);
    topic.partition(hash_code(key).checked_abs().unwrap_or(0) % count)
}

/// Computes Java's `String.hashCode`.
fn hash_code(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sedge_core::config::BrokerDefaults;
    use sedge_core::groups::{Coordinator, GroupConfig};
    use sedge_core::metadata::MetadataMachine;
    use sedge_protocol::coordinator::{CoordinatorRecord, GroupValue, OffsetKey, OffsetValue};
    use sedge_protocol::ids::{NodeId, PartitionIndex};
    use sedge_storage::{Commit, Entry, MemoryStore};

    const ID: PartitionId = PartitionId(7);
    const NOW: Now = Now {
        wall_ms: 1_800_000_000_000,
        monotonic_ms: 0,
        append_ms: 1_700_000_000_000,
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
                commit_ms: NOW.append_ms,
                expire_ms: None,
                topic_id: None,
            }),
        }
    }

    fn bytes_of(record: &CoordinatorRecord) -> usize {
        Coordinator::bytes_of(record)
    }

    fn batches(records: &[CoordinatorRecord], updates: &mut Vec<ViewUpdate>) -> Vec<Batch> {
        let mut gathered = Gathered::default();
        for record in records {
            let (key, value) = record.encode().unwrap();
            gathered.push(NOW.wall_ms, &key, value.as_deref()).unwrap();
            updates.push(update(ID, &key, value));
        }
        gathered.finish().unwrap()
    }

    /// Appends as the writer would; the view gets the given part of `updates`.
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
        let batches = batches(records, &mut updates);
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

    /// Returns the offsets, and the offset up to which the view follows the log, if it lags.
    fn restored(store: &MemoryStore) -> (Vec<(i32, i64)>, Option<Offset>) {
        let mut coordinator = Coordinator::new(GroupConfig::default(), NOW);
        let behind = restore_partition(store, ID, NOW, &mut coordinator).unwrap();
        let machine = MetadataMachine::new(NodeId(1), BrokerDefaults::default());
        coordinator.finish_restore(NOW, machine.image());
        let offsets = coordinator.offsets().of_group("g");
        let offsets = offsets.map(|(_, partition, value)| (partition.get(), value.offset.get()));
        (offsets.collect(), behind)
    }

    /// Updates the view with what it lacks. Returns the number of parts.
    fn catch_up(store: &MemoryStore, mut from: Offset) -> usize {
        let end = store.bounds(ID).unwrap().next_offset;
        let mut parts = 0;
        while from < end {
            let (updates, next) = missed(store, ID, from).unwrap();
            assert!(next > from);
            append(store, Vec::new(), updates);
            from = next;
            parts += 1;
        }
        parts
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
            let (offsets, behind) = restored(&store);
            assert_eq!(offsets, [(0, 9), (2, 7)]);
            assert_eq!(behind.is_none(), reaches_the_view);
        }
    }

    #[test]
    fn what_a_crash_kept_from_the_view_is_read_from_the_log_and_owed() {
        let store = MemoryStore::new();
        write(&store, &[offset(0, Some(5)), offset(1, Some(6))], true);
        write(&store, &[offset(1, None), offset(2, Some(7))], false);
        let (offsets, behind) = restored(&store);
        assert_eq!(offsets, [(0, 5), (2, 7)]);
        assert_eq!(catch_up(&store, behind.unwrap()), 1);
        let (again, behind) = restored(&store);
        assert_eq!((again, behind), (offsets, None));
    }

    #[test]
    fn a_large_content_is_read_and_caught_up_with_in_parts() {
        let store = MemoryStore::new();
        let large = |partition: i32| {
            let mut record = offset(partition, Some(1));
            let CoordinatorRecord::Offset { value, .. } = &mut record else {
                panic!("it is an offset");
            };
            value.as_mut().unwrap().metadata = "m".repeat(16 << 10);
            record
        };
        let records: Vec<CoordinatorRecord> = (0..1_000).map(large).collect();
        assert!(records.iter().map(bytes_of).sum::<usize>() > 3 * COORDINATOR_APPEND_BYTES);
        write(&store, &records, false);
        let (offsets, behind) = restored(&store);
        assert_eq!(offsets.len(), records.len());
        assert_eq!(catch_up(&store, behind.unwrap()), 4);
        let (mut from, mut pages, mut count, mut bytes) = (Some(Vec::new()), 0, 0, 0);
        while let Some(key) = from {
            let page = content(&store, ID, &key, NOW.wall_ms).unwrap();
            let of_page: usize = page.batches.iter().map(Batch::bytes).sum();
            assert!(of_page < COORDINATOR_APPEND_BYTES + COORDINATOR_BATCH_BYTES);
            let counts = page.batches.iter().map(|batch| batch.header.record_count());
            count += counts.sum::<i32>();
            bytes += of_page;
            pages += 1;
            from = page.next;
        }
        assert_eq!((pages, count as usize), (4, records.len()));
        let size = content_size(&store, ID).unwrap();
        assert_eq!(size.records as usize, records.len());
        assert!((size.bytes as usize).abs_diff(bytes) < bytes / 50);
        let estimated: usize = records.iter().map(bytes_of).sum();
        assert!(estimated.abs_diff(bytes) < bytes / 50);
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
        let page = content(&store, ID, &[], NOW.wall_ms).unwrap();
        assert_eq!(page.next, None);
        append(&store, page.batches, Vec::new());
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
        // The view is lost: the log alone must be enough.
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
        let built = batches(&records, &mut Vec::new());
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
