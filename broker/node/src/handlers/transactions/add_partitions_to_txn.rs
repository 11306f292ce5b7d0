//! AddPartitionsToTxn (key 24): adds partitions to a transaction. From version 4, brokers ask for
//! several transactions at once, and may only verify that the partitions are included.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequestData, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use sedge_protocol::kafka::generated::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponseData, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopicResult,
};

use super::for_version;
use crate::handlers::Request;

const FIRST_VERSION_WITH_FENCED: i16 = 2;
const FIRST_BATCHED_VERSION: i16 = 4;

pub async fn handle(
    request: &Request,
    message: AddPartitionsToTxnRequestData,
) -> AddPartitionsToTxnResponseData {
    let response = AddPartitionsToTxnResponseData::default();
    if request.version() >= FIRST_BATCHED_VERSION {
        if let Err(error) = request.cluster(Operation::ClusterAction) {
            return response.with_error_code(error.code());
        }
        let mut results = Vec::with_capacity(message.transactions.len());
        for transaction in message.transactions {
            let id = transaction.transactional_id.clone();
            let topics = add(request, transaction).await;
            results.push(
                AddPartitionsToTxnResult::default()
                    .with_transactional_id(id)
                    .with_topic_results(topics),
            );
        }
        return response.with_results_by_transaction(results);
    }
    let transaction = AddPartitionsToTxnTransaction::default()
        .with_transactional_id(message.v3_and_below_transactional_id)
        .with_producer_id(message.v3_and_below_producer_id)
        .with_producer_epoch(message.v3_and_below_producer_epoch)
        .with_topics(message.v3_and_below_topics);
    response.with_results_by_topic_v3_and_below(add(request, transaction).await)
}

async fn add(
    request: &Request,
    transaction: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let transactional_id = transaction.transactional_id.clone();
    let id = match request.transactional_id(Operation::Write, transactional_id.as_str()) {
        Ok(id) => id,
        Err(error) => return answer(transaction.topics, |_, _| error),
    };
    let topics = request.topics(Operation::Write);
    let found = |name: &str, index: i32| {
        let topic = topics.named(name)?;
        topic.partition_id(index).map(|_| topic)
    };
    let all = transaction.topics.iter().flat_map(|topic| {
        let indexes = topic.partitions.iter();
        indexes.map(|index| (topic.name.as_str(), *index))
    });
    let partitions: Vec<(&str, i32)> = all.collect();
    let mut refused = partitions.iter();
    if refused.any(|(name, index)| found(name, *index).is_err()) {
        // As in Kafka, all partitions are added or none.
        return answer(transaction.topics, |name, index| {
            let error = found(name, index).err();
            error.unwrap_or(ErrorCode::OperationNotAttempted)
        });
    }
    let producer = (transaction.producer_id, transaction.producer_epoch);
    if transaction.verify_only {
        return answer(transaction.topics, |name, index| {
            let verified = found(name, index).and_then(|topic| id.verify(producer, &topic, index));
            verified.err().unwrap_or(ErrorCode::None)
        });
    }
    let added = id.add(producer, &partitions, 0).await;
    let error = added.err().unwrap_or(ErrorCode::None);
    let error = for_version(error, request.version(), FIRST_VERSION_WITH_FENCED);
    answer(transaction.topics, |_, _| error)
}

fn answer(
    topics: Vec<AddPartitionsToTxnTopic>,
    error: impl Fn(&str, i32) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(error(topic.name.as_str(), *index).code())
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name)
            .with_results_by_partition(partitions)
    });
    topics.collect()
}
