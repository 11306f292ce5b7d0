//! ConsumerGroupDescribe and ListGroups: the administrators' view of groups.

use alloc::borrow::ToOwned;

use super::group::ConsumerGroup;
use super::messages::{ConsumerGroupDescription, ConsumerMemberDescription};
use crate::groups::config::GroupConfig;
use crate::groups::embedded::CONSUMER;
use crate::groups::messages::GroupListing;

/// KIP-848's name for the type of group.
const TYPE: &str = "consumer";

impl ConsumerGroup {
    pub fn describe(&self, config: &GroupConfig) -> ConsumerGroupDescription {
        let members = self
            .members
            .iter()
            .map(|(id, member)| ConsumerMemberDescription {
                member_id: id.clone(),
                instance_id: member.instance_id.clone(),
                rack_id: member.rack_id.clone(),
                epoch: member.epoch,
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                topics: member.topics.iter().cloned().collect(),
                regex: member.regex.clone(),
                assignment: member.assigned.clone(),
                target: self.target_of(id),
                is_classic: member.classic.is_some(),
            });
        ConsumerGroupDescription {
            state: self.state().name(),
            epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor: self.assignor(config).name(),
            members: members.collect(),
        }
    }

    pub fn listing(&self) -> GroupListing {
        GroupListing {
            group_id: (*self.id).to_owned(),
            protocol_type: CONSUMER.to_owned(),
            state: self.state().name(),
            group_type: TYPE,
            members: self.members.len(),
        }
    }
}
