//! The broker's end of a link.
//!
//! What arrives in order is handed on at once and acknowledged when it is committed
//! ([`Port::committed`]). If it cannot be committed, [`Port::rewind`] asks for it again.

use heapless::{Deque, Vec};

use crate::clock::is_at;
use crate::frame::{Frame, NO_SESSION, Receiver, Seen};
use crate::limits::{
    ANSWERS_MAX, CHALLENGE_BYTES, MESSAGE_BYTES_MAX, PROOF_BYTES, REDELIVER_MS, STRANGER_MS,
    WINDOW_READINGS_MAX,
};
use crate::message::{self, Down, Reason, Up, Usage, VERSION};
use crate::readings::Readings;

/// A device asks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting<'a> {
    pub identity: &'a str,
    /// 0 asks for a new instance.
    pub instance: u32,
    pub attempt: u32,
    /// The first reading that is not acknowledged.
    pub first: u32,
}

/// A device announces a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    pub alias: u8,
    pub usage: Usage,
    pub name: &'a str,
}

/// Readings that are the next of their device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    pub alias: u8,
    pub readings: Readings<'a>,
    /// The sequence number after the last of them.
    pub next: u32,
}

/// What the broker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent<'a> {
    /// Answered by [`Port::welcome`], [`Port::challenge`] or [`Port::refuse`].
    Greeting(Greeting<'a>),
    /// The answer to a challenge.
    Proof([u8; PROOF_BYTES]),
    /// Answered by [`Port::topic`].
    Topic(Subscription<'a>),
    Publication(Publication<'a>),
    /// The record that was delivered has arrived.
    Received,
    /// Answered by [`Port::tell_time`].
    Time {
        sent_ms: u32,
    },
}

/// The begin of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcomed {
    /// A random number, but not zero.
    pub session: u32,
    pub instance: u32,
    /// The first reading that is not committed.
    pub next: u32,
    pub window: u16,
    pub unix_ms: u64,
}

/// A record for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub alias: u8,
    pub partition: u32,
    pub offset: u64,
    pub unix_ms: u64,
    pub value: &'a [u8],
}

/// The broker's end of a link.
#[derive(Debug, Default)]
pub struct Port {
    receiver: Receiver,
    frame: Frame,
    talk: Talk,
}

/// Greetings and their answers, which belong to no session.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Welcome(Welcomed),
    Challenge([u8; CHALLENGE_BYTES]),
    Sorry(Reason),
    Greet,
}

#[derive(Debug, Default)]
struct Talk {
    session: u32,
    attempt: u32,
    reply: Option<Reply>,
    /// When a device without a session may be asked again.
    stranger_ms: Option<u32>,
    /// The next reading in order.
    received: u32,
    committed: u32,
    window: u16,
    owes_ack: bool,
    owes_again: bool,
    /// The first reading of the last message behind a gap.
    gap: Option<u32>,
    /// Alias, and why it is refused.
    topics: Deque<(u8, Option<Reason>), ANSWERS_MAX>,
    refusals: Deque<(u32, u32, Reason), ANSWERS_MAX>,
    /// What the device sent, and the time.
    time: Option<(u32, u64)>,
    bye: Option<Reason>,
    /// The delivery that is not confirmed, as a message.
    delivery: Option<Vec<u8, MESSAGE_BYTES_MAX>>,
    number: u32,
    redeliver_ms: Option<u32>,
    noise: u64,
}

impl Port {
    /// Returns whether there is a session.
    pub const fn is_open(&self) -> bool {
        self.talk.session != NO_SESSION
    }

    /// Returns how many frames were noise.
    pub const fn noise(&self) -> u64 {
        self.talk.noise
    }

    /// Returns the next reading in order, and the first that is not committed.
    pub const fn progress(&self) -> (u32, u32) {
        (self.talk.received, self.talk.committed)
    }

    /// Begins a session.
    pub fn welcome(&mut self, welcomed: Welcomed) {
        let attempt = self.talk.attempt;
        self.talk = Talk {
            session: welcomed.session,
            attempt,
            reply: Some(Reply::Welcome(welcomed)),
            received: welcomed.next,
            committed: welcomed.next,
            window: welcomed.window,
            noise: self.talk.noise,
            ..Talk::default()
        };
    }

    /// Asks the device that greeted for a proof.
    pub const fn challenge(&mut self, nonce: [u8; CHALLENGE_BYTES]) {
        self.talk.reply = Some(Reply::Challenge(nonce));
    }

    /// Refuses the device that greeted.
    pub const fn refuse(&mut self, reason: Reason) {
        self.talk.reply = Some(Reply::Sorry(reason));
    }

    /// Answers the announcement of a topic.
    pub fn topic(&mut self, alias: u8, refused: Option<Reason>) {
        // A device waits for each answer, so there are few.
        let _ = self.talk.topics.push_back((alias, refused));
    }

    /// Acknowledges the readings before `next`.
    pub const fn committed(&mut self, next: u32) {
        self.talk.committed = next;
        self.talk.owes_ack = true;
    }

    /// Sets the number of readings that the device may send beyond the acknowledged ones, and tells
    /// the device.
    pub fn set_window(&mut self, window: u16) {
        let window = window.min(WINDOW_READINGS_MAX);
        if self.talk.window != window {
            self.talk.window = window;
            self.talk.owes_ack = true;
        }
    }

    /// Forgets what is not committed, and asks for it again.
    pub fn rewind(&mut self) {
        self.talk.received = self.talk.committed;
        self.talk.gap = None;
        self.talk.owes_again = true;
    }

    /// Tells the device that readings are refused.
    pub fn refused(&mut self, first: u32, count: u32, reason: Reason) {
        let refusals = &mut self.talk.refusals;
        if refusals.is_full() {
            refusals.pop_front();
        }
        let _ = refusals.push_back((first, count, reason));
    }

    /// Answers [`PortEvent::Time`].
    pub const fn tell_time(&mut self, sent_ms: u32, unix_ms: u64) {
        self.talk.time = Some((sent_ms, unix_ms));
    }

    /// Ends the session.
    pub const fn bye(&mut self, reason: Reason) {
        self.talk.bye = Some(reason);
    }

    /// Returns whether the device takes another delivery.
    pub const fn takes_delivery(&self) -> bool {
        self.is_open() && self.talk.delivery.is_none()
    }

    /// Sends a record, until it is confirmed. Returns false if the record is too large for a
    /// message.
    pub fn deliver(&mut self, delivery: &Delivery<'_>) -> bool {
        let mut message = Vec::new();
        if message.resize_default(MESSAGE_BYTES_MAX).is_err() {
            return false;
        }
        let Delivery {
            alias,
            partition,
            offset,
            unix_ms,
            value,
        } = *delivery;
        let down = Down::Deliver {
            number: self.talk.number,
            alias,
            partition,
            offset,
            unix_ms,
            value,
        };
        let Some(length) = message::write(&down, &mut message) else {
            return false;
        };
        message.truncate(length);
        self.talk.delivery = Some(message);
        self.talk.redeliver_ms = None;
        true
    }

    /// Takes a byte that arrived.
    pub fn handle_byte(&mut self, byte: u8, now_ms: u32) -> Option<PortEvent<'_>> {
        let event = match self.receiver.push(byte, self.talk.session)? {
            Seen::Message(bytes) => message::read(bytes).map(|up| self.talk.handle(up)),
            Seen::Greeting(bytes) => message::read(bytes).map(|up| self.talk.greeted(up)),
            Seen::Noise => None,
        };
        if event.is_none() {
            self.talk.noise += 1;
            self.talk.meet_stranger(now_ms);
        }
        event?
    }

    /// Returns when `poll_transmit` has something to do, if nothing else happens before.
    pub const fn due_ms(&self) -> Option<u32> {
        if self.talk.delivery.is_some() && self.is_open() {
            self.talk.redeliver_ms
        } else {
            None
        }
    }

    /// Returns the next frame to write, all of it.
    pub fn poll_transmit(&mut self, now_ms: u32) -> Option<&[u8]> {
        let session = self.talk.session;
        if let Some(reply) = self.talk.reply.take() {
            let down = self.talk.answer(&reply);
            let length = message::write(&down, self.frame.message())?;
            return Some(self.frame.seal(length, NO_SESSION));
        }
        if session == NO_SESSION {
            return None;
        }
        if let Some(down) = self.talk.next() {
            let length = message::write(&down, self.frame.message())?;
            return Some(self.frame.seal(length, session));
        }
        let delivery = self.talk.delivery.as_ref()?;
        if self
            .talk
            .redeliver_ms
            .is_some_and(|due| !is_at(now_ms, due))
        {
            return None;
        }
        self.talk.redeliver_ms = Some(now_ms.wrapping_add(REDELIVER_MS));
        self.frame.message()[..delivery.len()].copy_from_slice(delivery);
        Some(self.frame.seal(delivery.len(), session))
    }
}

impl Talk {
    /// Something that is not noise, perhaps, came without a session: asks the device to greet.
    fn meet_stranger(&mut self, now_ms: u32) {
        if self.session == NO_SESSION && self.stranger_ms.is_none_or(|due| is_at(now_ms, due)) {
            self.stranger_ms = Some(now_ms.wrapping_add(STRANGER_MS));
            self.reply.get_or_insert(Reply::Greet);
        }
    }

    fn greeted<'m>(&mut self, message: Up<'m>) -> Option<PortEvent<'m>> {
        match message {
            Up::Hello {
                version,
                attempt,
                identity,
                instance,
                first,
            } => {
                self.session = NO_SESSION;
                self.attempt = attempt;
                if version != VERSION {
                    self.reply = Some(Reply::Sorry(Reason::Version));
                    return None;
                }
                Some(PortEvent::Greeting(Greeting {
                    identity,
                    instance,
                    attempt,
                    first,
                }))
            }
            Up::Proof { attempt, mac } if attempt == self.attempt => {
                Some(PortEvent::Proof(*mac.first_chunk()?))
            }
            _ => None,
        }
    }

    fn handle<'m>(&mut self, message: Up<'m>) -> Option<PortEvent<'m>> {
        match message {
            Up::Topic { alias, usage, name } => {
                Some(PortEvent::Topic(Subscription { alias, usage, name }))
            }
            Up::Publish {
                first,
                alias,
                age_ms,
                size,
                readings,
            } => {
                let readings = Readings {
                    first,
                    age_ms,
                    size,
                    bytes: readings,
                };
                self.published(alias, readings)
            }
            Up::Received { next } => {
                if self.delivery.is_none() || next != self.number.wrapping_add(1) {
                    return None;
                }
                self.number = next;
                self.delivery = None;
                Some(PortEvent::Received)
            }
            Up::Time { sent_ms } => Some(PortEvent::Time { sent_ms }),
            Up::Ping => {
                self.owes_ack = true;
                None
            }
            Up::Hello { .. } | Up::Proof { .. } => None,
        }
    }

    fn published<'m>(&mut self, alias: u8, mut readings: Readings<'m>) -> Option<PortEvent<'m>> {
        let count = readings.clone().checked_count()?;
        let first = readings.first;
        let next = first.wrapping_add(count);
        let repeated = self.received.wrapping_sub(first);
        if repeated >= 1 << 31 {
            // Something before these was missed. The device is asked once for each time that it
            // passes this place.
            if self.gap.is_none_or(|gap| is_at(gap, first)) {
                self.owes_again = true;
            }
            self.gap = Some(first);
            return None;
        }
        if repeated >= count {
            self.owes_ack = true;
            return None;
        }
        if next.wrapping_sub(self.committed) > u32::from(self.window.max(1)) + count {
            // The device does not keep to its window. It repeats the rest.
            return None;
        }
        self.gap = None;
        self.received = next;
        for _ in 0..repeated {
            readings.next();
        }
        Some(PortEvent::Publication(Publication {
            alias,
            readings,
            next,
        }))
    }

    fn answer<'r>(&self, reply: &'r Reply) -> Down<'r> {
        let attempt = self.attempt;
        match *reply {
            Reply::Welcome(welcomed) => Down::Welcome {
                attempt,
                session: welcomed.session,
                instance: welcomed.instance,
                next: welcomed.next,
                window: welcomed.window.min(WINDOW_READINGS_MAX),
                unix_ms: welcomed.unix_ms,
            },
            Reply::Challenge(ref nonce) => Down::Challenge { attempt, nonce },
            Reply::Sorry(reason) => Down::Sorry { attempt, reason },
            Reply::Greet => Down::Greet,
        }
    }

    /// Returns the next message of the session besides deliveries.
    fn next(&mut self) -> Option<Down<'static>> {
        if let Some(reason) = self.bye.take() {
            self.session = NO_SESSION;
            return Some(Down::Bye { reason });
        }
        if let Some((alias, refused)) = self.topics.pop_front() {
            return Some(Down::Topic { alias, refused });
        }
        if let Some((first, count, reason)) = self.refusals.pop_front() {
            return Some(Down::Refused {
                first,
                count,
                reason,
            });
        }
        if let Some((sent_ms, unix_ms)) = self.time.take() {
            return Some(Down::Now { sent_ms, unix_ms });
        }
        if core::mem::take(&mut self.owes_again) {
            let first = self.received;
            return Some(Down::Again { first });
        }
        if core::mem::take(&mut self.owes_ack) {
            return Some(Down::Ack {
                next: self.committed,
                window: self.window,
            });
        }
        None
    }
}
