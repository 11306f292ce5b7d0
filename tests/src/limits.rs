//! Time limits of the tests. Only a failing test waits this long.

use std::time::Duration;

/// Start of sedge: well under a second, but a loaded machine is slow.
pub const SEDGE_READY: Duration = Duration::from_secs(30);
/// Start of Kafka: two JVM starts and a controller election on a busy two-core machine.
pub const KAFKA_READY: Duration = Duration::from_mins(2);
/// A controlled shutdown.
pub const SHUTDOWN: Duration = Duration::from_mins(1);
/// One command of a client program or one of Kafka's tools.
pub const COMMAND: Duration = Duration::from_mins(2);
/// A condition that a running program should reach: an assignment, some records.
pub const CONDITION: Duration = Duration::from_secs(90);
/// A reply to one request over a raw socket.
pub const REPLY: Duration = Duration::from_secs(30);
/// An operation of Apache Kafka with tens of thousands of partitions: a start after a kill took 130
/// s with 10,000.
pub const MANY_PARTITIONS: Duration = Duration::from_mins(15);
/// Building the client programs.
pub const BUILD: Duration = Duration::from_mins(10);
/// Lines of a log shown when a wait fails.
pub const TAIL_LINES: usize = 40;
/// Interval at which a condition without notification is checked.
pub const POLL: Duration = Duration::from_millis(20);
