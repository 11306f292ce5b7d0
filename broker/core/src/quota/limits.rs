//! Bounds of quotas, with their reasons.

/// Most entities with quotas. A fleet has at most one for each device or user; every start reads
/// the records of each.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;

/// Most memory of all quotas: [`QUOTA_ENTITY_BYTES`] for each entity, and its names. A name can
/// have thousands of bytes.
pub const QUOTAS_BYTES_MAX: usize = 8 << 20;

/// Memory of an entity without its names: its quotas and its entry in the table.
pub const QUOTA_ENTITY_BYTES: usize = 256;

/// Most quotas that one request may change (Kafka's `MAX_RECORDS_PER_USER_OP`).
pub const QUOTAS_PER_REQUEST_MAX: usize = 10_000;

/// Most meters of clients: each client id gets one, so a flood of client ids must be bounded. Above
/// this number, the least recently used meters are dropped.
pub const METERS_MAX: usize = 10_000;

/// Most memory of all meters: [`METER_BYTES`] for each, and the clients' names.
pub const METERS_BYTES_MAX: usize = 4 << 20;

/// Memory of a meter without its names.
pub const METER_BYTES: usize = 128;

/// Time after which an idle meter is dropped (Kafka's INACTIVE_SENSOR_EXPIRATION_TIME_SECONDS).
pub const METER_IDLE_MS: u64 = 3_600_000;

/// Interval of the search for idle meters.
pub const METERS_SWEPT_EVERY_MS: u64 = 60_000;

/// Longest time for which the policy of a plugin throttles a client. It is `request.timeout.ms` of
/// Kafka's clients: one that is muted for longer, and does not expect that, takes the broker for
/// dead and connects anew.
pub const POLICY_THROTTLE_MS_MAX: u64 = 30_000;

/// Failures of a policy until it is asked less often. Some may come from requests that it did not
/// expect; each costs at most the policy's deadline.
pub const POLICY_FAILURES_MAX: u32 = 5;

/// Interval at which a policy that keeps failing is asked. With a deadline of 20 ms, that is 0.2 %
/// of the time of one thread.
pub const POLICY_RETRIED_EVERY_MS: u64 = 10_000;

/// Most topics that a policy is told of. Their names have 249 bytes at most, so that no request
/// makes a policy run out of memory.
pub const POLICY_TOPICS_MAX: usize = 1_000;

const _: () = assert!(
    QUOTA_ENTITIES_MAX * QUOTA_ENTITY_BYTES <= QUOTAS_BYTES_MAX,
    "QUOTA_ENTITIES_MAX entities with short names must fit into QUOTAS_BYTES_MAX"
);
const _: () = assert!(
    METERS_MAX * METER_BYTES <= METERS_BYTES_MAX,
    "METERS_MAX meters with short names must fit into METERS_BYTES_MAX"
);
