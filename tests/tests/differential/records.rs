//! Requests about records: offsets, reading and writing where there is nothing, producers.

use sedge_protocol::kafka::generated as messages;

use messages::delete_records_request as remove;
use messages::end_txn_request as end;
use messages::fetch_request as fetch;
use messages::init_producer_id_request as init;
use messages::list_offsets_request as offsets;
use messages::offset_for_leader_epoch_request as epochs;
use messages::produce_request as produce;

use crate::case::{Case, case, text};
use crate::{MISSING, TOPIC};

const PLACES: [(&str, i32); 4] = [(TOPIC, 0), (TOPIC, 9), (MISSING, 0), ("a/b", 0)];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    of_offsets(&mut cases);
    of_reading_and_writing(&mut cases);
    of_producers(&mut cases);
    cases
}

fn of_offsets(cases: &mut Vec<Case>) {
    for (name, index) in PLACES {
        for timestamp in [-1, -2, 0] {
            let named = format!("list offsets {name:?} {index} {timestamp}");
            case!(cases, &named, ListOffsets 1..=11, |_| {
                let partition = offsets::ListOffsetsPartition::default()
                    .with_partition_index(index)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(timestamp);
                let topic = offsets::ListOffsetsTopic::default()
                    .with_name(text(name))
                    .with_partitions(vec![partition]);
                offsets::ListOffsetsRequestData::default()
                    .with_replica_id(-1)
                    .with_topics(vec![topic])
            } => messages::list_offsets_response::ListOffsetsResponseData);
        }
        for (current, wanted) in [(-1, 0), (-1, 9), (9, 0)] {
            let named = format!("leader epoch {name:?} {index} {current} {wanted}");
            case!(cases, &named, OffsetForLeaderEpoch 2..=4, |version| {
                let partition = epochs::OffsetForLeaderPartition::default()
                    .with_partition(index)
                    .with_current_leader_epoch(current)
                    .with_leader_epoch(wanted);
                let topic = epochs::OffsetForLeaderTopic::default()
                    .with_topic(text(name))
                    .with_partitions(vec![partition]);
                let replica = if version < 3 { -2 } else { -1 };
                epochs::OffsetForLeaderEpochRequestData::default()
                    .with_replica_id(replica)
                    .with_topics(vec![topic])
            } => messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponseData);
        }
    }
}

fn of_reading_and_writing(cases: &mut Vec<Case>) {
    for (name, index) in PLACES {
        for offset in [0, 5, -1] {
            let named = format!("fetch {name:?} {index} {offset}");
            case!(cases, &named, Fetch 4..=12, |_| {
                let partition = fetch::FetchPartition::default()
                    .with_partition(index)
                    .with_fetch_offset(offset)
                    .with_partition_max_bytes(1 << 20);
                let topic = fetch::FetchTopic::default()
                    .with_topic(text(name))
                    .with_partitions(vec![partition]);
                fetch::FetchRequestData::default()
                    .with_replica_id(-1)
                    .with_session_epoch(-1)
                    .with_max_bytes(1 << 20)
                    .with_topics(vec![topic])
            } => messages::fetch_response::FetchResponseData);
        }
        let named = format!("produce with acks=2 {name:?} {index}");
        case!(cases, &named, Produce 3..=12, |_| {
            let partition = produce::PartitionProduceData::default()
                .with_index(index)
                .with_records(Some(Vec::new().into()));
            let topic = produce::TopicProduceData::default()
                .with_name(text(name))
                .with_partition_data(vec![partition]);
            produce::ProduceRequestData::default()
                .with_acks(2)
                .with_timeout_ms(30_000)
                .with_topic_data(vec![topic])
        } => messages::produce_response::ProduceResponseData);
        for offset in [0, -1, 5, -2] {
            let named = format!("delete records {name:?} {index} {offset}");
            case!(cases, &named, DeleteRecords 0..=2, |_| {
                let partition = remove::DeleteRecordsPartition::default()
                    .with_partition_index(index)
                    .with_offset(offset);
                let topic = remove::DeleteRecordsTopic::default()
                    .with_name(text(name))
                    .with_partitions(vec![partition]);
                remove::DeleteRecordsRequestData::default()
                    .with_topics(vec![topic])
                    .with_timeout_ms(30_000)
            } => messages::delete_records_response::DeleteRecordsResponseData);
        }
    }
}

fn of_producers(cases: &mut Vec<Case>) {
    for (id, timeout_ms) in [("", 60_000), ("x", 0), ("x", -1), ("x", i32::MAX)] {
        let named = format!("init producer id {id:?} {timeout_ms}");
        case!(cases, &named, InitProducerId 0..=5, |_| {
            init::InitProducerIdRequestData::default()
                .with_transactional_id(Some(text(id)))
                .with_transaction_timeout_ms(timeout_ms)
                .with_producer_id(-1)
                .with_producer_epoch(-1)
        } => messages::init_producer_id_response::InitProducerIdResponseData);
    }
    case!(cases, "end a transaction of nobody", EndTxn 0..=4, |_| {
        end::EndTxnRequestData::default()
            .with_transactional_id(text(""))
            .with_producer_id(4_711)
    } => messages::end_txn_response::EndTxnResponseData);
}
