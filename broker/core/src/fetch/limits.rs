//! What fetch sessions and parked fetches may hold, each with its reason.

/// Partitions that one session may hold: as many as the broker may have.
pub const SESSION_PARTITIONS_MAX: usize = 100_000;

/// Partitions over all sessions, about 120 bytes each. Clients beyond that are served without a
/// session.
pub const SESSIONS_PARTITIONS_MAX: usize = 200_000;

/// How long a session is kept from eviction after it was made, and after its last use: Kafka's
/// `min.incremental.fetch.session.eviction.ms`.
pub const SESSION_EVICTION_MS: u64 = 120_000;

/// Fetches parked at once. One is a few hundred bytes; a client has one a connection.
pub const PARKED_MAX: usize = 20_000;

/// (fetch, partition) pairs watched at once, about 60 bytes each. A fetch beyond that is answered
/// at once with what there is.
pub const WATCHES_MAX: usize = 400_000;
