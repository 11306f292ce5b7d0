//! Requests to answers: one file an API. This file decodes the header, picks the handler and
//! encodes the reply.
//!
//! A handler takes the decoded request and gives the response message, or, where the reply must
//! wait while the connection reads on (produce, fetch, the parked joins), a future of it
//! ([`Answer::Later`]).

use std::sync::Arc;
use std::time::Instant;

use async_channel::Receiver;
use sedge_core::metadata::{Command, CommandReply, Image};
use sedge_protocol::api;
use sedge_protocol::frame::{self, RequestHeader};
use sedge_protocol::ids::LeaderEpoch;
use sedge_protocol::kafka::generated::{self as messages, ApiKey};
use sedge_protocol::kafka::{self, KafkaString, KafkaUuid};
use sedge_protocol::{Bytes, BytesMut, ErrorCode};

pub use crate::broker::Refusal;

use crate::broker::Broker;
use crate::net::connection::{Answer, Disconnect, Peer};
use crate::net::reply::Frame;
use crate::partitions::Partition;

mod alter_configs;
mod api_versions;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

/// A request's surroundings.
#[derive(Debug)]
pub struct Request {
    pub broker: Arc<Broker>,
    pub peer: Peer,
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

    /// A whole frame around a response that `write` encodes.
    pub fn encode(
        &self,
        write: impl FnOnce(&mut BytesMut, i16) -> kafka::Result<()>,
    ) -> Result<Frame, Disconnect> {
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
        Ok(vec![frame.into()])
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

/// Decodes a frame and starts its request. The requests of one connection are started in order.
pub async fn dispatch(
    broker: &Arc<Broker>,
    peer: &Peer,
    frame: Bytes,
) -> Result<Answer, Disconnect> {
    let mut body = frame;
    let header = RequestHeader::decode(&mut body).map_err(|error| Disconnect::Malformed {
        api_key: -1,
        api_version: -1,
        reason: error.to_string(),
    })?;
    let (api_key, api_version) = (header.api_key, header.api_version);
    let unsupported = Disconnect::Unsupported {
        api_key,
        api_version,
    };
    let Some(api) = api::supported(api_key) else {
        return Err(unsupported);
    };
    let request = Request {
        broker: Arc::clone(broker),
        peer: peer.clone(),
        header,
        key: api.key,
        received: Instant::now(),
    };
    if !api.answers(api_version) {
        if api.key == ApiKey::ApiVersions {
            return api_versions::refuse(&request);
        }
        return Err(unsupported);
    }
    if body.len() > frame::request_bytes_max(api_key, usize::MAX) {
        return Err(request.malformed("it is larger than any request of its kind"));
    }
    route(request, body).await
}

/// Decodes the message, calls its handler, and encodes what that gives.
macro_rules! answer {
    ($request:ident, $body:ident, $handler:path, $module:ident, $message:ident) => {{
        let version = $request.version();
        let message = messages::$module::$message::read(&mut $body, version)
            .map_err(|error| $request.malformed(error))?;
        let response = $handler(&$request, message).await;
        $request
            .encode(|buffer, version| response.write(buffer, version))
            .map(Answer::Now)
    }};
}

async fn route(request: Request, mut body: Bytes) -> Result<Answer, Disconnect> {
    let version = request.version();
    match request.key {
        ApiKey::Produce => {
            frame::check_produce(&body, version).map_err(|error| request.malformed(error))?;
            let message = messages::produce_request::ProduceRequestData::read(&mut body, version)
                .map_err(|error| request.malformed(error))?;
            produce::handle(request, message).await
        }
        ApiKey::Fetch => {
            let message = messages::fetch_request::FetchRequestData::read(&mut body, version)
                .map_err(|error| request.malformed(error))?;
            Ok(fetch::handle(request, message))
        }
        ApiKey::JoinGroup => {
            let message =
                messages::join_group_request::JoinGroupRequestData::read(&mut body, version)
                    .map_err(|error| request.malformed(error))?;
            Ok(join_group::handle(request, message))
        }
        ApiKey::SyncGroup => {
            let message =
                messages::sync_group_request::SyncGroupRequestData::read(&mut body, version)
                    .map_err(|error| request.malformed(error))?;
            Ok(sync_group::handle(request, message))
        }
        ApiKey::OffsetCommit => {
            let message =
                messages::offset_commit_request::OffsetCommitRequestData::read(&mut body, version)
                    .map_err(|error| request.malformed(error))?;
            Ok(offset_commit::handle(request, message))
        }
        ApiKey::OffsetFetch => answer!(
            request,
            body,
            offset_fetch::handle,
            offset_fetch_request,
            OffsetFetchRequestData
        ),
        ApiKey::OffsetDelete => answer!(
            request,
            body,
            offset_delete::handle,
            offset_delete_request,
            OffsetDeleteRequestData
        ),
        ApiKey::FindCoordinator => answer!(
            request,
            body,
            find_coordinator::handle,
            find_coordinator_request,
            FindCoordinatorRequestData
        ),
        ApiKey::Heartbeat => {
            answer!(
                request,
                body,
                heartbeat::handle,
                heartbeat_request,
                HeartbeatRequestData
            )
        }
        ApiKey::LeaveGroup => {
            answer!(
                request,
                body,
                leave_group::handle,
                leave_group_request,
                LeaveGroupRequestData
            )
        }
        ApiKey::DescribeGroups => answer!(
            request,
            body,
            describe_groups::handle,
            describe_groups_request,
            DescribeGroupsRequestData
        ),
        ApiKey::ListGroups => {
            answer!(
                request,
                body,
                list_groups::handle,
                list_groups_request,
                ListGroupsRequestData
            )
        }
        ApiKey::DeleteGroups => answer!(
            request,
            body,
            delete_groups::handle,
            delete_groups_request,
            DeleteGroupsRequestData
        ),
        ApiKey::ApiVersions => {
            answer!(
                request,
                body,
                api_versions::handle,
                api_versions_request,
                ApiVersionsRequestData
            )
        }
        ApiKey::Metadata => {
            answer!(
                request,
                body,
                metadata::handle,
                metadata_request,
                MetadataRequestData
            )
        }
        ApiKey::ListOffsets => {
            answer!(
                request,
                body,
                list_offsets::handle,
                list_offsets_request,
                ListOffsetsRequestData
            )
        }
        ApiKey::OffsetForLeaderEpoch => answer!(
            request,
            body,
            offset_for_leader_epoch::handle,
            offset_for_leader_epoch_request,
            OffsetForLeaderEpochRequestData
        ),
        ApiKey::CreateTopics => {
            answer!(
                request,
                body,
                create_topics::handle,
                create_topics_request,
                CreateTopicsRequestData
            )
        }
        ApiKey::DeleteTopics => {
            answer!(
                request,
                body,
                delete_topics::handle,
                delete_topics_request,
                DeleteTopicsRequestData
            )
        }
        ApiKey::CreatePartitions => answer!(
            request,
            body,
            create_partitions::handle,
            create_partitions_request,
            CreatePartitionsRequestData
        ),
        ApiKey::DescribeConfigs => answer!(
            request,
            body,
            describe_configs::handle,
            describe_configs_request,
            DescribeConfigsRequestData
        ),
        ApiKey::AlterConfigs => {
            answer!(
                request,
                body,
                alter_configs::handle,
                alter_configs_request,
                AlterConfigsRequestData
            )
        }
        ApiKey::IncrementalAlterConfigs => answer!(
            request,
            body,
            incremental_alter_configs::handle,
            incremental_alter_configs_request,
            IncrementalAlterConfigsRequestData
        ),
        ApiKey::DeleteRecords => answer!(
            request,
            body,
            delete_records::handle,
            delete_records_request,
            DeleteRecordsRequestData
        ),
        ApiKey::InitProducerId => answer!(
            request,
            body,
            init_producer_id::handle,
            init_producer_id_request,
            InitProducerIdRequestData
        ),
        ApiKey::DescribeCluster => answer!(
            request,
            body,
            describe_cluster::handle,
            describe_cluster_request,
            DescribeClusterRequestData
        ),
        ApiKey::DescribeTopicPartitions => answer!(
            request,
            body,
            describe_topic_partitions::handle,
            describe_topic_partitions_request,
            DescribeTopicPartitionsRequestData
        ),
        ApiKey::DescribeLogDirs => answer!(
            request,
            body,
            describe_log_dirs::handle,
            describe_log_dirs_request,
            DescribeLogDirsRequestData
        ),
        ApiKey::ListConfigResources => answer!(
            request,
            body,
            list_config_resources::handle,
            list_config_resources_request,
            ListConfigResourcesRequestData
        ),
        _ => Err(Disconnect::Unsupported {
            api_key: request.header.api_key,
            api_version: version,
        }),
    }
}

/// Gives the controller a command, in the terms of most responses.
async fn command(request: &Request, command: Command) -> Result<CommandReply, Refusal> {
    match request.broker.writer.metadata(command).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(Refusal::new(error.code, error.message)),
        Err(_) => Err(Refusal::stopping()),
    }
}

/// The published end of a topic's partition.
fn partition(
    request: &Request,
    image: &Image,
    topic: &str,
    index: i32,
) -> Result<Arc<Partition>, ErrorCode> {
    let topic = image
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = topic
        .partition(index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let broker = &request.broker;
    broker.partitions.get(&*broker.store, id).map_err(|error| {
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
