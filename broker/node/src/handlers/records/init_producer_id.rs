//! InitProducerId (key 22): returns an id for an idempotent producer, or the producer of a
//! transactional id.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::kafka::generated::init_producer_id_request::InitProducerIdRequestData;
use sedge_protocol::kafka::generated::init_producer_id_response::InitProducerIdResponseData;

use crate::handlers::Request;
use crate::handlers::transactions::for_version;

const FIRST_VERSION_WITH_FENCED: i16 = 4;

pub async fn handle(
    request: &Request,
    message: InitProducerIdRequestData,
) -> InitProducerIdResponseData {
    let initialized = match &message.transactional_id {
        Some(id) => of_transactional_id(request, id.as_str(), &message).await,
        None => idempotent(request).await,
    };
    match initialized {
        Ok((id, epoch)) => InitProducerIdResponseData::default()
            .with_producer_id(id.get())
            .with_producer_epoch(epoch.get()),
        Err(error) => {
            let error = for_version(error, request.version(), FIRST_VERSION_WITH_FENCED);
            InitProducerIdResponseData::default()
                .with_error_code(error.code())
                .with_producer_id(-1)
                .with_producer_epoch(-1)
        }
    }
}

async fn idempotent(request: &Request) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
    let cluster = request.cluster(Operation::IdempotentWrite)?;
    let id = cluster.next_producer_id().await?;
    Ok((id, ProducerEpoch(0)))
}

async fn of_transactional_id(
    request: &Request,
    id: &str,
    message: &InitProducerIdRequestData,
) -> Result<(ProducerId, ProducerEpoch), ErrorCode> {
    let transactional_id = request.transactional_id(Operation::Write, id)?;
    // KIP-360: both fields, or none.
    let expected = match (message.producer_id, message.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(ErrorCode::InvalidRequest),
        expected => Some(expected),
    };
    let timeout_ms = message.transaction_timeout_ms;
    transactional_id.init(timeout_ms, expected).await
}
