//! Turns core dumps off: they would put keys and passwords from the process's memory into a file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A limit in bytes, smaller than any core dump, so none is written. If the limit is exactly 1,
/// Linux does not pipe the dump to a program of `kernel.core_pattern` either (core(5)); with 0 it
/// would.
const NONE: u64 = 1;

/// Turns core dumps off for this process and its children. Best effort: a hard limit that is lower
/// still cannot be raised.
pub fn refuse() {
    set(|most| Some(most.map_or(NONE, |most| most.min(NONE))));
}

/// Undoes [`refuse`]. Best effort.
pub fn allow() {
    set(|most| most);
}

/// Sets the soft limit to what `current` makes of the hard limit; `None` means unlimited.
fn set(current: impl Fn(Option<u64>) -> Option<u64>) {
    let maximum = getrlimit(Resource::Core).maximum;
    let wanted = Rlimit {
        current: current(maximum),
        maximum,
    };
    let _ = setrlimit(Resource::Core, wanted);
}
