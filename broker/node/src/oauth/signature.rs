//! Signatures, by ring.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use sedge_core::security::oauth::{Algorithm, Curve, Material, Signature};

/// Returns whether a signature is right. One of a key that is not for its algorithm is not.
pub fn is_right((algorithm, material, signed, signature): Signature<'_>) -> bool {
    match material {
        Material::Rsa { modulus, exponent } => {
            let parameters = match algorithm {
                Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
                Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
                Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                Algorithm::Es256 | Algorithm::Es384 => return false,
            };
            let key = RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            };
            key.verify(parameters, signed, signature).is_ok()
        }
        Material::Ec { curve, point } => {
            let parameters = match (curve, algorithm) {
                (Curve::P256, Algorithm::Es256) => &ECDSA_P256_SHA256_FIXED,
                (Curve::P384, Algorithm::Es384) => &ECDSA_P384_SHA384_FIXED,
                _ => return false,
            };
            let key = UnparsedPublicKey::new(parameters, point);
            key.verify(signed, signature).is_ok()
        }
    }
}
