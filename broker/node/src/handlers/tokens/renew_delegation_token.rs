//! RenewDelegationToken (key 39): lets a token expire later.

use sedge_core::metadata::TokenCommand;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::{
    RenewDelegationTokenRequestData, RenewDelegationTokenResponseData,
};

use super::{NO_TIME, change};
use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: RenewDelegationTokenRequestData,
) -> RenewDelegationTokenResponseData {
    let response = RenewDelegationTokenResponseData::default();
    match renew(request, &message).await {
        Ok(at_ms) => response.with_expiry_timestamp_ms(at_ms),
        Err(code) => response
            .with_error_code(code.code())
            .with_expiry_timestamp_ms(NO_TIME),
    }
}

async fn renew(
    request: &Request,
    message: &RenewDelegationTokenRequestData,
) -> Result<i64, ErrorCode> {
    request.check_token_requests()?;
    let command = TokenCommand::Renew {
        id: request.token_by_hmac(&message.hmac).await?,
        by: request.principal().clone(),
        period_ms: message.renew_period_ms,
        lifetimes: request.token_maker()?.lifetimes,
    };
    change(request, command).await
}
