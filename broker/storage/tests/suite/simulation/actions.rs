//! The actions on the store, with their weights.

use std::sync::Arc;

use bytes::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Found;
use sedge_storage::disk::Disk;
use sedge_storage::disk::memory::Faults;
use sedge_storage::format::EntryKind;
use sedge_storage::{
    Cold, Commit, Entry, Error, LogStore, Room, ScrubCursor, SegmentId, Slice, Store, Urgency,
    scan_segment,
};

use super::check;
use super::lending;
use super::model::{Hit, WITNESS};
use super::overlapped;
use super::replacing;
use super::world::World;
use crate::bytes_of::{append, batch};

/// Room for the batch that the world adds to each commit.
const WITNESS_ROOM: Room = Room {
    batch_bytes: 62,
    rows: 1,
    urgency: Urgency::Command,
};

/// An action.
pub struct Action {
    pub name: &'static str,
    /// The action's share of all weights together.
    pub weight: u64,
    pub act: fn(&mut World),
}

pub const fn action(weight: u64, name: &'static str, act: fn(&mut World)) -> Action {
    Action { name, weight, act }
}

/// All actions; see the module.
pub const ACTIONS: &[Action] = &[
    action(24, "append", append_some),
    action(5, "sync", sync),
    action(5, "flush views", flush_views),
    action(6, "free segments", free_segments),
    action(6, "overlap", overlapped::overlap),
    action(6, "put together", put_together),
    action(3, "replace", replacing::replace),
    action(1, "roll", roll),
    action(4, "move log start", move_log_start),
    action(2, "move the witness's log start", move_witness_start),
    action(1, "drop", drop_partition),
    action(5, "read", read_some),
    action(1, "snapshot", World::take_snapshot),
    action(2, "break", break_something),
    action(2, "mend", mend),
    action(1, "flip", flip_a_bit),
    action(1, "scrub", scrub),
    action(3, "locate", lending::locate),
    action(6, "send", lending::send),
    action(5, "receive", lending::receive),
    action(3, "evict spares", lending::evict),
];

pub fn append_some(world: &mut World) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    for _ in 0..=world.random.below(4) {
        let partition = *world.random.pick(&world.live);
        let is_taken = |entry: &Entry| matches!(entry, Entry::Append { partition: of, .. } if of.0 == partition);
        if entries.iter().any(is_taken) {
            continue;
        }
        let bounds = world.store().bounds(PartitionId(partition)).unwrap();
        let mut next = bounds.next_offset.0;
        let mut batches = Vec::new();
        for _ in 0..=world.random.below(3) {
            let records = 1 + world.random.below(4) as i32;
            let most = *world.random.pick(&[100, 100, 1500, 1500, 1500, 40_000]);
            let one = batch(
                next,
                records,
                world.random.below(1000) as i64,
                world.random.below(most) as usize,
            );
            bytes += one.bytes();
            batches.push(one);
            next += i64::from(records);
        }
        entries.push(append(partition, batches));
    }
    // The writer normally reserves; otherwise the append finds out.
    let room = Room::ordinary(bytes as u64, entries.len() as u64);
    if world.random.one_in(4) || reserve(world, room) {
        overlapped::end(world);
        world.commit(entries);
    }
}

/// Returns whether there is room for a commit.
fn reserve(world: &mut World, room: Room) -> bool {
    let reserved = world.store().reserve(room.and(WITNESS_ROOM));
    world.reserved = reserved.is_ok();
    reserved.map_err(|error| world.judge(error)).is_ok()
}

/// Returns the room of a commit of one row that frees space.
const fn one_row(urgency: Urgency) -> Room {
    Room {
        batch_bytes: 0,
        rows: 1,
        urgency,
    }
}

pub fn sync(world: &mut World) {
    let synced = world.store().sync();
    match synced {
        Ok(()) => {
            world.model.synced = world.model.written;
            world.in_doubt = false;
        }
        Err(error) => world.judge(error),
    }
}

pub fn flush_views(world: &mut World) {
    // Not every call flushes.
    for _ in 0..=world.random.below(31) {
        if !flush_views_once(world) {
            return;
        }
    }
}

/// Returns whether the flush, if there was one, succeeded.
pub fn flush_views_once(world: &mut World) -> bool {
    let flushed = world.store().flush_views();
    flushed.map_err(|error| world.judge(error)).is_ok()
}

pub fn free_segments(world: &mut World) {
    let freed = world.store().free_segments();
    match freed {
        Ok(freed) => world.note(format!("  {freed:?}")),
        Err(error) => world.judge(error),
    }
}

/// Writes a partition's part of some full segments again to a cold one.
fn put_together(world: &mut World) {
    // Sometimes the segment is never adopted.
    let adopts = !world.random.one_in(10);
    if let Some(entries) = copy_some(world)
        && adopts
    {
        adopt(world, entries);
    }
}

/// Has the commit's rows refer to a cold segment that is written. The records do not change, so the
/// model is not told.
pub fn adopt(world: &mut World, entries: Vec<Entry>) {
    world.note(format!("  adopts {}", check::brief(&entries)));
    let commit = Commit {
        entries,
        ..Commit::default()
    };
    let replaced = world.store().append(commit);
    world.in_doubt = true;
    if let Err(error) = replaced {
        world.judge(error);
    }
}

/// Writes a cold segment. Returns the rows that make it count.
pub fn copy_some(world: &mut World) -> Option<Vec<Entry>> {
    let partition = if world.random.one_in(4) {
        WITNESS
    } else {
        PartitionId(*world.random.pick(&world.live))
    };
    let store = world.store();
    let active = store.active_segment();
    let mut slices = store.slices(partition).unwrap();
    slices.retain(|slice| Some(slice.segment) != active);
    if slices.is_empty() {
        return None;
    }
    let count = 1 + world.random.below(slices.len() as u64) as usize;
    slices.truncate(count);
    let bytes = slices.iter().map(|slice| slice.bytes).sum();
    let copied = copy(world.store(), partition, &slices, bytes);
    let cold = match copied {
        Ok(cold) => Arc::new(cold),
        Err(error) => {
            world.judge(error);
            return None;
        }
    };
    let entries: Vec<Entry> = slices
        .iter()
        .map(|slice| Entry::Replace {
            cold: cold.clone(),
            partition,
            base: slice.first_offset,
            next: slice.next_offset,
            leader_epoch: None,
            is_compacted: false,
        })
        .collect();
    world.note(format!("  {}", check::brief(&entries)));
    Some(entries)
}

fn copy(
    store: &Store,
    partition: PartitionId,
    slices: &[Slice],
    bytes: u64,
) -> Result<Cold, Error> {
    let log_start = store.bounds(partition)?.log_start;
    let mut writing = store.begin_cold(bytes)?;
    for slice in slices {
        writing.cut();
        let from = slice.first_offset.max(log_start);
        let read = store.read(partition, from, slice.next_offset, usize::MAX >> 1)?;
        let mut read = Bytes::from(read.concat());
        while let Some(batch) = Batch::split_from(&mut read) {
            writing.push(partition, batch, slice.append_ms)?;
        }
    }
    writing.finish()
}

fn roll(world: &mut World) {
    let rolled = world.store().roll();
    if let Err(error) = rolled {
        world.judge(error);
    }
}

pub fn move_log_start(world: &mut World) {
    let partition = PartitionId(*world.random.pick(&world.live));
    let bounds = world.store().bounds(partition).unwrap();
    let length = (bounds.next_offset.0 - bounds.log_start.0) as u64;
    // Sometimes beyond the end.
    let more = if world.random.one_in(6) { 4 } else { 1 };
    let offset = bounds
        .log_start
        .plus(world.random.below(length + more) as i64);
    if reserve(world, one_row(Urgency::Upkeep)) {
        overlapped::end(world);
        world.commit(vec![Entry::LogStart { partition, offset }]);
    }
}

/// Stays within what is synced, so that the records it removes are not in doubt.
fn move_witness_start(world: &mut World) {
    let start = world.store().bounds(WITNESS).unwrap().log_start.0 as usize;
    let most = world.model.synced.saturating_sub(start) as u64;
    let offset = Offset((start as u64 + world.random.below(most + 1)) as i64);
    let partition = WITNESS;
    world.commit(vec![Entry::LogStart { partition, offset }]);
}

pub fn drop_partition(world: &mut World) {
    let at = world.random.below(world.live.len() as u64) as usize;
    let partition = PartitionId(world.live[at]);
    if !reserve(world, one_row(Urgency::Command)) {
        return;
    }
    world.live[at] = world.next_partition;
    world.next_partition += 1;
    world.commit(vec![Entry::Drop { partition }]);
}

pub fn read_some(world: &mut World) {
    let partition = PartitionId(world.random.below(u64::from(world.next_partition)) as u32);
    let store = &**world.store.as_ref().unwrap();
    check::compare_some(store, &world.model, &mut world.random, partition);
}

pub fn break_something(world: &mut World) {
    let used: u64 = world
        .disk
        .list()
        .unwrap()
        .iter()
        .map(|(_, bytes)| bytes)
        .sum();
    let faults = Faults::default();
    match world.random.below(6) {
        0 | 1 => {
            world.note("  the volume is full");
            let capacity = Some(used + world.random.below(20_000));
            world.set_faults(Faults { capacity, ..faults });
        }
        2 => {
            world.note("  the volume is read-only");
            let read_only = true;
            world.set_faults(Faults {
                read_only,
                ..faults
            });
        }
        3 => {
            world.note("  syncs fail");
            let sync_fails = true;
            world.set_faults(Faults {
                sync_fails,
                ..faults
            });
        }
        4 => {
            let write_keeps = world.random.below(5000) as usize;
            world.note(format!("  writes fail after {write_keeps} bytes"));
            world.set_faults(Faults {
                write_fails: true,
                write_keeps,
                ..faults
            });
        }
        _ => {
            world.note("  views cannot be written");
            world.base.set_failing(true);
        }
    }
}

/// Ends faults. A failed sync or write remains until the process ends; other faults end when there
/// is room again.
pub fn mend(world: &mut World) {
    world.base.set_failing(false);
    if !world.faults.sync_fails && !world.faults.write_fails {
        world.set_faults(Faults::default());
    }
}

/// Flips a bit in a frame that holds only batches, so that the loss is known.
fn flip_a_bit(world: &mut World) {
    let segments = world.disk.list().unwrap();
    if segments.is_empty() {
        return;
    }
    let (id, _) = *world.random.pick(&segments);
    let contents = world.disk.contents(id).unwrap();
    let Some((_, found, _)) = scan_segment(&contents) else {
        return;
    };
    let frame = world.random.pick(&found).clone();
    let Found::Frame { position, head, .. } = frame else {
        return;
    };
    let batches_only = head.entries.iter().all(|entry| {
        entry.has_batches() && (entry.kind == EntryKind::Append || entry.partition != WITNESS)
    });
    if !batches_only {
        return;
    }
    let at = position + world.random.below(head.frame_bytes());
    world.note(format!(
        "  in segment {} at {at}, in {:?}",
        id.0, head.entries
    ));
    // Pages that are lent stay unchanged in memory, and the device is not asked for them.
    lending::receive_all(world);
    world.disk.flip(id, at, 1 << world.random.below(8));
    world
        .model
        .hits
        .extend(head.entries.iter().map(|entry| Hit {
            partition: entry.partition,
            base: entry.base,
            next: entry.next,
        }));
}

/// Finds damage, which reads skip from then on.
fn scrub(world: &mut World) {
    let scrubbed = world.store().scrub(&mut ScrubCursor::default(), u64::MAX);
    match scrubbed {
        Ok(scrubbed) => {
            world.note(format!("  {scrubbed:?}"));
            world.hear(scrubbed.damaged.iter().flat_map(|of| &of.lost));
        }
        Err(error) => world.judge(error),
    }
}

/// Changes any byte of any segment, including headers and footers. The loss cannot be predicted,
/// but opening must not be refused, and reads must answer.
pub fn vandalise(world: &mut World) {
    world.store = None;
    let segments: Vec<SegmentId> = world.disk.list().unwrap().iter().map(|of| of.0).collect();
    if segments.is_empty() {
        return;
    }
    for _ in 0..=world.random.below(3) {
        let id = *world.random.pick(&segments);
        let bytes = world.disk.contents(id).unwrap().len() as u64;
        // Headers and footers are at the ends.
        let at = match world.random.below(3) {
            0 => world.random.below(64),
            1 => bytes.saturating_sub(1 + world.random.below(400)),
            _ => world.random.below(bytes.max(1)),
        };
        world.note(format!("vandalised: segment {} at {at}", id.0));
        world.disk.flip(id, at, 1 << world.random.below(8));
    }
    if world.random.one_in(2) {
        world.note("views thrown away");
        world.base.clear();
    }
    let (store, _) = world.try_open().unwrap();
    for partition in (0..world.next_partition).map(PartitionId) {
        let bounds = store.bounds(partition).unwrap();
        let read = store.read(partition, bounds.log_start, Offset(i64::MAX), 1 << 20);
        assert!(
            matches!(read, Ok(_) | Err(Error::Corrupt { .. })),
            "{read:?}"
        );
    }
}
