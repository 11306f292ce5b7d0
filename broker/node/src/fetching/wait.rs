//! Reads until there is enough: a fetch with too few bytes parks, and reads again when its
//! partitions have grown or its time is over.

use std::time::Instant;

use super::Source;
use super::plan::Target;
use super::read::{Isolation, Limits, Read, read};
use crate::limits::{CONNECTION_ANSWER_BYTES, FETCH_MEMORY_MAX};
use crate::log::purgatory::Parked;
use crate::net::memory::Admission;

/// The conditions under which a fetch is answered.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub bytes_min: usize,
    pub bytes_max: usize,
    pub deadline: Instant,
    pub isolation: Isolation,
}

/// The result of a fetch, and the memory that it holds.
pub struct Fetched {
    pub reads: Vec<Read>,
    pub memory: Admission,
}

/// Reads the partitions that `targets` finds, repeatedly, until the result is enough for `wish`:
/// `bytes_min`, an error, a read that was cut, or the deadline.
pub async fn fetch(source: &Source<'_>, wish: Wish, targets: impl Fn() -> Vec<Target>) -> Fetched {
    // More than `bytes_max` never fits: waiting for it would last until the deadline.
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
        // Data that arrived between reading and parking does not wake the fetch.
        let has_grown = reads.iter().any(|read| read.has_grown(wish.isolation));
        // Released here and read again later: a waiting fetch holds no records.
        drop((reads, memory));
        if !has_grown {
            parked.wait(wish.deadline).await;
        }
    }
}

/// Parks the fetch for `bytes_wanted` more bytes; `None` if there is no room.
fn park(source: &Source<'_>, reads: &[Read], bytes_wanted: usize) -> Option<Parked> {
    let watched = reads
        .iter()
        .filter_map(|read| Some(read.partition.as_ref()?.id))
        .collect();
    source.log.parking.park(watched, bytes_wanted as u64)
}
