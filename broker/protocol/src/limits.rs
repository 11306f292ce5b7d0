//! Every bound on what bytes from outside may make this crate allocate or walk, with its reason.

/// Elements of one array in a message. What Kafka 4.4 allows.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;

/// Tagged fields of one section. What Kafka 4.4 allows.
pub const TAGGED_FIELDS_MAX: usize = 10_000;

/// Bytes of a request other than Produce. A decoded element takes up to some forty times its bytes
/// on the wire, so what only carries names and numbers need not be as large as a batch of records
/// may be. Room for a Metadata request of 100,000 topic names, or a SyncGroup of thousands of
/// members.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 8 << 20;

/// Topics and partitions together in one Produce request: each becomes an entry of some 100 bytes.
pub const PRODUCE_ENTRIES_MAX: usize = 200_000;

/// Bytes that one batch may decompress to where all of them are held, if nobody asks for less:
/// enough for `message.max.bytes` at a ratio of 16, and too little to hurt.
pub const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// Bytes that may come out of each byte of a body which is only passed over, where that is more
/// than [`DECOMPRESSED_BYTES_MAX`]. It bounds time and not memory; telemetry compresses 5 to 20
/// times.
pub const OPENED_RATIO_MAX: usize = 64;

/// Bytes that are decompressed before they are looked at: a block of zstd's, and little enough for
/// the processor's cache.
pub const PIECE_BYTES: usize = 128 << 10;

/// zstd's window, as the exponent of 2, for a body that is passed over: 8 MiB, which RFC 8878 asks
/// every decoder for, and what level 19 needs. A frame that wants more is decompressed into
/// [`DECOMPRESSED_BYTES_MAX`] at once.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The largest blocks of the LZ4 frame format.
pub const LZ4_BLOCK_BYTES_MAX: usize = 4 << 20;

/// Bytes that an opener of bodies takes at most: a whole block of snappy's, or a wide frame of
/// zstd's, beside a window and the codecs' own states.
pub const OPENER_BYTES_MAX: usize = DECOMPRESSED_BYTES_MAX + (1 << ZSTD_WINDOW_LOG_MAX) + (2 << 20);
const _: () = assert!(OPENER_BYTES_MAX >= LZ4_BLOCK_BYTES_MAX + PIECE_BYTES);

/// Bytes of each of an opener's buffers that stay for the next body. The window of zstd's level 3
/// fits, which clients use by default: 2 MiB, if the body's size was not known when it began.
pub const OPENER_BYTES_KEPT: usize = 3 << 20;
const _: () = assert!(OPENER_BYTES_KEPT >= 2 * PIECE_BYTES);

/// Headers of one record. Kafka has no such limit; a record of 1 MiB has room for half a million of
/// empty ones, and none in earnest has a hundred.
pub const RECORD_HEADERS_MAX: usize = 100_000;

/// Record chunks shorter than this are copied into the response: a system call's worth of
/// bookkeeping for each costs more than the copy.
pub const SPLICE_BYTES_MIN: usize = 512;

/// Members of a group in one metadata record. Kafka's `group.max.size` has no bound; a record is at
/// most a MiB.
pub const GROUP_MEMBERS_MAX: usize = 100_000;

/// Replicas, directories and the like of one partition record. sedge writes one; Kafka's can be a
/// few.
pub const REPLICAS_MAX: usize = 1_000;
