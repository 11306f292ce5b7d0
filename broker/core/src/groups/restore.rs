//! The coordinator at start.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Coordinator;
use super::consumer::{ConsumerGroup, Part};
use super::group::{Entry, Group};
use super::messages::Actions;
use crate::machine::{Machine, Now};
use crate::metadata::Image;
use sedge_protocol::coordinator::consumer::ConsumerRecord;
use sedge_protocol::coordinator::{CoordinatorRecord, OffsetValue};
use sedge_protocol::ids::Offset;
use sedge_protocol::kafka::KafkaUuid;

impl Coordinator {
    /// Takes a record found at start. Records from the log come in the log's order.
    pub fn restore(&mut self, now: Now, record: &CoordinatorRecord) {
        match record {
            CoordinatorRecord::Offset { .. } => self.offsets.apply(Offset::ZERO, record),
            CoordinatorRecord::Pending { .. } => self.restore_pending(record),
            CoordinatorRecord::Group {
                group: group_id,
                value: None,
            } => {
                // The removal of the former classic group may have been written again later.
                if self
                    .group(group_id)
                    .is_none_or(|group| group.as_classic().is_some())
                {
                    self.forget(group_id);
                }
            }
            CoordinatorRecord::Consumer(record) => self.restore_consumer(record),
            CoordinatorRecord::Group {
                group: group_id,
                value: Some(metadata),
            } => {
                let group_id: Arc<str> = group_id.as_str().into();
                self.forget(&group_id);
                let group = Group::restored(Arc::clone(&group_id), metadata, now);
                self.groups.insert(group_id, Entry::new(group));
            }
        }
    }

    /// Ends the restore. Members have a whole session to send a request.
    pub fn finish_restore(&mut self, now: Now, image: &Image) {
        let with_offsets: Vec<Arc<str>> = self.offsets.group_ids().map(Arc::from).collect();
        for group_id in with_offsets {
            let new = || Entry::new(Group::new(Arc::clone(&group_id), now.append_ms));
            self.groups.entry(Arc::clone(&group_id)).or_insert_with(new);
        }
        let all: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for group_id in all {
            let entry = self.groups.get_mut(&group_id);
            if let Some(Group::Consumer(group)) = entry.map(|entry| &mut entry.group) {
                group.begin_sessions(now, self.config.timeouts(image, &group_id));
            }
            self.settle_group(&group_id);
        }
    }

    fn restore_consumer(&mut self, record: &ConsumerRecord) {
        let group_id = record.group.as_str();
        if Part::of(&record.state) == Part::Epoch && record.state.is_removal() {
            if self
                .group(group_id)
                .is_some_and(|group| group.as_consumer().is_some())
            {
                self.forget(group_id);
            }
            return;
        }
        let id: Arc<str> = group_id.into();
        let is_there = self.group(group_id).and_then(Group::as_consumer).is_some();
        if !is_there {
            if record.state.is_removal() {
                return;
            }
            self.forget(group_id);
            let group = Group::Consumer(ConsumerGroup::new(Arc::clone(&id)));
            self.groups.insert(Arc::clone(&id), Entry::new(group));
        }
        let entry = self.groups.get_mut(&id);
        if let Some(Group::Consumer(group)) = entry.map(|entry| &mut entry.group) {
            group.restore(&record.state);
        }
    }

    /// Completes offsets that an older version wrote without the topic's id and without their time
    /// by the append clock. They are assigned to the topic that has the name now, as if committed
    /// now; the actions write them in that form.
    pub fn adopt(&mut self, now: Now, id_of: impl Fn(&str) -> Option<KafkaUuid>) -> Actions {
        let mut actions = Actions::default();
        for (key, former) in self.offsets.without_topic_id() {
            let Some(id) = id_of(&key.topic) else {
                continue;
            };
            let lives_ms = (former.expire_ms).map(|at| at.saturating_sub(former.commit_ms));
            let value = OffsetValue {
                topic_id: Some(id),
                commit_ms: now.append_ms,
                expire_ms: lives_ms.map(|lives_ms| now.append_ms.saturating_add(lives_ms)),
                ..former
            };
            let value = Some(value);
            let record = CoordinatorRecord::Offset { key, value };
            self.offsets.apply(Offset::ZERO, &record);
            self.left(&record);
            actions.persist.push(record);
        }
        actions
    }
}
