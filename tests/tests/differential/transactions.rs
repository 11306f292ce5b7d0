//! Requests about transactions that nobody has begun, and one that is begun and ended.

use sedge_protocol::kafka::generated as messages;

use messages::add_offsets_to_txn_request as offsets;
use messages::add_partitions_to_txn_request as partitions;
use messages::describe_producers_request as producers;
use messages::describe_transactions_request as describe;
use messages::end_txn_request as end;
use messages::init_producer_id_request as init;
use messages::init_producer_id_response::InitProducerIdResponseData;
use messages::list_transactions_request as list;
use messages::txn_offset_commit_request as commit;

use sedge_tests::ask;
use sedge_tests::wire::Connection;

use crate::case::{Case, case, text};
use crate::{MISSING, TOPIC};

/// Transactional id, producer id and epoch of nobody, and of the producer that the test has opened.
const NOBODY: [(&str, i64, i16); 4] =
    [("", 1, 0), ("nobody", 1, 0), ("x", 4_711, 0), ("x", -1, -1)];

/// Opens the producer with this transactional id. Returns the error's code.
pub fn open(connection: &mut Connection, id: &str) -> i16 {
    let request = init::InitProducerIdRequestData::default()
        .with_transactional_id(Some(text(id)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(-1)
        .with_producer_epoch(-1);
    let answer = ask!(connection, InitProducerId 4, request => InitProducerIdResponseData);
    answer.error_code
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (id, producer, epoch) in NOBODY {
        of_nobody(&mut cases, id, producer, epoch);
    }
    for id in ["x", "nobody", ""] {
        case!(cases, &format!("describe the transaction of {id:?}"), DescribeTransactions 0..=0, |_| {
        describe::DescribeTransactionsRequestData::default().with_transactional_ids(vec![text(id)])
    } => messages::describe_transactions_response::DescribeTransactionsResponseData);
    }
    for state in ["Empty", "empty", "Ongoing", "no state"] {
        case!(cases, &format!("list transactions in {state:?}"), ListTransactions 0..=2, |_| {
            list::ListTransactionsRequestData::default().with_state_filters(vec![text(state)])
        } => messages::list_transactions_response::ListTransactionsResponseData);
    }
    for pattern in ["x.*", "(", ""] {
        case!(cases, &format!("list transactions like {pattern:?}"), ListTransactions 2..=2, |_| {
            list::ListTransactionsRequestData::default()
                .with_transactional_id_pattern(Some(text(pattern)))
        } => messages::list_transactions_response::ListTransactionsResponseData);
    }
    for (name, index) in [(TOPIC, 0), (TOPIC, 9), (MISSING, 0), ("a/b", 0)] {
        case!(cases, &format!("describe producers of {name} {index}"), DescribeProducers 0..=0, |_| {
            let topic = producers::TopicRequest::default()
                .with_name(text(name))
                .with_partition_indexes(vec![index]);
            producers::DescribeProducersRequestData::default().with_topics(vec![topic])
        } => messages::describe_producers_response::DescribeProducersResponseData);
    }
    cases
}

fn of_nobody(cases: &mut Vec<Case>, id: &'static str, producer: i64, epoch: i16) {
    let named = format!("{id:?} {producer} {epoch}");
    for committed in [true, false] {
        case!(cases, &format!("end a transaction: {named} {committed}"), EndTxn 0..=5, |_| {
            end::EndTxnRequestData::default()
                .with_transactional_id(text(id))
                .with_producer_id(producer)
                .with_producer_epoch(epoch)
                .with_committed(committed)
        } => messages::end_txn_response::EndTxnResponseData);
    }
    for (name, index) in [(TOPIC, 0), (TOPIC, 9), (MISSING, 0)] {
        let named = format!("add partitions: {named} {name} {index}");
        case!(cases, &named, AddPartitionsToTxn 0..=3, |_| {
            let topic = partitions::AddPartitionsToTxnTopic::default()
                .with_name(text(name))
                .with_partitions(vec![index]);
            partitions::AddPartitionsToTxnRequestData::default()
                .with_v3_and_below_transactional_id(text(id))
                .with_v3_and_below_producer_id(producer)
                .with_v3_and_below_producer_epoch(epoch)
                .with_v3_and_below_topics(vec![topic])
        } => messages::add_partitions_to_txn_response::AddPartitionsToTxnResponseData);
    }
    for group in ["g", ""] {
        case!(cases, &format!("add offsets: {named} {group:?}"), AddOffsetsToTxn 0..=4, |_| {
            offsets::AddOffsetsToTxnRequestData::default()
                .with_transactional_id(text(id))
                .with_producer_id(producer)
                .with_producer_epoch(epoch)
                .with_group_id(text(group))
        } => messages::add_offsets_to_txn_response::AddOffsetsToTxnResponseData);
        for (topic, index) in [(TOPIC, 0), (TOPIC, 9), (MISSING, 0)] {
            let named = format!("commit in a transaction: {named} {group:?} {topic} {index}");
            case!(cases, &named, TxnOffsetCommit 0..=5, |_| {
                let partition = commit::TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(1);
                let topic = commit::TxnOffsetCommitRequestTopic::default()
                    .with_name(text(topic))
                    .with_partitions(vec![partition]);
                commit::TxnOffsetCommitRequestData::default()
                    .with_transactional_id(text(id))
                    .with_group_id(text(group))
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch)
                    .with_generation_id(-1)
                    .with_topics(vec![topic])
            } => messages::txn_offset_commit_response::TxnOffsetCommitResponseData);
        }
    }
}
