//! Bounds of cleaning, each with its reason.

/// Slots that a map of keys starts with: enough for most topics of a device, and 96 KiB.
pub const KEY_SLOTS_MIN: usize = 4096;

/// Largest share of its slots that a map fills, in percent: Kafka's
/// `log.cleaner.io.buffer.load.factor`.
pub const KEY_LOAD_PERCENT: usize = 90;

/// Aborted transactions remembered in one pass, some 32 bytes each. If there are more, the pass
/// ends before the next one, and another pass continues from there.
pub const ABORTED_TRANSACTIONS_MAX: usize = 20_000;

/// A segment is emptied if at most this share of it is live, in percent. At half, the bytes written
/// again are at most the bytes freed.
pub const SPARSE_LIVE_PERCENT: u64 = 50;

/// Segments emptied together. It is also the number of pieces that each partition's part of them is
/// merged from.
pub const SPARSE_SEGMENTS_MAX: usize = 16;

/// A segment of at most one part in this many of the usual size is small, whatever share of it is
/// live.
pub const SMALL_SHARE: u64 = 8;

/// Number of small segments that are merged into one. Fewer are not worth the writes.
pub const SMALL_SEGMENTS_MIN: usize = 8;

/// Slices moved together, some 80 bytes of memory each. If the segments hold more, fewer of them
/// are emptied at once.
pub const SPARSE_SLICES_MAX: u64 = 20_000;
