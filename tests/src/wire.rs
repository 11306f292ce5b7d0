//! The Kafka protocol as far as the tests need it, written by hand from the protocol guide: the
//! last non-flexible version of a few requests, and arbitrary bytes.

mod batch;
mod connection;
mod groups;
mod requests;
mod topics;
pub mod typed;

pub use batch::{Batch, Codec, Record, next_offset, records, seal, without_control, zstd_bomb};
pub use connection::{Connection, Reply, frame, frame_of};
pub use groups::{Commit, Coordinated, commit_error, committed};
pub use requests::{
    FETCH_VERSION, Fetched, PRODUCE_VERSION, Produced, alter_topic, commit_offset, create_topic,
    delete_records, delete_topic, fetch, fetch_request, fetch_request_of, fetched, fetched_of,
    grow_topic, init_producer_id, offset_for_time, produce, produce_request, produced,
    reset_topic_config, topic_config, try_create_topic, wait_known, wait_leader,
};
pub use topics::{Topic, topics};

/// Error codes that the tests name.
pub mod error {
    pub const NONE: i16 = 0;
    pub const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub const CORRUPT_MESSAGE: i16 = 2;
    pub const UNKNOWN_TOPIC: i16 = 3;
    pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    pub const MESSAGE_TOO_LARGE: i16 = 10;
    pub const COORDINATOR_LOADING: i16 = 14;
    pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub const NOT_COORDINATOR: i16 = 16;
    pub const NOT_ENOUGH_REPLICAS: i16 = 19;
    pub const UNSUPPORTED_VERSION: i16 = 35;
    pub const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
    pub const POLICY_VIOLATION: i16 = 44;
    pub const OUT_OF_ORDER_SEQUENCE: i16 = 45;
    pub const KAFKA_STORAGE_ERROR: i16 = 56;
    pub const MEMBER_ID_REQUIRED: i16 = 79;
    pub const INVALID_RECORD: i16 = 87;
    /// The coordinator is loading, not available, or elsewhere: Kafka's answers until it is ready.
    pub const NOT_YET: [i16; 3] = [14, 15, 16];
}

/// API keys that the tests name.
pub mod key {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const OFFSET_COMMIT: i16 = 8;
    pub const OFFSET_FETCH: i16 = 9;
    pub const FIND_COORDINATOR: i16 = 10;
    pub const JOIN_GROUP: i16 = 11;
    pub const SASL_HANDSHAKE: i16 = 17;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const DELETE_TOPICS: i16 = 20;
    pub const DELETE_RECORDS: i16 = 21;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const DESCRIBE_ACLS: i16 = 29;
    pub const CREATE_ACLS: i16 = 30;
    pub const DELETE_ACLS: i16 = 31;
    pub const DESCRIBE_CONFIGS: i16 = 32;
    pub const SASL_AUTHENTICATE: i16 = 36;
    pub const CREATE_PARTITIONS: i16 = 37;
    pub const ELECT_LEADERS: i16 = 43;
    pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
    pub const DESCRIBE_CLIENT_QUOTAS: i16 = 48;
}

/// Builds a request's body, big-endian.
#[derive(Clone, Debug, Default)]
pub struct Encoder(pub Vec<u8>);

impl Encoder {
    #[must_use]
    pub fn i8(mut self, n: i8) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    #[must_use]
    pub fn i16(mut self, n: i16) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    #[must_use]
    pub fn i32(mut self, n: i32) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    #[must_use]
    pub fn i64(mut self, n: i64) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    /// Appends a string with a 16-bit length; `None` is null.
    #[must_use]
    pub fn string<'a>(self, text: impl Into<Option<&'a str>>) -> Self {
        match text.into() {
            None => self.i16(-1),
            Some(text) => {
                let mut this = self.i16(text.len() as i16);
                this.0.extend(text.as_bytes());
                this
            }
        }
    }

    /// Appends bytes with a 32-bit length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut this = self.i32(bytes.len() as i32);
        this.0.extend(bytes);
        this
    }
}

/// Reads a reply, big-endian. Panics if it is shorter than it claims.
#[derive(Debug)]
pub struct Decoder<'a>(pub &'a [u8]);

impl<'a> Decoder<'a> {
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    pub fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()).ok()?;
        Some(String::from_utf8_lossy(self.take(length)).into_owned())
    }

    pub fn bytes(&mut self) -> &'a [u8] {
        usize::try_from(self.i32()).map_or(&[], |length| self.take(length))
    }
}
