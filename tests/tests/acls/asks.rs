//! A request of each API. The functions return the error codes of the response.

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated as messages;
use sedge_tests::ask;
use sedge_tests::wire::{Batch, Connection};

use super::admin::{self, text};

pub const TOPIC: &str = "t";
pub const GROUP: &str = "g";
pub const TRANSACTIONAL_ID: &str = "x";
/// A topic that never exists.
pub const MISSING: &str = "missing";

use messages::alter_client_quotas_request::{
    EntityData as QuotaEntity, EntryData as QuotaEntry, OpData as QuotaOp,
};

type Codes = Vec<i16>;

macro_rules! uses {
    ($($module:ident::{$($name:ident),*};)*) => {
        $(use messages::$module::{$($name),*};)*
    };
}

uses! {
    alter_client_quotas_request::{AlterClientQuotasRequestData};
    alter_client_quotas_response::{AlterClientQuotasResponseData};
    alter_configs_request::{AlterConfigsRequestData};
    alter_configs_response::{AlterConfigsResponseData};
    alter_partition_reassignments_request::{
        AlterPartitionReassignmentsRequestData, ReassignableTopic, ReassignablePartition
    };
    alter_partition_reassignments_response::{AlterPartitionReassignmentsResponseData};
    alter_user_scram_credentials_request::{
        AlterUserScramCredentialsRequestData, ScramCredentialDeletion
    };
    alter_user_scram_credentials_response::{AlterUserScramCredentialsResponseData};
    consumer_group_describe_request::{ConsumerGroupDescribeRequestData};
    consumer_group_describe_response::{ConsumerGroupDescribeResponseData};
    consumer_group_heartbeat_request::{ConsumerGroupHeartbeatRequestData};
    consumer_group_heartbeat_response::{ConsumerGroupHeartbeatResponseData};
    create_acls_request::{CreateAclsRequestData};
    create_acls_response::{CreateAclsResponseData};
    create_delegation_token_request::{CreateDelegationTokenRequestData};
    create_delegation_token_response::{CreateDelegationTokenResponseData};
    create_partitions_request::{CreatePartitionsRequestData, CreatePartitionsTopic};
    create_partitions_response::{CreatePartitionsResponseData};
    create_topics_request::{CreatableTopic, CreateTopicsRequestData};
    create_topics_response::{CreateTopicsResponseData};
    delete_acls_request::{DeleteAclsFilter, DeleteAclsRequestData};
    delete_acls_response::{DeleteAclsResponseData};
    delete_groups_request::{DeleteGroupsRequestData};
    delete_groups_response::{DeleteGroupsResponseData};
    delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequestData, DeleteRecordsTopic};
    delete_records_response::{DeleteRecordsResponseData};
    delete_topics_request::{DeleteTopicState, DeleteTopicsRequestData};
    delete_topics_response::{DeleteTopicsResponseData};
    describe_acls_response::{DescribeAclsResponseData};
    describe_client_quotas_request::{DescribeClientQuotasRequestData};
    describe_client_quotas_response::{DescribeClientQuotasResponseData};
    describe_cluster_request::{DescribeClusterRequestData};
    describe_cluster_response::{DescribeClusterResponseData};
    describe_configs_request::{DescribeConfigsRequestData, DescribeConfigsResource};
    describe_configs_response::{DescribeConfigsResponseData};
    describe_delegation_token_request::{DescribeDelegationTokenRequestData};
    describe_delegation_token_response::{DescribeDelegationTokenResponseData};
    describe_groups_request::{DescribeGroupsRequestData};
    describe_groups_response::{DescribeGroupsResponseData};
    describe_log_dirs_request::{DescribeLogDirsRequestData};
    describe_log_dirs_response::{DescribeLogDirsResponseData};
    describe_topic_partitions_request::{DescribeTopicPartitionsRequestData, TopicRequest};
    describe_topic_partitions_response::{DescribeTopicPartitionsResponseData};
    describe_user_scram_credentials_request::{DescribeUserScramCredentialsRequestData, UserName};
    describe_user_scram_credentials_response::{DescribeUserScramCredentialsResponseData};
    elect_leaders_request::{ElectLeadersRequestData, TopicPartitions};
    elect_leaders_response::{ElectLeadersResponseData};
    expire_delegation_token_request::{ExpireDelegationTokenRequestData};
    expire_delegation_token_response::{ExpireDelegationTokenResponseData};
    fetch_request::{FetchPartition, FetchRequestData, FetchTopic};
    fetch_response::{FetchResponseData};
    find_coordinator_request::{FindCoordinatorRequestData};
    find_coordinator_response::{FindCoordinatorResponseData};
    heartbeat_request::{HeartbeatRequestData};
    heartbeat_response::{HeartbeatResponseData};
    incremental_alter_configs_request::{
        AlterConfigsResource, IncrementalAlterConfigsRequestData
    };
    incremental_alter_configs_response::{IncrementalAlterConfigsResponseData};
    init_producer_id_request::{InitProducerIdRequestData};
    init_producer_id_response::{InitProducerIdResponseData};
    join_group_request::{JoinGroupRequestData};
    join_group_response::{JoinGroupResponseData};
    leave_group_request::{LeaveGroupRequestData, MemberIdentity};
    leave_group_response::{LeaveGroupResponseData};
    list_config_resources_request::{ListConfigResourcesRequestData};
    list_config_resources_response::{ListConfigResourcesResponseData};
    list_groups_request::{ListGroupsRequestData};
    list_groups_response::{ListGroupsResponseData};
    list_offsets_request::{ListOffsetsPartition, ListOffsetsRequestData, ListOffsetsTopic};
    list_offsets_response::{ListOffsetsResponseData};
    list_partition_reassignments_request::{ListPartitionReassignmentsRequestData};
    list_partition_reassignments_response::{ListPartitionReassignmentsResponseData};
    metadata_request::{MetadataRequestData, MetadataRequestTopic};
    metadata_response::{MetadataResponseData};
    offset_commit_request::{
        OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic
    };
    offset_commit_response::{OffsetCommitResponseData};
    offset_delete_request::{
        OffsetDeleteRequestData, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic
    };
    offset_delete_response::{OffsetDeleteResponseData};
    offset_fetch_request::{
        OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
        OffsetFetchRequestTopics
    };
    offset_fetch_response::{OffsetFetchResponseData};
    offset_for_leader_epoch_request::{
        OffsetForLeaderEpochRequestData, OffsetForLeaderPartition, OffsetForLeaderTopic
    };
    offset_for_leader_epoch_response::{OffsetForLeaderEpochResponseData};
    produce_request::{PartitionProduceData, ProduceRequestData, TopicProduceData};
    produce_response::{ProduceResponseData};
    renew_delegation_token_request::{RenewDelegationTokenRequestData};
    renew_delegation_token_response::{RenewDelegationTokenResponseData};
    sync_group_request::{SyncGroupRequestData};
    sync_group_response::{SyncGroupResponseData};
}

pub fn produce(client: &mut Connection) -> Codes {
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(Batch::of(&[b"value".to_vec()]).encode().into()));
    let topic = TopicProduceData::default()
        .with_name(text(TOPIC))
        .with_partition_data(vec![partition]);
    let request = ProduceRequestData::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    let answer = ask!(client, Produce 9, request => ProduceResponseData);
    let partitions = answer.responses.iter();
    let partitions = partitions.flat_map(|topic| &topic.partition_responses);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn fetch(client: &mut Connection) -> Codes {
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = FetchRequestData::default()
        .with_replica_id(-1)
        .with_session_epoch(-1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let answer = ask!(client, Fetch 11, request => FetchResponseData);
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let codes = partitions.map(|partition| partition.error_code);
    std::iter::once(answer.error_code).chain(codes).collect()
}

pub fn list_offsets(client: &mut Connection) -> Codes {
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequestData::default()
        .with_replica_id(-1)
        .with_topics(vec![topic]);
    let answer = ask!(client, ListOffsets 6, request => ListOffsetsResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

fn metadata_of(client: &mut Connection, topic: &str, may_create: bool) -> Codes {
    let topic = MetadataRequestTopic::default().with_name(Some(text(topic)));
    let request = MetadataRequestData::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(may_create);
    let answer = ask!(client, Metadata 12, request => MetadataResponseData);
    answer.topics.iter().map(|topic| topic.error_code).collect()
}

pub fn metadata(client: &mut Connection) -> Codes {
    metadata_of(client, TOPIC, false)
}

/// A missing topic that the client may describe: tests the right to create it.
pub fn metadata_of_a_new_topic(client: &mut Connection) -> Codes {
    metadata_of(client, MISSING, true)
}

/// Returns the number of listed topics instead of codes.
pub fn metadata_of_all(client: &mut Connection) -> Codes {
    let request = MetadataRequestData::default().with_topics(None);
    let answer = ask!(client, Metadata 12, request => MetadataResponseData);
    let known = [Some(text(TOPIC))];
    let listed = answer.topics.iter().filter(|of| known.contains(&of.name));
    vec![listed.count() as i16]
}

/// Returns the authorized operations of the topic and the cluster, as bits, instead of codes.
pub fn metadata_operations(client: &mut Connection) -> Codes {
    let topic = MetadataRequestTopic::default().with_name(Some(text(TOPIC)));
    let request = MetadataRequestData::default()
        .with_topics(Some(vec![topic]))
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(true);
    let answer = ask!(client, Metadata 10, request => MetadataResponseData);
    let of_topics = answer
        .topics
        .iter()
        .map(|topic| topic.topic_authorized_operations as i16);
    let of_cluster = answer.cluster_authorized_operations as i16;
    of_topics.chain([of_cluster]).collect()
}

pub fn offset_commit(client: &mut Connection) -> Codes {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(1)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(KafkaString::default()));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequestData::default()
        .with_group_id(text(GROUP))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = ask!(client, OffsetCommit 8, request => OffsetCommitResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn offset_fetch(client: &mut Connection) -> Codes {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(text(TOPIC))
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text(GROUP))
        .with_member_epoch(-1)
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequestData::default().with_groups(vec![group]);
    let answer = ask!(client, OffsetFetch 9, request => OffsetFetchResponseData);
    let mut codes = Vec::new();
    for group in &answer.groups {
        codes.push(group.error_code);
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        codes.extend(partitions.map(|partition| partition.error_code));
    }
    codes
}

/// The first version has an error code for each partition only.
pub fn offset_fetch_first_version(client: &mut Connection) -> Codes {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(text(TOPIC))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequestData::default()
        .with_group_id(text(GROUP))
        .with_topics(Some(vec![topic]));
    let answer = ask!(client, OffsetFetch 1, request => OffsetFetchResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

/// All topics of the group; topics that may not be described are left out. Returns the error code
/// and the number of topics.
pub fn offset_fetch_of_all(client: &mut Connection) -> Codes {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text(GROUP))
        .with_member_epoch(-1)
        .with_topics(None);
    let request = OffsetFetchRequestData::default().with_groups(vec![group]);
    let answer = ask!(client, OffsetFetch 9, request => OffsetFetchResponseData);
    let groups = answer.groups.iter();
    groups
        .flat_map(|group| [group.error_code, group.topics.len() as i16])
        .collect()
}

fn find_coordinator(client: &mut Connection, kind: i8, key: &str) -> Codes {
    let request = FindCoordinatorRequestData::default()
        .with_key_type(kind)
        .with_coordinator_keys(vec![text(key)]);
    let answer = ask!(client, FindCoordinator 4, request => FindCoordinatorResponseData);
    let found = answer.coordinators.iter();
    found.map(|found| found.error_code).collect()
}

pub fn find_group_coordinator(client: &mut Connection) -> Codes {
    find_coordinator(client, 0, GROUP)
}

pub fn find_transaction_coordinator(client: &mut Connection) -> Codes {
    find_coordinator(client, 1, TRANSACTIONAL_ID)
}

/// With an invalid session timeout: tests that authorization is checked first.
pub fn join_group(client: &mut Connection) -> Codes {
    let request = JoinGroupRequestData::default()
        .with_group_id(text(GROUP))
        .with_session_timeout_ms(1)
        .with_protocol_type(text("consumer"));
    let answer = ask!(client, JoinGroup 5, request => JoinGroupResponseData);
    vec![answer.error_code]
}

pub fn heartbeat(client: &mut Connection) -> Codes {
    let request = HeartbeatRequestData::default()
        .with_group_id(text(GROUP))
        .with_member_id(text("nobody"));
    vec![ask!(client, Heartbeat 3, request => HeartbeatResponseData).error_code]
}

pub fn leave_group(client: &mut Connection) -> Codes {
    let member = MemberIdentity::default().with_member_id(text("nobody"));
    let request = LeaveGroupRequestData::default()
        .with_group_id(text(GROUP))
        .with_members(vec![member]);
    let answer = ask!(client, LeaveGroup 3, request => LeaveGroupResponseData);
    let members = answer.members.iter().map(|member| member.error_code);
    std::iter::once(answer.error_code).chain(members).collect()
}

pub fn sync_group(client: &mut Connection) -> Codes {
    let request = SyncGroupRequestData::default()
        .with_group_id(text(GROUP))
        .with_member_id(text("nobody"));
    vec![ask!(client, SyncGroup 3, request => SyncGroupResponseData).error_code]
}

pub fn describe_groups(client: &mut Connection) -> Codes {
    let request = DescribeGroupsRequestData::default().with_groups(vec![text(GROUP)]);
    let answer = ask!(client, DescribeGroups 5, request => DescribeGroupsResponseData);
    answer.groups.iter().map(|group| group.error_code).collect()
}

/// Returns the error code and the number of listed groups.
pub fn list_groups(client: &mut Connection) -> Codes {
    let request = ListGroupsRequestData::default();
    let answer = ask!(client, ListGroups 3, request => ListGroupsResponseData);
    vec![answer.error_code, answer.groups.len() as i16]
}

fn create_topic(client: &mut Connection) -> CreateTopicsResponseData {
    let topic = CreatableTopic::default()
        .with_name(text(MISSING))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequestData::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000)
        .with_validate_only(true);
    ask!(client, CreateTopics 7, request => CreateTopicsResponseData)
}

pub fn create_topics(client: &mut Connection) -> Codes {
    let answer = create_topic(client);
    answer.topics.iter().map(|topic| topic.error_code).collect()
}

/// A topic that the client may create: tests the right to see its configuration.
pub fn create_topics_configs(client: &mut Connection) -> Codes {
    let answer = create_topic(client);
    let told = answer.topics.iter().flat_map(|topic| {
        let has_configs = topic.configs.as_ref().is_some_and(|of| !of.is_empty());
        [
            topic.topic_config_error_code,
            topic.num_partitions as i16,
            i16::from(has_configs),
        ]
    });
    told.collect()
}

fn delete_topic(client: &mut Connection, name: &str) -> Codes {
    let topic = DeleteTopicState::default().with_name(Some(text(name)));
    let request = DeleteTopicsRequestData::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let answer = ask!(client, DeleteTopics 6, request => DeleteTopicsResponseData);
    let responses = answer.responses.iter();
    responses.map(|response| response.error_code).collect()
}

/// A topic that does not exist.
pub fn delete_topics(client: &mut Connection) -> Codes {
    delete_topic(client, MISSING)
}

pub fn delete_topics_that_are_there(client: &mut Connection) -> Codes {
    delete_topic(client, TOPIC)
}

pub fn delete_records(client: &mut Connection) -> Codes {
    let partition = DeleteRecordsPartition::default().with_offset(0);
    let topic = DeleteRecordsTopic::default()
        .with_name(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequestData::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let answer = ask!(client, DeleteRecords 1, request => DeleteRecordsResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn init_producer_id(client: &mut Connection) -> Codes {
    let request = InitProducerIdRequestData::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(-1)
        .with_producer_epoch(-1);
    vec![ask!(client, InitProducerId 4, request => InitProducerIdResponseData).error_code]
}

pub fn offset_for_leader_epoch(client: &mut Connection) -> Codes {
    let partition = OffsetForLeaderPartition::default()
        .with_current_leader_epoch(-1)
        .with_leader_epoch(0);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequestData::default()
        .with_replica_id(-2)
        .with_topics(vec![topic]);
    let answer = ask!(client, OffsetForLeaderEpoch 3, request => OffsetForLeaderEpochResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn describe_acls(client: &mut Connection) -> Codes {
    let request = admin::every();
    vec![ask!(client, DescribeAcls 3, request => DescribeAclsResponseData).error_code]
}

/// An invalid rule: tests that authorization is checked first.
pub fn create_acls(client: &mut Connection) -> Codes {
    let rule = admin::rule("*", 4, "other-cluster", 3, admin::ALLOW);
    let request = CreateAclsRequestData::default().with_creations(vec![rule]);
    let answer = ask!(client, CreateAcls 3, request => CreateAclsResponseData);
    let results = answer.results.iter();
    results.map(|result| result.error_code).collect()
}

/// With a filter that matches no rule.
pub fn delete_acls(client: &mut Connection) -> Codes {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(admin::ANY)
        .with_pattern_type_filter(admin::ANY)
        .with_principal_filter(Some(text("User:nobody")))
        .with_operation(admin::ANY)
        .with_permission_type(admin::ANY);
    let request = DeleteAclsRequestData::default().with_filters(vec![filter]);
    let answer = ask!(client, DeleteAcls 3, request => DeleteAclsResponseData);
    let results = answer.filter_results.iter();
    results.map(|result| result.error_code).collect()
}

fn describe_configs(client: &mut Connection, kind: i8, name: &str) -> Codes {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name));
    let request = DescribeConfigsRequestData::default().with_resources(vec![resource]);
    let answer = ask!(client, DescribeConfigs 4, request => DescribeConfigsResponseData);
    let results = answer.results.iter();
    results.map(|result| result.error_code).collect()
}

pub fn describe_topic_configs(client: &mut Connection) -> Codes {
    describe_configs(client, 2, TOPIC)
}

pub fn describe_broker_configs(client: &mut Connection) -> Codes {
    describe_configs(client, 4, "")
}

pub fn describe_group_configs(client: &mut Connection) -> Codes {
    describe_configs(client, 32, GROUP)
}

fn alter_configs(client: &mut Connection, kind: i8, name: &str) -> Codes {
    let resource = messages::alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name));
    let request = AlterConfigsRequestData::default()
        .with_resources(vec![resource])
        .with_validate_only(true);
    let answer = ask!(client, AlterConfigs 2, request => AlterConfigsResponseData);
    let responses = answer.responses.iter();
    responses.map(|response| response.error_code).collect()
}

pub fn alter_topic_configs(client: &mut Connection) -> Codes {
    alter_configs(client, 2, TOPIC)
}

pub fn alter_broker_configs(client: &mut Connection) -> Codes {
    // A named broker, because Apache Kafka refuses to remove min.insync.replicas for all brokers.
    alter_configs(client, 4, "1")
}

fn incremental_alter_configs(client: &mut Connection, kind: i8, name: &str) -> Codes {
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name));
    let request = IncrementalAlterConfigsRequestData::default()
        .with_resources(vec![resource])
        .with_validate_only(true);
    let answer =
        ask!(client, IncrementalAlterConfigs 1, request => IncrementalAlterConfigsResponseData);
    let responses = answer.responses.iter();
    responses.map(|response| response.error_code).collect()
}

pub fn incremental_alter_topic_configs(client: &mut Connection) -> Codes {
    incremental_alter_configs(client, 2, TOPIC)
}

pub fn incremental_alter_broker_configs(client: &mut Connection) -> Codes {
    incremental_alter_configs(client, 4, "")
}

pub fn describe_log_dirs(client: &mut Connection) -> Codes {
    let request = DescribeLogDirsRequestData::default().with_topics(None);
    vec![ask!(client, DescribeLogDirs 4, request => DescribeLogDirsResponseData).error_code]
}

pub fn create_partitions(client: &mut Connection) -> Codes {
    let topic = CreatePartitionsTopic::default()
        .with_name(text(TOPIC))
        .with_count(2);
    let request = CreatePartitionsRequestData::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000)
        .with_validate_only(true);
    let answer = ask!(client, CreatePartitions 3, request => CreatePartitionsResponseData);
    let results = answer.results.iter();
    results.map(|result| result.error_code).collect()
}

/// A group that does not exist.
pub fn delete_groups(client: &mut Connection) -> Codes {
    let request = DeleteGroupsRequestData::default().with_groups_names(vec![text(MISSING)]);
    let answer = ask!(client, DeleteGroups 2, request => DeleteGroupsResponseData);
    let results = answer.results.iter();
    results.map(|result| result.error_code).collect()
}

pub fn elect_leaders(client: &mut Connection) -> Codes {
    let topic = TopicPartitions::default()
        .with_topic(text(TOPIC))
        .with_partitions(vec![0]);
    let request = ElectLeadersRequestData::default()
        .with_topic_partitions(Some(vec![topic]))
        .with_timeout_ms(30_000);
    let answer = ask!(client, ElectLeaders 2, request => ElectLeadersResponseData);
    let topics = answer.replica_election_results.iter();
    let partitions = topics.flat_map(|topic| &topic.partition_result);
    let codes = partitions.map(|partition| partition.error_code);
    std::iter::once(answer.error_code).chain(codes).collect()
}

pub fn alter_partition_reassignments(client: &mut Connection) -> Codes {
    let partition = ReassignablePartition::default().with_replicas(None);
    let topic = ReassignableTopic::default()
        .with_name(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequestData::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let answer = ask!(client, AlterPartitionReassignments 0,
        request => AlterPartitionReassignmentsResponseData);
    vec![answer.error_code]
}

pub fn list_partition_reassignments(client: &mut Connection) -> Codes {
    let request = ListPartitionReassignmentsRequestData::default().with_timeout_ms(30_000);
    let answer = ask!(client, ListPartitionReassignments 0,
        request => ListPartitionReassignmentsResponseData);
    vec![answer.error_code]
}

pub fn offset_delete(client: &mut Connection) -> Codes {
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = OffsetDeleteRequestData::default()
        .with_group_id(text(GROUP))
        .with_topics(vec![topic]);
    let answer = ask!(client, OffsetDelete 0, request => OffsetDeleteResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let codes = partitions.map(|partition| partition.error_code);
    std::iter::once(answer.error_code).chain(codes).collect()
}

pub fn describe_client_quotas(client: &mut Connection) -> Codes {
    let request = DescribeClientQuotasRequestData::default();
    let answer = ask!(client, DescribeClientQuotas 1, request => DescribeClientQuotasResponseData);
    vec![answer.error_code]
}

pub fn alter_client_quotas(client: &mut Connection) -> Codes {
    let entity = QuotaEntity::default()
        .with_entity_type(text("client-id"))
        .with_entity_name(Some(text("nobody")));
    let quota = QuotaOp::default()
        .with_key(text("producer_byte_rate"))
        .with_value(1e9);
    let entry = QuotaEntry::default()
        .with_entity(vec![entity])
        .with_ops(vec![quota]);
    let request = AlterClientQuotasRequestData::default().with_entries(vec![entry]);
    let answer = ask!(client, AlterClientQuotas 1, request => AlterClientQuotasResponseData);
    answer
        .entries
        .iter()
        .map(|entry| entry.error_code)
        .collect()
}

/// Returns the error code and the bits of the authorized operations.
pub fn describe_cluster(client: &mut Connection) -> Codes {
    let request =
        DescribeClusterRequestData::default().with_include_cluster_authorized_operations(true);
    let answer = ask!(client, DescribeCluster 0, request => DescribeClusterResponseData);
    vec![
        answer.error_code,
        answer.cluster_authorized_operations as i16,
    ]
}

/// Of a member that is not there, of a group of the classic protocol: what is asked is which error
/// comes first.
pub fn consumer_group_heartbeat(client: &mut Connection) -> Codes {
    let request = ConsumerGroupHeartbeatRequestData::default()
        .with_group_id(text(GROUP))
        .with_member_id(text(MISSING))
        .with_member_epoch(1)
        .with_subscribed_topic_names(Some(vec![text(TOPIC)]));
    let answer =
        ask!(client, ConsumerGroupHeartbeat 1, request => ConsumerGroupHeartbeatResponseData);
    vec![answer.error_code]
}

pub fn consumer_group_describe(client: &mut Connection) -> Codes {
    let request = ConsumerGroupDescribeRequestData::default().with_group_ids(vec![text(GROUP)]);
    let answer =
        ask!(client, ConsumerGroupDescribe 1, request => ConsumerGroupDescribeResponseData);
    answer.groups.iter().map(|group| group.error_code).collect()
}

pub fn list_config_resources(client: &mut Connection) -> Codes {
    let request = ListConfigResourcesRequestData::default();
    let answer = ask!(client, ListConfigResources 0, request => ListConfigResourcesResponseData);
    vec![answer.error_code]
}

pub fn describe_topic_partitions(client: &mut Connection) -> Codes {
    let topic = TopicRequest::default().with_name(text(TOPIC));
    let request = DescribeTopicPartitionsRequestData::default()
        .with_topics(vec![topic])
        .with_response_partition_limit(10);
    let answer =
        ask!(client, DescribeTopicPartitions 0, request => DescribeTopicPartitionsResponseData);
    answer.topics.iter().map(|topic| topic.error_code).collect()
}

/// Of a user that is not there: what is asked is which error comes first.
pub fn describe_user_scram_credentials(client: &mut Connection) -> Codes {
    let user = UserName::default().with_name(text(MISSING));
    let request = DescribeUserScramCredentialsRequestData::default().with_users(Some(vec![user]));
    let answer = ask!(client, DescribeUserScramCredentials 0,
        request => DescribeUserScramCredentialsResponseData);
    let results = answer.results.iter().map(|result| result.error_code);
    std::iter::once(answer.error_code).chain(results).collect()
}

pub fn alter_user_scram_credentials(client: &mut Connection) -> Codes {
    let deletion = ScramCredentialDeletion::default()
        .with_name(text(MISSING))
        .with_mechanism(1);
    let request = AlterUserScramCredentialsRequestData::default().with_deletions(vec![deletion]);
    let answer = ask!(client, AlterUserScramCredentials 0,
        request => AlterUserScramCredentialsResponseData);
    let results = answer.results.iter();
    results.map(|result| result.error_code).collect()
}

pub fn create_delegation_token(client: &mut Connection) -> Codes {
    let request = CreateDelegationTokenRequestData::default();
    let answer = ask!(client, CreateDelegationToken 3,
        request => CreateDelegationTokenResponseData);
    vec![answer.error_code]
}

pub fn renew_delegation_token(client: &mut Connection) -> Codes {
    let request = RenewDelegationTokenRequestData::default();
    let answer = ask!(client, RenewDelegationToken 2, request => RenewDelegationTokenResponseData);
    vec![answer.error_code]
}

pub fn expire_delegation_token(client: &mut Connection) -> Codes {
    let request = ExpireDelegationTokenRequestData::default();
    let answer =
        ask!(client, ExpireDelegationToken 2, request => ExpireDelegationTokenResponseData);
    vec![answer.error_code]
}

pub fn describe_delegation_token(client: &mut Connection) -> Codes {
    let request = DescribeDelegationTokenRequestData::default();
    let answer = ask!(client, DescribeDelegationToken 3,
        request => DescribeDelegationTokenResponseData);
    vec![answer.error_code]
}
