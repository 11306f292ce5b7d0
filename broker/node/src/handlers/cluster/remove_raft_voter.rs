//! RemoveRaftVoter (key 81): see `raft_voters`.

use sedge_protocol::kafka::generated::remove_raft_voter_request::RemoveRaftVoterRequestData;
use sedge_protocol::kafka::generated::remove_raft_voter_response::RemoveRaftVoterResponseData;

use super::raft_voters;
use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: RemoveRaftVoterRequestData,
) -> RemoveRaftVoterResponseData {
    let refusal = raft_voters::refuse(request, message.cluster_id.as_ref());
    RemoveRaftVoterResponseData::default()
        .with_error_code(refusal.code.code())
        .with_error_message(Some(refusal.message.into()))
}
