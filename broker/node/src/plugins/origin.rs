//! The other end of a batch's way, as filters are told.

use std::sync::Arc;

use sedge_core::security::Principal;
use sedge_plugin::Origin as Told;
use sedge_protocol::kafka::KafkaString;

use crate::net::service::Session;

/// The client that a batch is from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub session: Arc<Session>,
    pub client_id: Option<KafkaString>,
}

impl Origin {
    pub fn told(&self) -> Told<'_> {
        let principal = self.session.principal();
        let principal = (*principal != Principal::ANONYMOUS).then_some(principal);
        Told::Client {
            principal: principal.map(Principal::as_str),
            client_id: self.client_id.as_ref().map(KafkaString::as_str),
            peer: self.session.remote.ip(),
            listener: &self.session.listener.name,
        }
    }
}
