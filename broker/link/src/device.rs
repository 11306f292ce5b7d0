//! The microcontroller's end of a link.
//!
//! Readings wait in a ring until the broker has committed them, and are sent in messages of as many
//! as fit. If one is missed, all from it on are sent again (go-back-N): the broker then needs no
//! memory for what comes out of order, and a line keeps the order, so there is rarely more than the
//! missed message to repeat.

use crate::clock::{is_at, is_before};
use crate::frame::{Frame, NO_SESSION, Receiver, Seen};
use crate::limits::{
    BACKOFF_DOUBLINGS, CHALLENGE_BYTES, IDLE_MS, MESSAGE_BYTES_MAX, MESSAGE_GROWTH_BYTES,
    NOISY_MESSAGE_BYTES, PROOF_BYTES, REPEATS_MAX,
};
use crate::message::{self, Down, Reason, Up, Usage, VERSION};
use crate::queue::{Queue, Queued};
use crate::readings::put_varint;

/// Bytes of `Publish` besides the readings, at most.
const PUBLISH_HEAD_BYTES: usize = 1 + 5 + 1 + 5 + 1 + 2;

/// The number of the variant [`Up::Publish`]. A device writes this message itself: the readings are
/// in a ring.
const PUBLISH: u8 = 3;

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
    /// has the number of [`Device::next_sequence`].
    Connected { next: u32 },
    /// The readings before `next` are committed.
    Acknowledged { next: u32 },
    /// The broker wants a proof: see [`Device::prove`].
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
    /// The broker refuses the device, which rests until [`Device::restart`].
    Stopped { reason: Reason },
}

/// The queue has no room for the reading, or the reading is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    /// The next frame is the proof.
    Proving([u8; PROOF_BYTES]),
    /// Announces the topic of this number.
    Announcing(u8),
    Open,
    Stopped,
}

/// A device with a queue of `QUEUE` bytes: a reading takes six bytes and its value.
#[derive(Debug)]
pub struct Device<'a, const QUEUE: usize> {
    receiver: Receiver,
    frame: Frame,
    talk: Talk<'a, QUEUE>,
}

/// The state besides the buffers.
#[derive(Debug)]
struct Talk<'a, const QUEUE: usize> {
    config: Config<'a>,
    state: State,
    session: u32,
    attempt: u32,
    instance: u32,
    queue: Queue<QUEUE>,
    /// The next reading to send.
    cursor: u32,
    window: u16,
    /// Bytes of a message with readings.
    message_max: usize,
    /// When to repeat, or to ask.
    due_ms: u32,
    repeats: u8,
    /// Whether an answer is overdue at `due_ms`.
    is_waiting: bool,
    /// The number of the next delivery.
    delivery: u32,
    owes_received: bool,
    owes_time: bool,
    /// The broker's clock minus the device's.
    clock_offset: Option<u64>,
    noise: u32,
}

impl<'a, const QUEUE: usize> Device<'a, QUEUE> {
    pub fn new(config: Config<'a>, now_ms: u32) -> Self {
        Self {
            receiver: Receiver::default(),
            frame: Frame::default(),
            talk: Talk {
                instance: config.instance,
                config,
                state: State::Greeting,
                session: NO_SESSION,
                attempt: 0,
                queue: Queue::new(0),
                cursor: 0,
                window: 0,
                message_max: MESSAGE_BYTES_MAX,
                due_ms: now_ms,
                repeats: 0,
                is_waiting: false,
                delivery: 0,
                owes_received: false,
                owes_time: false,
                clock_offset: None,
                noise: 0,
            },
        }
    }

    /// Queues a reading, and returns its sequence number.
    ///
    /// # Errors
    /// There is no room now, or the value is too large.
    pub fn publish(&mut self, topic: u8, value: &[u8], now_ms: u32) -> Result<u32, Full> {
        let talk = &mut self.talk;
        let sequence = talk.queue.end();
        if !talk.queue.push(topic, value, now_ms) {
            return Err(Full);
        }
        if talk.state == State::Open && !talk.is_waiting {
            talk.due_ms = now_ms.wrapping_add(talk.config.answer_ms);
        }
        Ok(sequence)
    }

    /// Returns the sequence number of the next reading that is queued.
    pub const fn next_sequence(&self) -> u32 {
        self.talk.queue.end()
    }

    /// Returns the number of readings that are queued and not acknowledged.
    pub const fn queued(&self) -> u32 {
        self.talk.queue.end().wrapping_sub(self.talk.queue.first())
    }

    /// Returns whether there is a session in which readings are sent.
    pub fn is_open(&self) -> bool {
        self.talk.state == State::Open
    }

    /// Returns the time, in milliseconds since 1970, once the broker has told it.
    pub fn unix_ms(&self, now_ms: u32) -> Option<u64> {
        let offset = self.talk.clock_offset?;
        Some(offset.wrapping_add(u64::from(now_ms)))
    }

    /// Asks the broker for the time.
    pub const fn ask_time(&mut self) {
        self.talk.owes_time = true;
    }

    /// Returns how many frames were noise.
    pub const fn noise(&self) -> u32 {
        self.talk.noise
    }

    /// Answers [`Event::Challenged`]: HMAC-SHA-256 with the device's key over the identity, the
    /// instance and the attempt (both little-endian), and the nonce. [`Device::greeting`] returns
    /// the two numbers.
    pub fn prove(&mut self, mac: [u8; PROOF_BYTES]) {
        if self.talk.state == State::Greeting {
            self.talk.state = State::Proving(mac);
        }
    }

    /// Returns the instance and the attempt of the last `Hello`.
    pub const fn greeting(&self) -> (u32, u32) {
        (self.talk.instance, self.talk.attempt)
    }

    /// Greets the broker anew, also after [`Event::Stopped`]. What is queued stays queued.
    pub const fn restart(&mut self, now_ms: u32) {
        self.talk.greet(now_ms);
    }

    /// Returns when `poll_transmit` has something to do, if nothing else happens before.
    pub const fn due_ms(&self) -> u32 {
        self.talk.due_ms
    }

    /// Takes a byte that arrived.
    pub fn handle_byte(&mut self, byte: u8, now_ms: u32) -> Option<Event<'_>> {
        let seen = self.receiver.push(byte, self.talk.session)?;
        let read = match seen {
            Seen::Message(bytes) => message::read(bytes).map(|message| (message, false)),
            Seen::Greeting(bytes) => message::read(bytes).map(|message| (message, true)),
            Seen::Noise => None,
        };
        let Some((message, is_greeting)) = read else {
            self.talk.noise = self.talk.noise.wrapping_add(1);
            return None;
        };
        if is_greeting {
            self.talk.handle_greeting(message, now_ms)
        } else {
            self.talk.handle(message, now_ms)
        }
    }

    /// Returns the next frame to write, all of it.
    pub fn poll_transmit(&mut self, now_ms: u32) -> Option<&[u8]> {
        let session = self.talk.session;
        let (length, session) = match self.talk.next(now_ms)? {
            Send::Greeting(up) => (message::write(&up, self.frame.message())?, NO_SESSION),
            Send::Message(up) => (message::write(&up, self.frame.message())?, session),
            Send::Readings => (self.talk.publish(self.frame.message(), now_ms)?, session),
        };
        Some(self.frame.seal(length, session))
    }
}

/// What to send next.
enum Send<'a> {
    Greeting(Up<'a>),
    Message(Up<'a>),
    /// The readings at the cursor.
    Readings,
}

impl<'a, const QUEUE: usize> Talk<'a, QUEUE> {
    const fn greet(&mut self, now_ms: u32) {
        self.state = State::Greeting;
        self.session = NO_SESSION;
        self.repeats = 0;
        self.due_ms = now_ms;
    }

    /// Waits for an answer, the longer the more often it was missing.
    fn wait(&mut self, now_ms: u32) {
        let doublings = self.repeats.min(BACKOFF_DOUBLINGS);
        self.due_ms = now_ms.wrapping_add(self.config.answer_ms << doublings);
        self.is_waiting = true;
    }

    fn handle_greeting(&mut self, message: Down<'_>, now_ms: u32) -> Option<Event<'static>> {
        let is_answer = |attempt| attempt == self.attempt && self.session == NO_SESSION;
        match message {
            Down::Welcome {
                attempt,
                session,
                instance,
                next,
                window,
                unix_ms,
            } if is_answer(attempt) && self.state != State::Stopped => {
                self.welcome(session, instance, next, now_ms)?;
                self.window = window;
                self.clock_offset = Some(unix_ms.wrapping_sub(u64::from(now_ms)));
                Some(Event::Connected { next })
            }
            Down::Challenge { attempt, nonce } if is_answer(attempt) => {
                Some(Event::Challenged { nonce })
            }
            Down::Sorry { attempt, reason } if is_answer(attempt) => Some(self.stop(reason)),
            Down::Greet if self.session != NO_SESSION => {
                self.greet(now_ms);
                None
            }
            _ => None,
        }
    }

    const fn stop(&mut self, reason: Reason) -> Event<'static> {
        self.state = State::Stopped;
        self.session = NO_SESSION;
        Event::Stopped { reason }
    }

    /// Begins a session. Returns `None` if the broker counts more readings than there were.
    fn welcome(&mut self, session: u32, instance: u32, next: u32, now_ms: u32) -> Option<()> {
        let is_fresh = self.instance == 0;
        self.instance = instance;
        let (first, end) = (self.queue.first(), self.queue.end());
        if next.wrapping_sub(first) > end.wrapping_sub(first) {
            if !self.config.is_kept && !is_fresh {
                // Another device has this instance: it counts anew, as the next instance.
                self.instance = 0;
                self.queue.renumber(0);
                self.greet(now_ms);
                return None;
            }
            self.queue.acknowledge(end);
            self.queue.renumber(next);
        }
        self.queue.acknowledge(next);
        self.cursor = self.queue.first();
        self.session = session;
        self.state = if self.config.topics.is_empty() {
            State::Open
        } else {
            State::Announcing(0)
        };
        self.repeats = 0;
        self.is_waiting = false;
        self.due_ms = now_ms;
        self.delivery = 0;
        self.owes_received = false;
        Some(())
    }

    fn handle<'m>(&mut self, message: Down<'m>, now_ms: u32) -> Option<Event<'m>> {
        match message {
            Down::Topic { alias, refused } if self.state == State::Announcing(alias) => {
                let next = alias + 1;
                self.state = if usize::from(next) < self.config.topics.len() {
                    State::Announcing(next)
                } else {
                    State::Open
                };
                self.repeats = 0;
                self.is_waiting = false;
                self.due_ms = now_ms;
                refused.map(|reason| Event::TopicRefused {
                    topic: alias,
                    reason,
                })
            }
            Down::Ack { next, window } => self.acknowledge(next, window, now_ms),
            Down::Again { first } => {
                let sent = self.cursor.wrapping_sub(self.queue.first());
                if first.wrapping_sub(self.queue.first()) < sent {
                    self.cursor = first;
                    self.message_max = (self.message_max / 2).max(NOISY_MESSAGE_BYTES);
                }
                None
            }
            Down::Refused {
                first,
                count,
                reason,
            } => Some(Event::Refused {
                first,
                count,
                reason,
            }),
            Down::Deliver {
                number,
                alias,
                partition,
                offset,
                unix_ms,
                value,
            } => {
                self.owes_received = true;
                if number != self.delivery {
                    return None;
                }
                self.delivery = number.wrapping_add(1);
                Some(Event::Delivered(Delivered {
                    topic: alias,
                    partition,
                    offset,
                    unix_ms,
                    value,
                }))
            }
            Down::Now { sent_ms, unix_ms } => {
                // The time was read halfway between question and answer.
                let halfway_ms = u64::from(now_ms.wrapping_sub(sent_ms) / 2);
                let told = unix_ms.wrapping_add(halfway_ms);
                self.clock_offset = Some(told.wrapping_sub(u64::from(now_ms)));
                None
            }
            Down::Bye { reason } => Some(self.stop(reason)),
            _ => None,
        }
    }

    fn acknowledge(&mut self, next: u32, window: u16, now_ms: u32) -> Option<Event<'static>> {
        let (first, end) = (self.queue.first(), self.queue.end());
        let count = next.wrapping_sub(first);
        if count > end.wrapping_sub(first) {
            // An older one that came late.
            return None;
        }
        self.window = window;
        self.repeats = 0;
        self.queue.acknowledge(next);
        if is_before(self.cursor, next) {
            self.cursor = next;
        }
        if self.cursor == next {
            self.is_waiting = false;
            let idle = if self.queue.is_empty() {
                IDLE_MS
            } else {
                self.config.answer_ms
            };
            self.due_ms = now_ms.wrapping_add(idle);
        } else {
            self.wait(now_ms);
        }
        if count == 0 {
            return None;
        }
        self.message_max = (self.message_max + MESSAGE_GROWTH_BYTES).min(MESSAGE_BYTES_MAX);
        Some(Event::Acknowledged { next })
    }

    fn next(&mut self, now_ms: u32) -> Option<Send<'a>> {
        match self.state {
            State::Stopped => None,
            State::Proving(mac) => {
                self.state = State::Greeting;
                self.wait(now_ms);
                let attempt = self.attempt;
                Some(Send::Greeting(Up::Proof { attempt, mac }))
            }
            State::Greeting => {
                if !is_at(now_ms, self.due_ms) {
                    return None;
                }
                self.attempt = self.attempt.wrapping_add(1);
                self.wait(now_ms);
                self.repeats = self.repeats.saturating_add(1);
                Some(Send::Greeting(Up::Hello {
                    version: VERSION,
                    attempt: self.attempt,
                    identity: self.config.identity,
                    instance: self.instance,
                    first: self.queue.first(),
                }))
            }
            State::Announcing(alias) => {
                if !is_at(now_ms, self.due_ms) {
                    return None;
                }
                if !self.repeat(now_ms) {
                    return self.next(now_ms);
                }
                self.wait(now_ms);
                let topic = self.config.topics.get(usize::from(alias))?;
                Some(Send::Message(Up::Topic {
                    alias,
                    usage: topic.usage,
                    name: topic.name,
                }))
            }
            State::Open => self.next_open(now_ms),
        }
    }

    /// Counts a repetition, if an answer is missing. Returns false if it is to greet instead.
    fn repeat(&mut self, now_ms: u32) -> bool {
        if self.is_waiting {
            self.repeats += 1;
            if self.repeats > REPEATS_MAX {
                self.greet(now_ms);
                return false;
            }
        }
        true
    }

    fn next_open(&mut self, now_ms: u32) -> Option<Send<'a>> {
        if self.owes_received {
            self.owes_received = false;
            let next = self.delivery;
            return Some(Send::Message(Up::Received { next }));
        }
        if self.owes_time {
            self.owes_time = false;
            return Some(Send::Message(Up::Time { sent_ms: now_ms }));
        }
        let is_due = is_at(now_ms, self.due_ms);
        if is_due {
            if !self.repeat(now_ms) {
                return self.next(now_ms);
            }
            if self.cursor != self.queue.first() {
                self.cursor = self.queue.first();
                self.message_max = (self.message_max / 2).max(NOISY_MESSAGE_BYTES);
            }
        }
        if self.may_send() {
            if is_due || !self.is_waiting {
                self.wait(now_ms);
            }
            return Some(Send::Readings);
        }
        if is_due {
            self.wait(now_ms);
            return Some(Send::Message(Up::Ping));
        }
        None
    }

    /// Returns whether there is a reading at the cursor, in the window.
    fn may_send(&self) -> bool {
        let sent = self.cursor.wrapping_sub(self.queue.first());
        self.cursor != self.queue.end() && sent < u32::from(self.window)
    }

    /// Writes the readings at the cursor as a message, as many as fit. Returns its length.
    fn publish(&mut self, room: &mut [u8], now_ms: u32) -> Option<usize> {
        let mut queued = self.queue.get(self.cursor)?;
        let Queued {
            alias,
            length: size,
            taken_ms,
            ..
        } = queued;
        let mut last_ms = taken_ms;
        let first = self.cursor;
        let limit = self.message_max.min(room.len());
        let mut at = PUBLISH_HEAD_BYTES;
        loop {
            let after_ms = queued.taken_ms.wrapping_sub(last_ms);
            // What is not in order is sent by itself.
            let is_in_order = after_ms < 1 << 21;
            let bytes = 4 + usize::from(size);
            let fits = at + bytes <= limit || self.cursor == first;
            if !fits || !is_in_order || queued.alias != alias || queued.length != size {
                break;
            }
            last_ms = queued.taken_ms;
            at += put_varint(after_ms, room.get_mut(at..)?)?;
            if size == 0 {
                at += put_varint(0, room.get_mut(at..)?)?;
            }
            let value = room.get_mut(at..at + usize::from(size))?;
            self.queue.copy(&queued, value);
            at += usize::from(size);
            self.cursor = self.cursor.wrapping_add(1);
            if !self.may_send() {
                break;
            }
            queued = self.queue.after(&queued);
        }
        // The head is shorter than its room, so the readings move up to it.
        let bytes = at - PUBLISH_HEAD_BYTES;
        let mut head = [PUBLISH; PUBLISH_HEAD_BYTES];
        let mut end = 1;
        end += put_varint(first, head.get_mut(end..)?)?;
        *head.get_mut(end)? = alias;
        end += 1;
        end += put_varint(now_ms.wrapping_sub(taken_ms), head.get_mut(end..)?)?;
        *head.get_mut(end)? = size;
        end += 1;
        end += put_varint(bytes as u32, head.get_mut(end..)?)?;
        room.copy_within(PUBLISH_HEAD_BYTES..at, end);
        room.get_mut(..end)?.copy_from_slice(head.get(..end)?);
        Some(end + bytes)
    }
}
