//! Compaction in the simulation: writes some batches of a partition, up to any offset, to a cold
//! segment, which then replaces the range.

use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};
use sedge_storage::{Cold, Entry, Error, LogStore, MemoryStore, Slice, Store};

use super::random::Random;
use super::world::World;

/// A cold segment of the store, and its counterpart in the model.
struct Pair {
    cold: Arc<Cold>,
    copy: Arc<Cold>,
}

/// Replaces a range. The newest batch stays, as a cleaner keeps it: it marks the end of the log.
pub fn replace(world: &mut World) {
    let partition = PartitionId(*world.random.pick(&world.live));
    let active = world.store().active_segment();
    let mut slices = world.store().slices(partition).unwrap();
    slices.retain(|slice| Some(slice.segment) != active);
    let skipped = world.random.below(2) as usize;
    let Some(first) = slices.get(skipped).copied() else {
        return;
    };
    let slices = slices.split_off(skipped);
    let mut next = slices
        .last()
        .map_or(first.next_offset, |last| last.next_offset);
    let store = &**world.store.as_ref().unwrap();
    let pair = match rewrite(store, &mut world.random, partition, &slices, &mut next) {
        Ok(pair) => pair,
        Err(error) => return world.judge(error),
    };
    if world.random.one_in(10) {
        return world.note("  never adopted");
    }
    // Sometimes in several commits, of which a crash may take the last ones.
    let is_compacted = world.random.one_in(2);
    let mut base = first.first_offset;
    for slice in &slices {
        let until = slice.next_offset.min(next);
        if base >= until || (until < next && world.random.one_in(2)) {
            continue;
        }
        let entry = |cold: &Arc<Cold>| Entry::Replace {
            cold: Arc::clone(cold),
            partition,
            base,
            next: until,
            leader_epoch: Some(LeaderEpoch(3)),
            is_compacted,
        };
        let written = world.model.written;
        world.commit_as(vec![entry(&pair.cold)], vec![entry(&pair.copy)]);
        if world.model.written == written {
            return;
        }
        base = until;
    }
}

fn rewrite(
    store: &Store,
    random: &mut Random,
    partition: PartitionId,
    slices: &[Slice],
    next: &mut Offset,
) -> Result<Pair, Error> {
    let bounds = store.bounds(partition)?;
    let (from, append_ms) = slices
        .first()
        .map_or((bounds.log_start, 0), |of| (of.first_offset, of.append_ms));
    let from = from.max(bounds.log_start);
    let read = store.read(partition, from, *next, usize::MAX >> 1)?;
    let mut read = Bytes::from(read.concat());
    let bytes = slices.iter().map(|slice| slice.bytes).sum();
    let model = MemoryStore::new();
    let mut cold = store.begin_cold(bytes)?;
    let mut copy = model.begin_cold(bytes)?;
    let (keeps_all, stops_early) = (random.one_in(3), random.one_in(3));
    let mut part = 0;
    while let Some(batch) = Batch::split_from(&mut read) {
        let behind = batch.header.next_offset();
        let here = slices.partition_point(|slice| slice.next_offset < behind);
        if here > part {
            part = here;
            cold.cut();
        }
        if stops_early && random.one_in(20) && behind < *next {
            *next = behind;
            read = Bytes::new();
        }
        if keeps_all || behind == bounds.next_offset || random.one_in(2) {
            copy.push(partition, batch.clone(), append_ms)?;
            cold.push(partition, batch, append_ms)?;
        }
    }
    Ok(Pair {
        cold: Arc::new(cold.finish()?),
        copy: Arc::new(copy.finish()?),
    })
}
