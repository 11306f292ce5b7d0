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

/// Bytes that one batch may decompress to, where nobody asks for less: enough for
/// `message.max.bytes` at a ratio of 16, and too little to hurt.
pub const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

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
