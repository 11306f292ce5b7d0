//! Bounds of the log, the metadata and the committed offsets, each with its reason. Groups and
//! fetches have their own `limits.rs`.

/// Batches remembered per producer: as many as a producer may have in flight (KIP-98).
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Idempotent producers remembered per partition. Kafka has no such bound and runs out of memory
/// instead. A partition on a device has a handful of producers; a forgotten one may begin at any
/// sequence.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 1_000;

/// Records of a refused batch that the answer names: clients report each one to the application. A
/// batch has up to some 100,000 records, whose errors would take ten times the batch's own bytes.
pub const RECORD_ERRORS_MAX: usize = 1_000;

/// Partitions of one topic: as many as one metadata request can name.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;

/// Topics of the broker.
pub const TOPICS_MAX: usize = 100_000;

/// Partitions of the broker. Each takes some hundred bytes of the metadata log, which every start
/// reads.
pub const PARTITIONS_MAX: usize = 1_000_000;

/// Producer ids that are skipped if the record of those handed out may be lost: more than any
/// broker hands out in its life, and a small part of the 63 bits.
pub const SALVAGED_PRODUCER_IDS_SKIPPED: i64 = 1 << 40;

/// A wall clock before this (2020-01-01) is that of a device whose clock has not been set yet.
pub const CLOCK_PLAUSIBLE_FROM_MS: i64 = 1_577_836_800_000;

/// Committed offsets kept at once, over all groups.
pub const OFFSETS_MAX: usize = 200_000;

/// Bytes that all committed offsets may take, as counted by the costs below: metadata and a group's
/// name may be thousands of bytes each. Bounds memory, the view, and what a trim writes.
pub const OFFSETS_BYTES_MAX: usize = 32 << 20;

/// Cost of an offset, in bytes, on top of its metadata and the names in its record's key.
pub const OFFSET_BYTES: usize = 128;

/// Extra cost of a group's first offset in a topic, in bytes.
pub const OFFSET_TOPIC_BYTES: usize = 256;

/// Extra cost of a group's first offset, in bytes.
pub const OFFSET_GROUP_BYTES: usize = 768;

const _: () = assert!(
    OFFSETS_MAX * OFFSET_BYTES <= OFFSETS_BYTES_MAX,
    "as many offsets as are allowed fit where names are short and there is no metadata"
);

/// Bytes after which a batch of a metadata snapshot ends. Many records share one header, and one
/// damaged batch loses few records when partial copies are combined.
pub const SNAPSHOT_BATCH_BYTES: usize = 4 << 10;

/// Records of such a batch, for the same reason.
pub const SNAPSHOT_BATCH_RECORDS_MAX: i32 = 1_000;

/// Leader epochs remembered while headers are replayed: as many partitions as a node has at most,
/// in some MiB that are freed when the broker is ready.
pub const REPLAYED_EPOCHS_MAX: usize = 1 << 17;

/// Features with a level in the metadata, those of other builds among them. Kafka has six.
pub const FEATURES_MAX: usize = 64;

/// Mirror links made at run time, which are configurations of groups: each has a task, and
/// connections to its upstream.
pub const LINKS_CONFIGURED_MAX: usize = 64;

/// Other groups with configurations of their own. The metadata holds them, also when the group is
/// gone.
pub const GROUPS_CONFIGURED_MAX: usize = 1_000;

/// Subscriptions to clients' metrics. Each client is compared with all of them when it asks.
pub const CLIENT_METRICS_MAX: usize = 64;

/// Keys of one group: a link has about forty, and the settings of its filters.
pub const GROUP_KEYS_MAX: usize = 256;
