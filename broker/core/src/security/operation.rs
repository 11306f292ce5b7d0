//! Operations and resource types, with Kafka's numbers (`AclOperation`, `ResourceType`).

use sedge_protocol::ErrorCode;

/// An operation on a resource (`AclOperation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// All operations. Only rules use it.
    All = 2,
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
    CreateTokens = 13,
    DescribeTokens = 14,
    TwoPhaseCommit = 15,
}

impl Operation {
    /// All values in the order of their numbers, which begin with [`Operation::All`].
    pub const EACH: [Self; 14] = [
        Self::All,
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Delete,
        Self::Alter,
        Self::Describe,
        Self::ClusterAction,
        Self::DescribeConfigs,
        Self::AlterConfigs,
        Self::IdempotentWrite,
        Self::CreateTokens,
        Self::DescribeTokens,
        Self::TwoPhaseCommit,
    ];

    /// Returns the operation with this number. `None` if no rule can have it.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        let mut each = Self::EACH.into_iter();
        each.find(|operation| operation.number() == number)
    }

    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// Returns the bit of this operation.
    pub(super) const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Returns the bits of the operations that imply this one: a rule that allows one of them also
    /// allows this operation. A rule that denies one of them does not deny this operation.
    pub(super) const fn allowed_by(self) -> u16 {
        let implied_by = match self {
            Self::Describe => {
                Self::Read.bit() | Self::Write.bit() | Self::Delete.bit() | Self::Alter.bit()
            }
            Self::DescribeConfigs => Self::AlterConfigs.bit(),
            _ => 0,
        };
        self.bit() | implied_by
    }
}

/// The type of a resource (`ResourceType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
    DelegationToken = 6,
    User = 7,
}

impl Resource {
    /// All values in the order of their numbers, which begin with [`Resource::Topic`].
    pub const EACH: [Self; 6] = [
        Self::Topic,
        Self::Group,
        Self::Cluster,
        Self::TransactionalId,
        Self::DelegationToken,
        Self::User,
    ];

    /// Returns the resource type with this number. `None` if no rule can have it.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        let mut each = Self::EACH.into_iter();
        each.find(|resource| resource.number() == number)
    }

    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// Returns the index of the type in [`Resource::EACH`].
    pub(super) const fn index(self) -> usize {
        self as usize - Self::Topic as usize
    }

    /// Returns the operations of this resource type (KIP-430, `AclEntry.supportedOperations`).
    #[must_use]
    pub const fn operations(self) -> &'static [Operation] {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, CreateTokens, Delete, Describe,
            DescribeConfigs, DescribeTokens, IdempotentWrite, Read, TwoPhaseCommit, Write,
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
            Self::TransactionalId => &[Describe, Write, TwoPhaseCommit],
            Self::DelegationToken => &[Describe],
            Self::User => &[CreateTokens, DescribeTokens],
        }
    }

    /// Returns the error code of a denied operation on this resource type.
    #[must_use]
    pub const fn refusal(self) -> ErrorCode {
        match self {
            Self::Topic => ErrorCode::TopicAuthorizationFailed,
            Self::Group => ErrorCode::GroupAuthorizationFailed,
            Self::Cluster => ErrorCode::ClusterAuthorizationFailed,
            Self::TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            Self::DelegationToken | Self::User => ErrorCode::DelegationTokenAuthorizationFailed,
        }
    }
}

/// The value of `authorized_operations` if the client did not request it.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// Returns the value of `authorized_operations` in a response: bit N is set for the operation with
/// number N (KIP-430).
#[must_use]
pub fn bits(operations: impl IntoIterator<Item = Operation>) -> i32 {
    let mut bits = 0;
    for operation in operations {
        bits |= i32::from(operation.bit());
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_stand_at_kafka_s_bits() {
        let of = |resource: Resource| bits(resource.operations().iter().copied());
        assert_eq!(of(Resource::Topic), 0b1101_1111_1000);
        assert_eq!(of(Resource::Group), 0b1101_0100_1000);
        assert_eq!(of(Resource::Cluster), 0b1_1111_1010_0000);
        assert_eq!(of(Resource::TransactionalId), 0b1000_0001_0001_0000);
    }

    #[test]
    fn numbers_are_read_back_and_no_others() {
        for operation in Operation::EACH {
            assert_eq!(Operation::from_number(operation.number()), Some(operation));
        }
        for resource in Resource::EACH {
            assert_eq!(Resource::from_number(resource.number()), Some(resource));
            assert_eq!(Resource::EACH[resource.index()], resource);
        }
        for number in [-1, 0, 1, 16] {
            assert_eq!(Operation::from_number(number), None);
        }
        for number in [-1, 0, 1, 8] {
            assert_eq!(Resource::from_number(number), None);
        }
    }
}
