//! The microcontroller's end of a link.
//!
//! Readings wait in a ring until the broker has committed them, and are sent in messages of as many
//! as fit. If one is missed, all from it on are sent again (go-back-N): the broker then needs no
//! memory for what comes out of order, and a line keeps the order, so there is rarely more than the
//! missed message to repeat.

use crate::clock::{is_at, is_before};
use crate::event::{Config, Delivered, Event};
use crate::frame::{Frame, NO_SESSION, Receiver, Seen};
use crate::limits::{
    BACKOFF_DOUBLINGS, IDLE_MS, MESSAGE_BYTES_MAX, MESSAGE_GROWTH_BYTES, NOISY_MESSAGE_BYTES,
    PROOF_BYTES, REPEATS_MAX,
};
use crate::message::{self, Down, Reason, Up, VERSION};
use crate::queue::{Queue, Queued};
use crate::readings::{Writer, varint_bytes};

/// Bytes of `Publish` besides the readings, at most.
const PUBLISH_HEAD_BYTES: usize = 1 + 5 + 1 + 5 + 1 + 2;

/// Longest time between two readings of a message: half an hour.
const AFTER_MS_MAX: u32 = 1 << 21;

/// The number of the variant [`Up::Publish`]. A device writes this message itself: the readings are
/// in a ring.
const PUBLISH: u8 = 3;

/// The queue has no room for the reading, or the reading is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    /// The next frame is the proof.
    Proving,
    /// Announces the topic of this number.
    Announcing(u8),
    Open,
    Stopped,
}

/// The memory of a device with a queue of `QUEUE` bytes: a reading takes six bytes and its value.
/// All of it is zero at first, so that a static has no copy in flash.
#[derive(Debug)]
pub struct Buffers<const QUEUE: usize> {
    receiver: Receiver,
    frame: Frame,
    ring: [u8; QUEUE],
}

impl<const QUEUE: usize> Buffers<QUEUE> {
    pub const fn new() -> Self {
        Self {
            receiver: Receiver::new(),
            frame: Frame::new(),
            ring: [0; QUEUE],
        }
    }
}

impl<const QUEUE: usize> Default for Buffers<QUEUE> {
    fn default() -> Self {
        Self::new()
    }
}

/// A device.
#[derive(Debug)]
pub struct Device<'a> {
    receiver: &'a mut Receiver,
    frame: &'a mut Frame,
    talk: Talk<'a>,
}

/// The state besides the buffers.
#[derive(Debug)]
struct Talk<'a> {
    config: Config<'a>,
    state: State,
    session: u32,
    attempt: u32,
    instance: u32,
    queue: Queue<'a>,
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
    proof: [u8; PROOF_BYTES],
    noise: u32,
}

impl<'a> Device<'a> {
    pub fn new<const QUEUE: usize>(
        buffers: &'a mut Buffers<QUEUE>,
        config: Config<'a>,
        now_ms: u32,
    ) -> Self {
        // A device that begins anew has begun no frame.
        buffers.receiver.clear();
        Self {
            receiver: &mut buffers.receiver,
            frame: &mut buffers.frame,
            talk: Talk {
                instance: config.instance,
                config,
                state: State::Greeting,
                session: NO_SESSION,
                attempt: 0,
                queue: Queue::new(&mut buffers.ring, 0),
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
                proof: [0; PROOF_BYTES],
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
            self.talk.state = State::Proving;
            self.talk.proof = mac;
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
        let (bytes, is_greeting) = match seen {
            Seen::Message(bytes) => (bytes, false),
            Seen::Greeting(bytes) => (bytes, true),
            Seen::Noise => (&[][..], false),
        };
        // An empty message is none.
        let Some(message) = message::read(bytes) else {
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
            Send::Proof => {
                let (attempt, mac) = (self.talk.attempt, &self.talk.proof[..]);
                let proof = Up::Proof { attempt, mac };
                (message::write(&proof, self.frame.message())?, NO_SESSION)
            }
            Send::Readings => (self.talk.publish(self.frame.message(), now_ms)?, session),
        };
        Some(self.frame.seal(length, session))
    }
}

/// What to send next.
enum Send<'a> {
    Greeting(Up<'a>),
    Message(Up<'a>),
    Proof,
    /// The readings at the cursor.
    Readings,
}

impl<'a> Talk<'a> {
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
                let nonce = *nonce.first_chunk()?;
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
            State::Proving => {
                self.state = State::Greeting;
                self.wait(now_ms);
                Some(Send::Proof)
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
        let queued = self.queue.get(self.cursor)?;
        let limit = self.message_max.min(room.len());
        let (count, bytes) = self.run(&queued, limit);
        let Queued {
            alias,
            length: size,
            taken_ms,
            ..
        } = queued;
        let mut writer = Writer { room, at: 0 };
        writer.byte(PUBLISH)?;
        writer.varint(self.cursor)?;
        writer.byte(alias)?;
        writer.varint(now_ms.wrapping_sub(taken_ms))?;
        writer.byte(size)?;
        writer.varint(bytes as u32)?;
        let (mut queued, mut last_ms) = (queued, taken_ms);
        for _ in 0..count {
            writer.varint(queued.taken_ms.wrapping_sub(last_ms))?;
            if size == 0 {
                writer.byte(0)?;
            }
            self.queue.copy(&queued, writer.next(usize::from(size))?);
            last_ms = queued.taken_ms;
            queued = self.queue.after(&queued);
        }
        self.cursor = self.cursor.wrapping_add(count);
        Some(writer.at)
    }

    /// Returns how many readings from this one on are of one topic and one size, in the window and
    /// in a message, and their bytes in it.
    fn run(&self, first: &Queued, limit: usize) -> (u32, usize) {
        let sent = self.cursor.wrapping_sub(self.queue.first());
        let left = self.queue.end().wrapping_sub(self.cursor);
        let count_max = left.min(u32::from(self.window) - sent);
        let (mut queued, mut last_ms) = (*first, first.taken_ms);
        let (mut count, mut bytes) = (0, 0);
        while count < count_max {
            let after_ms = queued.taken_ms.wrapping_sub(last_ms);
            let is_alike = queued.alias == first.alias && queued.length == first.length;
            let length =
                varint_bytes(after_ms) + usize::from(first.length) + usize::from(first.length == 0);
            let fits = PUBLISH_HEAD_BYTES + bytes + length <= limit || count == 0;
            // What is not in order of time is sent by itself.
            if !is_alike || !fits || after_ms > AFTER_MS_MAX {
                break;
            }
            last_ms = queued.taken_ms;
            (count, bytes) = (count + 1, bytes + length);
            queued = self.queue.after(&queued);
        }
        (count, bytes)
    }
}
