//! Flushes that take their time: the writer goes on while one is under way on another thread.
//!
//! The disk stops the flush at a [`Gate`] after its beginning, the world acts, and then the flush
//! ends. Sometimes it ends between the reservation of a commit and the commit. One thread runs at a
//! time, so a seed still determines the history.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use sedge_storage::disk::memory::Gate;
use sedge_storage::{Entry, Error, LogStore, Store};

use super::actions;
use super::world::World;

/// Actions while a flush is under way.
const ACTIONS_MAX: u64 = 6;

/// A flush on its thread.
pub struct Flush {
    kind: Kind,
    gate: Gate,
    thread: JoinHandle<Result<(), Error>>,
    /// Commits that were written when it began.
    covers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Sync,
    FlushViews,
    FreeSegments,
}

impl Kind {
    fn run(self, store: &Store) -> Result<(), Error> {
        match self {
            Self::Sync => store.sync(),
            Self::FlushViews => store.flush_views(),
            Self::FreeSegments => store.free_segments().map(drop),
        }
    }
}

/// Begins a flush, acts while it is under way, and ends it.
pub fn overlap(world: &mut World) {
    // A cleaner waits for flushes itself, so the segment is written before.
    let copied = actions::copy_some(world);
    if world.ended {
        return;
    }
    let kinds = [Kind::Sync, Kind::FlushViews, Kind::FreeSegments];
    let kind = *world.random.pick(&kinds);
    world.note(format!("  {kind:?} begins"));
    let covers = world.model.written;
    let gate = Gate::default();
    world.disk.set_gate(Some(gate.clone()));
    let thread = {
        let (store, gate) = (Arc::clone(world.store.as_ref().unwrap()), gate.clone());
        thread::spawn(move || {
            let outcome = kind.run(&store);
            // Drops the store before the test goes on.
            drop(store);
            gate.open();
            outcome
        })
    };
    let is_under_way = gate.is_reached();
    world.disk.set_gate(None);
    world.overlapped = Some(Flush {
        kind,
        gate,
        thread,
        covers,
    });
    if is_under_way {
        act_meanwhile(world, copied);
    }
    finish(world);
}

fn act_meanwhile(world: &mut World, mut copied: Option<Vec<Entry>>) {
    let actions: [fn(&mut World); 5] = [
        actions::append_some,
        actions::append_some,
        actions::move_log_start,
        actions::drop_partition,
        actions::read_some,
    ];
    for _ in 0..=world.random.below(ACTIONS_MAX) {
        if world.overlapped.is_none() || world.ended || world.fuse.is_blown() {
            return;
        }
        world.note("  meanwhile");
        match copied.take_if(|_| world.random.one_in(3)) {
            Some(entries) => actions::adopt(world, entries),
            None => world.random.pick(&actions)(world),
        }
    }
}

/// Sometimes ends the flush that is under way: room for a commit is reserved, and the commit is not
/// yet written.
pub fn end(world: &mut World) {
    if world.overlapped.is_some() && world.random.one_in(3) {
        finish(world);
    }
}

/// Flushes the views, unless another flush is under way.
pub fn flush_views(world: &mut World) {
    if world.overlapped.is_none() {
        actions::flush_views_once(world);
    }
}

fn finish(world: &mut World) {
    let Some(flush) = world.overlapped.take() else {
        return;
    };
    flush.gate.open();
    let outcome = flush.thread.join().unwrap();
    world.note(format!("  {:?} ends: {outcome:?}", flush.kind));
    match outcome {
        Ok(()) if flush.kind == Kind::Sync => {
            world.model.synced = world.model.synced.max(flush.covers);
        }
        Ok(()) => {}
        Err(error) => {
            let was_refused = error.is_refusal();
            world.judge(error);
            if world.faults.sync_fails && !was_refused {
                let later = world.store().sync();
                assert!(later.is_err(), "a sync succeeds after one that failed");
            }
        }
    }
}
