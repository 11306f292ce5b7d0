//! UnregisterBroker (key 64): removes the registration of a broker that is gone. There is one
//! broker, which is there as long as it can answer.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::unregister_broker_request::UnregisterBrokerRequestData;
use sedge_protocol::kafka::generated::unregister_broker_response::UnregisterBrokerResponseData;

use crate::handlers::{Refusal, Request};

pub async fn handle(
    request: &Request,
    message: UnregisterBrokerRequestData,
) -> UnregisterBrokerResponseData {
    let refusal = refuse(request, message.broker_id);
    UnregisterBrokerResponseData::default()
        .with_error_code(refusal.code.code())
        .with_error_message(Some(refusal.message.into()))
}

fn refuse(request: &Request, id: i32) -> Refusal {
    if let Err(code) = request.cluster(Operation::Alter) {
        return Refusal::new(code, "Authorization failed.");
    }
    if id == request.node_id() {
        return Refusal::new(
            ErrorCode::InvalidRequest,
            format!("The broker {id} is the only one, and running; stop it instead."),
        );
    }
    Refusal::new(
        ErrorCode::BrokerIdNotRegistered,
        format!("Broker ID {id} is not registered."),
    )
}
