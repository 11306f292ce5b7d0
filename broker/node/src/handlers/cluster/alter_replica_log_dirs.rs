//! AlterReplicaLogDirs (key 34, KIP-113): there is one log directory, and every replica is in it.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirsRequestData,
};
use sedge_protocol::kafka::generated::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
    AlterReplicaLogDirsResponseData,
};

use crate::handlers::Request;
use crate::handlers::request::Cluster;

pub async fn handle(
    request: &Request,
    message: AlterReplicaLogDirsRequestData,
) -> AlterReplicaLogDirsResponseData {
    let cluster = request.cluster(Operation::Alter);
    let results = message
        .dirs
        .into_iter()
        .flat_map(|dir| move_to(cluster.as_ref(), &dir));
    AlterReplicaLogDirsResponseData::default().with_results(results.collect())
}

fn move_to(
    cluster: Result<&Cluster, &ErrorCode>,
    dir: &AlterReplicaLogDir,
) -> Vec<AlterReplicaLogDirTopicResult> {
    let moved = |topic: &str, index: i32| {
        let cluster = cluster.map_err(|error| *error)?;
        if dir.path.as_str() != cluster.log_dir() {
            return Err(ErrorCode::LogDirNotFound);
        }
        let topics = cluster.topics();
        topics.named(topic)?.partition_id(index).map(|_| ())
    };
    let result = |topic: &str, index: i32| {
        AlterReplicaLogDirPartitionResult::default()
            .with_partition_index(index)
            .with_error_code(crate::handlers::code_of(moved(topic, index)))
    };
    let topics = dir.topics.iter().map(|topic| {
        let name = topic.name.as_str();
        let partitions = topic.partitions.iter().map(|index| result(name, *index));
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    topics.collect()
}
