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

const _: () = assert!(
    QUOTA_ENTITIES_MAX * QUOTA_ENTITY_BYTES <= QUOTAS_BYTES_MAX,
    "QUOTA_ENTITIES_MAX entities with short names must fit into QUOTAS_BYTES_MAX"
);
const _: () = assert!(
    METERS_MAX * METER_BYTES <= METERS_BYTES_MAX,
    "METERS_MAX meters with short names must fit into METERS_BYTES_MAX"
);
