//! A request of each API of transactions. The functions return the error codes of the response.
//! The producer is one that nobody has, so that an allowed request changes nothing.

use sedge_protocol::kafka::generated as messages;
use sedge_tests::ask;
use sedge_tests::wire::Connection;

use super::admin::text;
use super::asks::{GROUP, MISSING, TOPIC, TRANSACTIONAL_ID};

use messages::add_offsets_to_txn_request::AddOffsetsToTxnRequestData;
use messages::add_offsets_to_txn_response::AddOffsetsToTxnResponseData;
use messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequestData, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnResponseData, AddPartitionsToTxnTopicResult,
};
use messages::describe_producers_request::{DescribeProducersRequestData, TopicRequest};
use messages::describe_producers_response::DescribeProducersResponseData;
use messages::describe_transactions_request::DescribeTransactionsRequestData;
use messages::describe_transactions_response::DescribeTransactionsResponseData;
use messages::end_txn_request::EndTxnRequestData;
use messages::end_txn_response::EndTxnResponseData;
use messages::init_producer_id_request::InitProducerIdRequestData;
use messages::init_producer_id_response::InitProducerIdResponseData;
use messages::list_transactions_request::ListTransactionsRequestData;
use messages::list_transactions_response::ListTransactionsResponseData;
use messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestData, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use messages::txn_offset_commit_response::TxnOffsetCommitResponseData;
use messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequestData,
};
use messages::write_txn_markers_response::WriteTxnMarkersResponseData;

type Codes = Vec<i16>;

/// A producer id that no broker has given out.
const NOBODY: i64 = 1 << 60;

/// Makes the transactional id known.
pub fn init(client: &mut Connection) -> Codes {
    let request = InitProducerIdRequestData::default()
        .with_transactional_id(Some(text(TRANSACTIONAL_ID)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(-1)
        .with_producer_epoch(-1);
    vec![ask!(client, InitProducerId 4, request => InitProducerIdResponseData).error_code]
}

fn topics() -> Vec<AddPartitionsToTxnTopic> {
    vec![
        AddPartitionsToTxnTopic::default()
            .with_name(text(TOPIC))
            .with_partitions(vec![0]),
    ]
}

fn codes_of(topics: &[AddPartitionsToTxnTopicResult]) -> impl Iterator<Item = i16> {
    let partitions = topics.iter().flat_map(|topic| &topic.results_by_partition);
    partitions.map(|partition| partition.partition_error_code)
}

pub fn add_partitions(client: &mut Connection) -> Codes {
    let request = AddPartitionsToTxnRequestData::default()
        .with_v3_and_below_transactional_id(text(TRANSACTIONAL_ID))
        .with_v3_and_below_producer_id(NOBODY)
        .with_v3_and_below_topics(topics());
    let answer = ask!(client, AddPartitionsToTxn 3, request => AddPartitionsToTxnResponseData);
    codes_of(&answer.results_by_topic_v3_and_below).collect()
}

/// As brokers do among themselves.
pub fn add_partitions_as_a_broker(client: &mut Connection) -> Codes {
    let transaction = AddPartitionsToTxnTransaction::default()
        .with_transactional_id(text(TRANSACTIONAL_ID))
        .with_producer_id(NOBODY)
        .with_topics(topics());
    let request = AddPartitionsToTxnRequestData::default().with_transactions(vec![transaction]);
    let answer = ask!(client, AddPartitionsToTxn 4, request => AddPartitionsToTxnResponseData);
    let of_each = answer.results_by_transaction.iter();
    let codes = of_each.flat_map(|transaction| codes_of(&transaction.topic_results));
    std::iter::once(answer.error_code).chain(codes).collect()
}

pub fn add_offsets(client: &mut Connection) -> Codes {
    let request = AddOffsetsToTxnRequestData::default()
        .with_transactional_id(text(TRANSACTIONAL_ID))
        .with_producer_id(NOBODY)
        .with_group_id(text(GROUP));
    vec![ask!(client, AddOffsetsToTxn 3, request => AddOffsetsToTxnResponseData).error_code]
}

pub fn end(client: &mut Connection) -> Codes {
    let request = EndTxnRequestData::default()
        .with_transactional_id(text(TRANSACTIONAL_ID))
        .with_producer_id(NOBODY)
        .with_committed(true);
    vec![ask!(client, EndTxn 3, request => EndTxnResponseData).error_code]
}

/// To a topic that does not exist: the log stays as it is.
pub fn write_markers(client: &mut Connection) -> Codes {
    let topic = WritableTxnMarkerTopic::default()
        .with_name(text(MISSING))
        .with_partition_indexes(vec![0]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(NOBODY)
        .with_topics(vec![topic]);
    let request = WriteTxnMarkersRequestData::default().with_markers(vec![marker]);
    let answer = ask!(client, WriteTxnMarkers 1, request => WriteTxnMarkersResponseData);
    let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
    let partitions = topics.flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn commit_offsets(client: &mut Connection) -> Codes {
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_leader_epoch(-1);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(text(TOPIC))
        .with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequestData::default()
        .with_transactional_id(text(TRANSACTIONAL_ID))
        .with_group_id(text(GROUP))
        .with_producer_id(NOBODY)
        // A generation that the group does not have.
        .with_generation_id(7)
        .with_member_id(text(MISSING))
        .with_topics(vec![topic]);
    let answer = ask!(client, TxnOffsetCommit 3, request => TxnOffsetCommitResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn describe_producers(client: &mut Connection) -> Codes {
    let topic = TopicRequest::default()
        .with_name(text(TOPIC))
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequestData::default().with_topics(vec![topic]);
    let answer = ask!(client, DescribeProducers 0, request => DescribeProducersResponseData);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

pub fn describe(client: &mut Connection) -> Codes {
    let ids = vec![text(TRANSACTIONAL_ID)];
    let request = DescribeTransactionsRequestData::default().with_transactional_ids(ids);
    let answer = ask!(client, DescribeTransactions 0,
        request => DescribeTransactionsResponseData);
    let states = answer.transaction_states.iter();
    states.map(|state| state.error_code).collect()
}

/// The error code, and how many transactions are listed.
pub fn list(client: &mut Connection) -> Codes {
    let request = ListTransactionsRequestData::default().with_duration_filter(-1);
    let answer = ask!(client, ListTransactions 1, request => ListTransactionsResponseData);
    vec![answer.error_code, answer.transaction_states.len() as i16]
}
