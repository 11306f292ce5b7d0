//! Bounds and defaults of a link's keys, each with its reason.

use std::time::Duration;

/// Bytes in flight of a link, over all partitions: they are held in memory. With a round trip of
/// 100 ms this allows 20 MB/s.
pub const WINDOW_BYTES: usize = 2 << 20;
/// `max.request.size`, Kafka's default: brokers refuse requests above 100 MB.
pub const REQUEST_BYTES: usize = 1 << 20;
/// `delivery.timeout.ms`: how long a partition may fail before it is held, which the log, the state
/// and the metrics report. Longer than a change of leader takes.
pub const HELD_AFTER: Duration = Duration::from_mins(1);
/// `retry.backoff.ms` and `retry.backoff.max.ms` of a link: longer than a client's, since a link is
/// expected to be down at times, and a thousand devices reconnect together.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(250);
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Time for one call with its retries: short, because the link has a backoff of its own.
pub const API_TIMEOUT: Duration = Duration::from_secs(5);
/// Topic patterns, or renamed topics, of one link.
pub const PATTERNS_MAX: usize = 256;
