//! SaslAuthenticate (key 36): carries a message of the mechanism that the handshake chose.

use sedge_core::security::sasl;
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::generated::sasl_authenticate_request::SaslAuthenticateRequestData;
use sedge_protocol::kafka::generated::sasl_authenticate_response::SaslAuthenticateResponseData;

use super::{illegal_state, refused};
use crate::handlers::Request;
use crate::net::service::{Answer, Disconnect};

pub async fn handle(
    request: &Request,
    message: SaslAuthenticateRequestData,
) -> Result<Answer, Disconnect> {
    let response = SaslAuthenticateResponseData::default();
    let refusal = |code: ErrorCode, why: String| {
        request.count_error(code);
        SaslAuthenticateResponseData::default()
            .with_error_code(code.code())
            .with_error_message(Some(why.into()))
    };
    let (response, reason) = match request.authenticate(&message.auth_bytes) {
        sasl::Answer::Continue(bytes) => (response.with_auth_bytes(bytes.into()), None),
        sasl::Answer::Done {
            bytes, lifetime_ms, ..
        } => {
            let lifetime_ms = i64::try_from(lifetime_ms).unwrap_or(i64::MAX);
            let response = response.with_auth_bytes(bytes.into());
            (response.with_session_lifetime_ms(lifetime_ms), None)
        }
        sasl::Answer::Failed {
            mechanism,
            message,
            why,
        } => {
            let reason = Disconnect::Authentication {
                mechanism: Some(mechanism),
                why,
            };
            let code = ErrorCode::SaslAuthenticationFailed;
            (refusal(code, message), Some(reason))
        }
        sasl::Answer::IllegalState => {
            let (why, reason) = if request.is_authenticated() {
                let why = "SaslAuthenticate request received after successful authentication";
                (why, None)
            } else {
                let why = "SaslAuthenticate request received before a SaslHandshake";
                (why, Some(illegal_state()))
            };
            (refusal(ErrorCode::IllegalSaslState, why.to_owned()), reason)
        }
    };
    let answered = request.encode(|buffer, version| response.write(buffer, version))?;
    Ok(match reason {
        None => Answer::Now(answered),
        Some(reason) => refused(answered, reason, request.failed_authentication_delay()),
    })
}
