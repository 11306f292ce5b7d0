//! ListPartitionReassignments (key 46, KIP-455): a reassignment to the only broker completes at
//! once, so none is ever in progress.

use sedge_protocol::kafka::generated::list_partition_reassignments_request::ListPartitionReassignmentsRequestData;
use sedge_protocol::kafka::generated::list_partition_reassignments_response::ListPartitionReassignmentsResponseData;

use crate::handlers::Request;

pub async fn handle(
    _: &Request,
    _: ListPartitionReassignmentsRequestData,
) -> ListPartitionReassignmentsResponseData {
    ListPartitionReassignmentsResponseData::default()
}
