//! Bounds of the console.

use std::time::Duration;

/// Connections at once: a browser opens up to six, a scraper one. Further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 16;

/// Bytes of a request's head: the smallest limit that hyper allows.
pub const HEAD_BYTES_MAX: usize = 8192;

/// Header lines of a request.
pub const HEADERS_MAX: usize = 64;

/// Time for a request's head, and for an idle connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Lifetime of a connection. Then the client has to connect again.
pub const CONNECTION_LIFE: Duration = Duration::from_mins(1);

/// Time for the last answer after that.
pub const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// Bytes of an update of the device: several times those of the largest image.
pub const UPDATE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of the device's answer: its log in memory has 512 KiB.
pub const DEVICE_ANSWER_BYTES_MAX: u64 = 2 << 20;

/// Time for the next bytes of an update, in either direction.
pub const DEVICE_SILENCE_MAX: Duration = Duration::from_mins(1);

/// Time for the device's answer: it reads all of an update back from a slow card first.
pub const DEVICE_ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

/// Requests to the device at once: an update, and others while it is under way.
pub const DEVICE_REQUESTS_MAX: usize = 2;

/// Pause of accepting when the process is out of file descriptors.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Topics and groups on the page, each: the page is for people.
pub const PAGE_ROWS_MAX: usize = 200;

/// Topics with series of their own in the metrics: each series costs Prometheus memory.
pub const METRIC_TOPICS_MAX: usize = 200;
