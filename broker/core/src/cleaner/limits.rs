//! Every bound of cleaning, with its reason.

/// Slots that a map of keys begins with: enough for most topics of a device, and 96 KiB.
pub const KEY_SLOTS_MIN: usize = 4096;

/// A map takes so many keys of its slots at most, in percent: Kafka's
/// `log.cleaner.io.buffer.load.factor`.
pub const KEY_LOAD_PERCENT: usize = 90;

/// Aborted transactions remembered in one pass, some 32 bytes each. Where there are more, the pass
/// ends before the next one, and another pass goes on there.
pub const ABORTED_TRANSACTIONS_MAX: usize = 20_000;

/// A segment of which at most this share lives, in percent, is emptied. Half: then what is written
/// again for space to come back is at most as much as comes back.
pub const SPARSE_LIVE_PERCENT: u64 = 50;

/// Segments emptied together: of each partition so many pieces come to lie behind each other.
pub const SPARSE_SEGMENTS_MAX: usize = 16;

/// A segment of at most this share of the usual size is small, whatever lives in it…
pub const SMALL_SHARE: u64 = 8;

/// …and so many small ones are put together into one. Fewer are not worth writing them again.
pub const SMALL_SEGMENTS_MIN: usize = 8;

/// Slices moved together, some 80 bytes each while they are: fewer segments are emptied at once
/// where they hold more.
pub const SPARSE_SLICES_MAX: u64 = 20_000;
