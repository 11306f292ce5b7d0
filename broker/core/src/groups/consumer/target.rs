//! The target assignment: what each member is to have at the group's epoch.
//!
//! Source: Kafka's `TargetAssignmentBuilder`.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::coordinator::CoordinatorRecord;

use super::context::Context;
use super::group::ConsumerGroup;
use super::member::Member;
use super::records::Part;
use crate::groups::assign::{Assignment, Assignor, Candidate, Topics};
use crate::groups::config::GroupConfig;

static NOTHING: Assignment = Assignment::new();

impl ConsumerGroup {
    /// Makes the target assignment of the group's epoch, if it is of an earlier one.
    pub(super) fn assign(&mut self, context: Context<'_>, persist: &mut Vec<CoordinatorRecord>) {
        if self.epoch <= self.target_epoch {
            return;
        }
        for (member_id, target) in self.targets(context) {
            if self.target.get(&member_id).unwrap_or(&NOTHING) == &target {
                continue;
            }
            self.target.insert(member_id.clone(), target);
            persist.push(self.record(Part::Target(member_id)));
        }
        self.target_epoch = self.epoch;
        persist.push(self.record(Part::TargetEpoch));
    }

    fn targets(&self, context: Context<'_>) -> Vec<(String, Assignment)> {
        // Static members first, in the order of their names, which outlive their ids.
        let key = |(id, member): &(&String, &Member)| {
            let instance_id = member.instance_id.clone();
            (instance_id.is_none(), instance_id, (*id).clone())
        };
        let mut members: Vec<(&String, &Member)> = self.members.iter().collect();
        members.sort_by_cached_key(key);
        let mut topics = Topics::new();
        let candidates: Vec<Candidate<'_>> = members
            .iter()
            .map(|(id, member)| {
                let ids = self.topic_ids_of(member, context.image);
                for id in &ids {
                    topics.entry(*id).or_insert_with(|| {
                        let topic = context.image.topic_by_id((*id).into());
                        topic.map_or(0, |topic| topic.partition_count())
                    });
                }
                Candidate {
                    topics: ids,
                    had: self.target.get(*id).unwrap_or(&NOTHING),
                }
            })
            .collect();
        let assigned = self.assignor(context.config).assign(&candidates, &topics);
        let ids = members.into_iter().map(|(id, _)| id.to_owned());
        ids.zip(assigned).collect()
    }

    /// Returns the assignor that most members ask for; the first that is configured if none asks.
    pub fn assignor(&self, config: &GroupConfig) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self
            .members
            .values()
            .filter_map(|member| member.assignor.as_deref())
        {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.iter().max_by_key(|(_, count)| **count);
        let wanted = most.and_then(|(name, _)| Assignor::named(name));
        let first = config.consumer_assignors.first().copied();
        wanted.or(first).unwrap_or(Assignor::Uniform)
    }
}
