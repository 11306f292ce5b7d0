//! DescribeLogDirs (key 35): the one directory, and what each partition takes of it.

use std::sync::Arc;

use sedge_core::metadata::Topic;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_log_dirs_request::DescribeLogDirsRequestData;
use sedge_protocol::kafka::generated::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponseData, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use super::Request;
use crate::broker::Broker;

pub async fn handle(
    request: &Request,
    message: DescribeLogDirsRequestData,
) -> DescribeLogDirsResponseData {
    let broker = Arc::clone(&request.broker);
    let disk_work = &request.broker.disk_work;
    // Directories are listed, and the index is asked for each partition.
    disk_work.run(move || describe_all(&broker, &message)).await
}

fn describe_all(
    broker: &Broker,
    message: &DescribeLogDirsRequestData,
) -> DescribeLogDirsResponseData {
    let image = broker.log.metadata.load();
    let topics = match &message.topics {
        None => image
            .topics()
            .map(|topic| describe(broker, topic, 0..topic.partition_count()))
            .collect(),
        Some(wanted) => wanted
            .iter()
            .filter_map(|wanted| {
                let topic = image.topic(wanted.topic.as_str())?;
                Some(describe(broker, topic, wanted.partitions.iter().copied()))
            })
            .collect(),
    };
    let usage = broker.log.store.usage();
    let free = usage
        .volume_free_bytes
        .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let total = usage
        .volume_bytes
        .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    DescribeLogDirsResponseData::default().with_results(vec![
        DescribeLogDirsResult::default()
            .with_log_dir(KafkaString::from(broker.config.data.display().to_string()))
            .with_topics(topics)
            .with_total_bytes(total)
            .with_usable_bytes(free),
    ])
}

fn describe(
    broker: &Broker,
    topic: &Topic,
    indices: impl Iterator<Item = i32>,
) -> DescribeLogDirsTopic {
    let partitions = indices
        .filter_map(|index| {
            let id = topic.partition(index)?;
            let bytes = broker.log.store.partition_bytes(id).ok()?;
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
