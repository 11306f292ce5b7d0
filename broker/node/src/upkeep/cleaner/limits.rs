//! Every bound of the cleaner, with its reason.

use std::time::Duration;

/// Bytes read at once.
pub const READ_BYTES: usize = 512 << 10;

/// Segments' parts of a partition that one row replaces. Their runs leave the index together, under
/// its lock.
pub const ROW_SLICES_MAX: usize = 64;

/// Rows in one commit, for the same reason, and because what they replace is read into memory
/// before: some 250 runs a row, of 200 bytes or so.
pub const COMMIT_ROWS_MAX: usize = 32;

/// Room on the volume that a compaction asks for before it knows how much stays, so that it can
/// begin on a disk that is nearly full. What stays above that is allocated as it is written.
pub const ROOM_BYTES_MAX: u64 = 4 << 20;

/// A pause to keep the pace is taken in pieces, between which the broker can stop.
pub const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Pauses of less are put together.
pub const PAUSE_MIN_MS: u64 = 2;

/// Stack of the cleaner's thread: the deepest is a codec.
pub const STACK_BYTES: usize = 1 << 20;

/// Nice value of the cleaner's thread: it has what the others leave, and a little where they leave
/// nothing.
pub const NICE: i32 = 15;

/// Between something that was deleted and the round that it hurries: more may go meanwhile, and a
/// client that deletes all the time does not keep the cleaner at work.
pub const SHRUNK_PAUSE: Duration = Duration::from_millis(250);
