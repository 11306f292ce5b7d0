//! Replies in transit: bytes given to a reader do not change, whatever happens to their segment,
//! neither while the reply is assembled nor while the kernel holds its bytes for a slow peer.

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::disk::memory::Loan;
use sedge_storage::{Chunk, Entry, LogStore, Placed, ReadLimits, Wait, limits};

use super::actions::{self, Action, action};
use super::model::WITNESS;
use super::world::World;
use crate::bytes_of::{append, batch};

/// A place that a reader holds, and the bytes that were there.
pub struct Located {
    placed: Placed,
    bytes: Vec<u8>,
}

/// Bytes in the kernel, and what they were.
pub struct Lent {
    loan: Loan,
    bytes: Vec<u8>,
}

const BYTES_MAX: u64 = 50_000;

/// Weights by which each segment is sent from, soon freed, and reused.
const ACTIONS: &[Action] = &[
    action(20, "append", append_placed),
    action(3, "sync", actions::sync),
    action(3, "flush views", actions::flush_views),
    action(6, "delete all", delete_all),
    action(1, "break", actions::break_something),
    action(2, "mend", actions::mend),
    action(8, "locate", locate),
    action(4, "send", send),
    action(2, "receive", receive),
    action(3, "evict spares", evict),
];

/// Creates a world with one partition.
pub fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.live.truncate(1);
    world.options.segment_bytes = 32 << 10;
    world.options.spare_segments_max = 1 + world.random.below(3) as usize;
    world.actions = ACTIONS;
    world
}

/// Appends a commit that is sent from its file.
fn append_placed(world: &mut World) {
    let partition = world.live[0];
    let next = world.store().bounds(PartitionId(partition)).unwrap();
    let body_bytes = limits::PLACE_BYTES_MIN + world.random.below(4000);
    let batch = batch(next.next_offset.0, 1, 0, body_bytes as usize);
    world.commit(vec![append(partition, vec![batch])]);
}

/// Deletes everything in the segments before the active one.
fn delete_all(world: &mut World) {
    actions::sync(world);
    for partition in [WITNESS, PartitionId(world.live[0])] {
        if !world.ended {
            let offset = world.store().bounds(partition).unwrap().next_offset;
            world.commit(vec![Entry::LogStart { partition, offset }]);
        }
    }
    if !world.ended {
        actions::free_segments(world);
    }
}

pub fn locate(world: &mut World) {
    let partition = PartitionId(world.random.below(u64::from(world.next_partition)) as u32);
    let bounds = world.store().bounds(partition).unwrap();
    let length = (bounds.next_offset.0 - bounds.log_start.0).max(1) as u64;
    let from = bounds.log_start.plus(world.random.below(length) as i64);
    let bytes_max = world.random.below(BYTES_MAX) as usize;
    let until = Offset(i64::MAX);
    let store = world.store();
    // Damaged batches are not part of this check.
    let limits = ReadLimits::of(bytes_max);
    let located = store.locate(partition, from, until, limits, Wait::ForDisk);
    for chunk in located.map(|located| located.chunks).unwrap_or_default() {
        if let Chunk::Placed(placed) = chunk
            && let Ok(bytes) = placed.read()
        {
            let bytes = bytes.to_vec();
            world.located.push(Located { placed, bytes });
        }
    }
}

/// Passes the reply's next piece to the kernel, and drops its handle.
pub fn send(world: &mut World) {
    if world.located.is_empty() {
        return;
    }
    let at = world.random.below(world.located.len() as u64) as usize;
    let Located { placed, bytes } = world.located.swap_remove(at);
    let (segment, position) = placed.place();
    let Some(loan) = world.disk.lend(segment, position, bytes.len()) else {
        return;
    };
    // A flipped bit changes the file itself.
    if world.model.hits.is_empty() {
        assert!(loan.bytes() == bytes, "segment {} at {position}", segment.0);
    }
    world.note(format!("  of segment {} at {position}", segment.0));
    let bytes = loan.bytes();
    world.lent.push(Lent { loan, bytes });
}

pub fn receive(world: &mut World) {
    if !world.lent.is_empty() {
        let at = world.random.below(world.lent.len() as u64) as usize;
        check(&world.lent.swap_remove(at));
    }
}

/// Every peer reads the rest of its bytes.
pub fn receive_all(world: &mut World) {
    world.lent.drain(..).for_each(|lent| check(&lent));
}

fn check(lent: &Lent) {
    assert!(lent.loan.bytes() == lent.bytes, "a peer gets other bytes");
}

pub fn evict(world: &mut World) {
    let evicted = world.store().evict_spares();
    if let Err(error) = evicted {
        world.judge(error);
    }
}
