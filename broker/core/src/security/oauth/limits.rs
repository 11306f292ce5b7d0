//! Bounds of tokens and of the keys that verify them.

/// Longest token, in bytes. A token that lists its user's groups has about 10,000.
pub const TOKEN_BYTES_MAX: usize = 32 << 10;

/// Longest document of keys, in bytes. A key with its certificate chain has about 10,000.
pub const JWKS_BYTES_MAX: usize = 1 << 20;

/// Most keys of a document. An issuer has two or three at a time, and rotates them.
pub const KEYS_MAX: usize = 100;

/// Most keys that are tried for a token that does not name its key: each costs a verification.
pub const KEYS_TRIED_MAX: usize = 4;

/// Length of an RSA modulus in bytes: 2,048 to 8,192 bits.
pub const RSA_MODULUS_BYTES: core::ops::RangeInclusive<usize> = 256..=1024;

/// Longest RSA exponent, in bytes; usually it is 65,537.
pub const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// Longest name of a principal, in bytes: access rules and log lines contain it.
pub const NAME_BYTES_MAX: usize = 1 << 10;

const _: () = assert!(
    KEYS_MAX * (*RSA_MODULUS_BYTES.end() + RSA_EXPONENT_BYTES_MAX) <= JWKS_BYTES_MAX,
    "as many keys as are kept fit a document"
);
