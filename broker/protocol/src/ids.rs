//! Newtypes for Kafka's numbers. The wire's `-1` becomes an [`Option`] here and goes no further in.

use core::fmt;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// Returns the number itself.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(number: $inner) -> Self {
                Self(number)
            }
        }
    };
}

newtype! {
    /// Position of a record in its partition, from 0.
    Offset(i64)
}
newtype! {
    /// The broker's own number of a partition, used by the log and its views and never on the wire.
    /// The metadata machine hands each one out once and never reuses it.
    PartitionId(u32)
}
newtype! {
    /// Number of a partition within its topic, from 0: the wire's `partition_index`.
    PartitionIndex(i32)
}
newtype! {
    /// KIP-101: grows with each change of leader; here, with each restart that lost a tail.
    LeaderEpoch(i32)
}
newtype! {
    /// KIP-98: identity of an idempotent or transactional producer, from 0.
    ProducerId(i64)
}
newtype! {
    /// KIP-98: fences earlier incarnations of a producer, from 0.
    ProducerEpoch(i16)
}
newtype! {
    /// Number of a broker in the cluster.
    NodeId(i32)
}

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);

    /// Returns the offset `count` records later.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }

    /// Returns the offset; `None` for the wire's negative special values.
    #[must_use]
    pub const fn from_wire(offset: i64) -> Option<Self> {
        if offset < 0 { None } else { Some(Self(offset)) }
    }
}

impl LeaderEpoch {
    /// Returns the epoch; `None` for the wire's -1: the client does not know it, and it is not
    /// checked.
    #[must_use]
    pub const fn from_wire(epoch: i32) -> Option<Self> {
        if epoch < 0 { None } else { Some(Self(epoch)) }
    }
}

impl PartitionId {
    /// The first of the ids that no topic gets: they are for the broker's own partitions.
    pub const RESERVED_FROM: Self = Self(u32::MAX - 15);

    /// Returns whether the id is for one of the broker's own partitions, which belong to no topic.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 >= Self::RESERVED_FROM.0
    }
}

impl ProducerId {
    /// Returns the id; `None` for the wire's -1: not an idempotent producer.
    #[must_use]
    pub const fn from_wire(id: i64) -> Option<Self> {
        if id < 0 { None } else { Some(Self(id)) }
    }
}
