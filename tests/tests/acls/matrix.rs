//! Each API with no rules, with a denying rule, and with allowing rules.

use std::fmt::Write as _;

use sedge_protocol::api::APIS;
use sedge_protocol::kafka::generated::ApiKey;
use sedge_protocol::kafka::generated::create_acls_request::AclCreation;
use sedge_tests::wire::{self, Connection};

use super::admin::{self, ALLOW, CLUSTER, DENY, Right};
use super::{Tested, asks, cluster, transactions};

/// One request, the rights that it needs, and its results.
struct Row {
    key: ApiKey,
    ask: fn(&mut Connection) -> Vec<i16>,
    /// The rights that are necessary and sufficient.
    rights: &'static [&'static str],
    /// The codes if the client has no rights.
    nothing: &'static [i16],
    /// The codes if the client has all rights except the last of `rights`, which is denied.
    denied: &'static [i16],
    /// The codes if the client has only these rights.
    allowed: &'static [i16],
}

const fn row(
    key: ApiKey,
    ask: fn(&mut Connection) -> Vec<i16>,
    rights: &'static [&'static str],
    [nothing, denied, allowed]: [&'static [i16]; 3],
) -> Row {
    Row {
        key,
        ask,
        rights,
        nothing,
        denied,
        allowed,
    }
}

/// TOPIC_AUTHORIZATION_FAILED.
const T: i16 = 29;
/// GROUP_AUTHORIZATION_FAILED.
const G: i16 = 30;
/// CLUSTER_AUTHORIZATION_FAILED.
const C: i16 = 31;
/// TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
const X: i16 = 53;

const UNKNOWN_TOPIC: i16 = 3;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const INVALID_REQUEST: i16 = 42;
const TOKENS_NOT_ALLOWED: i16 = 64;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const LOG_DIR_NOT_FOUND: i16 = 57;
const GROUP_ID_NOT_FOUND: i16 = 69;
const ELECTION_NOT_NEEDED: i16 = 84;
const RESOURCE_NOT_FOUND: i16 = 91;
const INVALID_UPDATE_VERSION: i16 = 95;
const BROKER_ID_NOT_REGISTERED: i16 = 102;
const INCONSISTENT_CLUSTER_ID: i16 = 104;

/// Bits of operations (KIP-430).
const WRITE_AND_DESCRIBE: i16 = 1 << 4 | 1 << 8;
const DESCRIBE: i16 = 1 << 8;
const ALL_OF_A_TOPIC: i16 = 0b1101_1111_1000;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(ApiKey::Produce, asks::produce, &["Topic Write"], [&[T], &[T], &[0]]),
    row(ApiKey::Fetch, asks::fetch, &["Topic Read"], [&[0, T], &[0, T], &[0, 0]]),
    row(ApiKey::ListOffsets, asks::list_offsets, &["Topic Describe"], [&[T], &[T], &[0]]),
    // Allowing Read implies Describe; denying Read does not deny Describe.
    row(ApiKey::ListOffsets, asks::list_offsets, &["Topic Read"], [&[T], &[0], &[0]]),
    row(ApiKey::Metadata, asks::metadata, &["Topic Describe"], [&[T], &[T], &[0]]),
    row(ApiKey::Metadata, asks::metadata_of_all, &["Topic Describe"], [&[0], &[0], &[1]]),
    row(ApiKey::Metadata, asks::metadata_of_a_new_topic, &["Topic Describe missing"],
        [&[T], &[T], &[T]]),
    row(ApiKey::Metadata, asks::metadata_operations, &["Topic Write", "Cluster Describe"],
        [&[0, 0], &[ALL_OF_A_TOPIC, 0], &[WRITE_AND_DESCRIBE, DESCRIBE]]),
    row(ApiKey::OffsetCommit, asks::offset_commit, &["Group Read", "Topic Read"],
        [&[G], &[T], &[0]]),
    row(ApiKey::OffsetCommit, asks::offset_commit, &["Group Read"], [&[G], &[G], &[T]]),
    row(ApiKey::OffsetFetch, asks::offset_fetch, &["Group Describe", "Topic Describe"],
        [&[G], &[0, T], &[0, 0]]),
    row(ApiKey::OffsetFetch, asks::offset_fetch_first_version,
        &["Group Describe", "Topic Describe"], [&[G], &[T], &[0]]),
    row(ApiKey::OffsetFetch, asks::offset_fetch_of_all, &["Group Describe", "Topic Describe"],
        [&[G, 0], &[0, 0], &[0, 1]]),
    row(ApiKey::FindCoordinator, asks::find_group_coordinator, &["Group Describe"],
        [&[G], &[G], &[0]]),
    row(ApiKey::FindCoordinator, asks::find_transaction_coordinator,
        &["TransactionalId Describe"], [&[X], &[X], &[0]]),
    row(ApiKey::JoinGroup, asks::join_group, &["Group Read"],
        [&[G], &[G], &[INVALID_SESSION_TIMEOUT]]),
    row(ApiKey::Heartbeat, asks::heartbeat, &["Group Read"], [&[G], &[G], &[UNKNOWN_MEMBER_ID]]),
    row(ApiKey::LeaveGroup, asks::leave_group, &["Group Read"],
        [&[G], &[G], &[0, UNKNOWN_MEMBER_ID]]),
    row(ApiKey::SyncGroup, asks::sync_group, &["Group Read"], [&[G], &[G], &[UNKNOWN_MEMBER_ID]]),
    row(ApiKey::DescribeGroups, asks::describe_groups, &["Group Describe"], [&[G], &[G], &[0]]),
    row(ApiKey::ListGroups, asks::list_groups, &["Group Describe"], [&[0, 0], &[0, 0], &[0, 1]]),
    row(ApiKey::ListGroups, asks::list_groups, &["Cluster Describe"],
        [&[0, 0], &[0, 1], &[0, 1]]),
    row(ApiKey::CreateTopics, asks::create_topics, &["Topic Create missing"], [&[T], &[T], &[0]]),
    row(ApiKey::CreateTopics, asks::create_topics, &["Cluster Create"], [&[T], &[0], &[0]]),
    row(ApiKey::CreateTopics, asks::create_topics_configs,
        &["Topic Create missing", "Topic DescribeConfigs missing"],
        [&[0, -1, 0], &[T, -1, 0], &[0, 1, 1]]),
    row(ApiKey::DeleteTopics, asks::delete_topics, &["Topic Delete missing"],
        [&[T], &[UNKNOWN_TOPIC], &[UNKNOWN_TOPIC]]),
    row(ApiKey::DeleteTopics, asks::delete_topics, &["Topic Describe missing"],
        [&[T], &[T], &[UNKNOWN_TOPIC]]),
    row(ApiKey::DeleteTopics, asks::delete_topics, &["Cluster Delete"],
        [&[T], &[UNKNOWN_TOPIC], &[UNKNOWN_TOPIC]]),
    row(ApiKey::DeleteTopics, asks::delete_topics_that_are_there, &["Topic Describe"],
        [&[T], &[T], &[T]]),
    row(ApiKey::DeleteRecords, asks::delete_records, &["Topic Delete"], [&[T], &[T], &[0]]),
    row(ApiKey::InitProducerId, asks::init_producer_id, &["Cluster IdempotentWrite"],
        [&[C], &[0], &[0]]),
    // KIP-679: a client that may write to any topic may be an idempotent producer.
    row(ApiKey::InitProducerId, asks::init_producer_id, &["Topic Write"], [&[C], &[0], &[0]]),
    row(ApiKey::InitProducerId, transactions::init, &["TransactionalId Write"],
        [&[X], &[X], &[0]]),
    row(ApiKey::AddPartitionsToTxn, transactions::add_partitions,
        &["TransactionalId Write", "Topic Write"], [&[X], &[T], &[INVALID_PRODUCER_ID_MAPPING]]),
    // Kafka asks a broker for the last right alone. sedge has no other brokers, and asks for all.
    row(ApiKey::AddPartitionsToTxn, transactions::add_partitions_as_a_broker,
        &["TransactionalId Write", "Topic Write", "Cluster ClusterAction"],
        [&[C], &[C], &[0, INVALID_PRODUCER_ID_MAPPING]]),
    row(ApiKey::AddOffsetsToTxn, transactions::add_offsets,
        &["TransactionalId Write", "Group Read"], [&[X], &[G], &[INVALID_PRODUCER_ID_MAPPING]]),
    row(ApiKey::EndTxn, transactions::end, &["TransactionalId Write"],
        [&[X], &[X], &[INVALID_PRODUCER_ID_MAPPING]]),
    row(ApiKey::WriteTxnMarkers, transactions::write_markers, &["Cluster Alter"],
        [&[C], &[UNKNOWN_TOPIC], &[UNKNOWN_TOPIC]]),
    row(ApiKey::WriteTxnMarkers, transactions::write_markers, &["Cluster ClusterAction"],
        [&[C], &[UNKNOWN_TOPIC], &[UNKNOWN_TOPIC]]),
    row(ApiKey::TxnOffsetCommit, transactions::commit_offsets,
        &["TransactionalId Write", "Group Read", "Topic Read"],
        [&[X], &[T], &[INVALID_PRODUCER_ID_MAPPING]]),
    row(ApiKey::TxnOffsetCommit, transactions::commit_offsets,
        &["TransactionalId Write", "Group Read"], [&[X], &[G], &[T]]),
    row(ApiKey::DescribeProducers, transactions::describe_producers, &["Topic Read"],
        [&[T], &[T], &[0]]),
    row(ApiKey::DescribeTransactions, transactions::describe, &["TransactionalId Describe"],
        [&[X], &[X], &[0]]),
    row(ApiKey::ListTransactions, transactions::list, &["TransactionalId Describe"],
        [&[0, 0], &[0, 0], &[0, 1]]),
    row(ApiKey::OffsetForLeaderEpoch, asks::offset_for_leader_epoch, &["Topic Describe"],
        [&[T], &[T], &[0]]),
    row(ApiKey::OffsetForLeaderEpoch, asks::offset_for_leader_epoch, &["Cluster ClusterAction"],
        [&[T], &[0], &[0]]),
    row(ApiKey::DescribeAcls, asks::describe_acls, &["Cluster Describe"], [&[C], &[C], &[0]]),
    row(ApiKey::CreateAcls, asks::create_acls, &["Cluster Alter"],
        [&[C], &[C], &[INVALID_REQUEST]]),
    row(ApiKey::DeleteAcls, asks::delete_acls, &["Cluster Alter"], [&[C], &[C], &[0]]),
    row(ApiKey::DescribeConfigs, asks::describe_topic_configs, &["Topic DescribeConfigs"],
        [&[T], &[T], &[0]]),
    row(ApiKey::DescribeConfigs, asks::describe_topic_configs, &["Topic AlterConfigs"],
        [&[T], &[0], &[0]]),
    row(ApiKey::DescribeConfigs, asks::describe_broker_configs, &["Cluster DescribeConfigs"],
        [&[C], &[C], &[0]]),
    row(ApiKey::DescribeConfigs, asks::describe_group_configs, &["Group DescribeConfigs"],
        [&[G], &[G], &[0]]),
    row(ApiKey::AlterConfigs, asks::alter_topic_configs, &["Topic AlterConfigs"],
        [&[T], &[T], &[0]]),
    row(ApiKey::AlterConfigs, asks::alter_broker_configs, &["Cluster AlterConfigs"],
        [&[C], &[C], &[0]]),
    row(ApiKey::IncrementalAlterConfigs, asks::incremental_alter_topic_configs,
        &["Topic AlterConfigs"], [&[T], &[T], &[0]]),
    row(ApiKey::IncrementalAlterConfigs, asks::incremental_alter_broker_configs,
        &["Cluster AlterConfigs"], [&[C], &[C], &[0]]),
    row(ApiKey::DescribeLogDirs, asks::describe_log_dirs, &["Cluster Describe"],
        [&[C], &[C], &[0]]),
    row(ApiKey::CreatePartitions, asks::create_partitions, &["Topic Alter"], [&[T], &[T], &[0]]),
    // Over PLAINTEXT nobody has a say in tokens, whatever the rules are.
    row(ApiKey::CreateDelegationToken, asks::create_delegation_token, &["Cluster All"],
        [&[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED]]),
    row(ApiKey::RenewDelegationToken, asks::renew_delegation_token, &["Cluster All"],
        [&[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED]]),
    row(ApiKey::ExpireDelegationToken, asks::expire_delegation_token, &["Cluster All"],
        [&[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED]]),
    row(ApiKey::DescribeDelegationToken, asks::describe_delegation_token, &["Cluster All"],
        [&[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED], &[TOKENS_NOT_ALLOWED]]),
    row(ApiKey::DeleteGroups, asks::delete_groups, &["Group Delete missing"],
        [&[G], &[G], &[GROUP_ID_NOT_FOUND]]),
    row(ApiKey::ElectLeaders, asks::elect_leaders, &["Cluster Alter"],
        [&[C, C], &[C, C], &[0, ELECTION_NOT_NEEDED]]),
    row(ApiKey::AlterPartitionReassignments, asks::alter_partition_reassignments,
        &["Cluster Alter"], [&[C], &[C], &[0]]),
    row(ApiKey::ListPartitionReassignments, asks::list_partition_reassignments,
        &["Cluster Describe"], [&[C], &[C], &[0]]),
    row(ApiKey::DescribeClientQuotas, asks::describe_client_quotas, &["Cluster DescribeConfigs"],
        [&[C], &[C], &[0]]),
    row(ApiKey::AlterClientQuotas, asks::alter_client_quotas, &["Cluster AlterConfigs"],
        [&[C], &[C], &[0]]),
    row(ApiKey::DescribeUserScramCredentials, asks::describe_user_scram_credentials,
        &["Cluster Describe"], [&[C, C], &[C, C], &[0, RESOURCE_NOT_FOUND]]),
    row(ApiKey::AlterUserScramCredentials, asks::alter_user_scram_credentials,
        &["Cluster Alter"], [&[C], &[C], &[RESOURCE_NOT_FOUND]]),
    row(ApiKey::DescribeCluster, asks::describe_cluster, &["Cluster Describe"],
        [&[0, 0], &[0, 0], &[0, DESCRIBE]]),
    row(ApiKey::ConsumerGroupHeartbeat, asks::consumer_group_heartbeat,
        &["Group Read", "Topic Describe"], [&[G], &[T], &[GROUP_ID_NOT_FOUND]]),
    row(ApiKey::ConsumerGroupDescribe, asks::consumer_group_describe, &["Group Describe"],
        [&[G], &[G], &[GROUP_ID_NOT_FOUND]]),
    row(ApiKey::ListConfigResources, asks::list_config_resources, &["Cluster DescribeConfigs"],
        [&[C], &[C], &[0]]),
    row(ApiKey::DescribeTopicPartitions, asks::describe_topic_partitions, &["Topic Describe"],
        [&[T], &[T], &[0]]),
    row(ApiKey::AlterReplicaLogDirs, cluster::alter_replica_log_dirs, &["Cluster Alter"],
        [&[C], &[C], &[LOG_DIR_NOT_FOUND]]),
    row(ApiKey::DescribeQuorum, cluster::describe_quorum, &["Cluster Describe"],
        [&[C], &[C], &[0]]),
    row(ApiKey::UpdateFeatures, cluster::update_features, &["Cluster Alter"],
        [&[C], &[C], &[INVALID_UPDATE_VERSION]]),
    row(ApiKey::UnregisterBroker, cluster::unregister_broker, &["Cluster Alter"],
        [&[C], &[C], &[BROKER_ID_NOT_REGISTERED]]),
    row(ApiKey::AddRaftVoter, cluster::add_raft_voter, &["Cluster Alter"],
        [&[C], &[C], &[INCONSISTENT_CLUSTER_ID]]),
    row(ApiKey::RemoveRaftVoter, cluster::remove_raft_voter, &["Cluster Alter"],
        [&[C], &[C], &[INCONSISTENT_CLUSTER_ID]]),
    // The last row, because it deletes the offset.
    row(ApiKey::OffsetDelete, asks::offset_delete, &["Group Delete", "Topic Read"],
        [&[G], &[0, T], &[0, 0]]),
];

impl Row {
    fn rights(&self) -> Vec<Right> {
        self.rights.iter().map(|text| Right::parse(text)).collect()
    }

    /// Returns rules that allow everything, and deny the last right of the row.
    fn all_but_the_last(&self) -> Vec<AclCreation> {
        let rights = self.rights();
        let mut resources = vec![
            Right::parse("Topic All"),
            Right::parse("Topic All missing"),
            Right::parse("Group All"),
            Right::parse("Group All missing"),
            Right::parse("TransactionalId All"),
        ];
        if rights.iter().any(|right| right.resource == CLUSTER) {
            resources.push(Right::parse("Cluster All"));
        }
        let allowed = resources.into_iter().map(|right| right.rule(ALLOW));
        let last = rights.last().expect("each row has a right");
        allowed.chain([last.rule(DENY)]).collect()
    }
}

#[test]
fn each_api_is_allowed_and_denied_as_kafka_s() {
    for api in APIS {
        let asked = ROWS.iter().any(|row| row.key == api.key);
        let is_for_strangers = matches!(
            api.key,
            ApiKey::ApiVersions
                | ApiKey::SaslHandshake
                | ApiKey::SaslAuthenticate
                | ApiKey::GetTelemetrySubscriptions
                | ApiKey::PushTelemetry
        );
        assert!(asked || is_for_strangers, "{:?}", api.key);
    }
    let mut tested = Tested::start("acls-matrix");
    let Tested { admin, client, .. } = &mut tested;
    wire::create_topic(admin, asks::TOPIC, 1, &[]);
    until(admin, asks::find_group_coordinator, &[0]);
    until(admin, asks::find_transaction_coordinator, &[0]);
    until(admin, asks::offset_commit, &[0]);
    until(admin, asks::init_producer_id, &[0]);
    until(admin, transactions::init, &[0]);
    let mut wrong = String::new();
    for row in ROWS {
        let allowed: Vec<_> = row.rights().iter().map(|right| right.rule(ALLOW)).collect();
        let cases = [
            ("nothing", Vec::new(), row.nothing),
            ("denied", row.all_but_the_last(), row.denied),
            ("allowed", allowed, row.allowed),
        ];
        for (case, rules, expected) in cases {
            admin::set(admin, rules);
            let codes = (row.ask)(client);
            if codes != expected {
                writeln!(
                    wrong,
                    "{:?} {:?}, {case}: {codes:?}, not {expected:?}",
                    row.key, row.rights
                )
                .expect("a String takes everything");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}{}", tested.broker.tail());
}

/// Waits for Apache Kafka, which creates coordinators with their topics, and allocates producer ids
/// in blocks.
fn until(admin: &mut Connection, ask: fn(&mut Connection) -> Vec<i16>, expected: &[i16]) {
    let began = std::time::Instant::now();
    loop {
        let codes = ask(admin);
        if codes == expected {
            return;
        }
        assert!(
            began.elapsed() < sedge_tests::limits::CONDITION,
            "{codes:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
