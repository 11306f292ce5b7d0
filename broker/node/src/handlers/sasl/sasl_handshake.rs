//! SaslHandshake (key 17): the client chooses a mechanism.

use sedge_core::security::sasl::{HandshakeAnswer, Mechanism};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::sasl_handshake_request::SaslHandshakeRequestData;
use sedge_protocol::kafka::generated::sasl_handshake_response::SaslHandshakeResponseData;

use super::{illegal_state, refused};
use crate::handlers::Request;
use crate::net::service::{Answer, Disconnect};
use crate::net::unsupported::shortened;

pub async fn handle(
    request: &Request,
    message: SaslHandshakeRequestData,
) -> Result<Answer, Disconnect> {
    let name = message.mechanism.as_str();
    let (answer, mechanisms) = request
        .handshake(name)
        .unwrap_or((HandshakeAnswer::IllegalState, Vec::new()));
    let (error, mechanisms) = match answer {
        HandshakeAnswer::Accepted => (ErrorCode::None, mechanisms),
        HandshakeAnswer::Unsupported | HandshakeAnswer::OtherMechanism => {
            (ErrorCode::UnsupportedSaslMechanism, mechanisms)
        }
        HandshakeAnswer::IllegalState => (ErrorCode::IllegalSaslState, Vec::new()),
    };
    let names = mechanisms.into_iter().map(Mechanism::name);
    let response = SaslHandshakeResponseData::default()
        .with_error_code(error.code())
        .with_mechanisms(names.map(KafkaString::from_static).collect());
    let answered = request.encode(|buffer, version| response.write(buffer, version))?;
    if error != ErrorCode::None {
        request.count_error(error);
    }
    let name = shortened(name);
    let why = match answer {
        HandshakeAnswer::Accepted => return Ok(Answer::Now(answered)),
        // As in Kafka's `KafkaApis`: an authenticated client stays authenticated.
        HandshakeAnswer::IllegalState if request.is_authenticated() => {
            return Ok(Answer::Now(answered));
        }
        HandshakeAnswer::IllegalState => {
            let delay = request.failed_authentication_delay();
            return Ok(refused(answered, illegal_state(), delay));
        }
        HandshakeAnswer::Unsupported => format!(
            "the listener does not support {name:?}; the client's sasl.mechanism must be one of \
             sasl.enabled.mechanisms"
        ),
        HandshakeAnswer::OtherMechanism => {
            format!(
                "the client authenticated by another mechanism before and cannot change to {name:?}"
            )
        }
    };
    let reason = Disconnect::Authentication {
        mechanism: None,
        why,
    };
    let delay = request.failed_authentication_delay();
    Ok(refused(answered, reason, delay))
}
