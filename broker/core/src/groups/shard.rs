//! The group coordinator as a shard of the journal: its topic, and deleted topics.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetKey};
use sedge_protocol::error::Error;
use sedge_protocol::kafka::KafkaUuid;

use super::messages::{Actions, ReplyBody};
use super::{Coordinator, limits};
use crate::machine::Now;
use crate::metadata::Image;
use crate::mirror;
use crate::offsets::OffsetsCommand;
use crate::shard::{Encoded, Shard, StateTopic};

impl Shard for Coordinator {
    type Record = CoordinatorRecord;
    type Body = ReplyBody;

    const TOPIC: StateTopic = StateTopic {
        name: "__consumer_offsets",
        partitions_key: "offsets.topic.num.partitions",
    };

    fn partition_key(record: &CoordinatorRecord) -> &str {
        match record {
            CoordinatorRecord::Offset { key, .. } | CoordinatorRecord::Pending { key, .. } => {
                &key.group
            }
            CoordinatorRecord::Group { group, .. } => group,
            CoordinatorRecord::Consumer(record) => &record.group,
        }
    }

    fn bytes_of(record: &CoordinatorRecord) -> usize {
        const NUMBERS_BYTES: usize = 64;
        NUMBERS_BYTES
            + match record {
                CoordinatorRecord::Offset { key, value }
                | CoordinatorRecord::Pending { key, value, .. } => {
                    let metadata = value.as_ref().map_or(0, |value| value.metadata.len());
                    key.group.len() + key.topic.len() + metadata
                }
                CoordinatorRecord::Group { group, value } => {
                    let members = value.iter().flat_map(|value| &value.members);
                    let members = members.map(|member| {
                        let names = member.id.len() + member.client_id.len();
                        NUMBERS_BYTES + names + member.subscription.len() + member.assignment.len()
                    });
                    group.len() + members.sum::<usize>()
                }
                CoordinatorRecord::Consumer(record) => record.bytes(),
            }
    }

    fn encode(record: &CoordinatorRecord) -> Result<Encoded, Error> {
        record.encode()
    }

    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<CoordinatorRecord, Error> {
        CoordinatorRecord::decode(key, value)
    }

    fn restore(&mut self, now: Now, record: &CoordinatorRecord) {
        self.restore(now, record);
    }

    fn finish_restore(&mut self, now: Now, image: &Image) -> Actions {
        self.finish_restore(now, image);
        self.adopt(now, |topic| image.topic(topic).map(|topic| topic.id))
    }

    fn apply(&mut self, now: Now, record: &CoordinatorRecord) {
        self.apply(now, record);
    }

    fn handle_save_failed(&mut self, now: Now, records: &[CoordinatorRecord]) {
        self.handle_save_failed(now, records);
    }

    /// Lets groups look for changes of their topics. If topics were deleted, marks the groups that
    /// may have offsets of them, and removes the offsets that can be removed at once.
    fn handle_image(&mut self, now: Now, former: Option<&Image>, image: &Image) -> Actions {
        self.topics_number += 1;
        if former.is_some_and(|former| !has_lost_a_topic(former, image)) {
            return Actions::default();
        }
        self.handle_deleted_topics(now, |topic, id| is_there(image, topic, id))
    }

    fn next_deadline(&self) -> u64 {
        self.next_deadline().min(self.next_forgetting())
    }

    fn tick(&mut self, now: Now, image: &Image) -> Actions {
        let mut actions = self.tick(now, image);
        actions.append(self.forget_gone(now, |topic, id| is_there(image, topic, id)));
        actions
    }

    fn refuse(body: ReplyBody, error: ErrorCode) -> ReplyBody {
        body.into_refusal(error)
    }
}

impl Coordinator {
    /// Removes the offsets of topics that no longer exist, now or when their group has settled.
    pub(super) fn handle_deleted_topics(
        &mut self,
        now: Now,
        is_there: impl Fn(&str, Option<KafkaUuid>) -> bool,
    ) -> Actions {
        self.mark_gone(now, &is_there);
        self.forget_gone(now, &is_there)
    }

    /// Marks the groups that have offsets of deleted topics, by name and id, or have commits in
    /// flight, which may be for such topics.
    fn mark_gone(&mut self, now: Now, is_there: impl Fn(&str, Option<KafkaUuid>) -> bool) {
        let at = now.monotonic_ms;
        let mut marked: Vec<String> = self.in_flight.keys().cloned().collect();
        for group_id in self.offsets.group_ids() {
            let mut offsets = self.offsets.of_group(group_id);
            if offsets.any(|(topic, _, value)| !is_there(topic, value.topic_id)) {
                marked.push(group_id.to_owned());
            }
        }
        // The cursors of a link stay: by them the link recognises a topic that was created again,
        // and it lets them expire.
        marked.retain(|group_id| !group_id.starts_with(mirror::GROUP_PREFIX));
        self.with_gone
            .extend(marked.into_iter().map(|group_id| (group_id, at)));
    }

    /// Removes the marked groups' offsets of topics that no longer exist. Those offsets are not
    /// returned to any request anyhow. A group with commits in flight waits until they are written,
    /// since the removal would follow the commits.
    fn forget_gone(
        &mut self,
        now: Now,
        is_there: impl Fn(&str, Option<KafkaUuid>) -> bool,
    ) -> Actions {
        let at = now.monotonic_ms;
        let due = self.with_gone.iter();
        let due =
            due.filter(|(group_id, due)| **due <= at && !self.in_flight.contains_key(*group_id));
        let due: Vec<String> = due.map(|(group_id, _)| group_id.clone()).collect();
        let mut keys = Vec::new();
        for group_id in due {
            self.with_gone.remove(&group_id);
            let offsets = self.offsets.of_group(&group_id);
            let gone = offsets.filter(|(topic, _, value)| !is_there(topic, value.topic_id));
            keys.extend(gone.map(|(topic, partition, _)| OffsetKey {
                group: group_id.clone(),
                topic: topic.to_string(),
                partition,
            }));
        }
        self.plan_offsets(now, OffsetsCommand::Delete { keys })
            .actions
    }

    /// Returns when a marked group can be examined.
    fn next_forgetting(&self) -> u64 {
        let settled = self.with_gone.iter();
        let settled = settled.filter(|(group_id, _)| !self.in_flight.contains_key(*group_id));
        settled.map(|(_, at)| *at).min().unwrap_or(u64::MAX)
    }

    /// Marks the group of a removal that could not be written: the offset may belong to a deleted
    /// topic.
    pub(super) fn mark_unremoved(&mut self, now: Now, record: &CoordinatorRecord) {
        if let CoordinatorRecord::Offset { key, value: None } = record
            && !key.group.starts_with(mirror::GROUP_PREFIX)
        {
            let at = now.monotonic_ms.saturating_add(limits::SAVE_RETRY_MS);
            self.with_gone.insert(key.group.clone(), at);
        }
    }
}

fn has_lost_a_topic(former: &Image, image: &Image) -> bool {
    let mut topics = former.topics();
    topics.any(|topic| image.topic_by_id(topic.id).is_none())
}

fn is_there(image: &Image, topic: &str, id: Option<KafkaUuid>) -> bool {
    image.topic(topic).is_some_and(|topic| Some(topic.id) == id)
}
