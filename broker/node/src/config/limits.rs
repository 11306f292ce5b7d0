//! Bounds and defaults of a link's keys, each with its reason.

use std::time::Duration;

/// Bytes in flight of a link, over all partitions: they are held in memory. With a round trip of
/// 100 ms this allows 20 MB/s.
pub const WINDOW_BYTES: usize = 2 << 20;
/// `max.request.size`, Kafka's default: brokers refuse requests above 100 MB.
pub const REQUEST_BYTES: usize = 1 << 20;
/// `batch.size` of a link: the header of a batch is then a thousandth of it, and five of them fill
/// a link of 64 Mbit/s with a round trip of 40 ms.
pub const LINK_BATCH_BYTES: usize = 64 << 10;
/// On a link of few bytes a second a batch is still worth its header.
pub const LINK_BATCH_BYTES_MIN: usize = 4 << 10;
/// A joined batch is below `max.message.bytes` of an upstream with Kafka's default, 1 MiB.
pub const LINK_BATCH_BYTES_MAX: usize = 512 << 10;
/// `delivery.timeout.ms`: how long a partition may fail before it is held, which the log, the state
/// and the metrics report. Longer than a change of leader takes.
pub const HELD_AFTER: Duration = Duration::from_mins(1);
/// `retry.backoff.ms` and `retry.backoff.max.ms` of a link: longer than a client's, since a link is
/// expected to be down at times, and a thousand devices reconnect together.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(250);
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Time for one call with its retries: short, because the link has a backoff of its own.
pub const API_TIMEOUT: Duration = Duration::from_secs(5);
/// `sync.group.offsets.interval.seconds`, MirrorMaker's default.
pub const GROUPS_SYNCED_EVERY: Duration = Duration::from_mins(1);
/// Topic patterns, or renamed topics, of one link.
pub const PATTERNS_MAX: usize = 256;
/// `transaction.timeout.ms`, Kafka's default for producers: how long consumers upstream wait for a
/// transaction of a link that is cut off. Upstreams allow 15 minutes by default.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);
/// Shorter, and a transaction would be over before a slow network has carried it.
pub const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// `commit.interval.ms` of a link: how long a transaction gathers records. With this, records of a
/// quiet link are visible upstream within 100 ms.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(10);
/// A transaction that takes much longer than it gathers must not reach its timeout.
pub const INTERVALS_PER_TIMEOUT: u32 = 4;
