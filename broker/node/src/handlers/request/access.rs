//! Access control of a request.

use std::sync::Arc;

use sedge_core::security::acl::CLUSTER_NAME;
use sedge_core::security::{Operation, Resource, Subject, Verdict, bits};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::ApiKey;

use crate::broker::Broker;
use crate::broker::audit::Denial;
use crate::net::service::Session;

/// An operation on a resource type.
pub type Right = (Resource, Operation);

/// An operation that an API performs, with the resource type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub right: Right,
    /// An alternative right that is sufficient: on the cluster, or on any resource of another type.
    pub or: Option<Right>,
}

/// The broker, accessible to code that declares its operations.
#[derive(Clone)]
pub struct Access {
    pub(super) broker: Arc<Broker>,
    pub(super) session: Arc<Session>,
    key: ApiKey,
    needs: &'static [Need],
}

impl Access {
    pub fn new(
        broker: &Arc<Broker>,
        session: &Arc<Session>,
        key: ApiKey,
        needs: &'static [Need],
    ) -> Self {
        Self {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            key,
            needs,
        }
    }

    /// Checks that the client may perform `operation` on the resource with this name. A denial is
    /// counted and written to the audit log.
    ///
    /// # Errors
    /// The error code of the resource type, such as TOPIC_AUTHORIZATION_FAILED.
    pub fn check(
        &self,
        operation: Operation,
        resource: Resource,
        name: &str,
    ) -> Result<(), ErrorCode> {
        let verdict = self.verdict(operation, resource, name);
        if verdict.is_none_or(Verdict::is_allowed) || self.has_instead(operation, resource) {
            return Ok(());
        }
        self.broker.metrics.authorization_denied.add(1);
        if let Some(verdict) = verdict {
            let denial = Denial {
                principal: self.session.principal(),
                host: self.session.remote.ip(),
                operation,
                resource,
                name,
                api: self.key,
                verdict,
            };
            let now_ms = self.broker.log.clock.now().monotonic_ms;
            self.broker.audit.denied(&denial, now_ms);
        }
        Err(resource.refusal())
    }

    /// Returns whether the client may perform `operation`, without an audit log entry. Used for
    /// resources that the client did not name, which are left out of the response if denied.
    pub fn allows(&self, operation: Operation, resource: Resource, name: &str) -> bool {
        let verdict = self.verdict(operation, resource, name);
        verdict.is_none_or(Verdict::is_allowed) || self.has_instead(operation, resource)
    }

    /// Returns `authorized_operations`: the operations that the client may perform on a resource
    /// (KIP-430).
    pub fn operations(&self, resource: Resource, name: &str) -> i32 {
        let operations = resource.operations().iter().copied();
        bits(operations.filter(|operation| {
            let verdict = self.ask(*operation, resource, name);
            verdict.is_none_or(Verdict::is_allowed)
        }))
    }

    /// Returns whether an authorizer is configured.
    pub fn is_authorized(&self) -> bool {
        self.broker.config.authorizer.is_some()
    }

    fn verdict(&self, operation: Operation, resource: Resource, name: &str) -> Option<Verdict> {
        debug_assert!(
            self.need(operation, resource).is_some(),
            "the row of {:?} in apis.rs does not list {resource:?} {operation:?}",
            self.key
        );
        self.ask(operation, resource, name)
    }

    /// Asks the authorizer. Returns `None` if no authorizer is configured.
    fn ask(&self, operation: Operation, resource: Resource, name: &str) -> Option<Verdict> {
        let authorizer = self.broker.config.authorizer.as_ref()?;
        let image = self.broker.log.metadata.load();
        Some(authorizer.authorize(image.acls(), self.subject(), operation, resource, name))
    }

    fn has_instead(&self, operation: Operation, resource: Resource) -> bool {
        let need = self.need(operation, resource);
        match need.and_then(|need| need.or) {
            None => false,
            Some((Resource::Cluster, operation)) => {
                let verdict = self.ask(operation, Resource::Cluster, CLUSTER_NAME);
                verdict.is_none_or(Verdict::is_allowed)
            }
            Some((resource, operation)) => {
                self.broker.config.authorizer.as_ref().is_none_or(|of| {
                    let image = self.broker.log.metadata.load();
                    of.authorize_by_resource_type(image.acls(), self.subject(), operation, resource)
                })
            }
        }
    }

    fn need(&self, operation: Operation, resource: Resource) -> Option<&Need> {
        let mut needs = self.needs.iter();
        needs.find(|need| need.right == (resource, operation))
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            principal: self.session.principal(),
            host: self.session.remote.ip(),
        }
    }
}
