//! Principals: the identities of clients.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::format;
use alloc::string::String;
use core::fmt;

/// The identity of a client (`KafkaPrincipal`), written as `TYPE:NAME`. The type of clients is
/// always `User`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal(Cow<'static, str>);

impl Principal {
    /// The principal of clients that have not authenticated.
    pub const ANONYMOUS: Self = Self(Cow::Borrowed("User:ANONYMOUS"));

    /// Returns the principal of type `User` with this name.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self(Cow::Owned(format!("User:{name}")))
    }

    /// Parses `TYPE:NAME`. Returns `None` if the type or the name is missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let is_whole = !kind.is_empty() && !name.is_empty();
        is_whole.then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// Returns the name without the type. Quotas name users so.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, name)| name)
    }

    /// Returns `TYPE:NAME`, the form used in access rules.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn a_client_without_a_name_is_kafka_s_anonymous() {
        assert_eq!(Principal::ANONYMOUS.to_string(), "User:ANONYMOUS");
        assert_eq!(Principal::user("ANONYMOUS"), Principal::ANONYMOUS);
        assert_eq!(Principal::user("CN=a:b").name(), "CN=a:b");
    }

    #[test]
    fn a_principal_has_a_type_and_a_name() {
        let check = |text: &str, expected: bool| {
            assert_eq!(Principal::parse(text).is_some(), expected, "{text}");
        };
        check("User:alice", true);
        check("User:CN=a,O=b:c", true);
        check("alice", false);
        check("User:", false);
        check(":alice", false);
    }
}
