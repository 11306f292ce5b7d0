//! Times and sequence numbers that wrap.

/// Returns whether `now` is at or after `then`, if they are less than half the range apart.
pub const fn is_at(now: u32, then: u32) -> bool {
    now.wrapping_sub(then) < 1 << 31
}

/// Returns whether sequence `a` is before `b`.
pub const fn is_before(a: u32, b: u32) -> bool {
    !is_at(a, b)
}
