//! A coordinator's machine as a shard of the journal, which all coordinators share.
//!
//! A shard decides and does no I/O. It has no clock, no socket and no log: each step is given the
//! time and returns [`Actions`]. The journal
//! - writes `persist` to the shard's topic, in order, and calls [`Shard::apply`] for each record
//!   when it is durable;
//! - sends `now` replies at once, and `then` replies (and the reply of a [`Planned`]) when every
//!   record handed out so far is durable;
//! - calls [`Shard::tick`] at [`Shard::next_deadline`], or later;
//! - passes each change of the metadata to the shard ([`Shard::handle_image`]);
//! - if records could not be written (disk full), calls [`Shard::handle_save_failed`] and answers
//!   those replies with an error.
//!
//! At start, [`Shard::restore`] takes the records, and [`Shard::finish_restore`] ends the restore.

use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::error::Error;

use crate::machine::Now;
use crate::metadata::Image;

/// An internal topic that stores the records of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTopic {
    pub name: &'static str,
    /// The broker's setting for the number of partitions with which the topic is created.
    pub partitions_key: &'static str,
}

/// A record's key and its value; no value is a tombstone.
pub type Encoded = (Vec<u8>, Option<Vec<u8>>);

/// Identifies a request whose answer may come later. The caller chooses it, and the [`Reply`]
/// returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The late answer to the request named by `token`.
#[derive(Debug)]
pub struct Reply<Body> {
    pub token: Token,
    pub body: Body,
}

/// The effects of a step of a shard.
///
/// `now` replies are sent at once. `then` replies are sent when every record handed out so far, by
/// this step *and by earlier ones*, is durable; if none is outstanding, that is at once too.
#[derive(Debug)]
pub struct Actions<Record, Body> {
    /// Records for the shard's topic, in order.
    pub persist: Vec<Record>,
    pub then: Vec<Reply<Body>>,
    pub now: Vec<Reply<Body>>,
}

impl<Record, Body> Default for Actions<Record, Body> {
    fn default() -> Self {
        Self {
            persist: Vec::new(),
            then: Vec::new(),
            now: Vec::new(),
        }
    }
}

impl<Record, Body> Actions<Record, Body> {
    /// Returns actions that only write records.
    #[must_use]
    pub fn persist(records: Vec<Record>) -> Self {
        Self {
            persist: records,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.persist.is_empty() && self.then.is_empty() && self.now.is_empty()
    }

    /// Takes over what `other` wants, behind what is here.
    pub fn append(&mut self, mut other: Self) {
        self.persist.append(&mut other.persist);
        self.then.append(&mut other.then);
        self.now.append(&mut other.now);
    }
}

/// An answer that is known at once, and what else the step wants done. It leaves under the rule of
/// [`Actions`]' `then`.
#[derive(Debug)]
pub struct Planned<R, Record, Body> {
    pub reply: R,
    pub actions: Actions<Record, Body>,
}

impl<R, Record, Body> Planned<R, Record, Body> {
    /// Returns an answer without other effects.
    pub fn only(reply: R) -> Self {
        Self {
            reply,
            actions: Actions::default(),
        }
    }
}

/// The effects of a shard's steps.
pub type ActionsOf<S> = Actions<<S as Shard>::Record, <S as Shard>::Body>;

/// A coordinator's machine; see the module.
pub trait Shard {
    /// A record in [`TOPIC`](Self::TOPIC).
    type Record;
    /// A deferred answer.
    type Body;

    const TOPIC: StateTopic;

    /// Returns the text whose hash selects the record's partition.
    fn partition_key(record: &Self::Record) -> &str;

    /// Returns an upper bound on the record's bytes in an append, without batch headers.
    fn bytes_of(record: &Self::Record) -> usize;

    /// Encodes a record.
    ///
    /// # Errors
    /// A text is longer than Kafka's format allows.
    fn encode(record: &Self::Record) -> Result<Encoded, Error>;

    /// Decodes a record.
    ///
    /// # Errors
    /// The record has a newer version, or is not one of this shard's.
    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self::Record, Error>;

    /// Takes a record found at start, in the log's order if it comes from the log.
    fn restore(&mut self, now: Now, record: &Self::Record);

    /// Ends the restore. The actions write records whose form has changed since.
    fn finish_restore(&mut self, now: Now, image: &Image) -> ActionsOf<Self>;

    /// Applies a durable record, in the log's order.
    fn apply(&mut self, now: Now, record: &Self::Record);

    /// Handles records that could not be written, and will not be.
    fn handle_save_failed(&mut self, now: Now, records: &[Self::Record]);

    /// Handles a change of the metadata from `former`, which is `None` at first. `image` is at
    /// least as new as the one on which any earlier step was decided.
    fn handle_image(&mut self, now: Now, former: Option<&Image>, image: &Image) -> ActionsOf<Self>;

    /// When to call [`tick`](Self::tick) next, on the monotonic clock.
    fn next_deadline(&self) -> u64;

    /// Handles expired deadlines. `image` is as new as in [`handle_image`](Self::handle_image).
    fn tick(&mut self, now: Now, image: &Image) -> ActionsOf<Self>;

    /// Returns the answer if the records that `body` depends on could not be written.
    fn refuse(body: Self::Body, error: ErrorCode) -> Self::Body;
}
