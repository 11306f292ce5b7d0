//! AddRaftVoter (key 80): see `raft_voters`.

use sedge_protocol::kafka::generated::add_raft_voter_request::AddRaftVoterRequestData;
use sedge_protocol::kafka::generated::add_raft_voter_response::AddRaftVoterResponseData;

use super::raft_voters;
use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: AddRaftVoterRequestData,
) -> AddRaftVoterResponseData {
    let refusal = raft_voters::refuse(request, message.cluster_id.as_ref());
    AddRaftVoterResponseData::default()
        .with_error_code(refusal.code.code())
        .with_error_message(Some(refusal.message.into()))
}
