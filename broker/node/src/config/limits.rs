//! Bounds and defaults of a link's keys, with their reasons.

use std::time::Duration;

/// Bytes in flight of a link, all partitions together: they are held in memory. At 100 ms of round
/// trip it allows 20 MB/s.
pub const WINDOW_BYTES: usize = 2 << 20;
/// `max.request.size`, Kafka's default: brokers refuse requests over 100 MB, not over this.
pub const REQUEST_BYTES: usize = 1 << 20;
/// `delivery.timeout.ms`: how long a partition may fail before it is held, which is said in the
/// log, the state and the metrics. Longer than a change of leaders takes.
pub const HELD_AFTER: Duration = Duration::from_mins(1);
/// `retry.backoff.ms` and `retry.backoff.max.ms` of a link: longer than a client's, since a link
/// that is down is expected and a thousand devices come back together.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(250);
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// For one call with its retries: short, because the link has a backoff of its own.
pub const API_TIMEOUT: Duration = Duration::from_secs(5);
/// Patterns of one link.
pub const PATTERNS_MAX: usize = 256;
