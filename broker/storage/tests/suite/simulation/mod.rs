//! Runs the store against a model, on a disk in memory that fails in all the ways that its module
//! documents, driven by a seed.
//!
//! A history consists of rounds; a round opens the store, performs actions, and ends in a close or
//! a crash. The following must hold:
//!
//! - synced data is there after any crash, and written data after any kill;
//! - commits are complete: all of their parts, or none;
//! - what was deleted or dropped does not come back, nor does what an earlier crash took;
//! - offsets and bytes are the model's, from any offset, with any bound, by time;
//! - bytes given to a reader reach its peer unchanged, however late;
//! - no open is refused, and no hole is reported if there is none;
//! - a flush keeps what was written before it began, while the writer goes on, and after one that
//!   failed no other succeeds;
//! - a flipped bit costs only the batches of the commit that it hit, and if they are lost the
//!   report says so.
//!
//! Partition 0 has a record in each commit, the *witness*: its offset is the commit's number in the
//! model, so it shows which commits survived a crash.
//!
//! **A new action** is a function `fn(&mut World)` in `actions.rs` and a row, with its weight, in
//! `ACTIONS`. It changes records through `World::commit` (or, if the store writes by itself,
//! changes nothing in the model: moving, freeing, compacting that keeps all). A new fault is a
//! field of `Faults` and a case of `actions::break_something`. `World::judge` lists the answers
//! that the store may give to it.
//!
//! A failing seed is printed with its trace. `SEDGE_SEED=N` runs one seed, `SEDGE_SEEDS=COUNT` more
//! than CI runs: `SEDGE_SEEDS=100000 cargo test --release -p sedge-storage simulation`.

mod actions;
mod check;
mod lending;
mod model;
mod overlapped;
mod random;
mod regressions;
mod replacing;
mod world;

use world::World;

/// Seeds in each run of the tests.
const SEEDS: u64 = 2000;
/// Seeds of histories in which segments are constantly freed and reused.
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

/// Runs one history. Prints its trace if it fails.
fn replay(test: &str, seed: u64, world: fn(u64) -> World) {
    let mut world = world(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    assert!(
        outcome.is_ok(),
        "{}\nSEDGE_SEED={seed} cargo test -p sedge-storage {test}",
        world.trace.join("\n")
    );
}
