//! Numbers of commits and segments.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Number of a commit, from 1, growing by 1. 0 means that there is none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Number of a segment file, from 1, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// Returns a generation: a random number that tells the frames of one use of a segment file from
/// all other bytes. Unpredictable: the hasher's keys are the operating system's random numbers.
pub(crate) fn new_generation() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
