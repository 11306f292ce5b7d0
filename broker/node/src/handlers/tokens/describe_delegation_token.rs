//! DescribeDelegationToken (key 41): the tokens that a client may see, with their secrets.

use sedge_core::security::{Operation, Principal, Resource, Token};
use sedge_protocol::kafka::generated::{
    DescribeDelegationTokenRequestData, DescribeDelegationTokenResponseData,
    DescribedDelegationToken, DescribedDelegationTokenRenewer,
};
use sedge_protocol::{Bytes, ErrorCode};

use super::{WITH_REQUESTER, principal, split};
use crate::config::DelegationTokens;
use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: DescribeDelegationTokenRequestData,
) -> DescribeDelegationTokenResponseData {
    let response = DescribeDelegationTokenResponseData::default();
    match describe(request, &message) {
        Ok(tokens) => response.with_tokens(tokens),
        Err(code) => response.with_error_code(code.code()),
    }
}

fn describe(
    request: &Request,
    message: &DescribeDelegationTokenRequestData,
) -> Result<Vec<DescribedDelegationToken>, ErrorCode> {
    request.check_token_requests()?;
    let maker = request.token_maker()?;
    // A request without a list asks for all tokens. An invalid principal owns none.
    let owners: Option<Vec<Principal>> = message.owners.as_ref().map(|owners| {
        let owners = owners.iter();
        let owners = owners.map(|of| principal(&of.principal_type, &of.principal_name));
        owners.flatten().collect()
    });
    let is_asked = |token: &Token| {
        let owners = owners.as_ref();
        owners.is_none_or(|owners| owners.iter().any(|owner| token.is_of(owner)))
    };
    let tokens = request.tokens();
    let shown = tokens
        .iter()
        .filter(|token| is_asked(token) && is_visible(request, token));
    let shown = shown.map(|token| {
        let mut described = show(token, maker);
        if request.version() >= WITH_REQUESTER {
            let (kind, name) = split(&token.requester);
            described.token_requester_principal_type = kind;
            described.token_requester_principal_name = name;
        }
        described
    });
    Ok(shown.collect())
}

/// `DelegationTokenManager.filterToken`.
fn is_visible(request: &Request, token: &Token) -> bool {
    let describe = (
        Operation::Describe,
        Resource::DelegationToken,
        token.id.as_str(),
    );
    let of_owner = (
        Operation::DescribeTokens,
        Resource::User,
        token.owner.as_str(),
    );
    let may = |(operation, resource, name)| request.allows(operation, resource, name);
    token.is_of(request.principal()) || may(describe) || may(of_owner)
}

fn show(token: &Token, maker: &DelegationTokens) -> DescribedDelegationToken {
    let (kind, name) = split(&token.owner);
    let renewers = token.renewers.iter().map(|renewer| {
        let (kind, name) = split(renewer);
        DescribedDelegationTokenRenewer::default()
            .with_principal_type(kind)
            .with_principal_name(name)
    });
    DescribedDelegationToken::default()
        .with_principal_type(kind)
        .with_principal_name(name)
        .with_issue_timestamp(token.issued_ms)
        .with_expiry_timestamp(token.expires_ms)
        .with_max_timestamp(token.latest_ms)
        .with_token_id(token.id.clone().into())
        .with_hmac(Bytes::copy_from_slice(maker.hmac(&token.id).as_ref()))
        .with_renewers(renewers.collect())
}
