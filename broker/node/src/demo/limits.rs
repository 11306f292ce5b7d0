//! Bounds of the demo.

use std::time::Duration;

/// How long a broker may take to be ready: a loaded machine is slow.
pub const START_TIME_MAX: Duration = Duration::from_secs(30);

/// How long one call to a broker is tried.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long the filter may take until it is compiled.
pub const FILTER_TIME_MAX: Duration = Duration::from_mins(2);

/// How long the link may take to copy what is left.
pub const SETTLE_TIME_MAX: Duration = Duration::from_mins(1);

/// How often it is looked whether it has.
pub const SETTLE_INTERVAL: Duration = Duration::from_millis(200);

/// How long a broker may take to shut down before it is killed.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Largest answer of a console.
pub const SCRAPE_BYTES_MAX: u64 = 4 << 20;

/// How long a console may take to answer.
pub const SCRAPE_TIME_MAX: Duration = Duration::from_secs(10);

/// Lines of a broker's log that are shown when it fails.
pub const LOG_LINES: usize = 5;

/// How often each partition is sent a batch.
pub const BATCH_INTERVAL: Duration = Duration::from_millis(50);
