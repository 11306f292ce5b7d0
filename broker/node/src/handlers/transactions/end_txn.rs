//! EndTxn (key 26): commits or aborts a transaction.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::kafka::generated::end_txn_request::EndTxnRequestData;
use sedge_protocol::kafka::generated::end_txn_response::EndTxnResponseData;
use sedge_protocol::records::TransactionResult;

use super::for_version;
use crate::handlers::Request;

const FIRST_VERSION_WITH_FENCED: i16 = 2;
/// KIP-890.
const FIRST_VERSION_WITH_EPOCH: i16 = 5;

pub async fn handle(request: &Request, message: EndTxnRequestData) -> EndTxnResponseData {
    match end(request, &message).await {
        Ok((id, epoch)) => EndTxnResponseData::default()
            .with_producer_id(id.get())
            .with_producer_epoch(epoch.get()),
        Err(error) => {
            let error = for_version(error, request.version(), FIRST_VERSION_WITH_FENCED);
            EndTxnResponseData::default()
                .with_error_code(error.code())
                .with_producer_id(-1)
                .with_producer_epoch(-1)
        }
    }
}

async fn end(
    request: &Request,
    message: &EndTxnRequestData,
) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
    let id = request.transactional_id(Operation::Write, message.transactional_id.as_str())?;
    let result = if message.committed {
        TransactionResult::Commit
    } else {
        TransactionResult::Abort
    };
    let bumps_epoch = request.version() >= FIRST_VERSION_WITH_EPOCH;
    let producer = (message.producer_id, message.producer_epoch);
    id.end(producer, result, bumps_epoch).await
}
