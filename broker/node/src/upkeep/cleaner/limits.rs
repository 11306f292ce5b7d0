//! Bounds of the cleaner, each with its reason.

use std::time::Duration;

/// Bytes read at once.
pub const READ_BYTES: usize = 512 << 10;

/// Slices of a partition that one row replaces. Their runs are removed from the index together,
/// under its lock.
pub const ROW_SLICES_MAX: usize = 64;

/// Rows in one commit, for the same reason, and because what they replace is read into memory
/// first: some 250 runs a row, of about 200 bytes.
pub const COMMIT_ROWS_MAX: usize = 32;

/// Room on the volume that a compaction asks for before it knows how much stays, so that it can
/// begin on a nearly full disk. More is allocated as it is written.
pub const ROOM_BYTES_MAX: u64 = 4 << 20;

/// Longest single pause for the pace; longer ones are split, so that the broker can stop in
/// between.
pub const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Shorter pauses are accumulated.
pub const PAUSE_MIN_MS: u64 = 2;

/// Stack of the cleaner's thread: a codec needs most.
pub const STACK_BYTES: usize = 1 << 20;

/// Nice value of the cleaner's thread: it gets the time that others leave, and a little if they
/// leave none.
pub const NICE: i32 = 15;

/// Pause between a deletion and the round that it triggers: more deletions may follow, and a client
/// that deletes all the time must not keep the cleaner busy.
pub const SHRUNK_PAUSE: Duration = Duration::from_millis(250);
