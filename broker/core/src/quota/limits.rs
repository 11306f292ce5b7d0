//! Bounds of quotas, with their reasons.

/// Entities with quotas. A fleet has one for each device or user at most; each is some records that
/// every start reads.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;

/// Bytes that all quotas may take up, as [`QUOTA_ENTITY_BYTES`] and the names count them: a name
/// may be thousands of bytes.
pub const QUOTAS_BYTES_MAX: usize = 8 << 20;

/// What an entity takes up beside its names: its quotas and its place in the table.
pub const QUOTA_ENTITY_BYTES: usize = 256;

/// Quotas that one request may change (`MAX_RECORDS_PER_USER_OP` of Kafka).
pub const QUOTAS_PER_REQUEST_MAX: usize = 10_000;

/// Meters of clients: a flood of client ids makes one for each. Above it, those that were used
/// least recently are forgotten.
pub const METERS_MAX: usize = 10_000;

/// Bytes that meters may take up, as [`METER_BYTES`] and the clients' names count them.
pub const METERS_BYTES_MAX: usize = 4 << 20;

/// What a meter takes up beside its names.
pub const METER_BYTES: usize = 128;

/// Time after which an unused meter is forgotten (Kafka's INACTIVE_SENSOR_EXPIRATION_TIME_SECONDS).
pub const METER_IDLE_MS: u64 = 3_600_000;

/// How often unused meters are looked for.
pub const METERS_SWEPT_EVERY_MS: u64 = 60_000;

const _: () = assert!(
    QUOTA_ENTITIES_MAX * QUOTA_ENTITY_BYTES <= QUOTAS_BYTES_MAX,
    "as many entities as are allowed fit where their names are short"
);
const _: () = assert!(
    METERS_MAX * METER_BYTES <= METERS_BYTES_MAX,
    "as many meters as are allowed fit where the names are short"
);
