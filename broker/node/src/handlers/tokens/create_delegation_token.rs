//! CreateDelegationToken (key 38): creates a token, for the client itself or for another owner.

use std::sync::Arc;

use sedge_core::metadata::{Command, CommandReply, TokenCommand};
use sedge_core::security::{Operation, Principal, Resource, Token};
use sedge_protocol::kafka::generated::{
    CreateDelegationTokenRequestData, CreateDelegationTokenResponseData,
};
use sedge_protocol::{Bytes, ErrorCode};

use super::{NO_TIME, WITH_REQUESTER, principal, split};
use crate::handlers::Request;
use crate::process::random::random_uuid;

pub async fn handle(
    request: &Request,
    message: CreateDelegationTokenRequestData,
) -> CreateDelegationTokenResponseData {
    let requester = request.principal();
    let owner = owner(&message, requester);
    let (kind, name) = owner.as_ref().map_or_else(Default::default, split);
    let mut response = CreateDelegationTokenResponseData::default()
        .with_principal_type(kind)
        .with_principal_name(name);
    if request.version() >= WITH_REQUESTER {
        let (kind, name) = split(requester);
        response.token_requester_principal_type = kind;
        response.token_requester_principal_name = name;
    }
    match create(request, owner, &message).await {
        Ok((token, hmac)) => response
            .with_issue_timestamp_ms(token.issued_ms)
            .with_expiry_timestamp_ms(token.expires_ms)
            .with_max_timestamp_ms(token.latest_ms)
            .with_token_id(token.id.clone().into())
            .with_hmac(hmac),
        Err(code) => response
            .with_error_code(code.code())
            .with_issue_timestamp_ms(NO_TIME)
            .with_expiry_timestamp_ms(NO_TIME)
            .with_max_timestamp_ms(NO_TIME),
    }
}

/// The client itself, if it names no owner. `None` if it names one that is no principal.
fn owner(message: &CreateDelegationTokenRequestData, requester: &Principal) -> Option<Principal> {
    let name = message.owner_principal_name.as_ref();
    match name.filter(|name| !name.as_str().is_empty()) {
        None => Some(requester.clone()),
        Some(name) => principal(message.owner_principal_type.as_ref()?, name),
    }
}

async fn create(
    request: &Request,
    owner: Option<Principal>,
    message: &CreateDelegationTokenRequestData,
) -> Result<(Arc<Token>, Bytes), ErrorCode> {
    request.check_token_requests()?;
    let owner = owner.ok_or(ErrorCode::InvalidPrincipalType)?;
    let requester = request.principal().clone();
    if owner != requester {
        request.check(Operation::CreateTokens, Resource::User, owner.as_str())?;
    }
    let renewers = message.renewers.iter().map(|renewer| {
        let kind = &renewer.principal_type;
        let is_user = kind.as_str() == "User";
        is_user.then(|| principal(kind, &renewer.principal_name))?
    });
    let renewers = renewers.collect::<Option<Vec<_>>>();
    let renewers = renewers.ok_or(ErrorCode::InvalidPrincipalType)?;
    let maker = request.token_maker()?;
    let command = TokenCommand::Create {
        id: random_uuid().to_string(),
        owner,
        requester,
        renewers,
        max_lifetime_ms: message.max_lifetime_ms,
        lifetimes: maker.lifetimes,
    };
    match request.command(Command::Token(command)).await {
        Ok(CommandReply::Token(token)) => {
            let hmac = Bytes::copy_from_slice(maker.hmac(&token.id).as_ref());
            Ok((token, hmac))
        }
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(refusal) => Err(refusal.code),
    }
}
