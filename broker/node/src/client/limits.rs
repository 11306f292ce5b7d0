//! What the client may take, and why.

use std::time::Duration;

/// Answers of more bytes than this close the connection (`receive.message.max.bytes`). Metadata of
/// a cluster with 100,000 partitions is about 4 MB.
pub const RESPONSE_BYTES_MAX: usize = 32 << 20;
/// Memory taken at once for an answer, whatever its length field says; it grows with what arrives.
pub const RESPONSE_CHUNK_BYTES: usize = 64 << 10;
/// Requests in flight on one connection (`max.in.flight.requests.per.connection`): an idempotent
/// producer may have five batches a partition unanswered, because brokers remember five.
pub const IN_FLIGHT_MAX: usize = 5;
/// `request.timeout.ms`, Kafka's default.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// `default.api.timeout.ms`: with all retries. Kafka's default.
pub const API_TIMEOUT: Duration = Duration::from_mins(1);
/// `socket.connection.setup.timeout.ms`, Kafka's default: also covers the handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `metadata.max.age.ms` is five minutes in Kafka.
pub const METADATA_MAX_AGE: Duration = Duration::from_mins(5);
/// `retry.backoff.ms` and `retry.backoff.max.ms`, Kafka's defaults.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(100);
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Bootstrap servers that a configuration may list.
pub const BOOTSTRAP_SERVERS_MAX: usize = 64;
