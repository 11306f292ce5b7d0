//! A request of each API about the cluster itself. The functions return the error codes of the
//! response. An allowed request changes nothing.

use sedge_protocol::kafka::generated as messages;
use sedge_tests::ask;
use sedge_tests::wire::Connection;

use super::admin::text;
use super::asks::TOPIC;

use messages::add_raft_voter_request::AddRaftVoterRequestData;
use messages::add_raft_voter_response::AddRaftVoterResponseData;
use messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequestData,
};
use messages::alter_replica_log_dirs_response::AlterReplicaLogDirsResponseData;
use messages::describe_quorum_request::{DescribeQuorumRequestData, PartitionData, TopicData};
use messages::describe_quorum_response::DescribeQuorumResponseData;
use messages::remove_raft_voter_request::RemoveRaftVoterRequestData;
use messages::remove_raft_voter_response::RemoveRaftVoterResponseData;
use messages::unregister_broker_request::UnregisterBrokerRequestData;
use messages::unregister_broker_response::UnregisterBrokerResponseData;
use messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequestData};
use messages::update_features_response::UpdateFeaturesResponseData;

type Codes = Vec<i16>;

/// A broker that no cluster of the tests has.
const NO_BROKER: i32 = 4_711;

/// A directory that no broker has.
pub fn alter_replica_log_dirs(client: &mut Connection) -> Codes {
    let topic = AlterReplicaLogDirTopic::default()
        .with_name(text(TOPIC))
        .with_partitions(vec![0]);
    let dir = AlterReplicaLogDir::default()
        .with_path(text("/missing"))
        .with_topics(vec![topic]);
    let request = AlterReplicaLogDirsRequestData::default().with_dirs(vec![dir]);
    let answer = ask!(client, AlterReplicaLogDirs 2, request => AlterReplicaLogDirsResponseData);
    let partitions = answer.results.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn describe_quorum(client: &mut Connection) -> Codes {
    let topic = TopicData::default()
        .with_topic_name(text("__cluster_metadata"))
        .with_partitions(vec![PartitionData::default()]);
    let request = DescribeQuorumRequestData::default().with_topics(vec![topic]);
    let answer = ask!(client, DescribeQuorum 2, request => DescribeQuorumResponseData);
    vec![answer.error_code]
}

/// A feature that no cluster has.
pub fn update_features(client: &mut Connection) -> Codes {
    let update = FeatureUpdateKey::default()
        .with_feature(text("missing.version"))
        .with_max_version_level(1)
        .with_upgrade_type(1);
    let request = UpdateFeaturesRequestData::default()
        .with_timeout_ms(30_000)
        .with_feature_updates(vec![update]);
    vec![ask!(client, UpdateFeatures 1, request => UpdateFeaturesResponseData).error_code]
}

pub fn unregister_broker(client: &mut Connection) -> Codes {
    let request = UnregisterBrokerRequestData::default().with_broker_id(NO_BROKER);
    vec![ask!(client, UnregisterBroker 0, request => UnregisterBrokerResponseData).error_code]
}

/// Of another cluster.
pub fn add_raft_voter(client: &mut Connection) -> Codes {
    let request = AddRaftVoterRequestData::default()
        .with_cluster_id(Some(text("another")))
        .with_voter_id(NO_BROKER);
    vec![ask!(client, AddRaftVoter 0, request => AddRaftVoterResponseData).error_code]
}

/// Of another cluster.
pub fn remove_raft_voter(client: &mut Connection) -> Codes {
    let request = RemoveRaftVoterRequestData::default()
        .with_cluster_id(Some(text("another")))
        .with_voter_id(NO_BROKER);
    vec![ask!(client, RemoveRaftVoter 0, request => RemoveRaftVoterResponseData).error_code]
}
