//! Requests about the cluster: its members, features, quotas, users, rules.

use sedge_protocol::kafka::generated as messages;

use messages::alter_client_quotas_request as quotas;
use messages::alter_replica_log_dirs_request as dirs;
use messages::alter_user_scram_credentials_request as users;
use messages::describe_quorum_request as quorum;
use messages::update_features_request as features;

use crate::case::{Case, case, text};
use crate::{MISSING, TOPIC};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    of_members(&mut cases);
    of_features(&mut cases);
    of_clients(&mut cases);
    cases
}

fn of_members(cases: &mut Vec<Case>) {
    for (name, index) in [
        ("__cluster_metadata", 0),
        ("__cluster_metadata", 1),
        (TOPIC, 0),
    ] {
        case!(cases, &format!("describe quorum {name} {index}"), DescribeQuorum 0..=2, |_| {
            let partition = quorum::PartitionData::default().with_partition_index(index);
            let topic = quorum::TopicData::default()
                .with_topic_name(text(name))
                .with_partitions(vec![partition]);
            quorum::DescribeQuorumRequestData::default().with_topics(vec![topic])
        } => messages::describe_quorum_response::DescribeQuorumResponseData);
    }
    for id in [77, -1] {
        case!(cases, &format!("unregister {id}"), UnregisterBroker 0..=0, |_| {
            messages::unregister_broker_request::UnregisterBrokerRequestData::default()
                .with_broker_id(id)
        } => messages::unregister_broker_response::UnregisterBrokerResponseData);
    }
    case!(cases, "describe cluster", DescribeCluster 0..=2, |_| {
        messages::describe_cluster_request::DescribeClusterRequestData::default()
            .with_include_cluster_authorized_operations(true)
    } => messages::describe_cluster_response::DescribeClusterResponseData);
    case!(cases, "list config resources of an unknown type", ListConfigResources 1..=1, |_| {
        messages::list_config_resources_request::ListConfigResourcesRequestData::default()
            .with_resource_types(vec![3])
    } => messages::list_config_resources_response::ListConfigResourcesResponseData);
    for name in [TOPIC, MISSING] {
        case!(cases, &format!("move {name} to no directory"), AlterReplicaLogDirs 1..=2, |_| {
            let topic = dirs::AlterReplicaLogDirTopic::default()
                .with_name(text(name))
                .with_partitions(vec![0]);
            let dir = dirs::AlterReplicaLogDir::default()
                .with_path(text("/none"))
                .with_topics(vec![topic]);
            dirs::AlterReplicaLogDirsRequestData::default().with_dirs(vec![dir])
        } => messages::alter_replica_log_dirs_response::AlterReplicaLogDirsResponseData);
    }
}

fn of_features(cases: &mut Vec<Case>) {
    const TRANSACTIONS: &str = "transaction.version";
    for (name, level, kind) in [
        (TRANSACTIONS, 2, 1),
        (TRANSACTIONS, 1, 1),
        (TRANSACTIONS, 1, 2),
        (TRANSACTIONS, 0, 3),
        (TRANSACTIONS, 3, 1),
        (TRANSACTIONS, -1, 1),
        (TRANSACTIONS, 1, 9),
        ("metadata.version", 30, 1),
        ("metadata.version", 25, 1),
        ("metadata.version", 25, 2),
        ("metadata.version", 31, 1),
        ("metadata.version", 0, 3),
        ("missing.version", 1, 1),
    ] {
        case!(cases, &format!("update {name} {level} {kind}"), UpdateFeatures 1..=2, |_| {
            let update = features::FeatureUpdateKey::default()
                .with_feature(text(name))
                .with_max_version_level(level)
                .with_upgrade_type(kind);
            features::UpdateFeaturesRequestData::default()
                .with_feature_updates(vec![update])
                .with_validate_only(true)
        } => messages::update_features_response::UpdateFeaturesResponseData);
    }
}

fn of_clients(cases: &mut Vec<Case>) {
    for (kind, name, key, value) in [
        ("user", Some("u"), "producer_byte_rate", 1.0),
        ("user", None, "producer_byte_rate", 1.5),
        ("user", Some("u"), "no_such_rate", 1.0),
        ("user", Some("u"), "producer_byte_rate", -1.0),
        (
            "ip",
            Some("not an address"),
            "connection_creation_rate",
            1.0,
        ),
        ("ip", Some("192.0.2.1"), "producer_byte_rate", 1.0),
        ("planet", Some("u"), "producer_byte_rate", 1.0),
    ] {
        let named = format!("quota {kind} {name:?} {key} {value}");
        case!(cases, &named, AlterClientQuotas 0..=1, |_| {
            let entity = quotas::EntityData::default()
                .with_entity_type(text(kind))
                .with_entity_name(name.map(text));
            let op = quotas::OpData::default().with_key(text(key)).with_value(value);
            let entry = quotas::EntryData::default()
                .with_entity(vec![entity])
                .with_ops(vec![op]);
            quotas::AlterClientQuotasRequestData::default()
                .with_entries(vec![entry])
                .with_validate_only(true)
        } => messages::alter_client_quotas_response::AlterClientQuotasResponseData);
    }
    for (name, mechanism) in [("nobody", 1), ("", 1), ("nobody", 9)] {
        case!(cases, &format!("delete user {name:?} {mechanism}"),
            AlterUserScramCredentials 0..=0, |_| {
            let deletion = users::ScramCredentialDeletion::default()
                .with_name(text(name))
                .with_mechanism(mechanism);
            users::AlterUserScramCredentialsRequestData::default().with_deletions(vec![deletion])
        } => messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResponseData);
    }
    case!(cases, "describe acls", DescribeAcls 1..=3, |_| {
        messages::describe_acls_request::DescribeAclsRequestData::default()
            .with_resource_type_filter(1)
            .with_pattern_type_filter(1)
            .with_operation(1)
            .with_permission_type(1)
    } => messages::describe_acls_response::DescribeAclsResponseData);
}
