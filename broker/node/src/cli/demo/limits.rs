//! Bounds of the demo.

use std::time::Duration;

/// Time for a broker to become ready: a loaded machine is slow.
pub const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Time for one call to a broker, with its retries.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Time for the filter to be compiled.
pub const FILTER_TIME_MAX: Duration = Duration::from_mins(2);

/// Time for the link to copy the remaining readings.
pub const SETTLE_TIME_MAX: Duration = Duration::from_mins(1);

/// How often the link's progress is checked.
pub const SETTLE_INTERVAL: Duration = Duration::from_millis(200);

/// Time for a broker to shut down before it is killed.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Lines of a broker's log that are shown when it fails.
pub const LOG_LINES: usize = 5;

/// Interval between two batches of a partition.
pub const BATCH_INTERVAL: Duration = Duration::from_millis(50);
