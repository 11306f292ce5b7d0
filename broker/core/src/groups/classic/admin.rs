//! DescribeGroups and ListGroups: the administrators' view of groups.

use alloc::borrow::ToOwned;
use bytes::Bytes;

use super::group::{ClassicGroup, GroupState};
use crate::groups::messages::{GroupDescription, GroupListing, MemberDescription};

/// KIP-848's name for the type of group that this coordinator manages.
pub const CLASSIC: &str = "classic";

impl ClassicGroup {
    /// Describes the group. Protocol and metadata are shown only in a stable group. An assignment
    /// is shown until the next rebalance is complete, because members use it until then.
    pub fn describe(&self) -> GroupDescription {
        let is_stable = self.is(GroupState::Stable);
        let protocol = self
            .protocol_name
            .as_deref()
            .filter(|_| is_stable)
            .unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| MemberDescription {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if is_stable {
                member.metadata(protocol)
            } else {
                Bytes::new()
            },
            assignment: member.assignment.clone(),
        });
        GroupDescription {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.to_owned(),
            members: members.collect(),
        }
    }

    pub fn listing(&self) -> GroupListing {
        GroupListing {
            group_id: (*self.id).to_owned(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
            group_type: CLASSIC,
            members: self.members.len(),
        }
    }
}
