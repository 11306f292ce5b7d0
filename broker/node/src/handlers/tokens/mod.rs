//! Delegation tokens (KIP-48, KIP-373), with the rules and the errors of Kafka's `KafkaApis`.

pub mod create_delegation_token;
pub mod describe_delegation_token;
pub mod expire_delegation_token;
pub mod renew_delegation_token;

use sedge_core::metadata::{Command, CommandReply, TokenCommand};
use sedge_core::security::Principal;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;

use super::Request;

/// The version of CreateDelegationToken and of DescribeDelegationToken from which on they tell who
/// asked for a token (KIP-373).
const WITH_REQUESTER: i16 = 3;

/// The value of times in a refusal.
const NO_TIME: i64 = -1;

/// Sends the controller a command to renew or expire a token. Returns the time at which it expires.
async fn change(request: &Request, command: TokenCommand) -> Result<i64, ErrorCode> {
    match request.command(Command::Token(command)).await {
        Ok(CommandReply::TokenExpires { at_ms }) => Ok(at_ms),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(refusal) => Err(refusal.code),
    }
}

/// Returns the principal of this type and name. `None` if one of them is missing.
fn principal(kind: &KafkaString, name: &KafkaString) -> Option<Principal> {
    let (kind, name) = (kind.as_str(), name.as_str());
    let is_type = !kind.contains(':');
    is_type.then(|| Principal::parse(&format!("{kind}:{name}")))?
}

/// Returns type and name of a principal.
fn split(principal: &Principal) -> (KafkaString, KafkaString) {
    let text = principal.as_str();
    let (kind, name) = text.split_once(':').unwrap_or(("User", text));
    (kind.to_owned().into(), name.to_owned().into())
}
