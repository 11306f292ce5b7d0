//! Bounds of a link, each with its reason.

use std::time::Duration;

/// Bytes of one read of a partition.
pub const READ_BYTES: usize = 256 << 10;
/// Bytes of a partition that are read into the page cache if they are not in it: the next reads are
/// then done at once, without a thread that may wait.
pub const READ_AHEAD_BYTES: usize = 2 << 20;
/// Bytes that are read from the page cache before other tasks of the thread have their turn: some
/// hundred microseconds.
pub const READ_AT_ONCE_BYTES: usize = 1 << 20;
/// Bytes of batches that are joined or compressed at once. A hand-over to another thread and back
/// takes about as long.
pub const PACKED_AT_ONCE_BYTES: usize = 16 << 10;
/// How often cursors are committed. Records acknowledged since are sent again after a crash.
pub const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long a transaction stays open while a link catches up: the longer, the less is spent on
/// commits, and the more is sent again after a failure.
pub const TRANSACTION_OPEN_MIN: Duration = Duration::from_millis(500);
pub const TRANSACTION_OPEN_MAX: Duration = Duration::from_secs(10);
/// A transaction takes at most this part of its timeout until it is committed.
pub const OPEN_PER_TIMEOUT: u32 = 4;
/// Bytes of one transaction; for the same reason.
pub const TRANSACTION_BYTES: usize = 64 << 20;
/// Partitions that one request adds to a transaction: 64 KiB of names of usual length.
pub const TRANSACTION_PARTITIONS: usize = 1000;
/// How often a fenced link tries to take over its transactional id: rarely, because it would fence
/// the other one in turn.
pub const FENCED_RETRY: Duration = Duration::from_mins(5);
/// How often a link writes which offsets its records got upstream. A crash leaves out what is not
/// written yet.
pub const OFFSETS_WRITTEN_EVERY: Duration = Duration::from_secs(5);
/// How often blocks of such offsets are looked for whose records are deleted: all are read for it.
pub const OFFSETS_PRUNED_EVERY: Duration = Duration::from_hours(1);
/// Groups that a link keeps in step; each costs up to two requests each time.
pub const GROUPS_SYNCED_MAX: usize = 1000;
/// How long a link may have records under way without progress: twice the time limit of a request.
pub const STALLED_AFTER: Duration = Duration::from_mins(1);
/// How often the lag and its bytes are measured.
pub const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How often a topic that the upstream refuses is tried again.
pub const RECHECK_EVERY: Duration = Duration::from_secs(30);
/// How long a shutdown waits for the last commit of cursors.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long the cursor of a deleted topic is kept; until then a topic of the same name is
/// recognised as created again. Kafka's default for offsets of deleted groups.
pub const GONE_TOPIC_KEPT: Duration = Duration::from_hours(7 * 24);
/// What was spent of a budget is committed each time when another part of it was spent: some
/// hundred bytes of flash each time, and a crash forgets less than a two-hundredth.
pub const SPENT_PART: u64 = 256;
/// Held partitions and waiting topics whose reasons a link shows; the others are counted.
pub const HELD_SHOWN_MAX: usize = 256;
/// Held partitions that are logged per check of the link.
pub const HELD_LOGGED_MAX: usize = 16;
/// Answers that wait to be processed: more than a link can have in flight.
pub const EVENTS_MAX: usize = 1024;
/// Partitions whose first batch is read to compute the lag's age, if the plan does not know it.
pub const OLDEST_READS_MAX: usize = 16;
/// Different errors of an upstream that are logged until it answers; several bootstrap servers may
/// fail in different ways.
pub const ERRORS_TOLD_MAX: usize = 8;
/// Cursors of partitions without a twin upstream that the metadata of one offset has: some 25 bytes
/// each, of Kafka's `offset.metadata.max.bytes` of 4096.
pub const CURSORS_TOGETHER_MAX: i32 = 100;
/// Topics that are marked with their origins in one request.
pub const MARKED_TOGETHER_MAX: usize = 100;
/// Topics whose configuration is asked for in one request.
pub const DESCRIBED_TOGETHER_MAX: usize = 100;
/// Topics in a plan; the others are counted. Each costs up to three requests.
pub const PLANNED_TOPICS_MAX: usize = 256;
/// How long the upstream may keep a fetch of a pull link waiting for records (`fetch.max.wait.ms`,
/// Kafka's default).
pub const FETCH_WAIT: Duration = Duration::from_millis(500);
/// Bytes that an answer to a fetch may have: what a pull link holds for each upstream broker. One
/// batch that is larger comes alone.
pub const FETCH_BYTES: usize = 4 << 20;
/// The same for one partition (`max.partition.fetch.bytes`, Kafka's default).
pub const FETCH_PARTITION_BYTES: usize = 1 << 20;
/// Partitions of one fetch. The answer has some 50 bytes for each of them, also without records.
pub const FETCHED_PARTITIONS_MAX: usize = 10_000;
/// How long a partition of a pull link waits after its first failure.
pub const PULL_BACKOFF: Duration = Duration::from_millis(500);
