//! The records of delegation tokens.

use bytes::BufMut as _;

use crate::error::Result;
use crate::limits::RENEWERS_MAX;
use crate::wire::{Reader, Write as _};

/// A delegation token was made, or renewed. Principals are written as `TYPE:NAME`, times are in
/// milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegationTokenRecord {
    pub owner: String,
    pub requester: String,
    pub renewers: Vec<String>,
    pub issue_timestamp: i64,
    pub max_timestamp: i64,
    pub expiration_timestamp: i64,
    pub token_id: String,
}

/// A delegation token is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveDelegationTokenRecord {
    pub token_id: String,
}

impl DelegationTokenRecord {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "a delegation token";
        let owner = reader.compact_string(what)?.to_owned();
        let requester = reader.compact_string(what)?.to_owned();
        let mut renewers = Vec::new();
        for _ in 0..reader.compact_count(what, RENEWERS_MAX)? {
            renewers.push(reader.compact_string(what)?.to_owned());
        }
        let record = Self {
            owner,
            requester,
            renewers,
            issue_timestamp: reader.i64(what)?,
            max_timestamp: reader.i64(what)?,
            expiration_timestamp: reader.i64(what)?,
            token_id: reader.compact_string(what)?.to_owned(),
        };
        reader.skip_tagged_fields()?;
        Ok(record)
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_compact_string(&self.owner);
        bytes.put_compact_string(&self.requester);
        bytes.put_compact_count(self.renewers.len());
        for renewer in &self.renewers {
            bytes.put_compact_string(renewer);
        }
        bytes.put_i64(self.issue_timestamp);
        bytes.put_i64(self.max_timestamp);
        bytes.put_i64(self.expiration_timestamp);
        bytes.put_compact_string(&self.token_id);
    }
}
