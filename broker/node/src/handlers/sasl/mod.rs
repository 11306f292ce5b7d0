//! Handlers of logins by SASL.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use sedge_core::security::sasl;
use sedge_protocol::Bytes;

use crate::broker::Broker;
use crate::handlers::request::login;
use crate::net::service::{Answer, Answered, Disconnect, Reply, Session};

pub mod sasl_authenticate;
pub mod sasl_handshake;

/// Handles a message of a login in a frame without a header: such frames follow a SaslHandshake of
/// version 0. A failed login gets no response (`SaslServerAuthenticator.handleSaslToken`).
///
/// # Errors
/// The frame does not belong to a login.
pub fn raw(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    message: &[u8],
) -> Result<Answer, Disconnect> {
    match login::authenticate(broker, session, message, 0) {
        sasl::Answer::Continue(bytes) | sasl::Answer::Done { bytes, .. } => {
            let mut frame = (bytes.len() as u32).to_be_bytes().to_vec();
            frame.extend(bytes);
            let reply = Reply::from(vec![Bytes::from(frame).into()]);
            Ok(Answer::Now(Answered::from(reply)))
        }
        sasl::Answer::Failed { mechanism, why, .. } => {
            let reason = Disconnect::Authentication {
                mechanism: Some(mechanism),
                why,
            };
            let answered = Answered {
                reply: None,
                mute: Duration::ZERO,
                close: None,
            };
            let delay = broker.config.failed_authentication_delay;
            Ok(refused(answered, reason, delay))
        }
        sasl::Answer::IllegalState => Err(illegal_state()),
    }
}

/// Delays the response and then closes the connection, so that a client cannot try many passwords
/// (`connection.failed.authentication.delay.ms`).
fn refused(mut answered: Answered, reason: Disconnect, delay: Duration) -> Answer {
    answered.close = Some(reason);
    let answered = Box::pin(async move {
        Timer::after(delay).await;
        Ok(answered)
    });
    let mute = Duration::ZERO;
    Answer::Later { answered, mute }
}

fn illegal_state() -> Disconnect {
    Disconnect::Authentication {
        mechanism: None,
        why: "the client sent its messages in the wrong order".to_owned(),
    }
}
