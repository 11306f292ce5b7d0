//! Groups, and their committed offsets.

use async_channel::Receiver;
use sedge_core::groups::{Coordinator, GroupListing, JoinRequest, Planned, ReplyBody, SyncRequest};
use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;

use super::Request;
use super::access::Access;

impl Request {
    /// Returns the group of this id, whether or not it exists, for one operation.
    ///
    /// # Errors
    /// GROUP_AUTHORIZATION_FAILED.
    pub fn group<'a>(&'a self, operation: Operation, id: &'a str) -> Result<Group<'a>, ErrorCode> {
        self.access.check(operation, Resource::Group, id)?;
        Ok(Group {
            access: &self.access,
            id,
        })
    }

    /// Lists the groups that the client may describe, in one of `states` and of one of `types`.
    pub fn list_groups(&self, states: &[String], types: &[String]) -> Vec<GroupListing> {
        let groups = &self.access.broker.groups;
        let mut listed = groups.with(|machine| machine.list(states, types));
        listed.retain(|group| {
            let id = &group.group_id;
            self.access.allows(Operation::Describe, Resource::Group, id)
        });
        listed
    }
}

/// A group, for an operation that the client is allowed to perform.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    access: &'a Access,
    id: &'a str,
}

impl Group<'_> {
    pub fn id(&self) -> &str {
        self.id
    }

    /// Calls the coordinator for a step that writes nothing.
    pub fn with<R>(&self, step: impl FnOnce(&mut Coordinator) -> R) -> R {
        self.access.broker.groups.with(step)
    }

    /// Takes a step of the coordinator. Its reply is valid when the step's records are durable.
    pub fn plan<R>(&self, step: impl FnOnce(&mut Coordinator) -> Planned<R>) -> (R, Written) {
        let (reply, written) = self.access.broker.groups.plan(step);
        (reply, Written(written))
    }

    pub fn join(&self, request: JoinRequest, suffix: &str) -> Receiver<ReplyBody> {
        let broker = &self.access.broker;
        broker.groups.join(broker.log.clock.now(), request, suffix)
    }

    pub fn sync(&self, request: SyncRequest) -> Receiver<ReplyBody> {
        let broker = &self.access.broker;
        broker.groups.sync(broker.log.clock.now(), request)
    }
}

/// Waits for a step of the coordinator to be durable.
pub struct Written(Receiver<Result<(), ErrorCode>>);

impl Written {
    pub(super) const fn new(written: Receiver<Result<(), ErrorCode>>) -> Self {
        Self(written)
    }

    /// Waits until the step is durable.
    ///
    /// # Errors
    /// The records cannot be written, or the broker stops.
    pub async fn wait(self) -> Result<(), ErrorCode> {
        let written = self.unless_stopped().await;
        written.unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))
    }

    /// Waits until the step is durable; `None` if the broker stops.
    pub async fn unless_stopped(self) -> Option<Result<(), ErrorCode>> {
        self.0.recv().await.ok()
    }
}
