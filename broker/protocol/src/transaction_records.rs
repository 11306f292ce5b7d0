//! The records of `__transaction_state`, in Kafka's own schemas, so that Kafka's tools read them.
//!
//! The key is version 0: the transactional id. Versions 0 and 1 of the value are read, and version
//! 1 is written, which is flexible. A record without a value is a tombstone.
//!
//! Source: Kafka's `TransactionLogKey.json`, `TransactionLogValue.json`.

use bytes::BufMut as _;

use crate::error::{Error, Result};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::limits::TRANSACTION_PARTITIONS_MAX;
use crate::wire::{Reader, Write as _};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 1;
const FLEXIBLE_FROM: i16 = 1;
const PREVIOUS_PRODUCER_TAG: u32 = 0;
const CLIENT_VERSION_TAG: u32 = 2;

/// One record of `__transaction_state`; a value of `None` removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRecord {
    pub transactional_id: String,
    pub value: Option<TransactionValue>,
}

/// A transactional id's producer and its newest transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionValue {
    pub producer_id: ProducerId,
    /// The id before this one, if its epochs ran out.
    pub previous_producer_id: Option<ProducerId>,
    pub epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub status: TransactionStatus,
    /// The partitions of an ongoing transaction, by topic.
    pub partitions: Vec<(String, Vec<i32>)>,
    /// When the record was made, by the append clock, from which ages are computed.
    pub updated_ms: i64,
    /// When the transaction began, by the wall clock; -1 if there was none.
    pub started_ms: i64,
    /// `transaction.version` of the client: 2 if it takes a new epoch with each transaction
    /// (KIP-890).
    pub client_version: i16,
}

/// Kafka's `TransactionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    Dead,
    PrepareEpochFence,
}

impl TransactionStatus {
    /// All values in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    /// Returns the name that Kafka's tools show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    fn from_wire(number: i8) -> Result<Self> {
        let found = usize::try_from(number).ok();
        let found = found.and_then(|number| Self::ALL.get(number).copied());
        found.ok_or(Error::Unknown {
            what: "transaction status",
            number: number.into(),
        })
    }
}

impl TransactionRecord {
    /// Decodes a record from its key and value.
    ///
    /// # Errors
    /// An unknown version of the key or value, or one that is cut short.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self> {
        let mut key = Reader::new(key);
        let version = key.i16("a transaction key")?;
        if version != KEY_VERSION {
            return Err(Error::Unknown {
                what: "transaction key version",
                number: version.into(),
            });
        }
        let transactional_id = key.string("a transactional id")?.to_owned();
        key.finish()?;
        Ok(Self {
            transactional_id,
            value: value.map(TransactionValue::decode).transpose()?,
        })
    }

    /// Encodes the record as key and value.
    ///
    /// # Errors
    /// [`Error::TooMany`] if a string is longer than 32 KiB.
    pub fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let mut key = Vec::new();
        key.put_i16(KEY_VERSION);
        key.put_string(&self.transactional_id)?;
        Ok((key, self.value.as_ref().map(TransactionValue::encode)))
    }
}

impl TransactionValue {
    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let what = "a transaction";
        let version = reader.i16(what)?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return Err(Error::Unknown {
                what: "transaction value version",
                number: version.into(),
            });
        }
        let is_flexible = version >= FLEXIBLE_FROM;
        let producer_id = ProducerId(reader.i64(what)?);
        let epoch = ProducerEpoch(reader.i16(what)?);
        let timeout_ms = reader.i32(what)?;
        let status = TransactionStatus::from_wire(reader.i8(what)?)?;
        let partitions = read_partitions(&mut reader, is_flexible)?;
        let updated_ms = reader.i64(what)?;
        let started_ms = reader.i64(what)?;
        let (mut previous, mut client_version) = (-1, 0);
        if is_flexible {
            reader.tagged_fields(|tag, mut field| {
                match tag {
                    PREVIOUS_PRODUCER_TAG => previous = field.i64(what)?,
                    CLIENT_VERSION_TAG => client_version = field.i16(what)?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(Self {
            producer_id,
            previous_producer_id: ProducerId::from_wire(previous),
            epoch,
            timeout_ms,
            status,
            partitions,
            updated_ms,
            started_ms,
            client_version,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_i16(VALUE_VERSION);
        bytes.put_i64(self.producer_id.get());
        bytes.put_i16(self.epoch.get());
        bytes.put_i32(self.timeout_ms);
        bytes.put_i8(self.status as i8);
        if self.partitions.is_empty() {
            bytes.put_unsigned_varint(0);
        } else {
            bytes.put_unsigned_varint(self.partitions.len() as u32 + 1);
        }
        for (topic, indexes) in &self.partitions {
            bytes.put_compact_string(topic);
            bytes.put_unsigned_varint(indexes.len() as u32 + 1);
            for index in indexes {
                bytes.put_i32(*index);
            }
            bytes.put_unsigned_varint(0);
        }
        bytes.put_i64(self.updated_ms);
        bytes.put_i64(self.started_ms);
        let previous = self.previous_producer_id;
        let has_version = self.client_version != 0;
        bytes.put_unsigned_varint(u32::from(previous.is_some()) + u32::from(has_version));
        if let Some(previous) = previous {
            bytes.put_unsigned_varint(PREVIOUS_PRODUCER_TAG);
            bytes.put_unsigned_varint(size_of::<i64>() as u32);
            bytes.put_i64(previous.get());
        }
        if has_version {
            bytes.put_unsigned_varint(CLIENT_VERSION_TAG);
            bytes.put_unsigned_varint(size_of::<i16>() as u32);
            bytes.put_i16(self.client_version);
        }
        bytes
    }
}

fn read_partitions(reader: &mut Reader<'_>, is_flexible: bool) -> Result<Vec<(String, Vec<i32>)>> {
    let what = "partitions of a transaction";
    let count = |reader: &mut Reader<'_>| {
        if is_flexible {
            reader.compact_count(what, TRANSACTION_PARTITIONS_MAX)
        } else {
            reader.count(what, TRANSACTION_PARTITIONS_MAX)
        }
    };
    let mut partitions = Vec::new();
    for _ in 0..count(reader)? {
        let topic = if is_flexible {
            reader.compact_string(what)?
        } else {
            reader.string(what)?
        };
        let mut indexes = Vec::new();
        for _ in 0..count(reader)? {
            indexes.push(reader.i32(what)?);
        }
        if is_flexible {
            reader.skip_tagged_fields()?;
        }
        partitions.push((topic.to_owned(), indexes));
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> TransactionValue {
        TransactionValue {
            producer_id: ProducerId(7),
            previous_producer_id: Some(ProducerId(6)),
            epoch: ProducerEpoch(3),
            timeout_ms: 60_000,
            status: TransactionStatus::Ongoing,
            partitions: vec![("a".to_owned(), vec![0, 4]), ("b".to_owned(), vec![1])],
            updated_ms: 11,
            started_ms: 12,
            client_version: 2,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let plain = TransactionValue {
            previous_producer_id: None,
            partitions: Vec::new(),
            client_version: 0,
            status: TransactionStatus::CompleteAbort,
            ..value()
        };
        for value in [Some(value()), Some(plain), None] {
            let record = TransactionRecord {
                transactional_id: "t".to_owned(),
                value,
            };
            let (key, value) = record.encode().unwrap();
            let read = TransactionRecord::decode(&key, value.as_deref());
            assert_eq!(read.unwrap(), record);
        }
    }

    #[test]
    fn a_record_that_is_cut_short_is_an_error() {
        let whole = value().encode();
        for length in 0..whole.len() {
            let read = TransactionValue::decode(&whole[..length]);
            assert!(read.is_err(), "{length} of {}", whole.len());
        }
        let of_version_2 = [&[0, 2], &whole[2..]].concat();
        assert!(TransactionValue::decode(&of_version_2).is_err());
    }

    /// `TransactionLogValue` version 0, as brokers before 4.0 write it.
    #[test]
    fn the_version_that_is_not_flexible_is_read() {
        let mut bytes = Vec::new();
        bytes.put_i16(0);
        bytes.put_i64(7);
        bytes.put_i16(3);
        bytes.put_i32(60_000);
        bytes.put_i8(1);
        bytes.put_i32(1);
        bytes.put_string("a").unwrap();
        bytes.put_i32(1);
        bytes.put_i32(4);
        bytes.put_i64(11);
        bytes.put_i64(12);
        let read = TransactionValue::decode(&bytes).unwrap();
        let expected = TransactionValue {
            previous_producer_id: None,
            partitions: vec![("a".to_owned(), vec![4])],
            client_version: 0,
            ..value()
        };
        assert_eq!(read, expected);
    }
}
