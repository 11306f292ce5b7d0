//! Members that leave, or are removed.
//!
//! Source: Kafka's `consumerGroupLeave`, `consumerGroupFenceMembers`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;

use super::LEAVE_STATIC_EPOCH;
use super::group::ConsumerGroup;
use super::heartbeat::{check_instance, unknown};
use super::messages::{ConsumerHeartbeat, Refused};
use super::records::Part;
use crate::groups::assign::Assignment;
use crate::metadata::Image;

impl ConsumerGroup {
    /// Returns the id of the member that a leaving request names.
    ///
    /// # Errors
    /// There is no such member, or its instance id belongs to another one.
    pub fn leaving(&self, request: &ConsumerHeartbeat) -> Result<String, Refused> {
        let Some(instance_id) = &request.instance_id else {
            let known = self.members.get_key_value(&request.member_id);
            let known = known.map(|(id, _)| id.clone());
            return known.ok_or_else(|| unknown(&request.member_id, &self.id));
        };
        let Some((id, _)) = self.static_member(instance_id) else {
            return Err(Refused::new(
                ErrorCode::UnknownMemberId,
                format!("Instance id {instance_id} is unknown."),
            ));
        };
        check_instance(id, &request.member_id, instance_id)?;
        Ok(id.clone())
    }

    /// Lets a static member go for a while: it keeps what it is to have until its session expires.
    pub fn let_go(&mut self, member_id: &str, persist: &mut Vec<CoordinatorRecord>) {
        self.update(member_id, |member| {
            member.epoch = LEAVE_STATIC_EPOCH;
            let assigned = member.assigned.clone();
            member.set_held(assigned, Assignment::new(), LEAVE_STATIC_EPOCH);
            member.rebalance_deadline = None;
        });
        persist.push(self.record(Part::Current(member_id.into())));
    }

    /// Removes members, and begins the next group epoch.
    pub fn remove(
        &mut self,
        member_ids: &[String],
        image: &Image,
        persist: &mut Vec<CoordinatorRecord>,
    ) {
        let mut regexes = Vec::new();
        for member_id in member_ids {
            let removed = self.take(member_id);
            regexes.extend(removed.and_then(|member| member.regex));
            self.target.remove(member_id);
            for part in [Part::Current, Part::Target, Part::Member] {
                persist.push(self.record(part(member_id.clone())));
            }
        }
        self.forget_regexes(&regexes, persist);
        self.begin_epoch(image, persist);
    }
}
