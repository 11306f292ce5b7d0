//! An access rule (`AclBinding`): who, from where, may or may not do what on which resources.

use alloc::sync::Arc;
use core::fmt;
use core::net::IpAddr;

use super::limits::ACL_BYTES;
use super::{Operation, Resource};

/// The name of the one resource of type [`Resource::Cluster`].
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// As a literal resource name: each resource of the type. As a host: each host.
pub const WILDCARD: &str = "*";

/// The principal of rules for each user.
pub const EACH_USER: &str = "User:*";

/// How a rule's name is compared with that of a resource (`PatternType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatternType {
    /// The name itself; [`WILDCARD`] is each name.
    Literal = 3,
    /// Names that begin with it.
    Prefixed = 4,
}

impl PatternType {
    /// Returns the pattern type of this number. `None` if Kafka has none that a rule may have.
    #[must_use]
    pub const fn from_number(number: i8) -> Option<Self> {
        match number {
            3 => Some(Self::Literal),
            4 => Some(Self::Prefixed),
            _ => None,
        }
    }

    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }
}

/// `AclPermissionType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    Deny = 2,
    Allow = 3,
}

impl Permission {
    /// Returns the permission of this number. `None` if Kafka has none that a rule may have.
    #[must_use]
    pub const fn from_number(number: i8) -> Option<Self> {
        match number {
            2 => Some(Self::Deny),
            3 => Some(Self::Allow),
            _ => None,
        }
    }

    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }
}

/// Where a rule's clients come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// [`WILDCARD`].
    Any,
    /// However the rule writes it: Java has another form of IPv6 addresses than the rest.
    Address(IpAddr),
    /// Anything else. Clients are known by their addresses, so no client comes from it.
    Name(Arc<str>),
}

impl Host {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text == WILDCARD {
            return Self::Any;
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Self::Address(address.to_canonical()),
            Err(_) => Self::Name(text.into()),
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            Self::Any | Self::Address(_) => 0,
            Self::Name(name) => name.len(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str(WILDCARD),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One rule. The order is that of the patterns: rules of one pattern are neighbours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclBinding {
    pub resource: Resource,
    pub pattern: PatternType,
    pub name: Arc<str>,
    /// `TYPE:NAME`; [`EACH_USER`] is each user.
    pub principal: Arc<str>,
    pub host: Host,
    pub operation: Operation,
    pub permission: Permission,
}

impl AclBinding {
    /// What the rule takes up, as [`super::limits::ACLS_BYTES_MAX`] counts it.
    pub(crate) fn bytes(&self) -> usize {
        ACL_BYTES + self.name.len() + self.principal.len() + self.host.text_bytes()
    }
}
