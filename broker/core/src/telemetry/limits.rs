//! Bounds of client telemetry.

/// Clients that are remembered, some hundred bytes each; a further one displaces the one that has
/// been silent for longest, which then counts as new.
pub const CLIENTS_MAX: usize = 4_096;

/// Kafka's default of `telemetry.max.bytes`: bytes of one push, as compressed.
pub const TELEMETRY_BYTES_MAX: usize = 1 << 20;

/// Intervals after which the numbers of a silent client are forgotten.
pub const INTERVALS_KEPT: u64 = 3;
