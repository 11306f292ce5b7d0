//! Users with SCRAM credentials.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::limits::{CREDENTIAL_BYTES, SCRAM_ITERATIONS_MIN};
use super::scram::{Credential, Mechanism};

/// SCRAM credentials by user, at most one for each mechanism.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: BTreeMap<Arc<str>, BTreeMap<Mechanism, Arc<Credential>>>,
    count: usize,
    bytes: usize,
}

impl Users {
    /// Returns a user's credential of this mechanism.
    #[must_use]
    pub fn credential(&self, user: &str, mechanism: Mechanism) -> Option<&Arc<Credential>> {
        self.by_name.get(user)?.get(&mechanism)
    }

    /// Returns the credentials of a user, by mechanism; empty if the user does not exist.
    pub fn of_user(&self, user: &str) -> impl Iterator<Item = &Arc<Credential>> {
        let of_user = self.by_name.get(user).into_iter();
        of_user.flat_map(BTreeMap::values)
    }

    /// Returns a decoy, against which the login of a user that does not exist is checked. No
    /// password matches it. It looks like the first user's credential, and is derived from that
    /// credential's key, so that a stranger gets the same answer each time and cannot compute it.
    #[must_use]
    pub fn decoy(&self, user: &str, mechanism: Mechanism) -> Credential {
        let mut all = self.by_name.values().flat_map(BTreeMap::values);
        let model = all.find(|of| of.mechanism == mechanism);
        let (secret, iterations) = model.map_or((&[][..], SCRAM_ITERATIONS_MIN), |of| {
            (&*of.server_key, of.iterations)
        });
        Credential::decoy(mechanism, secret, user, iterations)
    }

    /// Returns all users, in the order of their names.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    /// Returns all credentials with their users.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Credential>)> {
        let users = self.by_name.iter();
        users.flat_map(|(user, of_user)| of_user.values().map(move |one| (user, one)))
    }

    /// Returns the number of credentials.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the memory of all credentials, as [`super::limits::CREDENTIALS_BYTES_MAX`] counts
    /// it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the memory of one credential of this user.
    pub(crate) const fn bytes_of(user: &str) -> usize {
        CREDENTIAL_BYTES + user.len()
    }

    pub(crate) fn set(&mut self, user: &str, credential: Credential) {
        let of_user = self.by_name.entry(user.into()).or_default();
        let before = of_user.insert(credential.mechanism, Arc::new(credential));
        if before.is_none() {
            self.count += 1;
            self.bytes += Self::bytes_of(user);
        }
    }

    pub(crate) fn remove(&mut self, user: &str, mechanism: Mechanism) {
        if let Some(of_user) = self.by_name.get_mut(user) {
            if of_user.remove(&mechanism).is_some() {
                self.count -= 1;
                self.bytes -= Self::bytes_of(user);
            }
            if of_user.is_empty() {
                self.by_name.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoy_looks_like_the_credentials_that_there_are() {
        let mut users = Users::default();
        let mechanism = Mechanism::Sha512;
        assert_eq!(users.decoy("x", mechanism).iterations, SCRAM_ITERATIONS_MIN);
        let of = |password: &[u8]| {
            Credential::of_salted_password(mechanism, password, b"salt".to_vec(), 8_192)
        };
        users.set("b", of(b"password"));
        let decoy = users.decoy("x", mechanism);
        assert_eq!(decoy.iterations, 8_192);
        assert!(decoy == users.decoy("x", mechanism));
        assert!(decoy.salt != users.decoy("y", mechanism).salt);
        // A stranger who knows the code does not know the salt.
        let mut others = Users::default();
        others.set("b", of(b"another"));
        assert!(decoy.salt != others.decoy("x", mechanism).salt);
    }
}
