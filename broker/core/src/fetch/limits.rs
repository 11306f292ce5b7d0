//! Bounds on fetch sessions and parked fetches, each with its reason.

/// Partitions that one session may hold: as many as the broker may have.
pub const SESSION_PARTITIONS_MAX: usize = 100_000;

/// Partitions over all sessions, about 120 bytes each. Further clients are served without a
/// session.
pub const SESSIONS_PARTITIONS_MAX: usize = 200_000;

/// How long a session is protected from eviction, both after its creation and after its last use:
/// Kafka's `min.incremental.fetch.session.eviction.ms`.
pub const SESSION_EVICTION_MS: u64 = 120_000;

/// Fetches parked at once. Each takes a few hundred bytes; a connection has one at a time.
pub const PARKED_MAX: usize = 20_000;

/// (fetch, partition) pairs watched at once, about 60 bytes each. A fetch above that is answered at
/// once with the data that there is.
pub const WATCHES_MAX: usize = 400_000;
