//! Every bound of the log and the metadata, with its reason. Groups and fetches have their own
//! beside them.

/// Batches remembered of a producer: as many as it may have in flight (KIP-98).
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Idempotent producers remembered in a partition. Kafka has no such bound and runs out of memory
/// instead; on a device a partition has a handful, and who is forgotten may begin anywhere.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 1_000;

/// Records of a refused batch that the answer names: a client tells its application of each. A
/// batch has up to some 100,000 records, whose errors would take ten times its own bytes.
pub const RECORD_ERRORS_MAX: usize = 1_000;

/// Partitions of one topic: what one metadata request can still name.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;

/// Topics of the broker.
pub const TOPICS_MAX: usize = 100_000;

/// Partitions of the broker. Each takes some hundred bytes of metadata log, which every start
/// reads.
pub const PARTITIONS_MAX: usize = 1_000_000;

/// Producer ids that are left out when the record of those handed out may be lost: more than any
/// broker hands out in its life, and little of the 63 bits that there are.
pub const SALVAGED_PRODUCER_IDS_SKIPPED: i64 = 1 << 40;
