//! Principals, and operations on resources under Kafka's numbers (`AclOperation`, `ResourceType`):
//! what a client may do with a topic, a group, or the cluster.
//!
//! There are no access rules yet, so every client is allowed every operation.

use alloc::borrow::Cow;
use core::fmt;

use sedge_protocol::ErrorCode;

/// The identity of a client (`KafkaPrincipal` of type `User`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Cow<'static, str>);

impl Principal {
    /// A client that has not authenticated itself.
    pub const ANONYMOUS: Self = Self(Cow::Borrowed("ANONYMOUS"));

    /// Returns the user of this name.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self(Cow::Owned(name.into()))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User:{}", self.0)
    }
}

/// `AclOperation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// `ResourceType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic,
    Group,
    Cluster,
}

impl Resource {
    /// Returns the operations that this kind of resource has (KIP-430).
    #[must_use]
    pub const fn operations(self) -> &'static [Operation] {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs,
            IdempotentWrite, Read, Write,
        };
        match self {
            Self::Topic => &[
                Read,
                Write,
                Create,
                Delete,
                Alter,
                Describe,
                DescribeConfigs,
                AlterConfigs,
            ],
            Self::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            Self::Cluster => &[
                Create,
                Alter,
                Describe,
                ClusterAction,
                DescribeConfigs,
                AlterConfigs,
                IdempotentWrite,
            ],
        }
    }

    /// Returns the error code for a client that may not use such a resource.
    #[must_use]
    pub const fn refusal(self) -> ErrorCode {
        match self {
            Self::Topic => ErrorCode::TopicAuthorizationFailed,
            Self::Group => ErrorCode::GroupAuthorizationFailed,
            Self::Cluster => ErrorCode::ClusterAuthorizationFailed,
        }
    }
}

/// Returns whether the principal may perform `operation` on the resource called `name`. Without
/// access rules, every principal may perform each operation that the kind of resource has.
#[must_use]
pub fn is_allowed(_: &Principal, operation: Operation, resource: Resource, _name: &str) -> bool {
    resource.operations().contains(&operation)
}

/// `authorized_operations` for a client that did not ask for them.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// Returns the `authorized_operations` of a response: one bit for each operation that the client
/// may perform, at the operation's number (KIP-430).
#[must_use]
pub fn authorized_operations(resource: Resource) -> i32 {
    resource
        .operations()
        .iter()
        .fold(0, |bits, operation| bits | 1 << *operation as i32)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_client_without_a_name_is_kafka_s_anonymous() {
        assert_eq!(Principal::ANONYMOUS.to_string(), "User:ANONYMOUS");
    }

    #[test]
    fn each_client_may_do_what_the_kind_of_resource_has() {
        let check = |operation, resource, expected| {
            let allowed = is_allowed(&Principal::ANONYMOUS, operation, resource, "any");
            assert_eq!(allowed, expected, "{operation:?} on {resource:?}");
        };
        check(Operation::Write, Resource::Topic, true);
        check(Operation::Write, Resource::Group, false);
        check(Operation::Read, Resource::Group, true);
        check(Operation::Read, Resource::Cluster, false);
        check(Operation::IdempotentWrite, Resource::Cluster, true);
    }

    #[test]
    fn operations_stand_at_kafka_s_bits() {
        assert_eq!(authorized_operations(Resource::Topic), 0b1101_1111_1000);
        assert_eq!(authorized_operations(Resource::Group), 0b1101_0100_1000);
        assert_eq!(authorized_operations(Resource::Cluster), 0b1_1111_1010_0000);
    }
}
