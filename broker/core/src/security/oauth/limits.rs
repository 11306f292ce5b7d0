//! Bounds of tokens and of the keys that verify them.

/// Bytes of a token. One that lists the groups of its user has about 10,000.
pub const TOKEN_BYTES_MAX: usize = 32 << 10;

/// Bytes of the keys' document. A key with its certificate chain has about 10,000.
pub const JWKS_BYTES_MAX: usize = 1 << 20;

/// Keys that are kept. Who signs has two or three at a time, and rotates them.
pub const KEYS_MAX: usize = 100;

/// Keys that one token is tried with if it does not name its key: each costs a verification.
pub const KEYS_TRIED_MAX: usize = 4;

/// Bytes of an RSA modulus: 2,048 to 8,192 bits.
pub const RSA_MODULUS_BYTES: core::ops::RangeInclusive<usize> = 256..=1024;

/// Bytes of an RSA exponent; usually 65,537.
pub const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// Bytes of a principal's name: rules and log lines have it.
pub const NAME_BYTES_MAX: usize = 1 << 10;

const _: () = assert!(
    KEYS_MAX * (*RSA_MODULUS_BYTES.end() + RSA_EXPONENT_BYTES_MAX) <= JWKS_BYTES_MAX,
    "as many keys as are kept fit a document"
);
