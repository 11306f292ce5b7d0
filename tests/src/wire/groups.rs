//! Committed offsets, by topic name.

use super::{Connection, Decoder, Encoder, key};

/// The newest OffsetCommit version with a retention; -1 asks for the broker's.
const OFFSET_COMMIT_VERSION: i16 = 4;
const OFFSET_FETCH_VERSION: i16 = 5;

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
