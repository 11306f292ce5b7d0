//! Core dumps: the memory of the process in a file, with every key and password in it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Less than any core dump takes, so none is written. Linux hands none to a program of
/// `kernel.core_pattern` either when the limit is exactly this (core(5)); 0 would let it.
const NONE: u64 = 1;

/// Lets this process and its children leave no core dumps. Best effort: a limit that is lower still
/// cannot be raised.
pub fn refuse() {
    set(|most| Some(most.map_or(NONE, |most| most.min(NONE))));
}

/// Takes back [`refuse`], as far as the system allows.
pub fn allow() {
    set(|most| most);
}

/// Sets the limit, which may be at most what it is given; `None` is none.
fn set(current: impl Fn(Option<u64>) -> Option<u64>) {
    let maximum = getrlimit(Resource::Core).maximum;
    let wanted = Rlimit {
        current: current(maximum),
        maximum,
    };
    let _ = setrlimit(Resource::Core, wanted);
}
