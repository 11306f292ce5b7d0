//! A classic group's part of a tick.

use alloc::string::String;
use alloc::vec::Vec;

use super::group::{ClassicGroup, Member};
use crate::groups::config::GroupConfig;
use crate::groups::messages::Actions;
use crate::machine::Now;

impl ClassicGroup {
    /// Handles expired deadlines one by one, since each removal may end or begin a rebalance.
    pub fn tick(&mut self, now: Now, config: &GroupConfig, actions: &mut Actions) {
        let at = now.monotonic_ms;
        if self.save_at.is_some_and(|due| due <= at) {
            self.save_at = None;
            actions.persist.push(self.record());
        }
        let is_over = |deadline: u64| deadline <= at;
        let pending: Vec<String> = (self.pending.iter())
            .filter(|(_, deadline)| is_over(**deadline))
            .map(|(id, _)| id.clone())
            .collect();
        let members: Vec<String> = (self.members.iter())
            .filter(|(_, member)| is_over(member.session_deadline))
            .map(|(id, _)| id.clone())
            .collect();
        for member_id in pending {
            self.expel(&member_id, now, config, actions);
        }
        for member_id in members {
            let is_gone = |member: &Member| member.may_expire() && is_over(member.session_deadline);
            if self.members.get(&member_id).is_some_and(is_gone) {
                self.expel(&member_id, now, config, actions);
            }
        }
        if self.join_timer.is_some_and(|timer| is_over(timer.at())) {
            self.expire_join(now, config, actions);
        }
        if self.sync_timer.is_some_and(is_over) {
            self.expire_sync(now, config, actions);
        }
    }
}
