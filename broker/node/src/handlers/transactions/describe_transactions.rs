//! DescribeTransactions (key 65): returns transactional ids as they are (KIP-664).

use sedge_core::security::Operation;
use sedge_core::transactions::Listing;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::describe_transactions_request::DescribeTransactionsRequestData;
use sedge_protocol::kafka::generated::describe_transactions_response::{
    DescribeTransactionsResponseData, TopicData, TransactionState,
};

use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: DescribeTransactionsRequestData,
) -> DescribeTransactionsResponseData {
    let topics = request.topics(Operation::Describe);
    let describe = |id: KafkaString| {
        let found = request
            .transactional_id(Operation::Describe, id.as_str())
            .and_then(|found| match found.describe() {
                Some(listing) => Ok(listing),
                None if id.as_str().is_empty() => Err(ErrorCode::InvalidRequest),
                None => Err(ErrorCode::TransactionalIdNotFound),
            });
        let state = TransactionState::default().with_transactional_id(id);
        match found {
            Ok(listing) => fill(state, listing, |topic| topics.shows(topic)),
            Err(error) => state.with_error_code(error.code()),
        }
    };
    let states = message.transactional_ids.into_iter().map(describe);
    DescribeTransactionsResponseData::default().with_transaction_states(states.collect())
}

/// Fills in the state, with the topics that the client may describe.
fn fill(
    state: TransactionState,
    listing: Listing,
    shows: impl Fn(&str) -> bool,
) -> TransactionState {
    let topics = listing.partitions.into_iter();
    let topics = topics.filter(|(topic, _)| shows(topic));
    let topics = topics.map(|(topic, partitions)| {
        TopicData::default()
            .with_topic(topic.into())
            .with_partitions(partitions)
    });
    state
        .with_transaction_state(listing.status.name().to_owned().into())
        .with_transaction_timeout_ms(listing.timeout_ms)
        .with_transaction_start_time_ms(listing.started_ms)
        .with_producer_id(listing.producer_id.get())
        .with_producer_epoch(listing.epoch.get())
        .with_topics(topics.collect())
}
