//! A group's part of a tick: sessions that have expired, and members that were to give partitions
//! back and did not.

use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::coordinator::CoordinatorRecord;

use super::group::ConsumerGroup;
use crate::groups::config::Timeouts;
use crate::machine::Now;
use crate::metadata::Image;

impl ConsumerGroup {
    /// Removes members whose time is over.
    pub fn tick(&mut self, now: Now, image: &Image, persist: &mut Vec<CoordinatorRecord>) {
        let members = self.members.iter();
        let overdue = members.filter(|(_, member)| {
            let mut deadlines = member.deadlines();
            deadlines.any(|at| at <= now.monotonic_ms)
        });
        let overdue: Vec<String> = overdue.map(|(id, _)| id.clone()).collect();
        if !overdue.is_empty() {
            self.remove(&overdue, image, persist);
        }
    }

    /// Begins the sessions of members that were restored.
    pub fn begin_sessions(&mut self, now: Now, timeouts: Timeouts) {
        for member in self.members.values_mut() {
            if member.classic.is_some() {
                member.beat_classic(now.monotonic_ms);
            } else {
                member.begin_session(now.monotonic_ms, timeouts);
            }
            member.begin_to_revoke(now.monotonic_ms);
        }
    }
}
