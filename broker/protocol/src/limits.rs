//! Bounds on what bytes from outside may make this crate allocate or walk, each with its reason.

/// Elements of one array in a message: Kafka 4.4's limit.
pub const ARRAY_ELEMENTS_MAX: usize = 1_000_000;

/// Tagged fields of one section: Kafka 4.4's limit.
pub const TAGGED_FIELDS_MAX: usize = 10_000;

/// Bytes of a request other than Produce. A decoded element takes up to some forty times its bytes
/// on the wire, so a request that carries only names and numbers has a smaller limit than a batch
/// of records. Room for a Metadata request of 100,000 topic names, or a SyncGroup of thousands of
/// members.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 8 << 20;

/// Topics and partitions together in one Produce request. Each becomes an entry of some 100 bytes.
pub const PRODUCE_ENTRIES_MAX: usize = 200_000;

/// Default bound, in bytes, on what one batch may decompress to if all of it is held in memory:
/// enough for `message.max.bytes` at a ratio of 16, and small enough for any board.
pub const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// Bytes that each byte of a body may decompress to if the body is only walked; applies when it
/// allows more than [`DECOMPRESSED_BYTES_MAX`]. Bounds time, not memory. Telemetry compresses 5 to
/// 20 times.
pub const OPENED_RATIO_MAX: usize = 64;

/// Bytes that are decompressed at a time: one block of zstd, small enough for the processor's
/// cache.
pub const PIECE_BYTES: usize = 128 << 10;

/// zstd's window for a body that is only walked, as an exponent of 2: 8 MiB, which RFC 8878 asks
/// every decoder to support, and which level 19 needs. A frame that wants a larger window is
/// decompressed into [`DECOMPRESSED_BYTES_MAX`] at once.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The largest block of the LZ4 frame format.
pub const LZ4_BLOCK_BYTES_MAX: usize = 4 << 20;

/// Largest memory of one opener, in bytes: a whole block of snappy or a wide frame of zstd, plus a
/// window and the codecs' own states.
pub const OPENER_BYTES_MAX: usize = DECOMPRESSED_BYTES_MAX + (1 << ZSTD_WINDOW_LOG_MAX) + (2 << 20);
const _: () = assert!(OPENER_BYTES_MAX >= LZ4_BLOCK_BYTES_MAX + PIECE_BYTES);

/// Bytes of each of an opener's buffers that are kept for the next body. The window of zstd's level
/// 3, which clients use by default, fits: 2 MiB, if the encoder did not know the body's size.
pub const OPENER_BYTES_KEPT: usize = 3 << 20;
const _: () = assert!(OPENER_BYTES_KEPT >= 2 * PIECE_BYTES);

/// Headers of one record. Kafka has no such limit; a record of 1 MiB has room for half a million
/// empty ones, and real records have fewer than a hundred.
pub const RECORD_HEADERS_MAX: usize = 100_000;

/// Renewers of a delegation token in a record that another broker wrote; Kafka has no such limit.
pub const RENEWERS_MAX: usize = 10_000;

/// Record chunks shorter than this are copied into the response: the bookkeeping of a system call
/// for each costs more than the copy.
pub const SPLICE_BYTES_MIN: usize = 512;

/// Members of a group in one metadata record. Kafka's `group.max.size` has no bound; a record has
/// at most 1 MiB.
pub const GROUP_MEMBERS_MAX: usize = 100_000;

/// Protocols of a member of the classic protocol in one record. Real clients offer one to four.
pub const CLASSIC_PROTOCOLS_MAX: usize = 1_000;

/// Replicas, directories and similar arrays of one partition record. sedge writes one element;
/// Kafka writes a few.
pub const REPLICAS_MAX: usize = 1_000;

/// Parts of the entity of a quota: a user, a client id, an address.
pub const QUOTA_ENTITY_PARTS_MAX: usize = 3;

/// Topics of a transaction, and partitions of each, in one record: the markers of a transaction are
/// one append.
pub const TRANSACTION_PARTITIONS_MAX: usize = 10_000;

/// Numbers in one push of a client's metrics: a Java client with all of its metrics has a few
/// hundred, and as many more for each broker or topic that it uses.
pub const OTLP_POINTS_MAX: usize = 10_000;

/// Attributes of one such number, the client's own among them: Kafka defines six.
pub const OTLP_ATTRIBUTES_MAX: usize = 16;
