//! The coordinator of groups and their offsets.

use async_channel::Receiver;
use sedge_core::groups::{Coordinator, JoinRequest, ReplyBody, SyncRequest};
use sedge_core::machine::Now;
use sedge_core::shard::Shard as _;

use super::hosted::Hosted;

/// Kafka's name of the topic.
pub const OFFSETS_TOPIC: &str = Coordinator::TOPIC.name;

/// The coordinator of groups, as handlers use it.
pub type Groups = Hosted<Coordinator>;

impl Groups {
    /// Handles JoinGroup; the answer may come much later.
    pub fn join(&self, now: Now, request: JoinRequest, suffix: &str) -> Receiver<ReplyBody> {
        self.ask(|machine, token| machine.handle_join(now, request, token, suffix))
    }

    /// Handles SyncGroup; the answer may come much later.
    pub fn sync(&self, now: Now, request: SyncRequest) -> Receiver<ReplyBody> {
        self.ask(|machine, token| machine.handle_sync(now, request, token))
    }
}
