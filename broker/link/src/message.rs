//! The messages, in postcard's format. A new message is a new last variant; a changed one is a new
//! version of the protocol.

use serde::{Deserialize, Serialize};

/// The version of the messages. `Hello` and `Sorry` keep their form in all versions.
pub const VERSION: u8 = 1;

/// What a device sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Up<'a> {
    /// Begins a session. Outside of sessions.
    Hello {
        version: u8,
        /// Counts the greetings since the device was started; the answer repeats it.
        attempt: u32,
        identity: &'a str,
        /// Names the device's count of sequence numbers. 0 asks the broker for a new one.
        instance: u32,
        /// The first reading that is not acknowledged.
        first: u32,
    },
    /// Answers a challenge: HMAC-SHA-256, 32 bytes. Outside of sessions.
    Proof { attempt: u32, mac: &'a [u8] },
    /// Announces a topic under a number.
    Topic {
        alias: u8,
        usage: Usage,
        name: &'a str,
    },
    /// Readings of one topic, with consecutive sequence numbers.
    Publish {
        first: u32,
        alias: u8,
        /// How long ago the first reading was taken, in milliseconds.
        age_ms: u32,
        /// Bytes of each value; 0 if each value has its length before it.
        size: u8,
        readings: &'a [u8],
    },
    /// Confirms the deliveries before this number.
    Received { next: u32 },
    /// Asks for the time. The answer repeats `sent_ms`.
    Time { sent_ms: u32 },
    /// Asks for an `Ack`.
    Ping,
}

/// What a device does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usage {
    Publish,
    /// Receives records; the first time, those that are written from then on.
    SubscribeLatest,
    /// Receives records; the first time, from the oldest.
    SubscribeEarliest,
}

/// What the broker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down<'a> {
    /// Begins the session that `Hello` asked for. Outside of sessions.
    Welcome {
        attempt: u32,
        session: u32,
        /// The instance of the device's count.
        instance: u32,
        /// The first reading that is not committed.
        next: u32,
        /// Readings that the device may send from `next` on.
        window: u16,
        /// The broker's clock: milliseconds since 1970.
        unix_ms: u64,
    },
    /// Asks the device to prove that it has its key, with 16 random bytes. Outside of sessions.
    Challenge { attempt: u32, nonce: &'a [u8] },
    /// Refuses the device. Outside of sessions.
    Sorry { attempt: u32, reason: Reason },
    /// Asks an unknown device for `Hello`. Outside of sessions.
    Greet,
    /// Answers `Topic`.
    Topic { alias: u8, refused: Option<Reason> },
    /// The readings before `next` are committed. The device may send `window` readings from `next`
    /// on.
    Ack { next: u32, window: u16 },
    /// A reading was missed: asks for all readings from `first` on again.
    Again { first: u32 },
    /// These readings are not written, and acknowledged all the same: they would be refused again.
    Refused {
        first: u32,
        count: u32,
        reason: Reason,
    },
    /// A record of a subscribed topic.
    Deliver {
        number: u32,
        alias: u8,
        partition: u32,
        offset: u64,
        /// The record's timestamp: milliseconds since 1970.
        unix_ms: u64,
        value: &'a [u8],
    },
    /// Answers `Time`.
    Now { sent_ms: u32, unix_ms: u64 },
    /// Ends the session.
    Bye { reason: Reason },
}

/// Why the broker refuses a device, a topic or readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The broker does not speak this version.
    Version,
    /// The identity is unknown, or its proof is wrong.
    Identity,
    /// The device may not use the topic.
    Denied,
    /// There is no such topic, or its name is invalid.
    Topic,
    /// The topic does not take the readings: they are too large, or a filter rejects them.
    Invalid,
    /// Another device has greeted with this identity.
    Replaced,
    /// The broker serves as many devices, or as many topics of the device, as it can.
    Limit,
}

/// Reads a message that fills `bytes`.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Some(message),
        _ => None,
    }
}

/// Writes a message. Returns its length, or `None` if it does not fit.
pub fn write<T: Serialize>(message: &T, room: &mut [u8]) -> Option<usize> {
    postcard::to_slice(message, room)
        .map(|bytes| bytes.len())
        .ok()
}
