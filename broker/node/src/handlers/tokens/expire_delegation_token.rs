//! ExpireDelegationToken (key 40): lets a token expire earlier, or removes it.

use sedge_core::metadata::TokenCommand;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::{
    ExpireDelegationTokenRequestData, ExpireDelegationTokenResponseData,
};

use super::{NO_TIME, change};
use crate::handlers::Request;

pub async fn handle(
    request: &Request,
    message: ExpireDelegationTokenRequestData,
) -> ExpireDelegationTokenResponseData {
    let response = ExpireDelegationTokenResponseData::default();
    match expire(request, &message).await {
        Ok(at_ms) => response.with_expiry_timestamp_ms(at_ms),
        Err(code) => response
            .with_error_code(code.code())
            .with_expiry_timestamp_ms(NO_TIME),
    }
}

async fn expire(
    request: &Request,
    message: &ExpireDelegationTokenRequestData,
) -> Result<i64, ErrorCode> {
    request.check_token_requests()?;
    let command = TokenCommand::Expire {
        id: request.token_by_hmac(&message.hmac).await?,
        by: request.principal().clone(),
        period_ms: message.expiry_time_period_ms,
    };
    change(request, command).await
}
