//! The public keys of the issuers of tokens: a JSON Web Key Set.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::base64url;
use super::jws::{Algorithm, object};
use super::limits::{JWKS_BYTES_MAX, KEYS_MAX, RSA_EXPONENT_BYTES_MAX, RSA_MODULUS_BYTES};

/// The keys that verify tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(pub(super) Vec<Key>);

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its `kid`.
    pub id: Option<String>,
    /// The only algorithm for which the key may be used, if the document restricts it.
    pub algorithm: Option<Algorithm>,
    pub material: Material,
}

/// The numbers of a key, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// Without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// The uncompressed point: 4, x, y.
    Ec { curve: Curve, point: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

impl Keys {
    /// Parses a document. Keys that are not for signatures, or of an unsupported kind, are ignored.
    ///
    /// # Errors
    /// The document is invalid, or has no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        if document.len() > JWKS_BYTES_MAX {
            return Err(format!("more than {JWKS_BYTES_MAX} bytes"));
        }
        let document = object(document).ok_or("not a JSON object")?;
        let Some(Value::Array(all)) = document.get("keys") else {
            return Err("no list `keys`, so not a JSON Web Key Set".into());
        };
        let mut keys = Vec::new();
        for key in all.iter().filter_map(Value::as_object) {
            if let Some(key) = Key::parse(key) {
                keys.push(key);
            }
        }
        match keys.len() {
            0 => Err("no RSA key of 2048 bits or more, and no EC key of P-256 or P-384".into()),
            1..=KEYS_MAX => Ok(Self(keys)),
            _ => Err(format!("more than {KEYS_MAX} keys")),
        }
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the keys that may have signed a token of this algorithm and `kid`.
    pub(super) fn suitable(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            let is_named = id.is_none() || key.id.as_deref() == id;
            is_named && key.is_for(algorithm)
        })
    }
}

impl Key {
    fn parse(key: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(base64url::decode);
        if text("use").is_some_and(|of| of != "sig") {
            return None;
        }
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        let material = match text("kty")? {
            "RSA" => Material::rsa(&bytes("n")?, &bytes("e")?)?,
            "EC" => Material::ec(text("crv")?, &bytes("x")?, &bytes("y")?)?,
            _ => return None,
        };
        Some(Self {
            id: text("kid").map(ToString::to_string),
            algorithm,
            material,
        })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{Es256, Es384, Ps256, Rs256, Rs384, Rs512};
        let suits = match &self.material {
            Material::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256),
            Material::Ec { curve, .. } => {
                matches!(
                    (curve, algorithm),
                    (Curve::P256, Es256) | (Curve::P384, Es384)
                )
            }
        };
        suits && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

impl Material {
    fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let is_sized = RSA_MODULUS_BYTES.contains(&modulus.len())
            && (1..=RSA_EXPONENT_BYTES_MAX).contains(&exponent.len());
        is_sized.then(|| Self::Rsa {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        })
    }

    fn ec(curve: &str, x: &[u8], y: &[u8]) -> Option<Self> {
        let (curve, bytes) = match curve {
            "P-256" => (Curve::P256, 32),
            "P-384" => (Curve::P384, 48),
            _ => return None,
        };
        (x.len() == bytes && y.len() == bytes).then(|| Self::Ec {
            curve,
            point: [&[4], x, y].concat(),
        })
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
