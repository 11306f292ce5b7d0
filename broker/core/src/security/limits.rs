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

/// Longest `sasl.jaas.config`, in bytes: a token in it may have some thousands.
pub const JAAS_BYTES_MAX: usize = 64 << 10;

/// Most options of a login module: a listener may have one for each user.
pub const JAAS_OPTIONS_MAX: usize = 1_000;

/// Fewest iterations of a SCRAM credential (`ScramMechanism.minIterations`).
pub const SCRAM_ITERATIONS_MIN: i32 = 4_096;

/// Most iterations of a SCRAM credential (`ScramCredentialUtils`): clients compute them at each
/// login.
pub const SCRAM_ITERATIONS_MAX: i32 = 16_384;

/// Most iterations that a server may ask of sedge's own client: a second of a small processor.
pub const SCRAM_SERVER_ITERATIONS_MAX: i32 = 1_000_000;

/// Longest message of SCRAM, in bytes: names and nonces take some hundred.
pub const SCRAM_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Longest message of PLAIN, in bytes: two names and a password.
pub const PLAIN_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Shortest time between two authentications on a connection (`SaslServerAuthenticator`).
pub const REAUTHENTICATION_PAUSE_MS: u64 = 1_000;

/// Longest name of a user, in bytes. The message with it has room for the rest.
pub const USER_NAME_BYTES_MAX: usize = 1 << 10;

/// Longest salt, in bytes, which a client chooses; Kafka's have some 25.
pub const SCRAM_SALT_BYTES_MAX: usize = 256;

/// Most SCRAM credentials of a broker: every start reads the record of each.
pub const CREDENTIALS_MAX: usize = 10_000;

/// Most memory of all credentials: [`CREDENTIAL_BYTES`] for each, and the user's name.
pub const CREDENTIALS_BYTES_MAX: usize = 8 << 20;

/// Memory of a credential without its user's name: salt, two keys, and its entries in the maps.
pub const CREDENTIAL_BYTES: usize = 512;

const _: () = assert!(
    // A comma in a name becomes three letters.
    SCRAM_MESSAGE_BYTES_MAX > 3 * USER_NAME_BYTES_MAX + 512,
    "a message must have room for the longest name"
);

const _: () = assert!(
    CREDENTIALS_MAX * CREDENTIAL_BYTES <= CREDENTIALS_BYTES_MAX,
    "CREDENTIALS_MAX credentials with short names must fit into CREDENTIALS_BYTES_MAX"
);

/// Most delegation tokens of a broker. The jobs of a cluster use hundreds at a time. Every start
/// reads the record of each, and renewing a token searches all of them.
pub const TOKENS_MAX: usize = 10_000;

/// Most memory of all delegation tokens: [`TOKEN_BYTES`] for each, and its strings.
pub const TOKENS_BYTES_MAX: usize = 8 << 20;

/// Most memory of one delegation token, counted in the same way: its record is far below the limit
/// of a batch.
pub const TOKEN_BYTES_MAX: usize = 256 << 10;

/// Memory of a token without its strings.
pub const TOKEN_BYTES: usize = 256;

/// Most renewers of one delegation token.
pub const TOKEN_RENEWERS_MAX: usize = 100;

const _: () = assert!(
    TOKENS_MAX * 2 * TOKEN_BYTES <= TOKENS_BYTES_MAX,
    "as many tokens as are allowed fit where their texts are short"
);

const _: () = assert!(
    ACLS_MAX * ACL_BYTES <= ACLS_BYTES_MAX,
    "ACLS_MAX rules with short names must fit into ACLS_BYTES_MAX"
);
