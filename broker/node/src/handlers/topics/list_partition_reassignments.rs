//! ListPartitionReassignments (key 46, KIP-455): a reassignment to the one broker is done at once,
//! so none is ever under way.

use sedge_protocol::kafka::generated::list_partition_reassignments_request::ListPartitionReassignmentsRequestData;
use sedge_protocol::kafka::generated::list_partition_reassignments_response::ListPartitionReassignmentsResponseData;

use crate::handlers::Request;

pub async fn handle(
    _: &Request,
    _: ListPartitionReassignmentsRequestData,
) -> ListPartitionReassignmentsResponseData {
    ListPartitionReassignmentsResponseData::default()
}
