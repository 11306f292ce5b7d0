//! ListPartitionReassignments (key 46, KIP-455): a reassignment to the only broker completes at
//! once, so none is ever in progress.

use sedge_core::security::Operation;
use sedge_protocol::kafka::generated::list_partition_reassignments_request::ListPartitionReassignmentsRequestData;
use sedge_protocol::kafka::generated::list_partition_reassignments_response::ListPartitionReassignmentsResponseData;

use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    _: ListPartitionReassignmentsRequestData,
) -> ListPartitionReassignmentsResponseData {
    let response = ListPartitionReassignmentsResponseData::default();
    match request.cluster(Operation::Describe) {
        Ok(_) => response,
        Err(error) => response.with_error_code(error.code()),
    }
}
