//! Bounds of the client, each with its reason.

use std::time::Duration;

/// Largest answer (`receive.message.max.bytes`), in bytes; a larger one closes the connection.
/// Metadata of a cluster with 100,000 partitions is about 4 MB.
pub const RESPONSE_BYTES_MAX: usize = 32 << 20;
/// Memory allocated at once for an answer, whatever its length field says; it grows with the bytes
/// received.
pub const RESPONSE_CHUNK_BYTES: usize = 64 << 10;
/// Requests in flight on one connection (`max.in.flight.requests.per.connection`): an idempotent
/// producer may have five unanswered batches per partition, because brokers remember five.
pub const IN_FLIGHT_MAX: usize = 5;
/// `request.timeout.ms`, Kafka's default.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// `default.api.timeout.ms`, for a call with all retries; Kafka's default.
pub const API_TIMEOUT: Duration = Duration::from_mins(1);
/// `socket.connection.setup.timeout.ms`, Kafka's default; includes the handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a proxy's answer before the tunnel begins; proxies add some headers of their own.
pub const PROXY_HEAD_BYTES_MAX: usize = 8 << 10;
/// Messages that the client sends in one login: no mechanism has more than two.
pub const LOGIN_MESSAGES_MAX: usize = 4;
/// Random bytes in a SCRAM nonce.
pub const NONCE_BYTES: usize = 24;
/// `metadata.max.age.ms`; Kafka's default is five minutes.
pub const METADATA_MAX_AGE: Duration = Duration::from_mins(5);
/// `retry.backoff.ms` and `retry.backoff.max.ms`, Kafka's defaults.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(100);
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Bootstrap servers that a configuration may list.
pub const BOOTSTRAP_SERVERS_MAX: usize = 64;
/// Backoff of requests about a transaction while the one before it is being completed, which takes
/// milliseconds. Kafka's clients wait 20 ms before they begin the next one.
pub const TRANSACTION_BACKOFF: Duration = Duration::from_millis(4);
pub const TRANSACTION_BACKOFF_MAX: Duration = Duration::from_millis(250);
/// The longest wait for the transaction before: a longer one would be added to the time until
/// records are visible.
pub const MARKERS_BACKOFF_MAX: Duration = Duration::from_millis(20);
