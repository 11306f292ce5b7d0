//! Groups, and their committed offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_channel::Receiver;
use sedge_core::config::BrokerDefaults;
use sedge_core::groups::{
    Asker, ConsumerBeat, ConsumerHeartbeat, Coordinator, GroupListing, JoinRequest, LeaveReply,
    LeaveRequest, Planned, Refused, ReplyBody, SyncRequest,
};
use sedge_core::metadata::Image;
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

    /// Returns the configuration of the group of this id, for one operation.
    ///
    /// # Errors
    /// GROUP_AUTHORIZATION_FAILED.
    pub fn configured_group(
        &self,
        operation: Operation,
        id: &str,
    ) -> Result<ConfiguredGroup, ErrorCode> {
        self.access.check(operation, Resource::Group, id)?;
        Ok(ConfiguredGroup {
            id: id.to_owned(),
            image: self.access.broker.log.metadata.load(),
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

    /// Takes the step of a heartbeat of the consumer protocol. Its reply is valid when the step's
    /// records are durable.
    pub fn consumer_heartbeat(
        &self,
        heartbeat: &ConsumerHeartbeat,
        new_id: &str,
    ) -> (Result<ConsumerBeat, Refused>, Written) {
        let log = &self.access.broker.log;
        let may_describe = |topic: &str| {
            self.access
                .allows(Operation::Describe, Resource::Topic, topic)
        };
        self.plan(|machine| {
            // Loaded under the lock, so that no earlier step has seen newer metadata.
            let image = log.metadata.load();
            let asker = Asker {
                now: log.clock.now(),
                image: &image,
                may_describe: Some(&may_describe),
            };
            machine.handle_consumer_heartbeat(asker, heartbeat, new_id)
        })
    }

    pub fn join(&self, request: JoinRequest, suffix: &str) -> Receiver<ReplyBody> {
        let (groups, log) = (&self.access.broker.groups, &self.access.broker.log);
        groups.join(log.clock.now(), &log.metadata, request, suffix)
    }

    pub fn sync(&self, request: SyncRequest) -> Receiver<ReplyBody> {
        let (groups, log) = (&self.access.broker.groups, &self.access.broker.log);
        groups.sync(log.clock.now(), &log.metadata, request)
    }

    pub fn leave(&self, request: &LeaveRequest) -> (LeaveReply, Written) {
        let (groups, log) = (&self.access.broker.groups, &self.access.broker.log);
        let (reply, written) = groups.leave(log.clock.now(), &log.metadata, request);
        (reply, Written(written))
    }
}

/// The configuration of a group, for an operation that the client is allowed to perform.
pub struct ConfiguredGroup {
    pub id: String,
    image: Arc<Image>,
}

impl ConfiguredGroup {
    /// Returns the group's own settings.
    pub fn overrides(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.image.group_configs().get(&self.id).unwrap_or(&NONE)
    }

    pub fn defaults(&self) -> &BrokerDefaults {
        self.image.defaults()
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
