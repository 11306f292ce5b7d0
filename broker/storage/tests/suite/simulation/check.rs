//! Compares the contents of the store with the model.

use std::collections::BTreeSet;

use bytes::Bytes;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Chunk, Entry, LogBounds, LogStore, ReadLimits, Store, View, Wait};

use super::model::{Model, WITNESS};
use super::random::Random;

const FAR: Offset = Offset(i64::MAX);
/// Bytes of a header and one byte of records.
const WITNESS_BYTES: usize = 62;
const ALL: usize = usize::MAX >> 1;

/// Returns the witnesses in the log, and those of them that cannot be read.
pub fn witnesses(store: &Store, bounds: LogBounds) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let base =
        |bytes: &[u8]| BatchHeader::read(bytes).map(|header| header.base_offset().0 as usize);
    let (log_start, next) = (bounds.log_start, bounds.next_offset);
    let (mut there, mut damaged) = (BTreeSet::new(), BTreeSet::new());
    if let Ok(chunks) = store.read(WITNESS, log_start, FAR, ALL)
        && chunks
            .iter()
            .all(|chunk| chunk.len().is_multiple_of(WITNESS_BYTES))
    {
        let chunks = chunks.concat();
        there.extend(chunks.chunks(WITNESS_BYTES).filter_map(base));
        return (there, damaged);
    }
    for at in log_start.0 as usize..next.0 as usize {
        let offset = Offset(at as i64);
        match store.read(WITNESS, offset, offset.plus(1), 1) {
            Ok(chunks) if chunks.is_empty() => {}
            Ok(chunks) if base(&chunks.concat()) == Some(at) => drop(there.insert(at)),
            Ok(_) | Err(_) => drop(damaged.insert(at)),
        }
    }
    (there, damaged)
}

/// Compares all of a partition.
pub fn compare(store: &Store, model: &Model, partition: PartitionId) {
    let want = model.bounds(partition);
    let got = store.bounds(partition).unwrap();
    assert_eq!(
        (got.log_start, got.next_offset),
        (want.log_start, want.next_offset),
        "bounds of {partition}"
    );
    let slices = store.slices(partition).unwrap();
    let bytes: u64 = slices.iter().map(|slice| slice.bytes).sum();
    let counted = store.partition_bytes(partition).unwrap();
    assert_eq!(bytes, counted, "{partition}: {slices:?}");
    if model.has_hits(partition) {
        return compare_around_hits(store, model, partition);
    }
    // A log start has the epoch of its batches, even if a crash took them.
    if want.leader_epoch.is_some() {
        assert_eq!(got.leader_epoch, want.leader_epoch, "epoch of {partition}");
    }
    // A rebuild does not learn how far removed records had been compacted.
    assert!(got.compacted_until <= want.compacted_until, "{partition}");
    compare_read(store, model, partition, (want.log_start, FAR), ALL);
    assert!(bytes >= model.store.partition_bytes(partition).unwrap());
    for time in [0, 300, 999] {
        let at = |store: &dyn LogStore| {
            store
                .first_batch_at(partition, time, Offset(0), FAR)
                .unwrap()
        };
        assert_eq!(at(store), at(&model.store), "{partition} at {time}");
    }
    let largest = |store: &dyn LogStore| {
        store
            .max_timestamp_batch(partition, Offset(0), FAR)
            .unwrap()
    };
    assert_eq!(largest(store), largest(&model.store), "{partition}");
    let end = |store: &dyn LogStore| entry_of(store, partition);
    // A rebuild derives entries from the remaining batches: none from an empty log, and if the last
    // batches were damaged and others before them compacted away, those before. Such an entry stays
    // when the log start passes what is left.
    let (found, left) = (end(store), last_end(store, partition, want.log_start));
    let held = model.store.bounds(partition).unwrap();
    if found.is_some() || held.log_start < held.next_offset {
        let is_of_what_is_left =
            left.is_none_or(|left| left < want.next_offset) && found == left.map(view_of);
        let is_as_before = left.is_none() && model.entries.get(&partition) == Some(&found);
        assert!(
            is_of_what_is_left || is_as_before || found == end(&model.store),
            "view of {partition}: {found:?}"
        );
    }
}

pub fn entry_of(store: &dyn LogStore, partition: PartitionId) -> Option<Vec<u8>> {
    let key = partition.0.to_be_bytes();
    store.view_get(View::Producers, &key).unwrap()
}

fn view_of(end: Offset) -> Vec<u8> {
    end.0.to_be_bytes().to_vec()
}

/// Returns the end of the last existing batch; `None` if all are lost.
fn last_end(store: &Store, partition: PartitionId, log_start: Offset) -> Option<Offset> {
    let read = store.read(partition, log_start, FAR, ALL).unwrap();
    let mut bytes = Bytes::from(read.concat());
    let batches = std::iter::from_fn(|| Batch::split_from(&mut bytes));
    batches.last().map(|batch| batch.header.next_offset())
}

/// Compares one read at random bounds.
pub fn compare_some(store: &Store, model: &Model, random: &mut Random, partition: PartitionId) {
    if model.has_hits(partition) {
        return compare_around_hits(store, model, partition);
    }
    let bounds = model.bounds(partition);
    let length = (bounds.next_offset.0 - bounds.log_start.0) as u64;
    let mut any = || Offset(bounds.log_start.0 - 2 + random.below(length + 5) as i64);
    let (from, until) = (any(), any());
    let until = if random.one_in(2) { FAR } else { until };
    let bytes = 1 << random.below(18);
    compare_read(store, model, partition, (from, until), bytes);
    let (time, until) = (random.below(1000) as i64, until);
    let at = |store: &dyn LogStore| {
        let found = store.first_batch_at(partition, time, from, until);
        found.unwrap()
    };
    assert_eq!(at(store), at(&model.store), "{partition} at {time}");
    let largest = |store: &dyn LogStore| {
        let found = store.max_timestamp_batch(partition, from, until);
        found.unwrap()
    };
    assert_eq!(
        largest(store),
        largest(&model.store),
        "{partition} {from}..{until}"
    );
}

fn compare_read(
    store: &Store,
    model: &Model,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    bytes: usize,
) {
    let want = model.store.read(partition, from, until, bytes).unwrap();
    let got = store.read(partition, from, until, bytes).unwrap();
    assert!(
        got.concat() == want.concat(),
        "partition {partition} {from}..{until} in {bytes}: {}, not {}",
        batches(&got),
        batches(&want)
    );
    let located = store
        .locate(partition, from, until, ReadLimits::of(bytes), Wait::ForDisk)
        .unwrap()
        .chunks;
    let read: Vec<_> = located
        .into_iter()
        .map(|chunk| Chunk::read(chunk).unwrap())
        .collect();
    let bounds = model.bounds(partition);
    let end = bounds.next_offset;
    // In place of what is lost at the end of a log, a consumer gets a batch without records.
    if want.is_empty() && bounds.log_start <= from && from < end && until >= end {
        let read = read.concat();
        let instead = BatchHeader::read(&read).expect("a batch");
        assert_eq!(instead.batch_bytes(), Some(read.len()));
        assert_eq!(instead.record_count(), 0, "located {partition} {from}");
        assert_eq!((instead.base_offset(), instead.next_offset()), (from, end));
        return;
    }
    assert!(read.concat() == want.concat(), "located {partition} {from}");
}

/// Compares each batch without flipped bits separately.
fn compare_around_hits(store: &Store, model: &Model, partition: PartitionId) {
    let log_start = model.bounds(partition).log_start;
    let chunks = model.store.read(partition, log_start, FAR, ALL).unwrap();
    let mut bytes = Bytes::from(chunks.concat());
    let mut whole = bytes.clone();
    while let Some(batch) = Batch::split_from(&mut bytes) {
        let wanted = whole.split_to(batch.bytes());
        let (base, next) = (batch.header.base_offset(), batch.header.next_offset());
        if model.is_hit(partition, base, next) {
            // Any answer is acceptable, as long as there is one.
            let _ = store.read(partition, base.max(log_start), next, 1);
            continue;
        }
        let got = store.read(partition, base.max(log_start), next, 1).unwrap();
        assert!(
            got.concat() == wanted,
            "partition {partition} {base}..{next}, which nothing hit: {}",
            batches(&got)
        );
    }
}

fn batches(chunks: &[Bytes]) -> String {
    let mut bytes = Bytes::from(chunks.concat());
    let mut found = Vec::new();
    while let Some(batch) = Batch::split_from(&mut bytes) {
        let (base, next) = (batch.header.base_offset(), batch.header.next_offset());
        found.push(format!("{base}..{next}"));
    }
    format!("{found:?}")
}

/// Summarises entries for the trace.
pub fn brief(entries: &[Entry]) -> String {
    let one = |entry: &Entry| match entry {
        Entry::Append { partition, batches } => {
            let base = batches
                .first()
                .map_or(0, |batch| batch.header.base_offset().0);
            let next = batches
                .last()
                .map_or(0, |batch| batch.header.next_offset().0);
            let bytes: usize = batches.iter().map(Batch::bytes).sum();
            format!("{partition}: {base}..{next} ({bytes})")
        }
        Entry::LogStart { partition, offset } => format!("{partition} starts at {offset}"),
        Entry::Drop { partition } => format!("{partition} dropped"),
        Entry::Replace {
            partition,
            base,
            next,
            ..
        } => format!("{partition}: {base}..{next} replaced"),
    };
    entries.iter().map(one).collect::<Vec<_>>().join(", ")
}
