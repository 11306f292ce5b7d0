//! Committed offsets, by topic name, and the wait for a coordinator.

use std::time::Instant;

use super::{Connection, Decoder, Encoder, error, key};
use crate::limits;

/// The newest OffsetCommit version with a retention; -1 asks for the broker's.
const OFFSET_COMMIT_VERSION: i16 = 4;
const OFFSET_FETCH_VERSION: i16 = 5;

/// What a coordinator coordinates, by its FindCoordinator key.
#[derive(Clone, Copy, Debug)]
pub enum Coordinated<'a> {
    Group(&'a str),
    Transactions(&'a str),
}

impl Coordinated<'_> {
    /// Searches the coordinator and calls `ask` until it returns no error code. Apache Kafka
    /// creates the topic of the coordinators when one is searched for the first time, and answers
    /// with errors until their state is loaded.
    ///
    /// # Panics
    /// If there is no coordinator after [`limits::CONDITION`].
    pub fn wait<T>(
        self,
        connection: &mut Connection,
        mut ask: impl FnMut(&mut Connection) -> Result<T, i16>,
    ) -> T {
        let (key, kind) = match self {
            Self::Group(key) => (key, 0),
            Self::Transactions(key) => (key, 1),
        };
        let search = Encoder::default().string(key).i8(kind).0;
        let deadline = Instant::now() + limits::CONDITION;
        loop {
            connection.ask(key::FIND_COORDINATOR, 1, &search);
            match ask(connection) {
                Ok(answer) => return answer,
                Err(code) => assert!(Instant::now() < deadline, "{key}: error {code}"),
            }
            std::thread::sleep(limits::POLL);
        }
    }
}

/// One partition of an OffsetCommit from outside any group membership.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub metadata: &'a str,
    /// Milliseconds after which the offset expires; -1 uses the broker's setting.
    pub retention_ms: i64,
}

impl<'a> Commit<'a> {
    #[must_use]
    pub fn of(group: &'a str, topic: &'a str, offset: i64) -> Self {
        Self {
            group,
            topic,
            partition: 0,
            offset,
            metadata: "",
            retention_ms: -1,
        }
    }

    /// Returns the request's body.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let body = Encoder::default().string(self.group).i32(-1).string("");
        let body = body.i64(self.retention_ms).i32(1).string(self.topic);
        let body = body.i32(1).i32(self.partition).i64(self.offset);
        body.string(self.metadata).0
    }

    /// Sends the request without waiting for the reply, which [`commit_error`] reads.
    pub fn send(&self, to: &mut Connection) -> i32 {
        to.send(key::OFFSET_COMMIT, OFFSET_COMMIT_VERSION, &self.request())
    }

    /// Sends the request and returns the error code of the partition.
    pub fn ask(&self, at: &mut Connection) -> i16 {
        commit_error(&at.ask(key::OFFSET_COMMIT, OFFSET_COMMIT_VERSION, &self.request()))
    }

    /// Commits as soon as the group has a coordinator.
    ///
    /// # Panics
    /// If it gets none.
    pub fn wait(&self, at: &mut Connection) {
        Coordinated::Group(self.group).wait(at, |at| match self.ask(at) {
            error::NONE => Ok(()),
            code => Err(code),
        });
    }
}

/// Returns the error code of the only partition in an OffsetCommit reply's body.
pub fn commit_error(reply: &[u8]) -> i16 {
    let mut reply = Decoder(reply);
    let _throttle_ms = reply.i32();
    let (_, _, _, _) = (reply.i32(), reply.string(), reply.i32(), reply.i32());
    reply.i16()
}

/// Returns a group's committed offset of a partition; `None` if there is none.
pub fn committed(at: &mut Connection, group: &str, topic: &str, partition: i32) -> Option<i64> {
    let body = Encoder::default().string(group).i32(1).string(topic);
    let body = body.i32(1).i32(partition);
    let reply = at.ask(key::OFFSET_FETCH, OFFSET_FETCH_VERSION, &body.0);
    let mut reply = Decoder(&reply);
    let _throttle_ms = reply.i32();
    let (_, _, _, _) = (reply.i32(), reply.string(), reply.i32(), reply.i32());
    let offset = reply.i64();
    let (_, _) = (reply.i32(), reply.string());
    let error = reply.i16();
    assert_eq!(error, super::error::NONE, "{group} of {topic}-{partition}");
    (offset >= 0).then_some(offset)
}
