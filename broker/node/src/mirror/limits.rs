//! Bounds of a link, with their reasons.

use std::time::Duration;

/// Bytes of one read of a partition.
pub const READ_BYTES: usize = 256 << 10;
/// How often cursors are committed. What was acknowledged since is sent again after a crash.
pub const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often the lag and its bytes are measured.
pub const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How often a topic that the upstream does not take is tried again.
pub const RECHECK_EVERY: Duration = Duration::from_secs(30);
/// How long a shutdown waits for the last commit of cursors.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long the cursor of a topic that is gone is kept, by which a topic of the same name is known
/// for one that was created again. Kafka's default for offsets of groups that are gone.
pub const GONE_TOPIC_KEPT: Duration = Duration::from_hours(7 * 24);
/// Partitions that are held, and topics that wait, of which a link says why: the others are
/// counted.
pub const HELD_SHOWN_MAX: usize = 256;
/// Partitions of which one look at the link logs that they are held.
pub const HELD_LOGGED_MAX: usize = 16;
/// Answers that wait to be looked at: more than a link can have in flight.
pub const EVENTS_MAX: usize = 1024;
/// Partitions whose first batch is read to tell how old what waits is, where the plan does not
/// know.
pub const OLDEST_READS_MAX: usize = 16;
