//! The other end of a batch's way, as filters are told.

use std::sync::Arc;

use sedge_core::security::Principal;
use sedge_plugin::Origin as Told;
use sedge_protocol::kafka::KafkaString;

use crate::net::service::Session;

/// The other end of a batch's way.
#[derive(Clone, Debug)]
pub enum Origin {
    Client {
        session: Arc<Session>,
        client_id: Option<KafkaString>,
    },
    /// A mirror link, by its name.
    Link(Arc<str>),
}

impl Origin {
    pub fn told(&self) -> Told<'_> {
        match self {
            Self::Client { session, client_id } => {
                let principal = session.principal();
                let principal = (*principal != Principal::ANONYMOUS).then_some(principal);
                Told::Client {
                    principal: principal.map(Principal::as_str),
                    client_id: client_id.as_ref().map(KafkaString::as_str),
                    peer: session.remote.ip(),
                    listener: &session.listener.name,
                }
            }
            Self::Link(name) => Told::Link(name),
        }
    }
}
