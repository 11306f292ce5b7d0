//! What a device is, and what it is told.

use crate::limits::CHALLENGE_BYTES;
use crate::message::{Reason, Usage};

/// What a device is.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The name by which the broker knows the device.
    pub identity: &'a str,
    /// Names the count of sequence numbers: a number that no earlier start of the device had, or 0,
    /// which asks the broker for one.
    pub instance: u32,
    /// Whether the readings of all starts are one count, as those of a device that keeps them are.
    /// The instance is then the same in each start, and [`Event::Connected`] says which reading to
    /// go on with.
    pub is_kept: bool,
    /// The topics, whose positions are their numbers; at most
    /// [`TOPICS_MAX`](crate::limits::TOPICS_MAX).
    pub topics: &'a [Topic<'a>],
    /// How long the broker may take for an answer: twice a frame's time and a commit's, at least.
    pub answer_ms: u32,
}

/// A topic of a device.
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    pub name: &'a str,
    pub usage: Usage,
}

/// A record of a subscribed topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The topic's position in [`Config::topics`].
    pub topic: u8,
    pub partition: u32,
    pub offset: u64,
    pub unix_ms: u64,
    pub value: &'a [u8],
}

/// What the device is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// There is a session. The readings before `next` are committed; the next one that is queued
    /// has the number of [`Device::next_sequence`](crate::Device::next_sequence).
    Connected { next: u32 },
    /// The readings before `next` are committed.
    Acknowledged { next: u32 },
    /// The broker wants a proof: see
    /// [`Device::prove`](crate::Device::prove).
    Challenged { nonce: [u8; CHALLENGE_BYTES] },
    /// The topic is refused. Readings for it will be refused, too.
    TopicRefused { topic: u8, reason: Reason },
    /// Readings were refused, and are dropped.
    Refused {
        first: u32,
        count: u32,
        reason: Reason,
    },
    /// A record arrived. Across sessions it may arrive again.
    Delivered(Delivered<'a>),
    /// The broker refuses the device, which rests until
    /// [`Device::restart`](crate::Device::restart).
    Stopped { reason: Reason },
}
