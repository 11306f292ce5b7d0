//! Bounds of access rules, with their reasons.

/// Access rules of the broker. An administrator of a fleet has hundreds; each is a record that
/// every start reads.
pub const ACLS_MAX: usize = 50_000;

/// Bytes that all access rules may take up, as [`ACL_BYTES`] and their texts count them: a name or
/// a principal may be thousands of bytes.
pub const ACLS_BYTES_MAX: usize = 32 << 20;

/// What a rule takes up beside its texts: the rule, its id, and its places in the index.
pub const ACL_BYTES: usize = 512;

/// Rules that one request may add or take away (`MAX_RECORDS_PER_USER_OP` of Kafka).
pub const ACLS_PER_REQUEST_MAX: usize = 10_000;

/// Filters of one request to delete rules: the controller looks at each rule for each of them.
pub const ACL_FILTERS_PER_REQUEST_MAX: usize = 1_000;

/// Time in which the audit log says a denial once.
pub const AUDIT_WINDOW_MS: u64 = 60_000;

/// Denials that the audit log says in one window: a client that tries each name it can think of
/// must not fill the disk.
pub const AUDIT_LINES_MAX: usize = 500;

/// Bytes of a `sasl.jaas.config`: a token in it may have some thousands.
pub const JAAS_BYTES_MAX: usize = 64 << 10;

/// Options of a login module: a listener's may name each user in one.
pub const JAAS_OPTIONS_MAX: usize = 1_000;

const _: () = assert!(
    ACLS_MAX * ACL_BYTES <= ACLS_BYTES_MAX,
    "as many rules as are allowed fit where their texts are short"
);
