//! The records of `__cluster_metadata`, in Kafka's own schemas and framing, so that
//! `kafka-dump-log --cluster-metadata-decoder` reads them.
//!
//! A record has no key. Its value: frame version (1), the record's number, its version (all
//! unsigned varints), then the message in the flexible format.
//!
//! | number | record | versions read | written |
//! | --- | --- | --- | --- |
//! | 2 | topic | 0 | 0 |
//! | 3 | partition | 0 to 2 | 0 |
//! | 4 | config | 0 | 0 |
//! | 5 | change of a partition | 0 to 2 | 0 |
//! | 9 | removal of a topic | 0 | 0 |
//! | 10 | delegation token | 0 | 0 |
//! | 11 | SCRAM credential of a user | 0 | 0 |
//! | 12 | level of a feature | 0 | 0 |
//! | 14 | quota of a client | 0 | 0 |
//! | 15 | block of producer ids | 0 | 0 |
//! | 18 | access rule | 0 | 0 |
//! | 19 | removal of an access rule | 0 | 0 |
//! | 20 | nothing | 0 | 0 |
//! | 22 | removal of a SCRAM credential | 0 | 0 |
//! | 26 | removal of a delegation token | 0 | 0 |
//!
//! The log's own number of a partition ([`PartitionId`]) has no field in Kafka's partition record.
//! It is a tagged field of sedge's own, [`STORAGE_ID_TAG`], which Kafka's readers skip.
//!
//! Source: Kafka's `metadata/src/main/resources/common/metadata/*.json`, `MetadataRecordSerde`.

mod delegation_token;

pub use delegation_token::{DelegationTokenRecord, RemoveDelegationTokenRecord};

use crate::error::{Error, Result};
use crate::ids::{LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId};
use crate::kafka::KafkaUuid;
use crate::limits::REPLICAS_MAX;
use crate::wire::{Reader, Write as _};
use bytes::BufMut as _;

pub use client_quota::ClientQuotaRecord;

mod client_quota;

/// The tag of the storage's partition id in a partition record: four bytes, big-endian. ("se" in
/// ASCII.)
pub const STORAGE_ID_TAG: u32 = 0x7365;

const FRAME_VERSION: u32 = 1;

/// One record of `__cluster_metadata`.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataRecord {
    Topic(TopicRecord),
    Partition(PartitionRecord),
    Config(ConfigRecord),
    PartitionChange(PartitionChangeRecord),
    RemoveTopic(RemoveTopicRecord),
    FeatureLevel(FeatureLevelRecord),
    ClientQuota(ClientQuotaRecord),
    ProducerIds(ProducerIdsRecord),
    AccessControlEntry(AccessControlEntryRecord),
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord),
    UserScramCredential(UserScramCredentialRecord),
    RemoveUserScramCredential(RemoveUserScramCredentialRecord),
    DelegationToken(DelegationTokenRecord),
    RemoveDelegationToken(RemoveDelegationTokenRecord),
    NoOp,
}

/// A topic was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    pub name: String,
    pub topic_id: KafkaUuid,
}

/// A partition of a topic was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    pub partition: PartitionIndex,
    pub topic_id: KafkaUuid,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// `None` in a record that Kafka wrote.
    pub storage_id: Option<PartitionId>,
}

/// Kafka's resource types: what a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    Topic,
    Broker,
    ClientMetrics,
    Group,
    /// Any other of Kafka's types.
    Other(i8),
}

impl ResourceType {
    #[must_use]
    pub const fn from_wire(number: i8) -> Self {
        match number {
            2 => Self::Topic,
            4 => Self::Broker,
            16 => Self::ClientMetrics,
            32 => Self::Group,
            other => Self::Other(other),
        }
    }

    #[must_use]
    pub const fn wire(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::ClientMetrics => 16,
            Self::Group => 32,
            Self::Other(other) => other,
        }
    }
}

/// A configuration was set, or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRecord {
    pub resource_type: ResourceType,
    /// The topic's name, the broker's number, or empty for all brokers.
    pub resource_name: String,
    pub name: String,
    pub value: Option<String>,
}

/// A partition changed. Only the leader is read here; each change of leader raises the leader epoch
/// by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChangeRecord {
    pub partition: PartitionIndex,
    pub topic_id: KafkaUuid,
    pub leader: Option<NodeId>,
}

/// A topic was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveTopicRecord {
    pub topic_id: KafkaUuid,
}

/// A feature of the cluster has this level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureLevelRecord {
    pub name: String,
    pub level: i16,
}

/// Producer ids below `next` have been handed to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerIdsRecord {
    pub broker: NodeId,
    pub broker_epoch: i64,
    pub next: ProducerId,
}

/// The creation of an access rule. The numbers are those of Kafka's enums of the same names, and
/// are in the ranges of [`ACL_NUMBERS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessControlEntryRecord {
    pub id: KafkaUuid,
    pub resource_type: i8,
    pub resource_name: String,
    pub pattern_type: i8,
    pub principal: String,
    pub host: String,
    pub operation: i8,
    pub permission_type: i8,
}

/// The removal of an access rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveAccessControlEntryRecord {
    pub id: KafkaUuid,
}

/// The creation or change of a SCRAM credential. Its mechanism is one of [`SCRAM_MECHANISMS`].
#[derive(Clone, PartialEq, Eq)]
pub struct UserScramCredentialRecord {
    pub name: String,
    pub mechanism: i8,
    pub salt: Vec<u8>,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: i32,
}

/// Omits the salt and the keys.
impl core::fmt::Debug for UserScramCredentialRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("UserScramCredentialRecord")
            .field("name", &self.name)
            .field("mechanism", &self.mechanism)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// The removal of a SCRAM credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveUserScramCredentialRecord {
    pub name: String,
    pub mechanism: i8,
}

/// SCRAM-SHA-256 and SCRAM-SHA-512.
pub const SCRAM_MECHANISMS: core::ops::RangeInclusive<i8> = 1..=2;

/// The ranges of the numbers in a rule, with their names for errors. Other numbers are an error: a
/// rule that cannot be decoded must not be ignored, because it may deny something.
pub const ACL_NUMBERS: [(&str, core::ops::RangeInclusive<i8>); 4] = [
    ("resource type of an access rule", 2..=7),
    ("pattern type of an access rule", 3..=4),
    ("operation of an access rule", 2..=15),
    ("permission type of an access rule", 2..=3),
];

impl MetadataRecord {
    /// Packs the record's number, the largest version that is read, and the version that is
    /// written.
    const fn format(&self) -> u32 {
        match self {
            Self::Topic(_) => 2,
            Self::Partition(_) => 3,
            Self::Config(_) => 4,
            Self::PartitionChange(_) => 5,
            Self::RemoveTopic(_) => 9,
            Self::DelegationToken(_) => 10,
            Self::FeatureLevel(_) => 12,
            Self::ClientQuota(_) => 14,
            Self::ProducerIds(_) => 15,
            Self::AccessControlEntry(_) => 18,
            Self::RemoveAccessControlEntry(_) => 19,
            Self::NoOp => 20,
            Self::RemoveDelegationToken(_) => 26,
            Self::UserScramCredential(_) => 11,
            Self::RemoveUserScramCredential(_) => 22,
        }
    }

    /// Decodes a record's value.
    ///
    /// # Errors
    /// An unknown type or version is [`Error::Unknown`] with its number: a newer build wrote it.
    pub fn decode(value: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(value);
        let frame = reader.unsigned_varint()?;
        if frame != FRAME_VERSION {
            return Err(unknown("frame version of metadata record", frame));
        }
        let number = reader.unsigned_varint()?;
        let version = reader.unsigned_varint()?;
        let version_max = match number {
            3 | 5 => 2,
            2 | 4 | 9..=12 | 14 | 15 | 18..=20 | 22 | 26 => 0,
            _ => return Err(unknown("metadata record", number)),
        };
        if version > version_max {
            return Err(unknown("version of a metadata record", version));
        }
        let record = match number {
            2 => Self::Topic(TopicRecord::read(&mut reader)?),
            3 => Self::Partition(PartitionRecord::read(&mut reader, version)?),
            4 => Self::Config(ConfigRecord::read(&mut reader)?),
            5 => Self::PartitionChange(PartitionChangeRecord::read(&mut reader)?),
            9 => {
                let topic_id = reader.uuid("a topic id")?;
                reader.skip_tagged_fields()?;
                Self::RemoveTopic(RemoveTopicRecord { topic_id })
            }
            11 => Self::UserScramCredential(UserScramCredentialRecord::read(&mut reader)?),
            22 => {
                let name = reader.compact_string("a user")?.to_owned();
                let mechanism = read_mechanism(&mut reader)?;
                reader.skip_tagged_fields()?;
                Self::RemoveUserScramCredential(RemoveUserScramCredentialRecord { name, mechanism })
            }
            10 => Self::DelegationToken(DelegationTokenRecord::read(&mut reader)?),
            12 => Self::FeatureLevel(FeatureLevelRecord::read(&mut reader)?),
            14 => Self::ClientQuota(ClientQuotaRecord::read(&mut reader)?),
            15 => Self::ProducerIds(ProducerIdsRecord::read(&mut reader)?),
            18 => Self::AccessControlEntry(AccessControlEntryRecord::read(&mut reader)?),
            19 => {
                let id = reader.uuid("the id of an access rule")?;
                reader.skip_tagged_fields()?;
                Self::RemoveAccessControlEntry(RemoveAccessControlEntryRecord { id })
            }
            26 => {
                let token_id = reader.compact_string("a delegation token")?.to_owned();
                reader.skip_tagged_fields()?;
                Self::RemoveDelegationToken(RemoveDelegationTokenRecord { token_id })
            }
            _ => {
                reader.skip_tagged_fields()?;
                Self::NoOp
            }
        };
        reader.finish()?;
        Ok(record)
    }

    /// Encodes a record's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_unsigned_varint(FRAME_VERSION);
        bytes.put_unsigned_varint(self.format());
        bytes.put_unsigned_varint(0);
        match self {
            Self::Topic(record) => {
                bytes.put_compact_string(&record.name);
                bytes.put_uuid(record.topic_id);
            }
            Self::Partition(record) => return record.write(bytes),
            Self::Config(record) => {
                bytes.put_i8(record.resource_type.wire());
                bytes.put_compact_string(&record.resource_name);
                bytes.put_compact_string(&record.name);
                bytes.put_compact_nullable_string(record.value.as_deref());
            }
            Self::PartitionChange(record) => return record.write(bytes),
            Self::RemoveTopic(record) => bytes.put_uuid(record.topic_id),
            Self::FeatureLevel(record) => {
                bytes.put_compact_string(&record.name);
                bytes.put_i16(record.level);
            }
            Self::ClientQuota(record) => record.write(&mut bytes),
            Self::ProducerIds(record) => {
                bytes.put_i32(record.broker.0);
                bytes.put_i64(record.broker_epoch);
                bytes.put_i64(record.next.0);
            }
            Self::AccessControlEntry(record) => {
                bytes.put_uuid(record.id);
                bytes.put_i8(record.resource_type);
                bytes.put_compact_string(&record.resource_name);
                bytes.put_i8(record.pattern_type);
                bytes.put_compact_string(&record.principal);
                bytes.put_compact_string(&record.host);
                bytes.put_i8(record.operation);
                bytes.put_i8(record.permission_type);
            }
            Self::RemoveAccessControlEntry(record) => bytes.put_uuid(record.id),
            Self::UserScramCredential(record) => {
                bytes.put_compact_string(&record.name);
                bytes.put_i8(record.mechanism);
                bytes.put_compact_bytes(&record.salt);
                bytes.put_compact_bytes(&record.stored_key);
                bytes.put_compact_bytes(&record.server_key);
                bytes.put_i32(record.iterations);
            }
            Self::RemoveUserScramCredential(record) => {
                bytes.put_compact_string(&record.name);
                bytes.put_i8(record.mechanism);
            }
            Self::DelegationToken(record) => record.write(&mut bytes),
            Self::RemoveDelegationToken(record) => bytes.put_compact_string(&record.token_id),
            Self::NoOp => {}
        }
        bytes.put_unsigned_varint(0);
        bytes
    }
}

impl TopicRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let name = reader.compact_string("a topic name")?.to_owned();
        let topic_id = reader.uuid("a topic id")?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, topic_id })
    }
}

impl PartitionRecord {
    fn read(reader: &mut Reader<'_>, version: u32) -> Result<Self> {
        let what = "a partition record";
        let partition = PartitionIndex(reader.i32(what)?);
        let topic_id = reader.uuid(what)?;
        let replicas = read_nodes(reader)?;
        let isr = read_nodes(reader)?;
        let _removing = read_nodes(reader)?;
        let _adding = read_nodes(reader)?;
        let leader = node(reader.i32(what)?);
        let leader_epoch = LeaderEpoch(reader.i32(what)?);
        let partition_epoch = reader.i32(what)?;
        if version >= 1 {
            for _ in 0..reader.compact_count("directories", REPLICAS_MAX)? {
                reader.uuid("a directory")?;
            }
        }
        let mut storage_id = None;
        reader.tagged_fields(|tag, mut field| {
            if tag == STORAGE_ID_TAG {
                let id = field.i32("a storage id")?.cast_unsigned();
                storage_id = Some(PartitionId(id));
            }
            Ok(())
        })?;
        Ok(Self {
            partition,
            topic_id,
            replicas,
            isr,
            leader,
            leader_epoch,
            partition_epoch,
            storage_id,
        })
    }

    fn write(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.put_i32(self.partition.0);
        bytes.put_uuid(self.topic_id);
        put_nodes(&mut bytes, &self.replicas);
        put_nodes(&mut bytes, &self.isr);
        put_nodes(&mut bytes, &[]);
        put_nodes(&mut bytes, &[]);
        bytes.put_i32(self.leader.map_or(-1, NodeId::get));
        bytes.put_i32(self.leader_epoch.0);
        bytes.put_i32(self.partition_epoch);
        match self.storage_id {
            Some(id) => {
                bytes.put_unsigned_varint(1);
                bytes.put_unsigned_varint(STORAGE_ID_TAG);
                bytes.put_unsigned_varint(4);
                bytes.put_u32(id.0);
            }
            None => bytes.put_unsigned_varint(0),
        }
        bytes
    }
}

impl ConfigRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let record = Self {
            resource_type: ResourceType::from_wire(reader.i8("a resource type")?),
            resource_name: reader.compact_string("a resource name")?.to_owned(),
            name: reader.compact_string("a configuration's name")?.to_owned(),
            value: reader
                .compact_nullable_string("a configuration")?
                .map(str::to_owned),
        };
        reader.skip_tagged_fields()?;
        Ok(record)
    }
}

impl PartitionChangeRecord {
    /// PartitionChangeRecord.json: the leader is tagged field 1; without it (-2) the leader stays.
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let partition = PartitionIndex(reader.i32("a partition change")?);
        let topic_id = reader.uuid("a partition change")?;
        let mut leader = None;
        reader.tagged_fields(|tag, mut field| {
            if tag == 1 {
                leader = node(field.i32("a leader")?);
            }
            Ok(())
        })?;
        Ok(Self {
            partition,
            topic_id,
            leader,
        })
    }

    fn write(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.put_i32(self.partition.0);
        bytes.put_uuid(self.topic_id);
        match self.leader {
            Some(leader) => {
                bytes.put_slice(&[1, 1, 4]);
                bytes.put_i32(leader.0);
            }
            None => bytes.put_unsigned_varint(0),
        }
        bytes
    }
}

impl FeatureLevelRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let name = reader.compact_string("a feature")?.to_owned();
        let level = reader.i16("a feature")?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, level })
    }
}

impl ProducerIdsRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "producer ids";
        let record = Self {
            broker: NodeId(reader.i32(what)?),
            broker_epoch: reader.i64(what)?,
            next: ProducerId(reader.i64(what)?),
        };
        reader.skip_tagged_fields()?;
        Ok(record)
    }
}

impl AccessControlEntryRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "an access rule";
        let record = Self {
            id: reader.uuid(what)?,
            resource_type: reader.i8(what)?,
            resource_name: reader.compact_string("a resource name")?.to_owned(),
            pattern_type: reader.i8(what)?,
            principal: reader.compact_string("a principal")?.to_owned(),
            host: reader.compact_string("a host")?.to_owned(),
            operation: reader.i8(what)?,
            permission_type: reader.i8(what)?,
        };
        reader.skip_tagged_fields()?;
        let numbers = [
            record.resource_type,
            record.pattern_type,
            record.operation,
            record.permission_type,
        ];
        for (number, (what, known)) in numbers.into_iter().zip(ACL_NUMBERS) {
            if !known.contains(&number) {
                let number = i64::from(number);
                return Err(Error::Unknown { what, number });
            }
        }
        Ok(record)
    }
}

impl UserScramCredentialRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "a SCRAM credential";
        let record = Self {
            name: reader.compact_string("a user")?.to_owned(),
            mechanism: read_mechanism(reader)?,
            salt: reader.compact_bytes(what)?.to_vec(),
            stored_key: reader.compact_bytes(what)?.to_vec(),
            server_key: reader.compact_bytes(what)?.to_vec(),
            iterations: reader.i32(what)?,
        };
        reader.skip_tagged_fields()?;
        Ok(record)
    }
}

fn read_mechanism(reader: &mut Reader<'_>) -> Result<i8> {
    let what = "SCRAM mechanism";
    let number = reader.i8(what)?;
    if SCRAM_MECHANISMS.contains(&number) {
        Ok(number)
    } else {
        let number = i64::from(number);
        Err(Error::Unknown { what, number })
    }
}

fn unknown(what: &'static str, number: u32) -> Error {
    Error::Unknown {
        what,
        number: i64::from(number),
    }
}

const fn node(number: i32) -> Option<NodeId> {
    if number < 0 {
        None
    } else {
        Some(NodeId(number))
    }
}

fn read_nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>> {
    let count = reader.compact_count("replicas", REPLICAS_MAX)?;
    (0..count)
        .map(|_| Ok(NodeId(reader.i32("a replica")?)))
        .collect()
}

fn put_nodes(bytes: &mut Vec<u8>, nodes: &[NodeId]) {
    bytes.put_compact_count(nodes.len());
    for node in nodes {
        bytes.put_i32(node.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<MetadataRecord> {
        let topic_id = KafkaUuid::from_parts(3, 4);
        let partition = PartitionIndex(2);
        let config = |value: Option<&str>| ConfigRecord {
            resource_type: ResourceType::Topic,
            resource_name: "t".into(),
            name: "retention.ms".into(),
            value: value.map(str::to_owned),
        };
        vec![
            MetadataRecord::Topic(TopicRecord {
                name: "t".into(),
                topic_id,
            }),
            MetadataRecord::Partition(PartitionRecord {
                partition,
                topic_id,
                replicas: vec![NodeId(1)],
                isr: vec![NodeId(1)],
                leader: Some(NodeId(1)),
                leader_epoch: LeaderEpoch(5),
                partition_epoch: 6,
                storage_id: Some(PartitionId(u32::MAX - 1)),
            }),
            MetadataRecord::Config(config(Some("1"))),
            MetadataRecord::Config(config(None)),
            MetadataRecord::PartitionChange(PartitionChangeRecord {
                partition,
                topic_id,
                leader: Some(NodeId(1)),
            }),
            MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id }),
            MetadataRecord::FeatureLevel(FeatureLevelRecord {
                name: "metadata.version".into(),
                level: 29,
            }),
            MetadataRecord::ClientQuota(ClientQuotaRecord {
                entity: vec![
                    ("user".into(), Some("a".into())),
                    ("client-id".into(), None),
                ],
                key: "request_percentage".into(),
                value: Some(12.5),
            }),
            MetadataRecord::ClientQuota(ClientQuotaRecord {
                entity: vec![("ip".into(), None)],
                key: "connection_creation_rate".into(),
                value: None,
            }),
            MetadataRecord::ProducerIds(ProducerIdsRecord {
                broker: NodeId(1),
                broker_epoch: 9,
                next: ProducerId(1000),
            }),
            MetadataRecord::AccessControlEntry(access_rule()),
            MetadataRecord::RemoveAccessControlEntry(RemoveAccessControlEntryRecord {
                id: KafkaUuid::from_parts(5, 6),
            }),
            MetadataRecord::UserScramCredential(UserScramCredentialRecord {
                name: "u".into(),
                mechanism: 2,
                salt: vec![1, 2],
                stored_key: vec![3; 64],
                server_key: vec![4; 64],
                iterations: 4096,
            }),
            MetadataRecord::RemoveUserScramCredential(RemoveUserScramCredentialRecord {
                name: "u".into(),
                mechanism: 1,
            }),
            MetadataRecord::NoOp,
        ]
    }

    fn access_rule() -> AccessControlEntryRecord {
        AccessControlEntryRecord {
            id: KafkaUuid::from_parts(5, 6),
            resource_type: 2,
            resource_name: "t".into(),
            pattern_type: 4,
            principal: "User:a".into(),
            host: "*".into(),
            operation: 3,
            permission_type: 2,
        }
    }

    #[test]
    fn an_access_rule_is_not_read_as_another_one_than_it_is() {
        let mut rule = access_rule();
        rule.operation = 16;
        let error = MetadataRecord::decode(&MetadataRecord::AccessControlEntry(rule).encode());
        assert_eq!(
            error.unwrap_err().to_string(),
            "operation of an access rule 16 is unknown"
        );
        let mut rule = access_rule();
        rule.permission_type = 1;
        let error = MetadataRecord::decode(&MetadataRecord::AccessControlEntry(rule).encode());
        assert!(error.is_err());
    }

    #[test]
    fn a_quota_that_is_no_number_is_refused() {
        let quota = ClientQuotaRecord {
            entity: vec![("user".into(), None)],
            key: "producer_byte_rate".into(),
            value: Some(f64::NAN),
        };
        let error = MetadataRecord::decode(&MetadataRecord::ClientQuota(quota).encode());
        assert_eq!(error.unwrap_err().to_string(), "a quota is not valid");
    }

    #[test]
    fn what_is_written_is_read_and_every_cut_is_refused() {
        for record in records() {
            let bytes = record.encode();
            assert_eq!(MetadataRecord::decode(&bytes).unwrap(), record);
            for end in 0..bytes.len() {
                assert!(
                    MetadataRecord::decode(&bytes[..end]).is_err(),
                    "{record:?} cut at {end}"
                );
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(MetadataRecord::decode(&longer).is_err(), "{record:?}");
        }
    }

    #[test]
    fn what_a_newer_build_wrote_is_named() {
        let error = |bytes: &[u8]| MetadataRecord::decode(bytes).unwrap_err().to_string();
        assert_eq!(
            error(&[2, 2, 0]),
            "frame version of metadata record 2 is unknown"
        );
        assert_eq!(error(&[1, 99, 0]), "metadata record 99 is unknown");
        assert_eq!(
            error(&[1, 2, 1]),
            "version of a metadata record 1 is unknown"
        );
    }

    #[test]
    fn a_partition_record_of_kafka_is_read() {
        // Version 1 with one directory, eligible leaders as tagged field 1.
        let mut bytes = vec![1, 3, 1];
        bytes.put_i32(0);
        bytes.put_uuid(KafkaUuid::from_parts(1, 1));
        bytes.put_slice(&[2, 0, 0, 0, 7, 2, 0, 0, 0, 7, 1, 1]);
        bytes.put_i32(7);
        bytes.put_i32(2);
        bytes.put_i32(3);
        bytes.put_u8(2);
        bytes.put_uuid(KafkaUuid::from_parts(8, 8));
        bytes.put_slice(&[1, 1, 2, 1, 0]);
        let MetadataRecord::Partition(record) = MetadataRecord::decode(&bytes).unwrap() else {
            panic!("not a partition record");
        };
        assert_eq!(record.isr, [NodeId(7)]);
        assert_eq!(
            (record.leader_epoch, record.storage_id),
            (LeaderEpoch(2), None)
        );
    }
}
