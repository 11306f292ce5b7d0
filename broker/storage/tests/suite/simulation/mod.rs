//! The store against a model, on a disk in memory that fails in every way that its module states,
//! driven by a seed.
//!
//! A history is some rounds; a round opens the store, does things to it, and ends in a close or a
//! crash. What must hold:
//!
//! - what was synced is there after any crash, and what was written after any kill;
//! - commits are whole: all of their parts, or none;
//! - what was deleted or dropped does not come back, nor does what an earlier crash took;
//! - offsets and bytes are the model's, from any offset, by any bound, by time;
//! - no open is refused, and no hole is reported where there is none;
//! - a flipped bit costs the batches of the commit that it hit and nothing else, and where they are
//!   lost the report says so.
//!
//! Partition 0 has a record in each commit, the *witness*: its offset is the commit's number in the
//! model, so what a crash left can be told.
//!
//! **A new action** is a function `fn(&mut World)` in `actions.rs` and a row, with its weight, of
//! `ACTIONS`. What it does to records goes through `World::commit` (or, where the store writes by
//! itself, changes nothing that the model knows of: moving, freeing, compacting that keeps all).
//! A new fault is a field of `Faults` and a case of `actions::break_something`. What the store may
//! answer to it is in `World::judge`.
//!
//! A failing seed is printed with what it did. `SEDGE_SEED=N` runs one, `SEDGE_SEEDS=COUNT` more
//! than CI does: `SEDGE_SEEDS=100000 cargo test --release -p sedge-storage simulation`.

mod actions;
mod check;
mod model;
mod random;
mod regressions;
mod replacing;
mod world;

use world::World;

/// Seeds that each run of the tests tries.
const SEEDS: u64 = 2000;

#[test]
fn simulation_by_seeds() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("SEDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEDGE_SEEDS").unwrap_or(SEEDS),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let seeds = seeds.clone().skip(first).step_by(threads);
            scope.spawn(|| seeds.for_each(replay));
        }
    });
}

/// One history. Its trace is printed where it fails.
fn replay(seed: u64) {
    let mut world = World::new(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    assert!(
        outcome.is_ok(),
        "{}\nSEDGE_SEED={seed} cargo test -p sedge-storage simulation_by_seeds",
        world.trace.join("\n")
    );
}
