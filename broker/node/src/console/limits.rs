//! Bounds of the console.

use std::time::Duration;

/// Connections at once: a browser takes up to six, a scraper one. More are closed at once.
pub const CONNECTIONS_MAX: usize = 16;

/// Bytes of a request's head. It is hyper's smallest.
pub const HEAD_BYTES_MAX: usize = 8192;

/// Header lines of a request.
pub const HEADERS_MAX: usize = 64;

/// How long a request's head may take, and how long a connection may idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection lives. After it, a client connects again.
pub const CONNECTION_LIFE: Duration = Duration::from_mins(1);

/// How long the last answer may take after that.
pub const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// How long accepting rests when the process is out of file descriptors.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Topics and groups on the page, each. A page is for eyes.
pub const PAGE_ROWS_MAX: usize = 200;

/// Topics with series of their own in the metrics: series are what a Prometheus pays for.
pub const METRIC_TOPICS_MAX: usize = 200;
