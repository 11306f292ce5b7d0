//! The trait of policies, which decide about each use of the broker.

use alloc::string::String;
use core::net::IpAddr;

use super::limits::POLICY_THROTTLE_MS_MAX;

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The name of the client's principal.
    pub user: &'a str,
    /// The client id; empty if the client gives none.
    pub id: &'a str,
}

/// A use of the broker by a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A Produce of this size.
    Produced { bytes: u64 },
    /// Record batches that are ready to be sent to a consumer.
    Fetched { bytes: u64 },
    /// Time of a network thread.
    Handled { nanos: u64 },
    /// Partitions to create or delete. If the quota is exceeded, a strict request is refused
    /// (KIP-599). Older clients do not know the error; they are throttled afterwards.
    Mutated { partitions: u64, is_strict: bool },
}

/// The decision about a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// The client is told to wait for this time, during which its connection is muted (KIP-219).
    /// Fetched batches are neither sent nor counted; every other use is done and counted.
    Throttle {
        ms: u64,
    },
    /// The use is refused and not counted. It may be allowed after this time.
    Reject {
        retry_ms: u64,
    },
}

/// The answer of a plugin about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    Allow,
    Throttle {
        ms: u64,
    },
    /// The request is not served. The text is for the client.
    Reject {
        why: String,
    },
}

impl Grant {
    /// Returns the grant within its bounds: [`POLICY_THROTTLE_MS_MAX`], and a throttling of 0 ms is
    /// none.
    #[must_use]
    pub fn bounded(self) -> Self {
        match self {
            Self::Throttle { ms: 0 } => Self::Allow,
            Self::Throttle { ms } => Self::Throttle {
                ms: ms.min(POLICY_THROTTLE_MS_MAX),
            },
            other => other,
        }
    }
}

/// Decides about each use. The time is an argument.
pub trait QuotaPolicy {
    /// Counts a use and decides about it.
    fn charge(&mut self, now_ms: u64, client: Client<'_>, usage: Usage) -> Verdict;

    /// Counts a new connection from an address and decides about it. A throttled connection is not
    /// counted, and is closed after that time (KIP-612).
    fn connect(&mut self, now_ms: u64, ip: IpAddr) -> Verdict;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_throttles_for_a_bounded_time() {
        let check = |ms, bounded| assert_eq!(Grant::Throttle { ms }.bounded(), bounded, "{ms}");
        check(0, Grant::Allow);
        check(1, Grant::Throttle { ms: 1 });
        let ms = POLICY_THROTTLE_MS_MAX;
        check(ms, Grant::Throttle { ms });
        check(u64::MAX, Grant::Throttle { ms });
        assert_eq!(Grant::Allow.bounded(), Grant::Allow);
    }
}
