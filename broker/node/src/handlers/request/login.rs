//! The login of a connection: which requests may come, and what answers its messages.

use std::sync::Arc;

use log::debug;
use ring::rand::{SecureRandom as _, SystemRandom};
use sedge_core::base64;
use sedge_core::security::Users;
use sedge_core::security::oauth::{Identity, Refusal};
use sedge_core::security::sasl::{
    Answer, Credentials, Exchange, HandshakeAnswer, Mechanism, OAuthBearer, Plain, Scram, Token,
    Verifier, login,
};
use sedge_core::security::scram;
use sedge_protocol::kafka::generated::ApiKey;

use super::Request;
use crate::broker::Broker;
use crate::config::DelegationTokens;
use crate::config::sasl::ListenerSasl;
use crate::limits::SCRAM_NONCE_BYTES;
use crate::log::Log;
use crate::net::service::{Disconnect, Session};
use crate::oauth::Validator;

/// Checks that a request of this kind may come now.
///
/// # Errors
/// The client is not authenticated, or not any more.
pub fn check(broker: &Broker, session: &Session, api_key: i16) -> Result<(), Disconnect> {
    let Some(login) = session.login() else {
        return Ok(());
    };
    let request = match ApiKey::from_i16(api_key) {
        Some(ApiKey::ApiVersions) => login::Request::ApiVersions,
        Some(ApiKey::SaslHandshake) => login::Request::Handshake,
        Some(ApiKey::SaslAuthenticate) => login::Request::Authenticate,
        _ => login::Request::Other,
    };
    let now_ms = broker.log.clock.now().monotonic_ms;
    login.check(request, now_ms).map_err(|barred| {
        broker.metrics.sasl.barred(barred);
        Disconnect::Barred { barred, api_key }
    })
}

/// Takes a message of a login. `version` is that of the SaslAuthenticate; 0 in a frame without a
/// header.
pub fn authenticate(broker: &Broker, session: &Session, message: &[u8], version: i16) -> Answer {
    let now = broker.log.clock.now();
    let Some(mut login) = session.login() else {
        return Answer::IllegalState;
    };
    let answer = login.authenticate(message, version, now.monotonic_ms, now.wall_ms);
    drop(login);
    match &answer {
        Answer::Done {
            principal,
            mechanism,
            is_token,
            is_again,
            ..
        } => {
            session.identify(principal.clone());
            if *is_token {
                session.came_by_token();
            }
            broker.metrics.sasl.done(*mechanism, *is_again);
            debug!(
                target: "sedge::net",
                "peer={} is {principal} by SASL {mechanism}", session.remote
            );
        }
        Answer::Failed { mechanism, .. } => broker.metrics.sasl.failed(*mechanism),
        Answer::Continue(_) | Answer::IllegalState => {}
    }
    answer
}

impl Request {
    /// Begins a login by the mechanism of this name. Returns the answer, and the mechanisms that
    /// the listener has; `None` if it has no SASL.
    pub fn handshake(&self, name: &str) -> Option<(HandshakeAnswer, Vec<Mechanism>)> {
        let (broker, session) = (&self.access.broker, &self.access.session);
        let now_ms = broker.log.clock.now().monotonic_ms;
        let sasl = session.listener.sasl.as_ref()?;
        let make = |mechanism| exchange(broker, sasl, mechanism);
        let answer = session
            .login()?
            .handshake(name, self.version(), now_ms, make);
        if answer == HandshakeAnswer::Unsupported {
            broker.metrics.sasl.unsupported.increment();
        }
        Some((answer, sasl.mechanisms.clone()))
    }

    /// Takes a message of the client's login.
    pub fn authenticate(&self, message: &[u8]) -> Answer {
        let (broker, session) = (&self.access.broker, &self.access.session);
        authenticate(broker, session, message, self.version())
    }

    /// Returns whether the client has shown who it is.
    pub fn is_authenticated(&self) -> bool {
        self.access.session.is_authenticated()
    }

    /// Returns how long a client waits for the answer that its login failed.
    pub fn failed_authentication_delay(&self) -> std::time::Duration {
        self.access.broker.config.failed_authentication_delay
    }
}

fn exchange(broker: &Broker, sasl: &ListenerSasl, mechanism: Mechanism) -> Box<dyn Exchange> {
    match mechanism {
        Mechanism::Plain => Box::new(Plain::new(Arc::clone(&sasl.passwords))),
        Mechanism::Scram(hash) => {
            let known = Known {
                log: Arc::clone(&broker.log),
                tokens: broker.config.delegation_tokens.clone(),
            };
            Box::new(Scram::new(hash, known, nonce()))
        }
        Mechanism::OAuthBearer => {
            let validator = sasl.oauth.clone();
            Box::new(OAuthBearer::new(Bearers(validator)))
        }
    }
}

/// Returns a nonce: random letters of base64.
fn nonce() -> String {
    let mut random = [0; SCRAM_NONCE_BYTES];
    SystemRandom::new()
        .fill(&mut random)
        .expect("the operating system has randomness");
    base64::encode(&random)
}

/// The credentials in the metadata.
#[derive(Debug)]
struct Known {
    log: Arc<Log>,
    tokens: Option<DelegationTokens>,
}

impl Credentials for Known {
    fn users(&self) -> Arc<Users> {
        Arc::clone(self.log.metadata.load().users())
    }

    fn token(&self, id: &str, mechanism: scram::Mechanism) -> Option<Token> {
        let image = self.log.metadata.load();
        let token = image.tokens().get(id)?;
        if token.has_expired(self.log.clock.now().wall_ms) {
            return None;
        }
        Some(Token {
            credential: self.tokens.as_ref()?.credential(id, mechanism)?,
            owner: token.owner.clone(),
            expires_at_ms: token.expires_ms.min(token.latest_ms),
        })
    }
}

/// Those that show a token of OAUTHBEARER. Without a validator, the listener has not the mechanism.
#[derive(Debug)]
struct Bearers(Option<Arc<Validator>>);

impl Verifier for Bearers {
    fn identify(&self, token: &str) -> Result<Identity, Refusal> {
        let validator = self.0.as_ref().ok_or(Refusal::UnknownKey)?;
        validator.identify(token)
    }
}
