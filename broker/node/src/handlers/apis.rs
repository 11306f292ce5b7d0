//! The table of requests: one row per API. A row determines the API's rule, its decoding, its
//! needs, the call of its handler, the throttle time and the encoding of its answer.
//!
//! **Invariant:** the rows are those of [`sedge_protocol::api::APIS`], so every advertised API has
//! a handler and a rule (the assertion at the end of this file).

use sedge_core::security::{Operation, Resource};
use sedge_protocol::Bytes;
#[cfg(test)]
use sedge_protocol::BytesMut;
use sedge_protocol::api::APIS;
use sedge_protocol::frame;
use sedge_protocol::kafka::generated::{self as messages, ApiKey};

use super::request::{Need, Request};
use crate::net::service::{Answer, Disconnect, Estimate, Rule, Start};

/// `KEY: START, FORM ROOM::HANDLER(MESSAGE MODULE::MESSAGE), ESTIMATE, [NEEDS];`
///
/// - START: [`Start`].
/// - FORM: the handler of a `now` has `handle`, which returns the response. That of a `later` has
///   `start`, which runs in the order of the requests, and `finish`, which returns the response, if
///   there is one. `around` is the same, but the response is encoded around batches. A `plain` is a
///   `now` whose response has no throttle time. The `handle` of an `own` encodes its response
///   itself.
/// - ESTIMATE: [`Estimate`].
/// - NEEDS: the operations that the handler performs, as `Resource Operation`. After `or` is an
///   alternative right that is sufficient, on the cluster or on any topic. They are those of
///   Kafka's documentation ("Operations and Resources on Protocols"; see `tests/needs.rs`).
macro_rules! apis {
    ($($key:ident: $start:ident,
        $form:ident $room:ident::$handler:ident($module:ident::$message:ident),
        $estimate:ident,
        [$($resource:ident $operation:ident $(or $by:ident $by_operation:ident)?),*];)*) => {
        const ROWS: &[ApiKey] = &[$(ApiKey::$key),*];

        /// Returns the rule for requests of this kind. Unknown kinds are refused, in their turn.
        pub fn rule(api_key: i16) -> Rule {
            match ApiKey::from_i16(api_key) {
                $(Some(ApiKey::$key) => Rule {
                    start: Start::$start,
                    estimate: Estimate::$estimate,
                },)*
                _ => Rule {
                    start: Start::InTurn,
                    estimate: Estimate::Nothing,
                },
            }
        }

        /// Returns the operations that requests of this kind perform.
        pub fn needs(key: ApiKey) -> &'static [Need] {
            match key {
                $(ApiKey::$key => &[$(Need {
                    right: (Resource::$resource, Operation::$operation),
                    or: either!($($by $by_operation)?),
                }),*],)*
                _ => &[],
            }
        }

        /// Encodes a default message of this kind of request.
        #[cfg(test)]
        pub fn default_message(key: ApiKey, version: i16) -> Vec<u8> {
            let mut buffer = BytesMut::new();
            match key {
                $(ApiKey::$key => {
                    let message = messages::$module::$message::default();
                    message.write(&mut buffer, version).unwrap();
                })*
                _ => {}
            }
            buffer.to_vec()
        }

        /// Decodes the message, calls its handler, and encodes the response.
        pub async fn route(request: Request, mut body: Bytes) -> Result<Answer, Disconnect> {
            let version = request.version();
            if request.key() == ApiKey::Produce {
                frame::check_produce(&body, version).map_err(|error| request.malformed(error))?;
            }
            match request.key() {
                $(ApiKey::$key => {
                    let message = messages::$module::$message::read(&mut body, version)
                        .map_err(|error| request.malformed(error))?;
                    // The message holds the parts of the frame that it needs.
                    drop(body);
                    answer!($form, request, super::$room::$handler, message)
                })*
                _ => Err(request.malformed("it has no handler")),
            }
        }
    };
}

macro_rules! either {
    () => {
        None
    };
    ($resource:ident $operation:ident) => {
        Some((Resource::$resource, Operation::$operation))
    };
}

macro_rules! answer {
    (now, $request:ident, $($handler:ident)::+, $message:ident) => {{
        let handled = $($handler)::+::handle(&$request, $message);
        let mut response = $request.timed(handled).await;
        response.throttle_time_ms = $request.throttle_time_ms();
        $request
            .encode(|buffer, version| response.write(buffer, version))
            .map(Answer::Now)
    }};
    (plain, $request:ident, $($handler:ident)::+, $message:ident) => {{
        let handled = $($handler)::+::handle(&$request, $message);
        let response = $request.timed(handled).await;
        $request
            .encode(|buffer, version| response.write(buffer, version))
            .map(Answer::Now)
    }};
    (own, $request:ident, $($handler:ident)::+, $message:ident) => {
        $($handler)::+::handle(&$request, $message).await
    };
    (later, $request:ident, $($handler:ident)::+, $message:ident) => {{
        let started = $($handler)::+::start(&$request, $message);
        let pending = $request.timed(started).await?;
        let mute = $request.mute();
        let answered = Box::pin(async move {
            let finished = $($handler)::+::finish(&$request, pending);
            let Some(mut response) = $request.timed(finished).await? else {
                return Ok($request.without_reply());
            };
            response.throttle_time_ms = $request.throttle_time_ms();
            $request.encode(|buffer, version| response.write(buffer, version))
        });
        Ok(Answer::Later { answered, mute })
    }};
    (around, $request:ident, $($handler:ident)::+, $message:ident) => {{
        let started = $($handler)::+::start(&$request, $message);
        let pending = $request.timed(started).await?;
        let mute = $request.mute();
        let answered = Box::pin(async move {
            let finished = $($handler)::+::finish(&$request, pending);
            let (mut response, chunks, memory) = $request.timed(finished).await?;
            response.throttle_time_ms = $request.throttle_time_ms();
            $request.encode_around(&response, &chunks, memory)
        });
        Ok(Answer::Later { answered, mute })
    }};
}

// Only Produce is pipelined: produces that wait for a flush share it. All other requests see the
// effects of the earlier requests on their connection, as in Apache Kafka.
apis! {
    Produce: Pipelined, later records::produce(produce_request::ProduceRequestData),
        // The cluster for `__sedge_plugins`.
        Nothing, [Topic Write, TransactionalId Write, Cluster Alter];
    Fetch: InTurn, around records::fetch(fetch_request::FetchRequestData),
        Nothing, [Topic Read];
    ListOffsets: InTurn, now records::list_offsets(list_offsets_request::ListOffsetsRequestData),
        Recent, [Topic Describe];
    Metadata: InTurn, now topics::metadata(metadata_request::MetadataRequestData),
        Recent, [Topic Describe, Topic Create or Cluster Create, Cluster Describe];
    OffsetCommit: InTurn, later groups::offset_commit(offset_commit_request::OffsetCommitRequestData),
        Nothing, [Group Read, Topic Read];
    OffsetFetch: InTurn, now groups::offset_fetch(offset_fetch_request::OffsetFetchRequestData),
        Recent, [Group Describe, Topic Describe];
    FindCoordinator: InTurn,
        now groups::find_coordinator(find_coordinator_request::FindCoordinatorRequestData),
        Recent, [Group Describe, TransactionalId Describe];
    JoinGroup: InTurn, later groups::join_group(join_group_request::JoinGroupRequestData),
        Nothing, [Group Read];
    Heartbeat: InTurn, now groups::heartbeat(heartbeat_request::HeartbeatRequestData),
        Recent, [Group Read];
    LeaveGroup: InTurn, now groups::leave_group(leave_group_request::LeaveGroupRequestData),
        Recent, [Group Read];
    SyncGroup: InTurn, later groups::sync_group(sync_group_request::SyncGroupRequestData),
        Nothing, [Group Read];
    DescribeGroups: InTurn, now groups::describe_groups(describe_groups_request::DescribeGroupsRequestData),
        Recent, [Group Describe];
    ListGroups: InTurn, now groups::list_groups(list_groups_request::ListGroupsRequestData),
        Recent, [Group Describe or Cluster Describe];
    SaslHandshake: InTurn, own sasl::sasl_handshake(sasl_handshake_request::SaslHandshakeRequestData),
        Nothing, [];
    ApiVersions: InTurn, now cluster::api_versions(api_versions_request::ApiVersionsRequestData),
        Recent, [];
    CreateTopics: InTurn, now topics::create_topics(create_topics_request::CreateTopicsRequestData),
        Recent, [Topic Create or Cluster Create, Topic DescribeConfigs];
    DeleteTopics: InTurn, now topics::delete_topics(delete_topics_request::DeleteTopicsRequestData),
        Recent, [Topic Delete or Cluster Delete, Topic Describe or Cluster Delete];
    DeleteRecords: InTurn, now records::delete_records(delete_records_request::DeleteRecordsRequestData),
        Recent, [Topic Delete];
    InitProducerId: InTurn,
        now records::init_producer_id(init_producer_id_request::InitProducerIdRequestData),
        Recent, [Cluster IdempotentWrite or Topic Write, TransactionalId Write];
    OffsetForLeaderEpoch: InTurn,
        now records::offset_for_leader_epoch(
            offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData
        ),
        Recent, [Topic Describe or Cluster ClusterAction];
    AddPartitionsToTxn: InTurn,
        now transactions::add_partitions_to_txn(
            add_partitions_to_txn_request::AddPartitionsToTxnRequestData
        ),
        Recent, [TransactionalId Write, Cluster ClusterAction, Topic Write];
    AddOffsetsToTxn: InTurn,
        now transactions::add_offsets_to_txn(add_offsets_to_txn_request::AddOffsetsToTxnRequestData),
        Recent, [TransactionalId Write, Group Read];
    EndTxn: InTurn, now transactions::end_txn(end_txn_request::EndTxnRequestData),
        Recent, [TransactionalId Write];
    WriteTxnMarkers: InTurn,
        plain transactions::write_txn_markers(write_txn_markers_request::WriteTxnMarkersRequestData),
        Recent, [Cluster Alter or Cluster ClusterAction];
    TxnOffsetCommit: InTurn,
        now transactions::txn_offset_commit(txn_offset_commit_request::TxnOffsetCommitRequestData),
        Recent, [TransactionalId Write, Group Read, Topic Read];
    DescribeAcls: InTurn, now acls::describe_acls(describe_acls_request::DescribeAclsRequestData),
        Recent, [Cluster Describe];
    CreateAcls: InTurn, now acls::create_acls(create_acls_request::CreateAclsRequestData),
        Recent, [Cluster Alter];
    DeleteAcls: InTurn, now acls::delete_acls(delete_acls_request::DeleteAclsRequestData),
        Recent, [Cluster Alter];
    DescribeConfigs: InTurn,
        now configs::describe_configs(describe_configs_request::DescribeConfigsRequestData),
        Recent, [Topic DescribeConfigs, Cluster DescribeConfigs, Group DescribeConfigs];
    AlterConfigs: InTurn, now configs::alter_configs(alter_configs_request::AlterConfigsRequestData),
        Recent, [Topic AlterConfigs, Cluster AlterConfigs, Group AlterConfigs, Cluster Alter];
    AlterReplicaLogDirs: InTurn,
        now cluster::alter_replica_log_dirs(alter_replica_log_dirs_request::AlterReplicaLogDirsRequestData),
        Recent, [Cluster Alter];
    DescribeLogDirs: InTurn,
        now cluster::describe_log_dirs(describe_log_dirs_request::DescribeLogDirsRequestData),
        Recent, [Cluster Describe];
    SaslAuthenticate: InTurn,
        own sasl::sasl_authenticate(sasl_authenticate_request::SaslAuthenticateRequestData),
        Nothing, [];
    CreatePartitions: InTurn,
        now topics::create_partitions(create_partitions_request::CreatePartitionsRequestData),
        Recent, [Topic Alter];
    CreateDelegationToken: InTurn,
        now tokens::create_delegation_token(
            create_delegation_token_request::CreateDelegationTokenRequestData
        ),
        Recent, [User CreateTokens];
    RenewDelegationToken: InTurn,
        now tokens::renew_delegation_token(
            renew_delegation_token_request::RenewDelegationTokenRequestData
        ),
        Recent, [];
    ExpireDelegationToken: InTurn,
        now tokens::expire_delegation_token(
            expire_delegation_token_request::ExpireDelegationTokenRequestData
        ),
        Recent, [];
    DescribeDelegationToken: InTurn,
        now tokens::describe_delegation_token(
            describe_delegation_token_request::DescribeDelegationTokenRequestData
        ),
        Recent, [DelegationToken Describe, User DescribeTokens];
    DeleteGroups: InTurn, now groups::delete_groups(delete_groups_request::DeleteGroupsRequestData),
        Recent, [Group Delete];
    ElectLeaders: InTurn, now topics::elect_leaders(elect_leaders_request::ElectLeadersRequestData),
        Recent, [Cluster Alter];
    IncrementalAlterConfigs: InTurn,
        now configs::incremental_alter_configs(
            incremental_alter_configs_request::IncrementalAlterConfigsRequestData
        ),
        Recent,
        [Topic AlterConfigs, Topic Write, Cluster AlterConfigs, Group AlterConfigs, Cluster Alter];
    AlterPartitionReassignments: InTurn,
        now topics::alter_partition_reassignments(
            alter_partition_reassignments_request::AlterPartitionReassignmentsRequestData
        ),
        Recent, [Cluster Alter];
    ListPartitionReassignments: InTurn,
        now topics::list_partition_reassignments(
            list_partition_reassignments_request::ListPartitionReassignmentsRequestData
        ),
        Recent, [Cluster Describe];
    OffsetDelete: InTurn, now groups::offset_delete(offset_delete_request::OffsetDeleteRequestData),
        Recent, [Group Delete, Topic Read];
    DescribeClientQuotas: InTurn,
        now quotas::describe_client_quotas(describe_client_quotas_request::DescribeClientQuotasRequestData),
        Recent, [Cluster DescribeConfigs];
    AlterClientQuotas: InTurn,
        now quotas::alter_client_quotas(alter_client_quotas_request::AlterClientQuotasRequestData),
        Recent, [Cluster AlterConfigs];
    DescribeUserScramCredentials: InTurn,
        now users::describe_user_scram_credentials(
            describe_user_scram_credentials_request::DescribeUserScramCredentialsRequestData
        ),
        Recent, [Cluster Describe];
    AlterUserScramCredentials: InTurn,
        now users::alter_user_scram_credentials(
            alter_user_scram_credentials_request::AlterUserScramCredentialsRequestData
        ),
        Recent, [Cluster Alter];
    DescribeQuorum: InTurn,
        plain cluster::describe_quorum(describe_quorum_request::DescribeQuorumRequestData),
        Recent, [Cluster Describe];
    UpdateFeatures: InTurn,
        now cluster::update_features(update_features_request::UpdateFeaturesRequestData),
        Recent, [Cluster Alter];
    DescribeCluster: InTurn,
        now cluster::describe_cluster(describe_cluster_request::DescribeClusterRequestData),
        Recent, [Cluster Describe];
    DescribeProducers: InTurn,
        now transactions::describe_producers(describe_producers_request::DescribeProducersRequestData),
        Recent, [Topic Read];
    UnregisterBroker: InTurn,
        now cluster::unregister_broker(unregister_broker_request::UnregisterBrokerRequestData),
        Recent, [Cluster Alter];
    DescribeTransactions: InTurn,
        now transactions::describe_transactions(
            describe_transactions_request::DescribeTransactionsRequestData
        ),
        Recent, [TransactionalId Describe, Topic Describe];
    ListTransactions: InTurn,
        now transactions::list_transactions(list_transactions_request::ListTransactionsRequestData),
        Recent, [TransactionalId Describe];
    ConsumerGroupHeartbeat: InTurn,
        now groups::consumer_group_heartbeat(
            consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequestData
        ),
        Recent, [Group Read, Topic Describe];
    ConsumerGroupDescribe: InTurn,
        now groups::consumer_group_describe(
            consumer_group_describe_request::ConsumerGroupDescribeRequestData
        ),
        Recent, [Group Describe, Topic Describe];
    GetTelemetrySubscriptions: InTurn,
        now telemetry::get_telemetry_subscriptions(
            get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequestData
        ),
        Recent, [];
    PushTelemetry: InTurn,
        now telemetry::push_telemetry(push_telemetry_request::PushTelemetryRequestData),
        Recent, [];
    ListConfigResources: InTurn,
        now configs::list_config_resources(list_config_resources_request::ListConfigResourcesRequestData),
        Recent, [Cluster DescribeConfigs];
    DescribeTopicPartitions: InTurn,
        now topics::describe_topic_partitions(
            describe_topic_partitions_request::DescribeTopicPartitionsRequestData
        ),
        Recent, [Topic Describe];
    AddRaftVoter: InTurn, now cluster::add_raft_voter(add_raft_voter_request::AddRaftVoterRequestData),
        Recent, [Cluster Alter];
    RemoveRaftVoter: InTurn,
        now cluster::remove_raft_voter(remove_raft_voter_request::RemoveRaftVoterRequestData),
        Recent, [Cluster Alter];
}

const _: () = {
    assert!(ROWS.len() == APIS.len());
    let mut row = 0;
    while row < ROWS.len() {
        assert!(ROWS[row] as i16 == APIS[row].key as i16);
        row += 1;
    }
};
