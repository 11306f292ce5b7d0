//! The records of `__consumer_offsets`, in Kafka's own schemas, so that Kafka's tools read them.
//!
//! | record | key | versions of the value read | written |
//! | --- | --- | --- | --- |
//! | offset | version 1 (also 0 is read): group, topic, partition | 0 to 4 | 4; without a topic id 3, 1 with an expiry |
//! | group | version 2: group | 0 to 4 | 3 |
//! | consumer group | versions 3 to 8 and 16 ([`consumer`]) | 0 | 0 |
//! | pending | version 29541, of sedge: group, topic, partition, producer id | as an offset | as an offset |
//!
//! Keys and values both begin with their version; the version of a key also tells the two records
//! apart. A record without a value is a tombstone. Version 4 of a value is version 3 in the
//! flexible format; in an offset's value, tagged field 0 is the topic's id. Version 4 has no field
//! for an expiry, so sedge writes it as a tagged field of its own, which other readers skip.
//!
//! A pending offset becomes an offset if its producer's transaction is committed. Kafka writes it
//! as an offset in a batch of the transaction; here, the end of the transaction writes the offset,
//! so readers of the topic see committed offsets only. Kafka's tools skip versions that they do not
//! know.
//!
//! Source: Kafka's `OffsetCommitKey.json`, `OffsetCommitValue.json`, `GroupMetadataKey.json`,
//! `GroupMetadataValue.json`.

pub mod consumer;

use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerId};
use crate::kafka::KafkaUuid;
use crate::limits::GROUP_MEMBERS_MAX;
use crate::wire::{Reader, Write as _};
use bytes::BufMut as _;
use consumer::ConsumerRecord;

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
/// "se": far above the versions that Kafka numbers from 0.
const PENDING_KEY_VERSION: i16 = 0x7365;
/// The last value version that is not flexible.
const VALUE_VERSION: i16 = 3;
/// The only version of a committed offset with an expiry timestamp of its own.
const EXPIRY_VERSION: i16 = 1;
const VALUE_VERSION_MAX: i16 = 4;
const FLEXIBLE_FROM: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;
/// Tag of the expiry, "sedg": far above the tags that Kafka numbers from 0.
const EXPIRY_TAG: u32 = 0x7365_6467;

/// One record of `__consumer_offsets`; a value of `None` removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorRecord {
    Offset {
        key: OffsetKey,
        value: Option<OffsetValue>,
    },
    Group {
        group: String,
        value: Option<GroupValue>,
    },
    /// A part of a group of the consumer protocol.
    Consumer(ConsumerRecord),
    /// An offset that a transaction will commit.
    Pending {
        producer_id: ProducerId,
        key: OffsetKey,
        value: Option<OffsetValue>,
    },
}

/// Group, topic and partition of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    pub group: String,
    pub topic: String,
    pub partition: PartitionIndex,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text that the client stores with the offset.
    pub metadata: String,
    /// When the offset was committed, by the broker's append clock, from which ages are computed.
    pub commit_ms: i64,
    /// When the offset expires if the client asked for an expiry, by the same clock.
    pub expire_ms: Option<i64>,
    pub topic_id: Option<KafkaUuid>,
}

/// A group of the classic protocol in a stable state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupValue {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group entered its state; `None` if the version has no such field.
    pub state_ms: Option<i64>,
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Vec<u8>,
    pub assignment: Vec<u8>,
}

impl CoordinatorRecord {
    /// Decodes a record from its key and value.
    ///
    /// # Errors
    /// An unknown version of the key or value, or one that is cut short.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self> {
        let mut key = Reader::new(key);
        let record = match key.i16("a coordinator key")? {
            0 | OFFSET_KEY_VERSION => Self::Offset {
                key: OffsetKey::read(&mut key)?,
                value: value.map(OffsetValue::decode).transpose()?,
            },
            PENDING_KEY_VERSION => {
                let of = OffsetKey::read(&mut key)?;
                Self::Pending {
                    producer_id: ProducerId(key.i64("a producer id")?),
                    key: of,
                    value: value.map(OffsetValue::decode).transpose()?,
                }
            }
            GROUP_KEY_VERSION => Self::Group {
                group: key.string("a group id")?.to_owned(),
                value: value.map(GroupValue::decode).transpose()?,
            },
            version if ConsumerRecord::has(version) => {
                Self::Consumer(ConsumerRecord::read(version, &mut key, value)?)
            }
            other => {
                let number = i64::from(other);
                return Err(Error::Unknown {
                    what: "coordinator key version",
                    number,
                });
            }
        };
        key.finish()?;
        Ok(record)
    }

    /// Encodes the record as key and value.
    ///
    /// # Errors
    /// [`Error::TooMany`] if a string is longer than 32 KiB.
    pub fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let mut bytes = Vec::new();
        let value = match self {
            Self::Offset { key, value } => {
                bytes.put_i16(OFFSET_KEY_VERSION);
                key.write(&mut bytes)?;
                value.as_ref().map(OffsetValue::encode).transpose()?
            }
            Self::Pending {
                producer_id,
                key,
                value,
            } => {
                bytes.put_i16(PENDING_KEY_VERSION);
                key.write(&mut bytes)?;
                bytes.put_i64(producer_id.get());
                value.as_ref().map(OffsetValue::encode).transpose()?
            }
            Self::Group { group, value } => {
                bytes.put_i16(GROUP_KEY_VERSION);
                bytes.put_string(group)?;
                value.as_ref().map(GroupValue::encode).transpose()?
            }
            Self::Consumer(record) => record.write(&mut bytes)?,
        };
        Ok((bytes, value))
    }
}

impl OffsetKey {
    fn read(key: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            group: key.string("a group id")?.to_owned(),
            topic: key.string("a topic name")?.to_owned(),
            partition: PartitionIndex(key.i32("a partition")?),
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.put_string(&self.group)?;
        bytes.put_string(&self.topic)?;
        bytes.put_i32(self.partition.0);
        Ok(())
    }
}

impl OffsetValue {
    /// Decodes a value of any version that is read.
    ///
    /// # Errors
    /// As for [`CoordinatorRecord::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (mut reader, version) = value_reader(bytes)?;
        let what = "a committed offset";
        let flexible = version >= FLEXIBLE_FROM;
        let offset = Offset(reader.i64(what)?);
        let leader_epoch = if version >= 3 {
            LeaderEpoch::from_wire(reader.i32(what)?)
        } else {
            None
        };
        let metadata = text(&mut reader, flexible)?;
        let commit_ms = reader.i64(what)?;
        let mut expire_ms = if version == 1 { reader.i64(what)? } else { -1 };
        let mut topic_id = None;
        if flexible {
            reader.tagged_fields(|tag, mut field| {
                match tag {
                    TOPIC_ID_TAG => {
                        topic_id = Some(field.uuid("a topic id")?).filter(|id| !id.is_nil());
                    }
                    EXPIRY_TAG => expire_ms = field.i64("an expiry")?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        reader.finish()?;
        let expire_ms = (expire_ms >= 0).then_some(expire_ms);
        Ok(Self {
            offset,
            leader_epoch,
            metadata,
            commit_ms,
            expire_ms,
            topic_id,
        })
    }

    /// Encodes version 4. Without a topic id it encodes version 3, or version 1 if there is an
    /// expiry, as Kafka does. Version 1 has no field for the leader epoch, and the requests that
    /// ask for an expiry carry none.
    ///
    /// # Errors
    /// As for [`CoordinatorRecord::encode`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(64 + self.metadata.len());
        let expire_ms = self.expire_ms.filter(|expire_ms| *expire_ms >= 0);
        if let Some(topic_id) = self.topic_id {
            self.write_flexible(topic_id, expire_ms, &mut bytes);
            return Ok(bytes);
        }
        bytes.put_i16(if expire_ms.is_some() {
            EXPIRY_VERSION
        } else {
            VALUE_VERSION
        });
        bytes.put_i64(self.offset.0);
        if expire_ms.is_none() {
            bytes.put_i32(self.leader_epoch.map_or(-1, LeaderEpoch::get));
        }
        bytes.put_string(&self.metadata)?;
        bytes.put_i64(self.commit_ms);
        if let Some(expire_ms) = expire_ms {
            bytes.put_i64(expire_ms);
        }
        Ok(bytes)
    }

    fn write_flexible(&self, topic_id: KafkaUuid, expire_ms: Option<i64>, bytes: &mut Vec<u8>) {
        bytes.put_i16(VALUE_VERSION_MAX);
        bytes.put_i64(self.offset.0);
        bytes.put_i32(self.leader_epoch.map_or(-1, LeaderEpoch::get));
        bytes.put_compact_string(&self.metadata);
        bytes.put_i64(self.commit_ms);
        bytes.put_unsigned_varint(1 + u32::from(expire_ms.is_some()));
        bytes.put_unsigned_varint(TOPIC_ID_TAG);
        bytes.put_unsigned_varint(size_of::<KafkaUuid>() as u32);
        bytes.put_uuid(topic_id);
        if let Some(expire_ms) = expire_ms {
            bytes.put_unsigned_varint(EXPIRY_TAG);
            bytes.put_unsigned_varint(size_of::<i64>() as u32);
            bytes.put_i64(expire_ms);
        }
    }
}

impl GroupValue {
    /// Decodes a value of any version that is read.
    ///
    /// # Errors
    /// As for [`CoordinatorRecord::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (mut reader, version) = value_reader(bytes)?;
        let what = "a group";
        let flexible = version >= FLEXIBLE_FROM;
        let protocol_type = text(&mut reader, flexible)?;
        let generation = reader.i32(what)?;
        let protocol = nullable_text(&mut reader, flexible)?;
        let leader = nullable_text(&mut reader, flexible)?;
        let state_ms = if version >= 2 { reader.i64(what)? } else { -1 };
        let count = if flexible {
            reader.compact_count("members", GROUP_MEMBERS_MAX)?
        } else {
            reader.count("members", GROUP_MEMBERS_MAX)?
        };
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(GroupMember::read(&mut reader, version)?);
        }
        if flexible {
            reader.skip_tagged_fields()?;
        }
        reader.finish()?;
        let state_ms = (state_ms >= 0).then_some(state_ms);
        Ok(Self {
            protocol_type,
            generation,
            protocol,
            leader,
            state_ms,
            members,
        })
    }

    /// Encodes version 3.
    ///
    /// # Errors
    /// As for [`CoordinatorRecord::encode`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.put_i16(VALUE_VERSION);
        bytes.put_string(&self.protocol_type)?;
        bytes.put_i32(self.generation);
        bytes.put_nullable_string(self.protocol.as_deref())?;
        bytes.put_nullable_string(self.leader.as_deref())?;
        bytes.put_i64(self.state_ms.unwrap_or(-1));
        if self.members.len() > GROUP_MEMBERS_MAX {
            return Err(Error::TooMany {
                what: "members",
                limit: GROUP_MEMBERS_MAX,
            });
        }
        bytes.put_i32(self.members.len() as i32);
        for member in &self.members {
            member.write(&mut bytes)?;
        }
        Ok(bytes)
    }
}

impl GroupMember {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self> {
        let what = "a member";
        let flexible = version >= FLEXIBLE_FROM;
        let id = text(reader, flexible)?;
        let instance_id = if version >= 3 {
            nullable_text(reader, flexible)?
        } else {
            None
        };
        let client_id = text(reader, flexible)?;
        let client_host = text(reader, flexible)?;
        let rebalance_timeout_ms = if version >= 1 { reader.i32(what)? } else { -1 };
        let session_timeout_ms = reader.i32(what)?;
        let mut bytes = || -> Result<Vec<u8>> {
            let bytes = if flexible {
                reader.compact_bytes(what)?
            } else {
                reader.bytes(what)?
            };
            Ok(bytes.to_vec())
        };
        let subscription = bytes()?;
        let assignment = bytes()?;
        if flexible {
            reader.skip_tagged_fields()?;
        }
        Ok(Self {
            id,
            instance_id,
            client_id,
            client_host,
            // Version 0 had one timeout for both session and rebalance.
            rebalance_timeout_ms: if version >= 1 {
                rebalance_timeout_ms
            } else {
                session_timeout_ms
            },
            session_timeout_ms,
            subscription,
            assignment,
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.put_string(&self.id)?;
        bytes.put_nullable_string(self.instance_id.as_deref())?;
        bytes.put_string(&self.client_id)?;
        bytes.put_string(&self.client_host)?;
        bytes.put_i32(self.rebalance_timeout_ms);
        bytes.put_i32(self.session_timeout_ms);
        bytes.put_sized_bytes(&self.subscription)?;
        bytes.put_sized_bytes(&self.assignment)
    }
}

fn value_reader(bytes: &[u8]) -> Result<(Reader<'_>, i16)> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16("a coordinator value")?;
    if (0..=VALUE_VERSION_MAX).contains(&version) {
        Ok((reader, version))
    } else {
        Err(Error::Unknown {
            what: "coordinator value version",
            number: i64::from(version),
        })
    }
}

fn text(reader: &mut Reader<'_>, flexible: bool) -> Result<String> {
    nullable_text(reader, flexible)?.ok_or(Error::Negative { what: "a text" })
}

fn nullable_text(reader: &mut Reader<'_>, flexible: bool) -> Result<Option<String>> {
    let what = "a text";
    let text = if flexible {
        reader.compact_nullable_string(what)?
    } else {
        reader.nullable_string(what)?
    };
    Ok(text.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: Option<OffsetValue>) -> CoordinatorRecord {
        let key = OffsetKey {
            group: "g".into(),
            topic: "t".into(),
            partition: PartitionIndex(3),
        };
        CoordinatorRecord::Offset { key, value }
    }

    fn value() -> OffsetValue {
        OffsetValue {
            offset: Offset(42),
            leader_epoch: Some(LeaderEpoch(7)),
            metadata: "note".into(),
            commit_ms: 1_700_000_000_000,
            expire_ms: None,
            topic_id: None,
        }
    }

    fn group(value: Option<GroupValue>) -> CoordinatorRecord {
        CoordinatorRecord::Group {
            group: "g".into(),
            value,
        }
    }

    fn group_value() -> GroupValue {
        let member = GroupMember {
            id: "m-1".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 45_000,
            subscription: vec![1, 2, 3],
            assignment: vec![4],
        };
        GroupValue {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            state_ms: Some(99),
            members: vec![
                member.clone(),
                GroupMember {
                    instance_id: None,
                    ..member
                },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_and_every_cut_is_refused() {
        let records = [
            offset(Some(value())),
            offset(Some(OffsetValue {
                expire_ms: Some(9),
                leader_epoch: None,
                ..value()
            })),
            offset(Some(OffsetValue {
                topic_id: Some(KafkaUuid::from_parts(1, 2)),
                ..value()
            })),
            offset(Some(OffsetValue {
                topic_id: Some(KafkaUuid::from_parts(1, 2)),
                expire_ms: Some(i64::MAX),
                ..value()
            })),
            offset(None),
            group(Some(group_value())),
            group(None),
        ];
        for record in records {
            let (key, value) = record.encode().unwrap();
            assert_eq!(
                CoordinatorRecord::decode(&key, value.as_deref()).unwrap(),
                record
            );
            for end in 0..key.len() {
                assert!(CoordinatorRecord::decode(&key[..end], value.as_deref()).is_err());
            }
            for end in 0..value.as_ref().map_or(0, Vec::len) {
                let cut = value.as_ref().map(|value| &value[..end]);
                assert!(
                    CoordinatorRecord::decode(&key, cut).is_err(),
                    "{record:?} {end}"
                );
            }
        }
    }

    #[test]
    fn older_and_newer_offsets_are_read() {
        let old = OffsetValue {
            leader_epoch: None,
            ..value()
        };
        let id = KafkaUuid::from_parts(1, 2);
        let table: &[(i16, OffsetValue)] = &[
            (0, old.clone()),
            (
                1,
                OffsetValue {
                    expire_ms: Some(77),
                    ..old.clone()
                },
            ),
            (2, old),
            (3, value()),
            (
                4,
                OffsetValue {
                    topic_id: Some(id),
                    ..value()
                },
            ),
        ];
        for (version, expected) in table {
            let mut bytes = Vec::new();
            bytes.put_i16(*version);
            bytes.put_i64(42);
            if *version >= 3 {
                bytes.put_i32(7);
            }
            if *version >= 4 {
                bytes.put_compact_string("note");
            } else {
                bytes.put_string("note").unwrap();
            }
            bytes.put_i64(1_700_000_000_000);
            if *version == 1 {
                bytes.put_i64(77);
            }
            if *version >= 4 {
                bytes.put_slice(&[1, 0, 16]);
                bytes.put_uuid(id);
            }
            assert_eq!(
                &OffsetValue::decode(&bytes).unwrap(),
                expected,
                "v{version}"
            );
        }
        assert!(OffsetValue::decode(&[0, 5, 0]).is_err());
    }

    #[test]
    fn a_forged_number_of_members_allocates_nothing() {
        let mut bytes = Vec::new();
        bytes.put_i16(3);
        bytes.put_string("consumer").unwrap();
        bytes.put_i32(1);
        bytes.put_i16(-1);
        bytes.put_i16(-1);
        bytes.put_i64(0);
        bytes.put_i32(i32::MAX);
        assert!(matches!(
            GroupValue::decode(&bytes),
            Err(Error::TooMany { .. })
        ));
    }
}
