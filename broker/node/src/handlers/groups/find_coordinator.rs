//! FindCoordinator (key 10): returns this broker, for every group.

use sedge_core::security::{Operation, Resource};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::find_coordinator_request::FindCoordinatorRequestData;
use sedge_protocol::kafka::generated::find_coordinator_response::{
    Coordinator, FindCoordinatorResponseData,
};

use crate::handlers::Request;

const GROUP: i8 = 0;
/// There are no transactions yet. A client that has found this broker learns so from
/// InitProducerId.
const TRANSACTION: i8 = 1;
const FIRST_BATCHED_VERSION: i16 = 4;

pub async fn handle(
    request: &Request,
    message: FindCoordinatorRequestData,
) -> FindCoordinatorResponseData {
    let response = FindCoordinatorResponseData::default();
    if request.version() >= FIRST_BATCHED_VERSION {
        let keys = message.coordinator_keys.into_iter();
        let found = keys.map(|key| find(request, message.key_type, key));
        return response.with_coordinators(found.collect());
    }
    let found = find(request, message.key_type, message.key);
    response
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn find(request: &Request, key_type: i8, key: KafkaString) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    if !matches!(key_type, GROUP | TRANSACTION) {
        let message = format!("There is no coordinator of type {key_type} here.");
        return coordinator
            .with_node_id(-1)
            .with_port(-1)
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_error_message(Some(KafkaString::from(message)));
    }
    let resource = if key_type == GROUP {
        Resource::Group
    } else {
        Resource::TransactionalId
    };
    if let Err(error) = request.check(Operation::Describe, resource, coordinator.key.as_str()) {
        return coordinator
            .with_node_id(-1)
            .with_port(-1)
            .with_error_code(error.code());
    }
    let (host, port) = request.advertised();
    coordinator
        .with_node_id(request.node_id())
        .with_host(host)
        .with_port(port)
}
