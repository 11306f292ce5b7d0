//! What a request may do.

use std::sync::Arc;

use sedge_core::security::{Operation, Resource, is_allowed};
use sedge_protocol::ErrorCode;

use crate::broker::Broker;
use crate::net::service::Session;

/// An operation that a kind of request does, and on what.
pub type Need = (Resource, Operation);

/// The broker, for those who say what they need of it.
#[derive(Clone)]
pub struct Access {
    pub(super) broker: Arc<Broker>,
    pub(super) session: Arc<Session>,
    needs: &'static [Need],
}

impl Access {
    pub fn new(broker: &Arc<Broker>, session: &Arc<Session>, needs: &'static [Need]) -> Self {
        Self {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            needs,
        }
    }

    /// Checks that the client may do `operation` on the resource that is called `name`.
    ///
    /// # Errors
    /// The code of the resource's kind, such as TOPIC_AUTHORIZATION_FAILED.
    pub fn check(
        &self,
        operation: Operation,
        resource: Resource,
        name: &str,
    ) -> Result<(), ErrorCode> {
        debug_assert!(
            self.needs.contains(&(resource, operation)),
            "the API's row in apis.rs does not say that it needs {resource:?} {operation:?}"
        );
        if is_allowed(&self.session.principal, operation, resource, name) {
            Ok(())
        } else {
            Err(resource.refusal())
        }
    }
}
