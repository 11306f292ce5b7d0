//! The first requests on a connection: the negotiation of versions, and the login.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::AsyncWriteExt;
use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated::{
    ApiKey, ApiVersionsRequestData, ApiVersionsResponseData, SaslAuthenticateRequestData,
    SaslHandshakeRequestData, SaslHandshakeResponseData,
};
use sedge_protocol::{Bytes, ErrorCode};
use zeroize::Zeroize;

use super::config::ClientConfig;
use super::error::Error;
use super::frame;
use super::limits::LOGIN_MESSAGES_MAX;
use super::request::{Request, decode, encode};
use super::sasl::{Login, Step, printable};
use super::transport::Transport;
use super::versions::{Versions, own_range};

/// One request at a time.
struct Asking<'a> {
    transport: &'a mut Transport,
    config: &'a ClientConfig,
    next_correlation_id: i32,
}

/// Negotiates versions, and logs in if the configuration has a login. Returns how long the broker
/// keeps the login, if it says so.
pub async fn shake(
    transport: &mut Transport,
    config: &ClientConfig,
) -> Result<(Versions, Option<Duration>), Error> {
    let mut asking = Asking {
        transport,
        config,
        next_correlation_id: 0,
    };
    let versions = negotiate(&mut asking).await?;
    let lifetime = match &config.login {
        Some(login) => {
            choose_mechanism(&mut asking, &versions, login.mechanism()).await?;
            authenticate(&mut asking, &versions, Arc::clone(login)).await?
        }
        None => None,
    };
    Ok((versions, lifetime))
}

impl Asking<'_> {
    /// Sends a request and returns the body of its answer.
    async fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<Bytes, Error> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let frame = encode(request, version, correlation_id, &self.config.client_id)?;
        let sent = async {
            for part in &frame {
                self.transport.writer.write_all(part).await?;
            }
            self.transport.writer.flush().await
        };
        let sent = sent.await;
        // The frame may contain a password.
        frame.into_iter().for_each(wipe);
        sent?;
        let bytes_max = self.config.response_bytes_max;
        let mut answer = frame::read(&mut self.transport.reader, bytes_max).await?;
        frame::take_correlation_id(&mut answer, correlation_id)?;
        Ok(answer)
    }
}

/// KIP-35 and KIP-511: tries the newest version first. A broker that does not know it answers error
/// 35 in the form of version 0, with the range that it does know.
async fn negotiate(asking: &mut Asking<'_>) -> Result<Versions, Error> {
    let request = ApiVersionsRequestData::default()
        .with_client_software_name(KafkaString::from_static("sedge"))
        .with_client_software_version(KafkaString::from_static(env!("CARGO_PKG_VERSION")));
    let (_, newest) = own_range(ApiKey::ApiVersions);
    let mut version = newest;
    for _ in 0..2 {
        let answer = asking.ask(&request, version).await?;
        if error_code_of(&answer) != Some(ErrorCode::UnsupportedVersion) {
            let response = decode::<ApiVersionsRequestData>(answer, version)?;
            Error::check(ApiKey::ApiVersions, response.error_code, None)?;
            return Ok(Versions::from_response(&response));
        }
        let fallback: ApiVersionsResponseData = decode::<ApiVersionsRequestData>(answer, 0)?;
        // Brokers before 2.4 give no range with this error; they all speak version 0.
        version = Versions::from_response(&fallback)
            .choose(ApiKey::ApiVersions)
            .unwrap_or(0);
    }
    Err(Error::Unsupported {
        api: ApiKey::ApiVersions,
    })
}

fn error_code_of(answer: &Bytes) -> Option<ErrorCode> {
    answer
        .first_chunk::<2>()
        .map(|code| ErrorCode::from(i16::from_be_bytes(*code)))
}

/// Chooses the mechanism. From version 1 on, its messages are sent in requests (KIP-152).
async fn choose_mechanism(
    asking: &mut Asking<'_>,
    versions: &Versions,
    mechanism: &'static str,
) -> Result<(), Error> {
    let failed = |why: String| Error::Login { mechanism, why };
    let version = versions.choose(ApiKey::SaslHandshake);
    let version = version
        .filter(|version| *version >= 1)
        .ok_or_else(|| failed(WITHOUT_SASL.to_owned()))?;
    let request =
        SaslHandshakeRequestData::default().with_mechanism(KafkaString::from_static(mechanism));
    let answer = asking.ask(&request, version).await?;
    let response: SaslHandshakeResponseData = decode::<SaslHandshakeRequestData>(answer, version)?;
    match ErrorCode::from(response.error_code) {
        ErrorCode::None => Ok(()),
        ErrorCode::UnsupportedSaslMechanism => {
            let names = response.mechanisms.iter().map(KafkaString::as_str);
            let names = printable(&names.collect::<Vec<_>>().join(", "));
            Err(failed(format!(
                "the listener does not support this mechanism, only {names}; set sasl.mechanism to \
                 one of them, or add {mechanism} to the broker's sasl.enabled.mechanisms"
            )))
        }
        ErrorCode::IllegalSaslState => Err(failed(WITHOUT_SASL.to_owned())),
        code => Err(failed(code.to_string())),
    }
}

const WITHOUT_SASL: &str = "the broker asks for no login on this port: set security.protocol to \
                            PLAINTEXT or SSL, or connect to its port for SASL";

async fn authenticate(
    asking: &mut Asking<'_>,
    versions: &Versions,
    login: Arc<Login>,
) -> Result<Option<Duration>, Error> {
    let mechanism = login.mechanism();
    let failed = |why: String| Error::Login { mechanism, why };
    let version = versions.choose(ApiKey::SaslAuthenticate);
    let version = version.ok_or(Error::Unsupported {
        api: ApiKey::SaslAuthenticate,
    })?;
    let mut exchange = blocking::unblock(move || login.begin()).await?;
    let mut message = exchange.first();
    for _ in 0..LOGIN_MESSAGES_MAX {
        let request = SaslAuthenticateRequestData::default().with_auth_bytes(message);
        let answer = asking.ask(&request, version).await;
        wipe(request.auth_bytes);
        let response = decode::<SaslAuthenticateRequestData>(answer?, version)?;
        match ErrorCode::from(response.error_code) {
            ErrorCode::None => {}
            code => {
                let said = response.error_message.as_ref().map(KafkaString::as_str);
                let said = said.map(printable).filter(|said| !said.is_empty());
                let said = said.unwrap_or_else(|| code.to_string());
                let why = format!(
                    "the broker refuses the login: {said}; {}",
                    login_advice(mechanism)
                );
                return Err(failed(why));
            }
        }
        // SCRAM hashes the password thousands of times.
        let challenge = response.auth_bytes;
        let (taken, step) = blocking::unblock(move || {
            let step = exchange.step(&challenge);
            (exchange, step)
        })
        .await;
        exchange = taken;
        match step.map_err(failed)? {
            Step::Done => return Ok(lifetime_of(response.session_lifetime_ms)),
            Step::Send(next) => message = next,
        }
    }
    Err(failed(
        "the broker asks for more messages than any mechanism has".to_owned(),
    ))
}

fn login_advice(mechanism: &str) -> &'static str {
    match mechanism {
        "OAUTHBEARER" => "check the token's expiry, audience and issuer",
        _ => "check username and password in sasl.jaas.config",
    }
}

/// KIP-368. Lifetime 0 means that the login holds as long as the connection.
fn lifetime_of(session_lifetime_ms: i64) -> Option<Duration> {
    let lifetime = u64::try_from(session_lifetime_ms).ok().filter(|ms| *ms > 0);
    lifetime.map(Duration::from_millis)
}

/// Wipes the bytes, unless something else refers to them.
fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_told_in_milliseconds_above_zero() {
        assert_eq!(lifetime_of(0), None);
        assert_eq!(lifetime_of(-1), None);
        assert_eq!(lifetime_of(1_500), Some(Duration::from_millis(1_500)));
    }
}
