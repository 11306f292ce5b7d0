//! The record of a client's quota.

use bytes::BufMut as _;

use crate::error::{Error, Result};
use crate::limits::QUOTA_ENTITY_PARTS_MAX;
use crate::wire::{Reader, Write as _};

/// A quota was set, or removed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientQuotaRecord {
    /// Pairs of type (`user`, `client-id`, `ip`) and name; `None` is the default entity.
    pub entity: Vec<(String, Option<String>)>,
    /// The quota's key, such as `producer_byte_rate`.
    pub key: String,
    /// `None` removes the quota.
    pub value: Option<f64>,
}

impl ClientQuotaRecord {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "a quota";
        let parts = reader.compact_count("parts of an entity", QUOTA_ENTITY_PARTS_MAX)?;
        let mut entity = Vec::with_capacity(parts);
        for _ in 0..parts {
            let kind = reader.compact_string("the type of an entity")?.to_owned();
            let name = reader.compact_nullable_string("the name of an entity")?;
            reader.skip_tagged_fields()?;
            entity.push((kind, name.map(str::to_owned)));
        }
        let key = reader.compact_string("a quota's key")?.to_owned();
        let value = f64::from_bits(reader.i64(what)?.cast_unsigned());
        let is_removed = reader.i8(what)? != 0;
        reader.skip_tagged_fields()?;
        if value.is_nan() {
            return Err(Error::Invalid { what });
        }
        Ok(Self {
            entity,
            key,
            value: (!is_removed).then_some(value),
        })
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_compact_count(self.entity.len());
        for (kind, name) in &self.entity {
            bytes.put_compact_string(kind);
            bytes.put_compact_nullable_string(name.as_deref());
            bytes.put_unsigned_varint(0);
        }
        bytes.put_compact_string(&self.key);
        bytes.put_f64(self.value.unwrap_or_default());
        bytes.put_u8(u8::from(self.value.is_none()));
    }
}
