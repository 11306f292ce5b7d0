//! Requests to answers: one file an API. This file decodes the header, picks the handler and
//! encodes the reply.
//!
//! A handler takes the decoded request and gives the response message, or, where the reply must
//! wait while the connection reads on (produce, fetch, the parked joins), a future of it
//! ([`Answer::Later`]).

use std::sync::Arc;
use std::time::Instant;

use async_channel::Receiver;
use sedge_core::metadata::{Command, CommandReply, Image, Topic};
use sedge_protocol::api;
use sedge_protocol::frame::{self, RequestHeader};
use sedge_protocol::ids::LeaderEpoch;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::kafka::{self, KafkaString, KafkaUuid};
use sedge_protocol::{Bytes, BytesMut, ErrorCode};

pub use crate::broker::Refusal;

use crate::broker::Broker;
use crate::log::partitions::Partition;
use crate::net::service::{Answer, Disconnect, Reply, Rule, Service, Session};
use crate::net::unsupported::{Unsupported, shortened};

mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod apis;
mod configs;
mod create_acls;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
pub(crate) mod link_state;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod repeats;
mod sync_group;

/// Kafka's words for requests about ACLs.
const NO_AUTHORIZER: &str = "No Authorizer is configured.";

/// A request's surroundings.
#[derive(Debug)]
pub struct Request {
    pub broker: Arc<Broker>,
    pub session: Arc<Session>,
    pub header: RequestHeader,
    pub key: ApiKey,
    pub received: Instant,
}

impl Request {
    pub fn version(&self) -> i16 {
        self.header.api_version
    }

    pub fn client_id(&self) -> &str {
        self.header
            .client_id
            .as_ref()
            .map_or("", KafkaString::as_str)
    }

    /// Returns where clients are told to find this broker.
    pub fn advertised(&self) -> (KafkaString, i32) {
        let (host, port) = self.session.advertised();
        (KafkaString::from(host), i32::from(port))
    }

    /// A whole frame around a response that `write` encodes.
    pub fn encode(
        &self,
        write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
    ) -> Result<Reply, Disconnect> {
        let RequestHeader {
            api_version,
            correlation_id,
            ..
        } = self.header;
        let frame = frame::encode_response(self.key, api_version, correlation_id, |buffer| {
            write(buffer, api_version)
        })
        .map_err(|error| self.malformed(error))?;
        self.answered();
        Ok(Reply::from(vec![frame.into()]))
    }

    /// Counts the request: its answer is ready to leave.
    pub fn answered(&self) {
        self.broker
            .metrics
            .request(self.key, self.received.elapsed());
    }

    /// The request, or the answer to it, is not one that the protocol has.
    pub fn malformed(&self, error: impl std::fmt::Display) -> Disconnect {
        Disconnect::Malformed {
            api_key: self.header.api_key,
            api_version: self.header.api_version,
            reason: error.to_string(),
        }
    }
}

/// Answers the requests of clients with what a broker has.
#[derive(Clone, Debug)]
pub struct Handlers(pub Arc<Broker>);

impl Service for Handlers {
    fn rule(&self, api_key: i16) -> Rule {
        apis::rule(api_key)
    }

    async fn call(&self, session: &Arc<Session>, frame: Bytes) -> Result<Answer, Disconnect> {
        dispatch(&self.0, session, frame).await
    }
}

/// Decodes a frame and starts its request.
async fn dispatch(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    frame: Bytes,
) -> Result<Answer, Disconnect> {
    let mut body = frame;
    let header = RequestHeader::decode(&mut body).map_err(|error| Disconnect::Malformed {
        api_key: -1,
        api_version: -1,
        reason: error.to_string(),
    })?;
    let (api_key, api_version) = (header.api_key, header.api_version);
    let Some(api) = api::supported(api_key) else {
        return Err(unsupported(&header, session));
    };
    if !api.answers(api_version) && api.key != ApiKey::ApiVersions {
        return Err(unsupported(&header, session));
    }
    let request = Request {
        broker: Arc::clone(broker),
        session: Arc::clone(session),
        header,
        key: api.key,
        received: Instant::now(),
    };
    if !api.answers(api_version) {
        return api_versions::refuse(&request);
    }
    if body.len() > frame::request_bytes_max(api_key, usize::MAX) {
        return Err(request.malformed("it is larger than any request of its kind"));
    }
    apis::route(request, body).await
}

fn unsupported(header: &RequestHeader, session: &Session) -> Disconnect {
    let client_id = header.client_id.as_ref().map_or("", KafkaString::as_str);
    Disconnect::Unsupported(Unsupported {
        api_key: header.api_key,
        api_version: header.api_version,
        client_id: shortened(client_id),
        software: session.client.get().map(ToString::to_string),
    })
}

/// Gives the controller a command, in the terms of most responses.
async fn command(request: &Request, command: Command) -> Result<CommandReply, Refusal> {
    match request.broker.writer.metadata(command).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(Refusal::new(error.code, error.message)),
        Err(_) => Err(Refusal::stopping()),
    }
}

/// Checks that a topic has a partition, in Kafka's controller's words.
fn check_partition(image: &Image, topic: &str, index: i32) -> Result<(), Refusal> {
    let refused = |message| Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
    match image.topic(topic) {
        None => refused(format!("No such topic as {topic}.")),
        Some(found) if found.partition(index).is_none() => {
            refused(format!("No such partition as {topic}-{index}."))
        }
        Some(_) => Ok(()),
    }
}

fn topic<'a>(image: &'a Image, name: &str) -> Result<&'a Arc<Topic>, ErrorCode> {
    image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn topic_by_id(image: &Image, id: KafkaUuid) -> Result<&Arc<Topic>, ErrorCode> {
    image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)
}

/// Returns the published end of a topic's partition. `known` is the leader epoch that the client
/// knows, if any.
fn partition_at(
    broker: &Broker,
    image: &Image,
    topic: &Topic,
    index: i32,
    known: Option<LeaderEpoch>,
) -> Result<Arc<Partition>, ErrorCode> {
    let id = topic
        .partition(index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(image, known)?;
    broker.log.partition(id).map_err(|error| {
        log::error!(target: "sedge::log", "partition {id} cannot be read: {error}");
        ErrorCode::KafkaStorageError
    })
}

/// KIP-320: a client that knows an older epoch is told to look again, one that knows a newer one to
/// wait.
fn check_leader_epoch(image: &Image, known: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
    match known {
        Some(epoch) if epoch < image.leader_epoch() => Err(ErrorCode::FencedLeaderEpoch),
        Some(epoch) if epoch > image.leader_epoch() => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Waits until what a step of the coordinator wants written is durable.
async fn written(written: Receiver<Result<(), ErrorCode>>) -> Result<(), ErrorCode> {
    written
        .recv()
        .await
        .unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))
}

fn code_of(result: Result<(), ErrorCode>) -> i16 {
    result.err().unwrap_or(ErrorCode::None).code()
}

fn uuid(bytes: [u8; 16]) -> KafkaUuid {
    let (high, low) = bytes.split_at(8);
    let half = |bytes: &[u8]| u64::from_be_bytes(*bytes.first_chunk().expect("half of 16 bytes"));
    KafkaUuid::from_parts(half(high), half(low))
}
