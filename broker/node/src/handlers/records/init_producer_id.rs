//! InitProducerId (key 22): returns an id for an idempotent producer. Transactions are not
//! supported yet.

use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::init_producer_id_request::InitProducerIdRequestData;
use sedge_protocol::kafka::generated::init_producer_id_response::InitProducerIdResponseData;

use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: InitProducerIdRequestData,
) -> InitProducerIdResponseData {
    let refused = |error: ErrorCode| {
        InitProducerIdResponseData::default()
            .with_error_code(error.code())
            .with_producer_id(-1)
            .with_producer_epoch(-1)
    };
    if let Some(id) = &message.transactional_id {
        if let Err(error) = request.check(Operation::Write, Resource::TransactionalId, id.as_str())
        {
            return refused(error);
        }
        // There is no transaction coordinator: the client must not continue as if there were one.
        if let Some(client) = request.told_transactions().first(request.client_id()) {
            log::warn!(
                target: "sedge::producers",
                "client {client} asks for transactions, which are not supported yet; remove \
                 transactional.id from its configuration"
            );
        }
        return refused(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let next = match request.cluster(Operation::IdempotentWrite) {
        Ok(cluster) => cluster.next_producer_id().await,
        Err(error) => Err(error),
    };
    match next {
        Ok(id) => InitProducerIdResponseData::default()
            .with_producer_id(id.get())
            .with_producer_epoch(0),
        Err(error) => refused(error),
    }
}
