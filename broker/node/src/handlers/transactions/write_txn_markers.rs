//! WriteTxnMarkers (key 27): ends transactions in single partitions. `kafka-transactions abort`
//! uses it for transactions that hang; the coordinator here needs no request.

use std::sync::Arc;

use sedge_core::log::{Marker, Write};
use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::kafka::generated::write_txn_markers_request::{
    WritableTxnMarker, WriteTxnMarkersRequestData,
};
use sedge_protocol::kafka::generated::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponseData,
};
use sedge_protocol::records::{EndTransactionMarker, TransactionResult};

use crate::handlers::{Request, Topics};
use crate::writer::AppendPart;

pub async fn handle(
    request: &Request,
    message: WriteTxnMarkersRequestData,
) -> WriteTxnMarkersResponseData {
    let topics = match request.cluster(Operation::Alter) {
        Ok(cluster) => Ok(cluster.topics()),
        Err(error) => Err(error),
    };
    let mut results = Vec::with_capacity(message.markers.len());
    for marker in message.markers {
        results.push(write(request, topics.as_ref(), marker).await);
    }
    WriteTxnMarkersResponseData::default().with_markers(results)
}

async fn write(
    request: &Request,
    topics: Result<&Topics, &ErrorCode>,
    marker: WritableTxnMarker,
) -> WritableTxnMarkerResult {
    let now_ms = request.now().wall_ms;
    let mut answered = Vec::with_capacity(marker.topics.len());
    for topic in &marker.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in &topic.partition_indexes {
            let written = match topics {
                Ok(topics) => one(topics, &marker, topic.name.as_str(), *index, now_ms).await,
                Err(error) => Err(*error),
            };
            let error = written.err().unwrap_or(ErrorCode::None);
            partitions.push(
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(error.code()),
            );
        }
        answered.push(
            WritableTxnMarkerTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    WritableTxnMarkerResult::default()
        .with_producer_id(marker.producer_id)
        .with_topics(answered)
}

async fn one(
    topics: &Topics,
    marker: &WritableTxnMarker,
    name: &str,
    index: i32,
    now_ms: i64,
) -> Result<(), ErrorCode> {
    let topic = topics.named(name)?;
    let partition = topic.partition_id(index)?;
    if topic.is_internal {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let producer_id = ProducerId::from_wire(marker.producer_id);
    let marker = Marker {
        producer_id: producer_id.ok_or(ErrorCode::InvalidRequest)?,
        epoch: ProducerEpoch(marker.producer_epoch),
        end: EndTransactionMarker {
            result: if marker.transaction_result {
                TransactionResult::Commit
            } else {
                TransactionResult::Abort
            },
            coordinator_epoch: marker.coordinator_epoch,
        },
    };
    let batch = marker.end.batch(marker.producer_id, marker.epoch, now_ms);
    let batch = batch.map_err(|_| ErrorCode::UnknownServerError)?;
    let part = AppendPart {
        partition,
        topic: Arc::clone(&topic),
        write: Write::Marker(marker),
        batch: Ok(Some(batch)),
        elsewhere: Vec::new(),
        awaits: None,
    };
    let stopped = ErrorCode::CoordinatorNotAvailable;
    let written = topics.start_append(vec![part]).await.map_err(|_| stopped)?;
    let written = written.await.map_err(|_| stopped)?;
    let outcomes = written.into_iter().map(|outcome| outcome.map(|_| ()));
    outcomes
        .collect::<Result<(), _>>()
        .map_err(|refusal| refusal.code)
}
