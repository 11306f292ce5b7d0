//! DescribeLogDirs (key 35): returns the only directory, and the bytes of each partition in it.

use sedge_core::security::Operation;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_log_dirs_request::DescribeLogDirsRequestData;
use sedge_protocol::kafka::generated::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponseData, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use crate::handlers::request::{Cluster, Request, Topic, Topics};

pub async fn handle(
    request: &Request,
    message: DescribeLogDirsRequestData,
) -> DescribeLogDirsResponseData {
    let cluster = match request.cluster(Operation::Describe) {
        Ok(cluster) => cluster,
        Err(error) => return DescribeLogDirsResponseData::default().with_error_code(error.code()),
    };
    // Off the executor: this lists directories and asks the index for each partition.
    let topics = cluster.topics();
    let describe = move |topics: &Topics| describe_all(&cluster, topics, &message);
    topics.off_executor(describe).await
}

fn describe_all(
    cluster: &Cluster,
    topics: &Topics,
    message: &DescribeLogDirsRequestData,
) -> DescribeLogDirsResponseData {
    let described = match &message.topics {
        None => topics
            .all()
            .map(|topic| describe(topics, topic, 0..topic.partition_count()))
            .collect(),
        Some(wanted) => wanted
            .iter()
            .filter_map(|wanted| {
                let topic = topics.named(wanted.topic.as_str()).ok()?;
                Some(describe(topics, topic, wanted.partitions.iter().copied()))
            })
            .collect(),
    };
    let usage = cluster.usage();
    let free = usage
        .volume_free_bytes
        .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let total = usage
        .volume_bytes
        .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    DescribeLogDirsResponseData::default().with_results(vec![
        DescribeLogDirsResult::default()
            .with_log_dir(KafkaString::from(cluster.log_dir()))
            .with_topics(described)
            .with_total_bytes(total)
            .with_usable_bytes(free),
    ])
}

fn describe(
    topics: &Topics,
    topic: Topic<'_>,
    indices: impl Iterator<Item = i32>,
) -> DescribeLogDirsTopic {
    let partitions = indices
        .filter_map(|index| {
            let id = topic.partition_id(index).ok()?;
            let bytes = topics.store().partition_bytes(id).ok()?;
            Some(
                DescribeLogDirsPartition::default()
                    .with_partition_index(index)
                    .with_partition_size(i64::try_from(bytes).unwrap_or(i64::MAX)),
            )
        })
        .collect();
    DescribeLogDirsTopic::default()
        .with_name(KafkaString::from(topic.name.clone()))
        .with_partitions(partitions)
}
