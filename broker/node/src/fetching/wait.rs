//! Reading until there is enough: a fetch with too little parks, and looks again when its
//! partitions have grown or its time is over.

use std::time::Instant;

use super::Source;
use super::plan::Target;
use super::read::{Isolation, Limits, Read, read};
use crate::limits::{CONNECTION_ANSWER_BYTES, FETCH_MEMORY_MAX};
use crate::log::purgatory::Parked;
use crate::net::memory::Admission;

/// What a fetch waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub bytes_min: usize,
    pub bytes_max: usize,
    pub deadline: Instant,
    pub isolation: Isolation,
}

/// What a fetch got, and the memory that it holds.
pub struct Fetched {
    pub reads: Vec<Read>,
    pub memory: Admission,
}

/// Reads the partitions that `targets` finds, again and again until what is there is enough for
/// `wish`: `bytes_min`, an error, a read that was cut, or the deadline.
pub async fn fetch(source: &Source<'_>, wish: Wish, targets: impl Fn() -> Vec<Target>) -> Fetched {
    // More than fits is never there: waiting for it would be for all of the time.
    let bytes_min = wish.bytes_min.min(wish.bytes_max);
    loop {
        let targets = targets();
        let memory = source.memory.take_share(FETCH_MEMORY_MAX);
        let limits = Limits {
            bytes_max: wish.bytes_max,
            memory_max: memory.bytes().max(CONNECTION_ANSWER_BYTES),
            isolation: wish.isolation,
        };
        let reads = read(source, targets, limits).await;
        let bytes: usize = reads.iter().map(Read::bytes).sum();
        let is_enough = bytes >= bytes_min
            || reads.iter().any(|read| read.is_cut || read.error.is_some())
            || Instant::now() >= wish.deadline;
        let parked = if is_enough {
            None
        } else {
            park(source, &reads, bytes_min - bytes)
        };
        let Some(parked) = parked else {
            return Fetched { reads, memory };
        };
        // What came between the reading and the parking wakes nobody.
        let has_grown = reads.iter().any(|read| read.has_grown(wish.isolation));
        // They are read again: while it waits, it holds no records.
        drop((reads, memory));
        if !has_grown {
            parked.wait(wish.deadline).await;
        }
    }
}

/// A place to wait for `bytes_wanted` more bytes; `None` if there is none.
fn park(source: &Source<'_>, reads: &[Read], bytes_wanted: usize) -> Option<Parked> {
    let watched = reads
        .iter()
        .filter_map(|read| Some(read.partition.as_ref()?.id))
        .collect();
    source.log.parking.park(watched, bytes_wanted as u64)
}
