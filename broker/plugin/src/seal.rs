//! Who vouches for machine code.
//!
//! Machine code runs with the rights of the broker, so loading somebody else's is as bad as running
//! his program. The decision:
//!
//! - **Only code under the installation's own seal is loaded** (HMAC-SHA256 with a random key that
//!   is made on first use and readable by the broker's user alone). The seal is checked on the very
//!   bytes that are then loaded.
//! - The installation seals two things: what **its own compiler process** answers, and what **an
//!   operator imports** on the machine. Importing needs the installation's key, which is to say the
//!   data directory; who can write there owns the broker anyway.
//! - A device without a compiler that is reached over the network only is given **an operator's
//!   key** (the setting `plugin.signing.key`): artifacts sealed with the same key elsewhere are
//!   imported as they arrive. Without that setting an artifact that arrives by the network is
//!   refused, whoever sent it.
//!
//! Both keys are symmetric on purpose: one fleet, one operator. Signatures that a device can check
//! without being able to make them are a later format version.

use crate::{
    artifact::Artifact,
    key::{SealKey, Sealer},
};

/// Machine code of which the installation's seal has been checked. Only made by `SealKey::trust`.
#[derive(Debug)]
pub struct Trusted<'a>(&'a [u8]);

impl Trusted<'_> {
    pub(crate) const fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl SealKey {
    /// Whether the artifact's seal was made with this key.
    #[must_use]
    pub fn has_sealed(&self, artifact: &Artifact<'_>) -> bool {
        let seal = self.seal(artifact.sealed);
        // All bytes are looked at, whichever differs first.
        let differ = seal
            .iter()
            .zip(artifact.seal)
            .fold(0, |differ, (a, b)| differ | (a ^ b));
        artifact.sealer == self.sealer() && std::hint::black_box(differ) == 0
    }

    /// The artifact's code, if this is the installation's key and it has sealed it.
    pub(crate) fn trust<'a>(&self, artifact: &Artifact<'a>) -> Option<Trusted<'a>> {
        (self.sealer() == Sealer::Installation && self.has_sealed(artifact))
            .then_some(Trusted(artifact.code))
    }
}
