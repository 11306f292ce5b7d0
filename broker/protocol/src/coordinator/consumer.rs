//! The records of a group of the consumer protocol (KIP-848). A group has one record of its epoch,
//! one of its target assignment's epoch, three for each member, and one for each regular expression
//! that members subscribe to.
//!
//! | state | key | value, version 0, flexible |
//! | --- | --- | --- |
//! | `Epoch` | 3: group | epoch; tag 0: hash of the topics |
//! | `Member` | 5: group, member | who the member is, and what it subscribes to; tag 0: of the classic protocol |
//! | `TargetEpoch` | 6: group | epoch |
//! | `Target` | 7: group, member | topic ids and partitions |
//! | `Current` | 8: group, member | epochs, state, partitions assigned and to be revoked |
//! | `Regex` | 16: group, expression | topics, version, time |
//!
//! Source: Kafka's `ConsumerGroup…Key.json` and `ConsumerGroup…Value.json`. Key 4 (the partitions
//! of the topics) is from before Kafka 4.1, which has the hash instead; it is not read.

use bytes::BufMut as _;

use crate::error::{Error, Result};
use crate::kafka::KafkaUuid;
use crate::limits::{ARRAY_ELEMENTS_MAX, CLASSIC_PROTOCOLS_MAX};
use crate::wire::{Reader, Write as _};

const EPOCH_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;
/// The only version of all values.
const VALUE_VERSION: i16 = 0;
const HASH_TAG: u32 = 0;
const CLASSIC_TAG: u32 = 0;
const EPOCHS_TAG: u32 = 0;

/// One record of a group of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub group: String,
    pub state: ConsumerState,
}

/// A part of a group's state; a value of `None` removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerState {
    Epoch(Option<ConsumerEpoch>),
    Member(String, Option<ConsumerMember>),
    TargetEpoch(Option<i32>),
    Target(String, Option<TopicPartitions>),
    Current(String, Option<CurrentAssignment>),
    Regex(String, Option<ResolvedRegex>),
}

/// Partitions of topics, by topic id.
pub type TopicPartitions = Vec<(KafkaUuid, Vec<i32>)>;

/// A group's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerEpoch {
    pub epoch: i32,
    /// The hash of the topics that the members subscribe to: another hash, another epoch.
    pub topics_hash: i64,
}

/// A member, and what it subscribes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerMember {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    /// What a member of the classic protocol has besides.
    pub classic: Option<ClassicProtocols>,
}

/// What a member of the classic protocol asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicProtocols {
    pub session_timeout_ms: i32,
    /// Names of assignors, with the member's metadata for each.
    pub protocols: Vec<(String, Vec<u8>)>,
}

/// The same, with the epoch at which each partition was assigned to the member (KIP-1251).
pub type HeldPartitions = Vec<(KafkaUuid, Vec<(i32, i32)>)>;

/// What a member has, and what it must give back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    pub epoch: i32,
    pub previous_epoch: i32,
    /// Kafka's number of the member's state.
    pub state: i8,
    pub assigned: HeldPartitions,
    pub to_revoke: HeldPartitions,
}

/// The topics that a regular expression matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    pub topics: Vec<String>,
    /// The version of the metadata.
    pub version: i64,
    /// When the topics were found.
    pub at_ms: i64,
}

impl ConsumerRecord {
    /// Returns an upper bound on the bytes of the texts, partitions and metadata.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const TEXT_BYTES: usize = 5;
        const TOPIC_BYTES: usize = 28;
        let text = |text: &String| TEXT_BYTES + text.len();
        let maybe = |text: &Option<String>| TEXT_BYTES + text.as_ref().map_or(0, String::len);
        let partitions = |topics: &TopicPartitions| -> usize {
            topics
                .iter()
                .map(|(_, of)| TOPIC_BYTES + of.len() * size_of::<i32>())
                .sum()
        };
        let state = match &self.state {
            ConsumerState::Epoch(_) | ConsumerState::TargetEpoch(_) => 0,
            ConsumerState::Member(id, value) => {
                let value = value.as_ref().map_or(0, |value| {
                    let classic = value.classic.iter().flat_map(|classic| &classic.protocols);
                    let classic: usize = classic.map(|(name, of)| text(name) + of.len() + 8).sum();
                    let texts = [
                        &value.instance_id,
                        &value.rack_id,
                        &value.regex,
                        &value.assignor,
                    ];
                    let texts: usize = texts.into_iter().map(maybe).sum();
                    let topics: usize = value.topics.iter().map(text).sum();
                    text(&value.client_id) + text(&value.client_host) + texts + topics + classic
                });
                text(id) + value
            }
            ConsumerState::Target(id, value) => text(id) + value.as_ref().map_or(0, partitions),
            ConsumerState::Current(id, value) => {
                let held = |topics: &HeldPartitions| -> usize {
                    let topics = topics.iter();
                    topics
                        .map(|(_, of)| 2 * TOPIC_BYTES + of.len() * 2 * size_of::<i32>())
                        .sum()
                };
                let value = value.as_ref();
                text(id) + value.map_or(0, |of| held(&of.assigned) + held(&of.to_revoke))
            }
            ConsumerState::Regex(regex, value) => {
                let topics = value.iter().flat_map(|value| &value.topics);
                text(regex) + topics.map(text).sum::<usize>()
            }
        };
        self.group.len() + state
    }

    /// Returns whether a record with a key of this version is one of a consumer group.
    pub(super) const fn has(version: i16) -> bool {
        matches!(
            version,
            EPOCH_KEY | MEMBER_KEY | TARGET_EPOCH_KEY | TARGET_KEY | CURRENT_KEY | REGEX_KEY
        )
    }

    /// Reads a record whose key has this version.
    ///
    /// # Errors
    /// The key or the value is cut short, or has an unknown version.
    pub(super) fn read(version: i16, key: &mut Reader<'_>, value: Option<&[u8]>) -> Result<Self> {
        let group = key.string("a group id")?.to_owned();
        let mut name = || Ok::<_, Error>(key.string("a member id")?.to_owned());
        let state = match version {
            EPOCH_KEY => ConsumerState::Epoch(of(value, ConsumerEpoch::read)?),
            MEMBER_KEY => ConsumerState::Member(name()?, of(value, ConsumerMember::read)?),
            TARGET_EPOCH_KEY => {
                let epoch = plain(value, |reader| reader.i32("an assignment's epoch"))?;
                ConsumerState::TargetEpoch(epoch)
            }
            TARGET_KEY => ConsumerState::Target(name()?, plain(value, read_partitions)?),
            CURRENT_KEY => ConsumerState::Current(name()?, plain(value, CurrentAssignment::read)?),
            _ => ConsumerState::Regex(name()?, plain(value, ResolvedRegex::read)?),
        };
        Ok(Self { group, state })
    }

    /// Appends the key. Returns the value.
    ///
    /// # Errors
    /// [`Error::TooMany`] if an id is longer than 32 KiB.
    pub(super) fn write(&self, key: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
        let (version, name) = match &self.state {
            ConsumerState::Epoch(_) => (EPOCH_KEY, None),
            ConsumerState::Member(name, _) => (MEMBER_KEY, Some(name)),
            ConsumerState::TargetEpoch(_) => (TARGET_EPOCH_KEY, None),
            ConsumerState::Target(name, _) => (TARGET_KEY, Some(name)),
            ConsumerState::Current(name, _) => (CURRENT_KEY, Some(name)),
            ConsumerState::Regex(name, _) => (REGEX_KEY, Some(name)),
        };
        key.put_i16(version);
        key.put_string(&self.group)?;
        if let Some(name) = name {
            key.put_string(name)?;
        }
        let mut bytes = Vec::new();
        bytes.put_i16(VALUE_VERSION);
        let is_there = match &self.state {
            ConsumerState::Epoch(value) => value.map(|value| value.write(&mut bytes)),
            ConsumerState::Member(_, value) => value.as_ref().map(|value| value.write(&mut bytes)),
            ConsumerState::TargetEpoch(value) => value.map(|epoch| {
                bytes.put_i32(epoch);
                bytes.put_unsigned_varint(0);
            }),
            ConsumerState::Target(_, value) => value.as_ref().map(|partitions| {
                write_partitions(partitions, &mut bytes);
                bytes.put_unsigned_varint(0);
            }),
            ConsumerState::Current(_, value) => value.as_ref().map(|value| value.write(&mut bytes)),
            ConsumerState::Regex(_, value) => value.as_ref().map(|value| value.write(&mut bytes)),
        };
        Ok(is_there.map(|()| bytes))
    }
}

impl ConsumerState {
    /// Returns whether the record removes the part.
    #[must_use]
    pub const fn is_removal(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Regex(_, value) => value.is_none(),
        }
    }
}

/// Reads a value, if there is one. `read` reads its tagged fields as well.
fn of<T>(
    value: Option<&[u8]>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let Some(bytes) = value else { return Ok(None) };
    let mut reader = Reader::new(bytes);
    let version = reader.i16("a consumer group's value")?;
    if version != VALUE_VERSION {
        return Err(Error::Unknown {
            what: "consumer group value version",
            number: i64::from(version),
        });
    }
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(Some(value))
}

/// Reads a value without tagged fields that are known, if there is one.
fn plain<T>(
    value: Option<&[u8]>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T>,
) -> Result<Option<T>> {
    of(value, |reader| {
        let value = read(reader)?;
        reader.skip_tagged_fields()?;
        Ok(value)
    })
}

impl ConsumerEpoch {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let epoch = reader.i32("a group's epoch")?;
        let mut topics_hash = 0;
        reader.tagged_fields(|tag, mut field| {
            if tag == HASH_TAG {
                topics_hash = field.i64("a hash of topics")?;
            }
            Ok(())
        })?;
        Ok(Self { epoch, topics_hash })
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.put_i32(self.epoch);
        if self.topics_hash == 0 {
            bytes.put_unsigned_varint(0);
            return;
        }
        bytes.put_unsigned_varint(1);
        bytes.put_unsigned_varint(HASH_TAG);
        bytes.put_unsigned_varint(size_of::<i64>() as u32);
        bytes.put_i64(self.topics_hash);
    }
}

impl ConsumerMember {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "a member";
        let text = |reader: &mut Reader<'_>| -> Result<Option<String>> {
            Ok(reader.compact_nullable_string(what)?.map(str::to_owned))
        };
        let mut member = Self {
            instance_id: text(reader)?,
            rack_id: text(reader)?,
            client_id: reader.compact_string(what)?.to_owned(),
            client_host: reader.compact_string(what)?.to_owned(),
            topics: read_texts(reader)?,
            regex: text(reader)?,
            rebalance_timeout_ms: reader.i32(what)?,
            assignor: text(reader)?,
            classic: None,
        };
        reader.tagged_fields(|tag, mut field| {
            if tag == CLASSIC_TAG {
                member.classic = ClassicProtocols::read(&mut field)?;
            }
            Ok(())
        })?;
        Ok(member)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_compact_nullable_string(self.instance_id.as_deref());
        bytes.put_compact_nullable_string(self.rack_id.as_deref());
        bytes.put_compact_string(&self.client_id);
        bytes.put_compact_string(&self.client_host);
        write_texts(&self.topics, bytes);
        bytes.put_compact_nullable_string(self.regex.as_deref());
        bytes.put_i32(self.rebalance_timeout_ms);
        bytes.put_compact_nullable_string(self.assignor.as_deref());
        let Some(classic) = &self.classic else {
            bytes.put_unsigned_varint(0);
            return;
        };
        let mut field = Vec::new();
        classic.write(&mut field);
        bytes.put_unsigned_varint(1);
        bytes.put_unsigned_varint(CLASSIC_TAG);
        bytes.put_unsigned_varint(field.len() as u32);
        bytes.put_slice(&field);
    }
}

impl ClassicProtocols {
    /// Reads a nullable struct: 1 before one that is there, -1 for null.
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>> {
        let what = "a member of the classic protocol";
        if reader.i8(what)? < 0 {
            return Ok(None);
        }
        let session_timeout_ms = reader.i32(what)?;
        let count = reader.compact_count("protocols", CLASSIC_PROTOCOLS_MAX)?;
        let mut protocols = Vec::new();
        for _ in 0..count {
            let name = reader.compact_string(what)?.to_owned();
            protocols.push((name, reader.compact_bytes(what)?.to_vec()));
            reader.skip_tagged_fields()?;
        }
        reader.skip_tagged_fields()?;
        Ok(Some(Self {
            session_timeout_ms,
            protocols,
        }))
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_i8(1);
        bytes.put_i32(self.session_timeout_ms);
        bytes.put_compact_count(self.protocols.len());
        for (name, metadata) in &self.protocols {
            bytes.put_compact_string(name);
            bytes.put_compact_bytes(metadata);
            bytes.put_unsigned_varint(0);
        }
        bytes.put_unsigned_varint(0);
    }
}

impl CurrentAssignment {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "a member's assignment";
        let epoch = reader.i32(what)?;
        Ok(Self {
            epoch,
            previous_epoch: reader.i32(what)?,
            state: reader.i8(what)?,
            assigned: read_held(reader, epoch)?,
            to_revoke: read_held(reader, epoch)?,
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_i32(self.epoch);
        bytes.put_i32(self.previous_epoch);
        bytes.put_i8(self.state);
        write_held(&self.assigned, bytes);
        write_held(&self.to_revoke, bytes);
        bytes.put_unsigned_varint(0);
    }
}

impl ResolvedRegex {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let what = "a resolved regular expression";
        Ok(Self {
            topics: read_texts(reader)?,
            version: reader.i64(what)?,
            at_ms: reader.i64(what)?,
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_texts(&self.topics, bytes);
        bytes.put_i64(self.version);
        bytes.put_i64(self.at_ms);
        bytes.put_unsigned_varint(0);
    }
}

fn read_texts(reader: &mut Reader<'_>) -> Result<Vec<String>> {
    let count = reader.compact_count("topics", ARRAY_ELEMENTS_MAX)?;
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(reader.compact_string("a topic name")?.to_owned());
    }
    Ok(texts)
}

fn write_texts(texts: &[String], bytes: &mut Vec<u8>) {
    bytes.put_compact_count(texts.len());
    for text in texts {
        bytes.put_compact_string(text);
    }
}

fn read_partitions(reader: &mut Reader<'_>) -> Result<TopicPartitions> {
    let what = "partitions of topics";
    let count = reader.compact_count(what, ARRAY_ELEMENTS_MAX)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push((reader.uuid(what)?, read_numbers(reader)?));
        reader.skip_tagged_fields()?;
    }
    Ok(topics)
}

fn read_numbers(reader: &mut Reader<'_>) -> Result<Vec<i32>> {
    let what = "partitions of a topic";
    let count = reader.compact_count(what, ARRAY_ELEMENTS_MAX)?;
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(reader.i32(what)?);
    }
    Ok(numbers)
}

/// Reads what a member has. Partitions without an epoch are from before Kafka 4.3; they count as
/// assigned at the member's epoch.
fn read_held(reader: &mut Reader<'_>, epoch: i32) -> Result<HeldPartitions> {
    let what = "partitions of a member";
    let count = reader.compact_count(what, ARRAY_ELEMENTS_MAX)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let id = reader.uuid(what)?;
        let partitions = read_numbers(reader)?;
        let mut epochs = Vec::new();
        reader.tagged_fields(|tag, mut field| {
            if tag == EPOCHS_TAG {
                epochs = read_numbers(&mut field)?;
            }
            Ok(())
        })?;
        let epochs = epochs.into_iter().chain(std::iter::repeat(epoch));
        topics.push((id, partitions.into_iter().zip(epochs).collect()));
    }
    Ok(topics)
}

fn write_partitions(topics: &TopicPartitions, bytes: &mut Vec<u8>) {
    bytes.put_compact_count(topics.len());
    for (id, partitions) in topics {
        bytes.put_uuid(*id);
        write_numbers(partitions.iter().copied(), bytes);
        bytes.put_unsigned_varint(0);
    }
}

fn write_numbers(numbers: impl ExactSizeIterator<Item = i32>, bytes: &mut Vec<u8>) {
    bytes.put_compact_count(numbers.len());
    for number in numbers {
        bytes.put_i32(number);
    }
}

fn write_held(topics: &HeldPartitions, bytes: &mut Vec<u8>) {
    bytes.put_compact_count(topics.len());
    for (id, partitions) in topics {
        bytes.put_uuid(*id);
        write_numbers(partitions.iter().map(|(partition, _)| *partition), bytes);
        let mut field = Vec::new();
        write_numbers(partitions.iter().map(|(_, epoch)| *epoch), &mut field);
        bytes.put_unsigned_varint(1);
        bytes.put_unsigned_varint(EPOCHS_TAG);
        bytes.put_unsigned_varint(field.len() as u32);
        bytes.put_slice(&field);
    }
}

#[cfg(test)]
mod tests {
    use super::super::CoordinatorRecord;
    use super::*;

    fn partitions() -> TopicPartitions {
        vec![
            (KafkaUuid::from_parts(1, 2), vec![0, 7]),
            (KafkaUuid::from_parts(3, 4), vec![]),
        ]
    }

    fn member() -> ConsumerMember {
        ConsumerMember {
            instance_id: Some("i".into()),
            rack_id: None,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            topics: vec!["a".into(), "b".into()],
            regex: Some("a.*".into()),
            rebalance_timeout_ms: 300_000,
            assignor: Some("range".into()),
            classic: None,
        }
    }

    fn states() -> Vec<ConsumerState> {
        let name = || "m".to_owned();
        let classic = ClassicProtocols {
            session_timeout_ms: 45_000,
            protocols: vec![("range".into(), vec![1, 2, 3])],
        };
        vec![
            ConsumerState::Epoch(Some(ConsumerEpoch {
                epoch: 7,
                topics_hash: 99,
            })),
            ConsumerState::Epoch(Some(ConsumerEpoch::default())),
            ConsumerState::Epoch(None),
            ConsumerState::Member(name(), Some(member())),
            ConsumerState::Member(
                name(),
                Some(ConsumerMember {
                    classic: Some(classic),
                    ..member()
                }),
            ),
            ConsumerState::Member(name(), None),
            ConsumerState::TargetEpoch(Some(7)),
            ConsumerState::TargetEpoch(None),
            ConsumerState::Target(name(), Some(partitions())),
            ConsumerState::Target(name(), None),
            ConsumerState::Current(
                name(),
                Some(CurrentAssignment {
                    epoch: 7,
                    previous_epoch: 6,
                    state: 1,
                    assigned: vec![(KafkaUuid::from_parts(1, 2), vec![(0, 7), (7, 3)])],
                    to_revoke: vec![(KafkaUuid::from_parts(5, 6), vec![(1, 6)])],
                }),
            ),
            ConsumerState::Current(name(), None),
            ConsumerState::Regex(
                "a.*".to_owned(),
                Some(ResolvedRegex {
                    topics: vec!["a".into()],
                    version: 4,
                    at_ms: 5,
                }),
            ),
            ConsumerState::Regex("a.*".to_owned(), None),
        ]
    }

    #[test]
    fn what_is_written_is_read_and_every_cut_is_refused() {
        for state in states() {
            let record = CoordinatorRecord::Consumer(ConsumerRecord {
                group: "g".into(),
                state,
            });
            let (key, value) = record.encode().unwrap();
            let decode = CoordinatorRecord::decode;
            assert_eq!(decode(&key, value.as_deref()).unwrap(), record);
            for end in 0..key.len() {
                assert!(decode(&key[..end], value.as_deref()).is_err(), "{record:?}");
            }
            for end in 0..value.as_ref().map_or(0, Vec::len) {
                let cut = value.as_ref().map(|value| &value[..end]);
                assert!(decode(&key, cut).is_err(), "{record:?} {end}");
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_kafka() {
        let record = ConsumerRecord {
            group: "g".into(),
            state: ConsumerState::Epoch(Some(ConsumerEpoch {
                epoch: 7,
                topics_hash: 1,
            })),
        };
        let (key, value) = CoordinatorRecord::Consumer(record).encode().unwrap();
        assert_eq!(key, [0, 3, 0, 1, b'g']);
        let expected = [0, 0, 0, 0, 0, 7, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(value.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn partitions_without_epochs_have_that_of_the_member() {
        let key = [0, 8, 0, 1, b'g', 0, 1, b'm'];
        let mut value = vec![0, 0, 0, 0, 0, 9, 0, 0, 0, 8, 0, 2];
        value.extend([0; 16]);
        value.extend([2, 0, 0, 0, 5, 0, 1, 0]);
        let record = CoordinatorRecord::decode(&key, Some(&value)).unwrap();
        let CoordinatorRecord::Consumer(ConsumerRecord { state, .. }) = record else {
            panic!("{record:?}");
        };
        let ConsumerState::Current(_, Some(current)) = state else {
            panic!("{state:?}");
        };
        assert_eq!(
            current.assigned,
            [(KafkaUuid::from_parts(0, 0), vec![(5, 9)])]
        );
    }

    #[test]
    fn a_forged_number_of_partitions_allocates_nothing() {
        let key = [0, 7, 0, 1, b'g', 0, 1, b'm'];
        let value = [0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(
            CoordinatorRecord::decode(&key, Some(&value)),
            Err(Error::TooMany { .. })
        ));
    }
}
