//! The table of requests: a row an API, with its handler and the rule by which a request starts.
//!
//! **Invariant:** the rows are those of [`sedge_protocol::api::APIS`], so what is advertised has a
//! handler and a rule (the assertion at the end of this file).

use sedge_protocol::Bytes;
use sedge_protocol::api::APIS;
use sedge_protocol::frame;
use sedge_protocol::kafka::generated::{self as messages, ApiKey};

use super::Request;
use crate::net::service::{Answer, Answered, Disconnect, Estimate, Rule, Start};

/// `KEY: START, FORM MODULE(MESSAGE MODULE::MESSAGE)`. The form `now` is a handler that gives the
/// response; `later` one that gives an [`Answer`].
macro_rules! apis {
    ($($key:ident: $start:ident, $form:ident $handler:ident($module:ident::$message:ident);)*) => {
        const ROWS: &[ApiKey] = &[$(ApiKey::$key),*];

        /// Returns how requests of this kind are treated. Unknown kinds are refused in turn.
        pub fn rule(api_key: i16) -> Rule {
            match ApiKey::from_i16(api_key) {
                $(Some(ApiKey::$key) => Rule {
                    start: Start::$start,
                    estimate: estimate!($form),
                },)*
                _ => Rule {
                    start: Start::InTurn,
                    estimate: Estimate::Nothing,
                },
            }
        }

        /// Decodes the message, calls its handler, and encodes what that gives.
        pub async fn route(request: Request, mut body: Bytes) -> Result<Answer, Disconnect> {
            let version = request.version();
            if request.key == ApiKey::Produce {
                frame::check_produce(&body, version).map_err(|error| request.malformed(error))?;
            }
            match request.key {
                $(ApiKey::$key => {
                    let message = messages::$module::$message::read(&mut body, version)
                        .map_err(|error| request.malformed(error))?;
                    // The message has what it needs of the frame.
                    drop(body);
                    answer!($form, request, super::$handler::handle, message)
                })*
                _ => Err(super::unsupported(&request.header, &request.session)),
            }
        }
    };
}

macro_rules! estimate {
    (now) => {
        Estimate::Recent
    };
    (later) => {
        Estimate::Nothing
    };
}

macro_rules! answer {
    (now, $request:ident, $handler:path, $message:ident) => {{
        let response = $handler(&$request, $message).await;
        $request
            .encode(|buffer, version| response.write(buffer, version))
            .map(|reply| Answer::Now(Answered::from(reply)))
    }};
    (later, $request:ident, $handler:path, $message:ident) => {
        $handler($request, $message).await
    };
}

// Produce alone is pipelined: produces that wait for their flush share it. Everything else sees
// what the requests before it on its connection did, as with Apache Kafka.
apis! {
    Produce: Pipelined, later produce(produce_request::ProduceRequestData);
    Fetch: InTurn, later fetch(fetch_request::FetchRequestData);
    ListOffsets: InTurn, now list_offsets(list_offsets_request::ListOffsetsRequestData);
    Metadata: InTurn, now metadata(metadata_request::MetadataRequestData);
    OffsetCommit: InTurn, later offset_commit(offset_commit_request::OffsetCommitRequestData);
    OffsetFetch: InTurn, now offset_fetch(offset_fetch_request::OffsetFetchRequestData);
    FindCoordinator: InTurn,
        now find_coordinator(find_coordinator_request::FindCoordinatorRequestData);
    JoinGroup: InTurn, later join_group(join_group_request::JoinGroupRequestData);
    Heartbeat: InTurn, now heartbeat(heartbeat_request::HeartbeatRequestData);
    LeaveGroup: InTurn, now leave_group(leave_group_request::LeaveGroupRequestData);
    SyncGroup: InTurn, later sync_group(sync_group_request::SyncGroupRequestData);
    DescribeGroups: InTurn, now describe_groups(describe_groups_request::DescribeGroupsRequestData);
    ListGroups: InTurn, now list_groups(list_groups_request::ListGroupsRequestData);
    ApiVersions: InTurn, now api_versions(api_versions_request::ApiVersionsRequestData);
    CreateTopics: InTurn, now create_topics(create_topics_request::CreateTopicsRequestData);
    DeleteTopics: InTurn, now delete_topics(delete_topics_request::DeleteTopicsRequestData);
    DeleteRecords: InTurn, now delete_records(delete_records_request::DeleteRecordsRequestData);
    InitProducerId: InTurn,
        now init_producer_id(init_producer_id_request::InitProducerIdRequestData);
    OffsetForLeaderEpoch: InTurn,
        now offset_for_leader_epoch(
            offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData
        );
    DescribeAcls: InTurn, now describe_acls(describe_acls_request::DescribeAclsRequestData);
    CreateAcls: InTurn, now create_acls(create_acls_request::CreateAclsRequestData);
    DeleteAcls: InTurn, now delete_acls(delete_acls_request::DeleteAclsRequestData);
    DescribeConfigs: InTurn,
        now describe_configs(describe_configs_request::DescribeConfigsRequestData);
    AlterConfigs: InTurn, now alter_configs(alter_configs_request::AlterConfigsRequestData);
    DescribeLogDirs: InTurn,
        now describe_log_dirs(describe_log_dirs_request::DescribeLogDirsRequestData);
    CreatePartitions: InTurn,
        now create_partitions(create_partitions_request::CreatePartitionsRequestData);
    DeleteGroups: InTurn, now delete_groups(delete_groups_request::DeleteGroupsRequestData);
    ElectLeaders: InTurn, now elect_leaders(elect_leaders_request::ElectLeadersRequestData);
    IncrementalAlterConfigs: InTurn,
        now incremental_alter_configs(
            incremental_alter_configs_request::IncrementalAlterConfigsRequestData
        );
    AlterPartitionReassignments: InTurn,
        now alter_partition_reassignments(
            alter_partition_reassignments_request::AlterPartitionReassignmentsRequestData
        );
    ListPartitionReassignments: InTurn,
        now list_partition_reassignments(
            list_partition_reassignments_request::ListPartitionReassignmentsRequestData
        );
    OffsetDelete: InTurn, now offset_delete(offset_delete_request::OffsetDeleteRequestData);
    DescribeClientQuotas: InTurn,
        now describe_client_quotas(describe_client_quotas_request::DescribeClientQuotasRequestData);
    DescribeCluster: InTurn,
        now describe_cluster(describe_cluster_request::DescribeClusterRequestData);
    ListConfigResources: InTurn,
        now list_config_resources(list_config_resources_request::ListConfigResourcesRequestData);
    DescribeTopicPartitions: InTurn,
        now describe_topic_partitions(
            describe_topic_partitions_request::DescribeTopicPartitionsRequestData
        );
}

const _: () = {
    assert!(ROWS.len() == APIS.len());
    let mut row = 0;
    while row < ROWS.len() {
        assert!(ROWS[row] as i16 == APIS[row].key as i16);
        row += 1;
    }
};
