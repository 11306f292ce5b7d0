//! The storage of a link's cursors: committed offsets of a group on this broker.
//!
//! The link calls the coordinator in process, so that a broker whose listeners are full, or require
//! authentication, does not lock out its own links. The commits never expire: a link may be without
//! traffic for longer than `offsets.retention.minutes`. Those of deleted topics do.
//!
//! The metadata of an offset identifies its topic, in words separated by spaces: `topic=ID` for the
//! local one, `upstream=ID` for the upstream one, `created-again` if the upstream topic has
//! records of an earlier topic of this name before this one's, `follows-upstream` if the
//! upstream has the cursor in its transactions and this one only shows it, and, for partition 0,
//! `configs=HASHES` of what was copied of the topic's configuration. Upstream,
//! `other=INDEX:OFFSET:EPOCH` is the cursor of a partition for which the topic there has none,
//! because records are spread. Kafka's tools, and `sedge mirror skip`, move a cursor: the link
//! follows any commit that it did not write itself.

use std::collections::BTreeMap;

use sedge_core::groups::Committer;
use sedge_core::metadata::Image;
use sedge_core::mirror::CopiedConfigs;
use sedge_core::offsets::OffsetToCommit;
use sedge_core::partitioner::murmur2;
use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::OffsetValue;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionIndex};
use sedge_protocol::kafka::KafkaUuid;

use super::{Local, group_of, limits};

/// The topics that a cursor belongs to, from its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The local topic's id.
    pub topic: Option<String>,
    /// The upstream topic's id.
    pub upstream: Option<String>,
    pub is_created_again: bool,
    /// The upstream's transactions have the cursor, and this one only shows it.
    pub follows_upstream: bool,
    /// What was copied of the topic's configuration, if that is known.
    pub configs: Option<CopiedConfigs>,
    /// Cursors of partitions here for which the topic upstream has no partition.
    pub others: BTreeMap<i32, Other>,
}

/// The cursor of a partition that has no twin, in the metadata of another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Other {
    /// Reads `INDEX:OFFSET:EPOCH`.
    fn read(text: &str) -> Option<(i32, Self)> {
        let mut numbers = text.split(':').map(str::parse::<i64>);
        let mut next = || numbers.next()?.ok();
        let index = i32::try_from(next()?).ok()?;
        let offset = Offset::from_wire(next()?)?;
        let leader_epoch = LeaderEpoch::from_wire(i32::try_from(next()?).ok()?);
        Some((
            index,
            Self {
                offset,
                leader_epoch,
            },
        ))
    }

    fn write(&self, index: i32) -> String {
        let epoch = self.leader_epoch.map_or(-1, |epoch| epoch.0);
        format!("other={index}:{}:{epoch}", self.offset)
    }
}

impl Origin {
    pub fn read(metadata: &str) -> Self {
        let mut origin = Self::default();
        for word in metadata.split(' ') {
            match word.split_once('=') {
                Some(("topic", id)) => origin.topic = Some(id.to_owned()),
                Some(("upstream", id)) => origin.upstream = Some(id.to_owned()),
                Some(("other", text)) => origin.others.extend(Other::read(text)),
                Some(("configs", text)) => origin.configs = CopiedConfigs::read(text),
                _ => {
                    origin.is_created_again |= word == CREATED_AGAIN;
                    origin.follows_upstream |= word == FOLLOWS_UPSTREAM;
                }
            }
        }
        origin
    }

    pub fn write(&self) -> String {
        let topic = self.topic.iter().map(|id| format!("topic={id}"));
        let upstream = self.upstream.iter().map(|id| format!("upstream={id}"));
        let again = self.is_created_again.then(|| CREATED_AGAIN.to_owned());
        let follows = self.follows_upstream.then(|| FOLLOWS_UPSTREAM.to_owned());
        let configs = self.configs.iter().map(|it| format!("configs={it}"));
        let words = topic.chain(upstream).chain(again).chain(follows);
        let others = self.others.iter().map(|(index, it)| it.write(*index));
        let words: Vec<String> = words.chain(configs).chain(others).collect();
        words.join(" ")
    }

    /// Reads a committed offset. Kafka's tools leave no metadata; then the offset belongs to the
    /// topic that had the name when it was committed.
    fn of(saved: &OffsetValue) -> Self {
        let mut origin = Self::read(&saved.metadata);
        if origin.topic.is_none() {
            origin.topic = saved.topic_id.map(|id| id.to_string());
        }
        origin
    }

    /// Returns whether the cursor belongs to this topic, and not to an earlier one of its name.
    pub fn is_of(&self, topic_id: KafkaUuid) -> bool {
        let is_same = |id: &String| *id == topic_id.to_string();
        self.topic.as_ref().is_none_or(is_same)
    }
}

const CREATED_AGAIN: &str = "created-again";
const FOLLOWS_UPSTREAM: &str = "follows-upstream";

/// A cursor to commit.
#[derive(Debug)]
pub(super) struct Cursor {
    pub topic: String,
    pub topic_id: KafkaUuid,
    pub index: i32,
    pub offset: Offset,
    pub origin: Origin,
}

pub(super) struct Cursors {
    local: Local,
    group: String,
    /// Offset, and hash of the metadata, of each cursor as this link last wrote or saw it.
    seen: BTreeMap<(String, i32), (Offset, u32)>,
}

impl Cursors {
    pub fn new(local: Local, link: &str) -> Self {
        Self {
            local,
            group: group_of(link),
            seen: BTreeMap::new(),
        }
    }

    /// Returns the cursor of a partition, for any topic of that name.
    pub fn get(&self, topic: &str, index: i32) -> Option<(Offset, Origin)> {
        self.local.groups.with(|groups| {
            let saved = groups
                .offsets()
                .find(&self.group, topic, PartitionIndex(index))?;
            Some((saved.offset, Origin::of(saved)))
        })
    }

    /// Marks the cursor of a partition as seen: if it differs later, it was moved from outside.
    pub fn see(&mut self, topic: &str, index: i32) {
        let saved = self.local.groups.with(|groups| {
            let saved = groups
                .offsets()
                .find(&self.group, topic, PartitionIndex(index))?;
            Some((saved.offset, hash(&saved.metadata)))
        });
        if let Some(saved) = saved {
            self.seen.insert((topic.to_owned(), index), saved);
        }
    }

    /// Returns the cursors that were written from outside since.
    pub fn take_moved(&mut self) -> Vec<Cursor> {
        let (seen, group) = (&self.seen, &self.group);
        let moved: Vec<(String, i32, OffsetValue)> = self.local.groups.with(|groups| {
            let is_moved = |topic: &str, index: PartitionIndex, saved: &OffsetValue| {
                let known = seen.get(&(topic.to_owned(), index.get()));
                known.is_none_or(|known| *known != (saved.offset, hash(&saved.metadata)))
            };
            let all = groups.offsets().of_group(group);
            all.filter(|(topic, index, saved)| is_moved(topic, *index, saved))
                .map(|(topic, index, saved)| (topic.to_owned(), index.get(), saved.clone()))
                .collect()
        });
        let mut cursors = Vec::new();
        for (topic, index, saved) in moved {
            let origin = Origin::of(&saved);
            let offset = saved.offset;
            self.seen
                .insert((topic.clone(), index), (offset, hash(&saved.metadata)));
            cursors.push(Cursor {
                topic,
                topic_id: saved.topic_id.unwrap_or(KafkaUuid::ZERO),
                index,
                offset,
                origin,
            });
        }
        cursors
    }

    /// Makes cursors durable.
    ///
    /// # Errors
    /// The coordinator's error code.
    pub async fn commit(&mut self, cursors: Vec<Cursor>) -> Result<(), ErrorCode> {
        let offsets = cursors
            .iter()
            .map(|cursor| to_commit(cursor, i64::MAX))
            .collect();
        let results = self.write(offsets).await?;
        for (cursor, result) in cursors.into_iter().zip(&results) {
            if result.is_ok() {
                let saved = (cursor.offset, hash(&cursor.origin.write()));
                self.seen.insert((cursor.topic, cursor.index), saved);
            }
        }
        results.into_iter().collect()
    }

    /// Lets cursors of deleted topics expire. Until then a topic of the same name is recognised as
    /// created again.
    pub async fn let_expire(&mut self, image: &Image) -> Result<(), ErrorCode> {
        const KEEP_MS: i64 = limits::GONE_TOPIC_KEPT.as_millis() as i64;
        let last_ms = self.local.log.clock.now().append_ms.saturating_add(KEEP_MS);
        let gone: Vec<OffsetToCommit> = self.local.groups.with(|groups| {
            let all = groups.offsets().of_group(&self.group);
            all.filter(|(topic, _, saved)| {
                let origin = Origin::of(saved);
                let is_there = image.topic(topic).is_some_and(|it| origin.is_of(it.id));
                !is_there && saved.expire_ms.is_none_or(|expire_ms| expire_ms > last_ms)
            })
            .map(|(topic, index, saved)| {
                let cursor = Cursor {
                    topic: topic.to_owned(),
                    topic_id: saved.topic_id.unwrap_or(KafkaUuid::ZERO),
                    index: index.get(),
                    offset: saved.offset,
                    origin: Origin::of(saved),
                };
                to_commit(&cursor, KEEP_MS)
            })
            .collect()
        });
        for commit in &gone {
            self.seen
                .remove(&(commit.topic.clone(), commit.partition.get()));
        }
        self.write(gone).await?.into_iter().collect()
    }

    async fn write(
        &self,
        offsets: Vec<OffsetToCommit>,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        write(&self.local, &self.group, offsets).await
    }
}

/// Tells metadata of a cursor apart, in less memory.
fn hash(metadata: &str) -> u32 {
    murmur2(metadata.as_bytes())
}

/// Commits offsets of a group. Returns each one's result, when the accepted ones are durable.
pub(super) async fn write(
    local: &Local,
    group: &str,
    offsets: Vec<OffsetToCommit>,
) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    if offsets.is_empty() {
        return Ok(Vec::new());
    }
    let committer = Committer {
        group_id: group.to_owned(),
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
        knows_member_epochs: true,
    };
    let now = local.log.clock.now();
    let (results, written) = local
        .groups
        .plan(|groups| groups.handle_offset_commit(now, &committer, offsets));
    let written = written.recv().await;
    written.unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))?;
    Ok(results)
}

fn to_commit(cursor: &Cursor, retention_ms: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: cursor.topic.clone(),
        topic_id: cursor.topic_id,
        partition: PartitionIndex(cursor.index),
        offset: cursor.offset,
        leader_epoch: None,
        metadata: cursor.origin.write(),
        retention_ms: Some(retention_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cursor_says_of_its_topics_is_read_back() {
        let check = |topic: Option<&str>, upstream: Option<&str>, is_created_again, text: &str| {
            let origin = Origin {
                topic: topic.map(str::to_owned),
                upstream: upstream.map(str::to_owned),
                is_created_again,
                ..Origin::default()
            };
            assert_eq!(origin.write(), text);
            assert_eq!(Origin::read(text), origin, "{text:?}");
        };
        check(None, None, false, "");
        check(Some("A-b_1"), None, false, "topic=A-b_1");
        check(Some("A"), Some("B"), false, "topic=A upstream=B");
        check(
            Some("A"),
            Some("B"),
            true,
            "topic=A upstream=B created-again",
        );
        let follows = Origin::read("topic=A follows-upstream");
        assert!(follows.follows_upstream);
        assert_eq!(follows.write(), "topic=A follows-upstream");
        let others = Origin::read("topic=A other=3:70:-1 other=12:0:4 other=x other=1:-5:2");
        assert_eq!(others.write(), "topic=A other=3:70:-1 other=12:0:4");
        let with = Origin::read("topic=A configs=12345678abcd");
        assert_eq!(with.write(), "topic=A configs=12345678abcd");
        assert_eq!(
            Origin::read("configs=").configs,
            Some(CopiedConfigs::default())
        );
    }

    #[test]
    fn a_cursor_of_an_earlier_topic_of_the_name_is_not_of_this_one() {
        let id = KafkaUuid::ZERO;
        assert!(Origin::read("").is_of(id));
        assert!(Origin::read(&format!("topic={id} upstream=X")).is_of(id));
        assert!(!Origin::read("topic=AAAAAAAAAAAAAAAAAAAAAQ").is_of(id));
    }
}
