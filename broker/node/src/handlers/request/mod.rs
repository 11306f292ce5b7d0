//! A request as its handler sees it: the client's message, and access to the broker's data.
//!
//! [`Access::check`] knows the principal and the address of the session. The API's row lists the
//! operations and resource types that the API needs, and the alternative rights that are
//! sufficient. A denial is logged. For resources that the client did not name, handlers call
//! `allows`: denied resources are left out of the response, and are not logged.
//!
//! **Invariant:** a handler reaches topics, groups and the cluster only by naming the operation
//! that it performs on them ([`Request::topics`], [`Request::group`], [`Request::cluster`]), or by
//! a command that implies it ([`Request::command`]). The broker is a private field of [`Access`],
//! invisible outside this folder.
//! **Invariant:** every operation that a handler names is in its row of `apis.rs`: an assertion in
//! [`Access::check`], which each test of a handler runs.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use sedge_core::fetch::session::Sessions;
use sedge_core::machine::Now;
use sedge_core::security::acl::CLUSTER_NAME;
use sedge_core::security::{OPERATIONS_NOT_ASKED, Operation, Resource};
use sedge_protocol::frame::{self, RequestHeader};
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::kafka::generated::fetch_response::FetchResponseData;
use sedge_protocol::kafka::{self, KafkaString};
use sedge_protocol::{BytesMut, ErrorCode, fetch};
use sedge_storage::Chunk;

pub use access::Need;
pub use cluster::Cluster;
pub use groups::{ConfiguredGroup, Written};
pub use links::LinkKey;
pub use quotas::{Charged, Demand};
pub use topics::{Topic, Topics};
pub use transactions::Producer;

use crate::broker::Broker;
use crate::broker::openers::Openers;
use crate::metrics::Metrics;
use crate::net::memory::Admission;
use crate::net::service::{Answered, ClientSoftware, Disconnect, Reply, Session};
use crate::net::unsupported::{Unsupported, shortened};
use crate::plugins::Origin;
use access::Access;
use quotas::Use;

mod access;
mod cluster;
mod groups;
mod links;
pub mod login;
mod quotas;
mod telemetry;
mod tokens;
mod topics;
mod transactions;

/// A request; see the module.
pub struct Request {
    access: Access,
    header: RequestHeader,
    key: ApiKey,
    received: Instant,
    used: Use,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", &self.key)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Request {
    pub fn new(
        broker: &Arc<Broker>,
        session: &Arc<Session>,
        (header, bytes): (RequestHeader, usize),
        key: ApiKey,
        needs: &'static [Need],
    ) -> Self {
        Self {
            access: Access::new(broker, session, key, needs),
            header,
            key,
            received: Instant::now(),
            used: Use::new(&broker.quotas, bytes),
        }
    }

    /// Checks a right on a resource that the handler does not access: one that does not exist, or
    /// is only named.
    ///
    /// # Errors
    /// The error code of the resource type, such as TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
    pub fn check(
        &self,
        operation: Operation,
        resource: Resource,
        name: &str,
    ) -> Result<(), ErrorCode> {
        self.access.check(operation, resource, name)
    }

    /// Returns whether the client may perform `operation`, for a resource that it did not name.
    pub fn allows(&self, operation: Operation, resource: Resource, name: &str) -> bool {
        self.access.allows(operation, resource, name)
    }

    /// Returns the `authorized_operations` of a resource, if the client `asked` for them.
    pub fn authorized_operations(&self, asked: bool, resource: Resource, name: &str) -> i32 {
        if asked {
            self.access.operations(resource, name)
        } else {
            OPERATIONS_NOT_ASKED
        }
    }

    /// Returns the `cluster_authorized_operations`, if the client `asked` for them. Zero if the
    /// client may not describe the cluster.
    pub fn cluster_operations(&self, asked: bool) -> i32 {
        let describe = |()| self.access.operations(Resource::Cluster, CLUSTER_NAME);
        match asked.then(|| self.check(Operation::Describe, Resource::Cluster, CLUSTER_NAME)) {
            None => OPERATIONS_NOT_ASKED,
            Some(checked) => checked.map_or(0, describe),
        }
    }

    /// Returns whether an authorizer is configured (`authorizer.class.name`).
    pub fn has_authorizer(&self) -> bool {
        self.access.is_authorized()
    }

    pub fn key(&self) -> ApiKey {
        self.key
    }

    pub fn version(&self) -> i16 {
        self.header.api_version
    }

    pub fn client_id(&self) -> &str {
        client_id(&self.header)
    }

    /// Returns the client, as filters are told.
    pub fn origin(&self) -> Origin {
        Origin::Client {
            session: Arc::clone(&self.access.session),
            client_id: self.header.client_id.clone(),
        }
    }

    pub fn remote_ip(&self) -> IpAddr {
        self.access.session.remote.ip()
    }

    pub fn received(&self) -> Instant {
        self.received
    }

    pub fn now(&self) -> Now {
        self.access.broker.log.clock.now()
    }

    /// Stores the client's name and version. The first call counts.
    pub fn introduce(&self, client: ClientSoftware) {
        let _ = self.access.session.client.set(client);
    }

    /// Returns the address at which clients are told to find this broker.
    pub fn advertised(&self) -> (KafkaString, i32) {
        let (host, port) = self.access.session.advertised();
        (KafkaString::from(host), i32::from(port))
    }

    /// Returns the name of the listener that the client is connected to.
    pub fn listener(&self) -> &str {
        &self.access.session.listener.name
    }

    pub fn node_id(&self) -> i32 {
        self.access.broker.node_id.get()
    }

    pub fn cluster_id(&self) -> KafkaString {
        KafkaString::from(self.access.broker.cluster_id.clone())
    }

    pub fn metrics(&self) -> &Metrics {
        &self.access.broker.metrics
    }

    pub fn fetch_sessions(&self) -> MutexGuard<'_, Sessions> {
        self.access.broker.sessions()
    }

    pub fn openers(&self) -> &Arc<Openers> {
        &self.access.broker.openers
    }

    /// Counts an error that the answer names.
    pub fn count_error(&self, error: ErrorCode) {
        self.metrics().request_error(self.key, error);
    }

    /// Returns the answer with a whole frame around a response that `write` encodes.
    ///
    /// # Errors
    /// The response cannot be encoded in the version of the request.
    pub fn encode(
        &self,
        write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
    ) -> Result<Answered, Disconnect> {
        self.encode_as(self.version(), write)
    }

    /// Returns the answer in another version, for a client that asked for an unknown one.
    ///
    /// # Errors
    /// The response cannot be encoded in this version.
    pub fn encode_as(
        &self,
        version: i16,
        write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
    ) -> Result<Answered, Disconnect> {
        let correlation_id = self.header.correlation_id;
        let frame = frame::encode_response(self.key, version, correlation_id, |buffer| {
            write(buffer, version)
        })
        .map_err(|error| self.malformed(error))?;
        Ok(self.answered(Some(Reply::from(vec![frame.into()]))))
    }

    /// Returns the answer with a frame around stored batches, which hold `memory`.
    ///
    /// # Errors
    /// The response cannot be encoded in the version of the request.
    pub fn encode_around(
        &self,
        response: &FetchResponseData,
        chunks: &[Vec<Chunk>],
        memory: Option<Admission>,
    ) -> Result<Answered, Disconnect> {
        let (version, correlation_id) = (self.version(), self.header.correlation_id);
        let frame = fetch::encode_fetch_response(response, chunks, version, correlation_id)
            .map_err(|error| self.malformed(error))?;
        let memory = memory.map(|memory| memory.of_answer(&frame));
        Ok(self.answered(Some(Reply { frame, memory })))
    }

    /// Returns the answer without a reply (acks=0).
    pub fn without_reply(&self) -> Answered {
        Answered {
            reply: None,
            mute: self.mute(),
            close: None,
        }
    }

    /// Counts the request: its answer is ready to be sent.
    fn answered(&self, reply: Option<Reply>) -> Answered {
        self.metrics().request(self.key, self.received.elapsed());
        Answered {
            reply,
            mute: self.mute(),
            close: None,
        }
    }

    /// Returns the reason for closing the connection: the request, or its answer, violates the
    /// protocol.
    pub fn malformed(&self, error: impl fmt::Display) -> Disconnect {
        Disconnect::Malformed {
            api_key: self.header.api_key,
            api_version: self.header.api_version,
            reason: error.to_string(),
        }
    }
}

/// Returns the reason for closing the connection: no handler knows the request.
pub fn unsupported(header: &RequestHeader, session: &Session) -> Disconnect {
    Disconnect::Unsupported(Unsupported {
        api_key: header.api_key,
        api_version: header.api_version,
        client_id: shortened(client_id(header)),
        software: session.client.get().map(ToString::to_string),
    })
}

fn client_id(header: &RequestHeader) -> &str {
    header.client_id.as_ref().map_or("", KafkaString::as_str)
}
