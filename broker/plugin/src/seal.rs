//! Seals, which decide the machine code that is trusted.
//!
//! Machine code runs with the rights of the broker, so loading foreign code is as dangerous as
//! running a foreign program. The rules:
//!
//! - **Only code under the installation's own seal is loaded** (HMAC-SHA256 with a random key that
//!   is made on first use and readable by the broker's user alone). The seal is checked on the very
//!   bytes that are then loaded.
//! - The installation seals the output of **its own compiler process**, and artifacts that **an
//!   operator imports** on the machine. Importing needs the installation's key, that is, access to
//!   the data directory; anyone who can write there controls the broker anyway.
//! - A device without a compiler that is reached over the network only is given **an operator's
//!   key** (the setting `plugin.signing.key`): artifacts sealed with the same key elsewhere are
//!   imported as they arrive. Without that setting, an artifact that arrives by the network is
//!   refused, whoever sent it.
//!
//! Both keys are symmetric on purpose: one fleet, one operator. Signatures that a device can check
//! without being able to make them need a later format version.

use crate::{
    artifact::Artifact,
    key::{SealKey, Sealer},
};

/// Machine code whose seal by this installation has been checked. Only made by `SealKey::trust`.
#[derive(Debug)]
pub struct Trusted<'a>(&'a [u8]);

impl Trusted<'_> {
    pub(crate) const fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl SealKey {
    /// Returns whether the artifact's seal was made with this key.
    #[must_use]
    pub fn has_sealed(&self, artifact: &Artifact<'_>) -> bool {
        let seal = self.seal(artifact.sealed);
        // Compares all bytes, so that the time does not depend on the first difference.
        let differ = seal
            .iter()
            .zip(artifact.seal)
            .fold(0, |differ, (a, b)| differ | (a ^ b));
        artifact.sealer == self.sealer() && std::hint::black_box(differ) == 0
    }

    /// Returns the artifact's code, if this is the installation's key and the seal was made with
    /// it.
    pub(crate) fn trust<'a>(&self, artifact: &Artifact<'a>) -> Option<Trusted<'a>> {
        (self.sealer() == Sealer::Installation && self.has_sealed(artifact))
            .then_some(Trusted(artifact.code))
    }
}
