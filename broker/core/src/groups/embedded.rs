//! The consumer protocol that members embed in the classic protocol: what a consumer subscribes to,
//! and what it is assigned.
//!
//! | bytes of a subscription | field | from version |
//! | --- | --- | --- |
//! | 2 | version | |
//! | 4, 2 + n each | topics | |
//! | 4 + n, or -1 | user data | |
//! | 4, 2 + n + 4 + 4 * m each | partitions that the member has, by topic | 1 |
//! | 4 | generation | 2 |
//! | 2 + n, or -1 | rack | 3 |
//!
//! An assignment has, in all versions, the version, partitions by topic, and user data.
//!
//! Source: Kafka's `ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut as _, Bytes};
use sedge_protocol::error::Result;
use sedge_protocol::wire::{Reader, Write as _};

use super::assign::Assignment;
use super::limits::SUBSCRIPTION_TOPICS_MAX;
use crate::metadata::Image;

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// What a member of the classic protocol says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    pub version: i16,
    pub topics: BTreeSet<String>,
    /// The partitions that the member has, by topic.
    pub owned: Vec<(String, Vec<i32>)>,
    pub rack_id: Option<String>,
}

impl Subscription {
    /// Returns `None` if the bytes are not a subscription.
    pub fn read(metadata: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(metadata);
        read_subscription(&mut reader).ok()
    }

    /// Returns the partitions that the member has, of topics that exist.
    pub fn owned(&self, image: &Image) -> Assignment {
        by_id(&self.owned, image)
    }
}

/// Returns the topics of a subscription, whatever follows them; `None` if the bytes have none.
pub fn topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let mut reader = Reader::new(metadata);
    reader.i16(WHAT).ok()?;
    read_topics(&mut reader).ok()
}

/// Reads an assignment, of topics that exist; `None` if the bytes are not one, or if they have user
/// data, which only the assignor of a client understands.
pub fn assigned(bytes: &[u8], image: &Image) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment::new());
    }
    let mut reader = Reader::new(bytes);
    reader.i16(WHAT).ok()?;
    let partitions = read_partitions(&mut reader).ok()?;
    let user_data = reader.nullable_bytes(WHAT).ok()?;
    let is_plain = user_data.is_none_or(<[u8]>::is_empty);
    is_plain.then(|| by_id(&partitions, image))
}

/// Returns the bytes of an assignment, without topics that do not exist.
pub fn assignment(version: i16, assignment: &Assignment, image: &Image) -> Bytes {
    let mut bytes = Vec::new();
    bytes.put_i16(version.max(0));
    let topics = assignment.topics().filter_map(|id| {
        let topic = image.topic_by_id(id.into())?;
        Some((id, &topic.name))
    });
    let topics: Vec<_> = topics.collect();
    bytes.put_i32(topics.len() as i32);
    for (id, name) in topics {
        // The names of topics have 249 bytes at most.
        let written = bytes.put_string(name);
        debug_assert!(written.is_ok());
        let partitions: Vec<i32> = assignment.of_topic(id).collect();
        bytes.put_i32(partitions.len() as i32);
        for partition in partitions {
            bytes.put_i32(partition);
        }
    }
    bytes.put_i32(-1);
    bytes.into()
}

const WHAT: &str = "a consumer's metadata";

fn read_subscription(reader: &mut Reader<'_>) -> Result<Subscription> {
    let version = reader.i16(WHAT)?;
    let mut subscription = Subscription {
        version,
        topics: read_topics(reader)?,
        ..Subscription::default()
    };
    reader.nullable_bytes(WHAT)?;
    if version >= 1 {
        subscription.owned = read_partitions(reader)?;
    }
    if version >= 2 {
        reader.i32(WHAT)?;
    }
    if version >= 3 {
        subscription.rack_id = reader.nullable_string(WHAT)?.map(ToOwned::to_owned);
    }
    Ok(subscription)
}

fn read_topics(reader: &mut Reader<'_>) -> Result<BTreeSet<String>> {
    let count = read_count(reader)?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        topics.insert(reader.string(WHAT)?.to_owned());
    }
    Ok(topics)
}

fn read_partitions(reader: &mut Reader<'_>) -> Result<Vec<(String, Vec<i32>)>> {
    let mut topics = Vec::new();
    for _ in 0..read_count(reader)? {
        let name = reader.string(WHAT)?.to_owned();
        let mut partitions = Vec::new();
        for _ in 0..read_count(reader)? {
            partitions.push(reader.i32(WHAT)?);
        }
        topics.push((name, partitions));
    }
    Ok(topics)
}

/// Reads a number of elements, which is not null.
fn read_count(reader: &mut Reader<'_>) -> Result<usize> {
    let mut ahead = reader.clone();
    if ahead.i32(WHAT)? < 0 {
        return Err(sedge_protocol::error::Error::Negative { what: WHAT });
    }
    reader.count("topics or partitions", SUBSCRIPTION_TOPICS_MAX)
}

fn by_id(partitions: &[(String, Vec<i32>)], image: &Image) -> Assignment {
    let known = partitions.iter().filter_map(|(name, of)| {
        let topic = image.topic(name)?;
        Some((topic.id.into(), of))
    });
    known
        .flat_map(|(id, of)| of.iter().map(move |partition| (id, *partition)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Option<&[&str]>) {
        let names = topics(bytes);
        let names: Option<Vec<&str>> = names
            .as_ref()
            .map(|set| set.iter().map(String::as_str).collect());
        assert_eq!(names.as_deref(), expected, "{bytes:?}");
    }

    #[test]
    fn reads_the_topics_and_refuses_the_rest() {
        check(
            b"\0\x03\0\0\0\x02\0\x01b\0\x02aa\xff\xff\xff\xff",
            Some(&["aa", "b"]),
        );
        check(b"\0\0\0\0\0\0", Some(&[]));
        check(b"", None);
        check(b"\0\0\0\0\0\x01\0\x05abc", None);
        check(b"\0\0\x7f\xff\xff\xff", None);
        check(b"\0\0\xff\xff\xff\xff", None);
        check(b"\0\0\0\0\0\x01\xff\xff", None);
        check(b"\0\0\0\0\0\x01\0\x01\xff", None);
    }

    #[test]
    fn reads_all_versions_of_a_subscription() {
        let front = b"\0\0\0\x01\0\x01t\xff\xff\xff\xff";
        let owned = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02";
        let rest = b"\0\0\0\x07\0\x01r";
        for (version, length) in [
            (0_u8, 0),
            (1, owned.len()),
            (2, owned.len() + 4),
            (3, owned.len() + 7),
        ] {
            let mut bytes = alloc::vec![0, version];
            bytes.extend_from_slice(front);
            bytes.extend_from_slice(&[&owned[..], rest].concat()[..length]);
            let read = Subscription::read(&bytes).unwrap();
            assert_eq!(read.topics.len(), 1);
            assert_eq!(read.owned.len(), usize::from(version >= 1), "{version}");
            assert_eq!(read.rack_id.is_some(), version >= 3);
            assert!(
                Subscription::read(&bytes[..bytes.len() - 1]).is_none(),
                "{version}"
            );
        }
    }
}
