//! AddOffsetsToTxn (key 25): adds a group's offsets to a transaction.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::add_offsets_to_txn_request::AddOffsetsToTxnRequestData;
use sedge_protocol::kafka::generated::add_offsets_to_txn_response::AddOffsetsToTxnResponseData;

use super::for_version;
use crate::handlers::Request;

const FIRST_VERSION_WITH_FENCED: i16 = 2;

pub async fn handle(
    request: &Request,
    message: AddOffsetsToTxnRequestData,
) -> AddOffsetsToTxnResponseData {
    let added = add(request, &message).await;
    let error = added.err().unwrap_or(ErrorCode::None);
    let error = for_version(error, request.version(), FIRST_VERSION_WITH_FENCED);
    AddOffsetsToTxnResponseData::default().with_error_code(error.code())
}

async fn add(request: &Request, message: &AddOffsetsToTxnRequestData) -> Result<(), ErrorCode> {
    let id = request.transactional_id(Operation::Write, message.transactional_id.as_str())?;
    let group = request.group(Operation::Read, message.group_id.as_str())?;
    let producer = (message.producer_id, message.producer_epoch);
    id.add_offsets(producer, &group, 0).await
}
