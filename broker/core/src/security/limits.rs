//! Limits of access rules and credentials, with their reasons.

/// Most access rules of a broker. A fleet has hundreds; each rule is a record that every start
/// replays.
pub const ACLS_MAX: usize = 50_000;

/// Most memory of all access rules: [`ACL_BYTES`] for each, and its names. A resource name or a
/// principal can have thousands of bytes.
pub const ACLS_BYTES_MAX: usize = 32 << 20;

/// Memory of a rule without its names: the rule, its id, and its index entries.
pub const ACL_BYTES: usize = 512;

/// Most rules that one request may add or delete (Kafka's `MAX_RECORDS_PER_USER_OP`).
pub const ACLS_PER_REQUEST_MAX: usize = 10_000;

/// Most filters of one request to delete rules: the controller compares every rule with each
/// filter.
pub const ACL_FILTERS_PER_REQUEST_MAX: usize = 1_000;

/// Time window in which the audit log has the same denial only once.
pub const AUDIT_WINDOW_MS: u64 = 60_000;

/// Most denials that are logged in one window: a client that guesses names must not fill the disk.
pub const AUDIT_LINES_MAX: usize = 500;

/// Bytes of a `sasl.jaas.config`: a token in it may have some thousands.
pub const JAAS_BYTES_MAX: usize = 64 << 10;

/// Options of a login module: a listener's may name each user in one.
pub const JAAS_OPTIONS_MAX: usize = 1_000;

/// Iterations of a SCRAM credential (`ScramMechanism.minIterations`).
pub const SCRAM_ITERATIONS_MIN: i32 = 4_096;

/// See [`SCRAM_ITERATIONS_MIN`] (`ScramCredentialUtils`): a client pays for them at each login.
pub const SCRAM_ITERATIONS_MAX: i32 = 16_384;

/// Iterations that another server may ask of a client of ours: a second of a small processor.
pub const SCRAM_SERVER_ITERATIONS_MAX: i32 = 1_000_000;

/// A message of SCRAM: names and nonces take some hundred bytes.
pub const SCRAM_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// A message of PLAIN: two names and a password.
pub const PLAIN_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// A client may authenticate again once in this time (`SaslServerAuthenticator`).
pub const REAUTHENTICATION_PAUSE_MS: u64 = 1_000;

/// A user's name. The message that brings it has room for the rest.
pub const USER_NAME_BYTES_MAX: usize = 1 << 10;

/// A salt, which a client makes; Kafka's have some 25 bytes.
pub const SCRAM_SALT_BYTES_MAX: usize = 256;

/// SCRAM credentials of the broker: each is a record that every start reads.
pub const CREDENTIALS_MAX: usize = 10_000;

/// Bytes that all credentials may take up, with their users' names.
pub const CREDENTIALS_BYTES_MAX: usize = 8 << 20;

/// What a credential takes up beside its user's name: salt, two keys, its places in the maps.
pub const CREDENTIAL_BYTES: usize = 512;

const _: () = assert!(
    // A comma in a name becomes three letters.
    SCRAM_MESSAGE_BYTES_MAX > 3 * USER_NAME_BYTES_MAX + 512,
    "a user with the longest name can log in"
);

const _: () = assert!(
    CREDENTIALS_MAX * CREDENTIAL_BYTES <= CREDENTIALS_BYTES_MAX,
    "as many credentials as are allowed fit if names are short"
);

/// Delegation tokens of the broker. Jobs of a cluster have hundreds at a time; each is a record
/// that every start reads, and is looked at if a token is renewed.
pub const TOKENS_MAX: usize = 10_000;

/// Bytes that all delegation tokens may take up, as [`TOKEN_BYTES`] and their texts count them.
pub const TOKENS_BYTES_MAX: usize = 8 << 20;

/// Bytes of one delegation token, counted in the same way: its record is far below the limit of a
/// batch.
pub const TOKEN_BYTES_MAX: usize = 256 << 10;

/// What a token takes up beside its texts.
pub const TOKEN_BYTES: usize = 256;

/// Renewers of one delegation token.
pub const TOKEN_RENEWERS_MAX: usize = 100;

const _: () = assert!(
    TOKENS_MAX * 2 * TOKEN_BYTES <= TOKENS_BYTES_MAX,
    "as many tokens as are allowed fit where their texts are short"
);

const _: () = assert!(
    ACLS_MAX * ACL_BYTES <= ACLS_BYTES_MAX,
    "ACLS_MAX rules with short names must fit into ACLS_BYTES_MAX"
);
