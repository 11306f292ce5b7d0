//! The coordinator of groups and their offsets.

use async_channel::Receiver;
use sedge_core::groups::{
    Asker, Coordinator, JoinRequest, LeaveReply, LeaveRequest, ReplyBody, SyncRequest,
};
use sedge_core::machine::Now;
use sedge_core::metadata::Image;
use sedge_core::shard::Shard as _;
use sedge_protocol::ErrorCode;

use super::hosted::Hosted;
use crate::log::published::Published;

/// Kafka's name of the topic.
pub const OFFSETS_TOPIC: &str = Coordinator::TOPIC.name;

/// The coordinator of groups, as handlers use it.
pub type Groups = Hosted<Coordinator>;

impl Groups {
    /// Handles JoinGroup; the answer may come much later.
    pub fn join(
        &self,
        now: Now,
        metadata: &Published<Image>,
        request: JoinRequest,
        suffix: &str,
    ) -> Receiver<ReplyBody> {
        self.ask(|machine, token| {
            // Loaded under the lock, so that no earlier step has seen newer metadata.
            let image = metadata.load();
            let asker = Asker {
                now,
                image: &image,
                may_describe: None,
            };
            machine.handle_join(asker, request, token, suffix)
        })
    }

    /// Handles SyncGroup; the answer may come much later.
    pub fn sync(
        &self,
        now: Now,
        metadata: &Published<Image>,
        request: SyncRequest,
    ) -> Receiver<ReplyBody> {
        self.ask(|machine, token| machine.handle_sync(now, &metadata.load(), request, token))
    }

    /// Handles LeaveGroup. The answer is valid when the receiver reports that the step's records
    /// are durable.
    pub fn leave(
        &self,
        now: Now,
        metadata: &Published<Image>,
        request: &LeaveRequest,
    ) -> (LeaveReply, Receiver<Result<(), ErrorCode>>) {
        self.plan(|machine| machine.handle_leave(now, &metadata.load(), request))
    }
}
