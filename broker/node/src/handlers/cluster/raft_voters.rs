//! AddRaftVoter (key 80) and RemoveRaftVoter (key 81, KIP-853): the controller runs inside the
//! broker, and is the only voter.

use sedge_core::security::Operation;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;

use crate::handlers::{Refusal, Request};

/// Returns the refusal of a change of the voters, in Kafka's order of checks.
pub fn refuse(request: &Request, cluster_id: Option<&KafkaString>) -> Refusal {
    if let Err(code) = request.cluster(Operation::Alter) {
        return Refusal::new(code, "Authorization failed.");
    }
    let own = request.cluster_id();
    if let Some(id) = cluster_id.filter(|id| **id != own) {
        return Refusal::new(
            ErrorCode::InconsistentClusterId,
            format!(
                "The cluster is {}, and the request is for {}.",
                own.as_str(),
                id.as_str()
            ),
        );
    }
    Refusal::new(
        ErrorCode::UnsupportedVersion,
        "The voters cannot change: the controller runs inside the broker, and is the only one.",
    )
}
