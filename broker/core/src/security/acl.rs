//! Access rules (`AclBinding`): each allows or denies a principal, from a host, an operation on the
//! resources that match a pattern.

use alloc::sync::Arc;
use core::fmt;
use core::net::IpAddr;

use super::limits::ACL_BYTES;
use super::{Operation, Resource};

/// The name of the one resource of type [`Resource::Cluster`].
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// As a literal resource name, matches all resources of the type; as a host, all hosts.
pub const WILDCARD: &str = "*";

/// The principal of rules for all users.
pub const EACH_USER: &str = "User:*";

/// How the name in a rule is compared with the name of a resource (`PatternType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatternType {
    /// The names are equal, or the name in the rule is [`WILDCARD`].
    Literal = 3,
    /// The resource's name begins with the name in the rule.
    Prefixed = 4,
}

impl PatternType {
    /// Returns the pattern type with this number. `None` if no rule can have it.
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

/// Whether a rule allows or denies (`AclPermissionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    Deny = 2,
    Allow = 3,
}

impl Permission {
    /// Returns the permission with this number. `None` if no rule can have it.
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

/// The host that clients must connect from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// Every host, written as [`WILDCARD`].
    Any,
    /// An IP address. It is parsed, because Java formats IPv6 addresses differently.
    Address(IpAddr),
    /// Other text. It matches no client, because clients are identified by their addresses.
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

/// One rule. Rules are ordered by pattern, so rules with the same pattern are adjacent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclBinding {
    pub resource: Resource,
    pub pattern: PatternType,
    pub name: Arc<str>,
    /// `TYPE:NAME`; [`EACH_USER`] matches all users.
    pub principal: Arc<str>,
    pub host: Host,
    pub operation: Operation,
    pub permission: Permission,
}

impl AclBinding {
    /// Returns the memory of the rule in bytes, as counted against
    /// [`super::limits::ACLS_BYTES_MAX`].
    pub(crate) fn bytes(&self) -> usize {
        ACL_BYTES + self.name.len() + self.principal.len() + self.host.text_bytes()
    }
}
