//! The interface of everything that decides about a client's use of the broker.

use core::net::IpAddr;

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The name of its principal.
    pub user: &'a str,
    /// The client id; empty if the client gives none.
    pub id: &'a str,
}

/// What a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A Produce of this size.
    Produced { bytes: u64 },
    /// Record batches that are ready to be sent to a consumer.
    Fetched { bytes: u64 },
    /// Time of a thread that serves requests.
    Handled { nanos: u64 },
    /// Partitions to be created or deleted. A strict request is refused if the quota is exceeded
    /// (KIP-599); older clients do not know the error, and are throttled afterwards.
    Mutated { partitions: u64, is_strict: bool },
}

/// The decision about a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// The client is told to wait so long, and its connection is muted meanwhile (KIP-219). What
    /// was fetched is not sent and not counted; everything else is done and counted.
    Throttle {
        ms: u64,
    },
    /// The use is refused, and not counted. It may be allowed after this time.
    Reject {
        retry_ms: u64,
    },
}

/// Decides about each use. Time comes in as an argument.
pub trait QuotaPolicy {
    /// Counts a use, and decides about it.
    fn charge(&mut self, now_ms: u64, client: Client<'_>, usage: Usage) -> Verdict;

    /// Counts a new connection from an address, and decides about it. One that is throttled is not
    /// counted: it is closed after that time (KIP-612).
    fn connect(&mut self, now_ms: u64, ip: IpAddr) -> Verdict;
}
