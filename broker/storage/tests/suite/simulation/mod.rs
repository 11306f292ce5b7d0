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
//! - what a reader was given reaches its peer unchanged, however late;
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
mod lending;
mod model;
mod random;
mod regressions;
mod replacing;
mod world;

use world::World;

/// Seeds that each run of the tests tries.
const SEEDS: u64 = 2000;
/// The same of histories in which segments are freed and written over all the time.
const SEEDS_OF_LENDING: u64 = 200;

#[test]
fn simulation_by_seeds() {
    by_seeds("simulation_by_seeds", SEEDS, World::new);
}

#[test]
fn lending_by_seeds() {
    by_seeds("lending_by_seeds", SEEDS_OF_LENDING, lending::world);
}

fn by_seeds(test: &str, seeds: u64, world: fn(u64) -> World) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("SEDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEDGE_SEEDS").unwrap_or(seeds),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let seeds = seeds.clone().skip(first).step_by(threads);
            scope.spawn(move || seeds.for_each(|seed| replay(test, seed, world)));
        }
    });
}

/// One history. Its trace is printed where it fails.
fn replay(test: &str, seed: u64, world: fn(u64) -> World) {
    let mut world = world(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    assert!(
        outcome.is_ok(),
        "{}\nSEDGE_SEED={seed} cargo test -p sedge-storage {test}",
        world.trace.join("\n")
    );
}
