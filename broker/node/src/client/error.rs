//! Errors of requests to a broker.

use std::fmt;
use std::io;
use std::time::Duration;

use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::ProtocolError;
use sedge_protocol::kafka::generated::ApiKey;

use crate::process::failure::{Exit, Failure};
use crate::tls::KeyError;
use crate::tls::words::{self, Peer};

/// Reason why a call failed.
#[derive(Debug)]
pub enum Error {
    /// The text is not `HOST:PORT`.
    Address(String),
    /// The host has no address, or it refused the connection.
    Connect { address: String, source: io::Error },
    /// The TLS handshake failed, or the broker sent a TLS alert after it.
    Tls { why: String },
    /// The connection ended during the TLS handshake.
    Handshake { address: String, source: io::Error },
    /// The broker rejects this client's credentials, or cannot prove its own identity.
    Login {
        mechanism: &'static str,
        why: String,
    },
    /// A certificate, key or token file of this client cannot be loaded.
    Certificate(KeyError),
    /// The broker uses TLS, and this client does not.
    TlsOnly,
    /// An HTTP server answers in the place of the broker.
    Http,
    /// The proxy does not make the tunnel to `address`; `None` if it does not speak HTTP.
    Proxy {
        proxy: String,
        address: String,
        status: Option<u16>,
    },
    /// The link has made no progress for this long.
    Stalled { after: Duration },
    /// The connection broke.
    Io(io::Error),
    /// The connection was closed, by the broker or because an earlier request on it failed.
    Closed,
    /// There was no answer in time. The connection is closed, because answers come in order.
    Timeout {
        doing: &'static str,
        after: Duration,
    },
    /// The answer is larger than `receive.message.max.bytes`.
    TooLarge { bytes: usize, bytes_max: usize },
    /// The answer cannot be decoded.
    Malformed { api: ApiKey, source: ProtocolError },
    /// The answer belongs to no request: the peer does not speak Kafka.
    NotKafka,
    /// The request cannot be encoded at the version that this broker speaks.
    Unwritable { api: ApiKey, source: ProtocolError },
    /// The broker does not support the request, or no version of it that this client speaks.
    Unsupported { api: ApiKey },
    /// The broker's answer is an error.
    Broker {
        api: ApiKey,
        code: ErrorCode,
        message: Option<String>,
    },
    /// The cluster currently has no leader, coordinator or controller for the request.
    NoBroker(&'static str),
    /// The cluster is the link's own: copying to it would never end.
    Itself,
    /// Another producer uses this transactional id.
    Fenced { transactional_id: String },
    /// The cluster has no transactions, and the link requires them.
    NoTransactions,
    /// The answer lacks what the request asked for.
    Missing { api: ApiKey, what: &'static str },
}

impl Error {
    /// Returns whether another try after a backoff may succeed.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Handshake { .. }
            | Self::Io(_)
            | Self::Closed
            | Self::Timeout { .. }
            | Self::NoBroker(_)
            // A portal lets through after a login.
            | Self::Http
            | Self::Stalled { .. }
            | Self::Proxy { status: Some(500..), .. }
            // Kafka's own clients retry it too; they class it as a metadata error.
            | Self::Broker {
                code: ErrorCode::KafkaStorageError | ErrorCode::ConcurrentTransactions,
                ..
            } => true,
            Self::Broker { code, .. } => code.is_retriable(),
            Self::Address(_)
            | Self::Tls { .. }
            | Self::Login { .. }
            | Self::Certificate(_)
            | Self::TlsOnly
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::NotKafka
            | Self::Proxy { .. }
            | Self::Unwritable { .. }
            | Self::Unsupported { .. }
            | Self::Itself
            | Self::Fenced { .. }
            | Self::NoTransactions
            | Self::Missing { .. } => false,
        }
    }

    /// Returns the error code, if a broker sent one.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns `Ok` for code 0.
    pub fn check(api: ApiKey, code: i16, message: Option<&str>) -> Result<(), Self> {
        match ErrorCode::from(code) {
            ErrorCode::None => Ok(()),
            code => Err(Self::Broker {
                api,
                code,
                message: message.map(str::to_owned),
            }),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(text) => write!(f, "{text:?} is not HOST:PORT"),
            Self::Connect { address, source } => write!(f, "cannot connect to {address}: {source}"),
            Self::Tls { why } => write!(f, "the TLS handshake failed: {why}"),
            Self::Handshake { address, source } => write!(
                f,
                "the connection to {address} ended during the TLS handshake: {source}; if this \
                 port does not use TLS, set security.protocol=PLAINTEXT"
            ),
            Self::Login { mechanism, why } => write!(f, "the login by {mechanism} failed: {why}"),
            Self::Certificate(error) => error.fmt(f),
            Self::TlsOnly => f.write_str(
                "the broker uses TLS on this port: set security.protocol=SSL (or SASL_SSL), and \
                 ssl.truststore.* if its CA is not a public one",
            ),
            Self::Http => f.write_str(
                "an HTTP server answers in the place of a Kafka broker: a captive portal may \
                 require a login to this network; otherwise set bootstrap.servers to a Kafka \
                 listener, or set proxy if brokers are only reached through an HTTP proxy",
            ),
            Self::Proxy {
                proxy,
                address,
                status,
            } => explain_proxy(f, proxy, address, *status),
            Self::Stalled { after } => write!(
                f,
                "nothing was acknowledged for {} s, although records are under way; all \
                 connections are made anew",
                after.as_secs()
            ),
            Self::Io(source) => write!(f, "the connection broke: {source}"),
            Self::Closed => f.write_str("the broker closed the connection"),
            Self::Timeout { doing, after } => {
                write!(f, "no answer within {} ms while {doing}", after.as_millis())
            }
            Self::TooLarge { bytes, bytes_max } => write!(
                f,
                "a response of {bytes} bytes is larger than receive.message.max.bytes \
                 ({bytes_max}); is this a Kafka listener without TLS?"
            ),
            Self::Malformed { api, source } => {
                write!(f, "the {api:?} response cannot be decoded: {source}")
            }
            Self::NotKafka => {
                f.write_str("the response is not of the Kafka protocol; is this a Kafka listener?")
            }
            Self::Unwritable { api, source } => write!(
                f,
                "this {api:?} request cannot be encoded for a broker of this version: {source}"
            ),
            Self::Unsupported { api } => {
                write!(
                    f,
                    "the broker supports no version of {api:?} that sedge knows"
                )
            }
            Self::Broker {
                api,
                code,
                message: None,
            } => write!(f, "{api:?}: {code}"),
            Self::Broker {
                api,
                code,
                message: Some(message),
            } => {
                write!(f, "{api:?}: {code}: {message}")
            }
            Self::NoBroker(whom) => write!(f, "the cluster has no {whom} at the moment"),
            Self::Itself => f.write_str(
                "bootstrap.servers is an address of this broker's own cluster (the cluster ids are \
                 equal); set an address of another cluster",
            ),
            Self::Fenced { transactional_id } => write!(
                f,
                "another producer has taken over the transactional id {transactional_id}: a \
                 second broker runs this link, such as a copy of this one; stop one of them, or \
                 set another transactional.id of the link"
            ),
            Self::NoTransactions => f.write_str(
                "the upstream has no transactions, and mode = exactly-once requires them (Kafka \
                 2.5 or later); set mode = at-least-once, or leave mode unset",
            ),
            Self::Missing { api, what } => write!(f, "the {api:?} response has no {what}"),
        }
    }
}

fn explain_proxy(
    f: &mut fmt::Formatter<'_>,
    proxy: &str,
    address: &str,
    status: Option<u16>,
) -> fmt::Result {
    match status {
        None => write!(
            f,
            "{proxy} (the key proxy) does not answer as an HTTP proxy does"
        ),
        Some(407) => write!(
            f,
            "the proxy {proxy} asks for a user and a password, or refuses those that it got (407); \
             set proxy=http://USER:PASSWORD@{proxy}"
        ),
        Some(status @ 500..) => write!(f, "the proxy {proxy} cannot reach {address} ({status})"),
        Some(status) => write!(
            f,
            "the proxy {proxy} refuses to connect to {address} ({status}); allow CONNECT to this \
             address and port there"
        ),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Handshake { source, .. } | Self::Io(source) => {
                Some(source)
            }
            Self::Certificate(source) => Some(source),
            Self::Malformed { source, .. } | Self::Unwritable { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Certificate(error)
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        // In TLS 1.3, a broker refuses a client certificate only after the handshake.
        if let Some(error) = words::of_io(&source) {
            let why = words::explain(error, Peer::Broker).1;
            return Self::Tls { why };
        }
        match source.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(source),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Address(_) => Exit::Usage,
            Error::Broker { code, .. } => exit_of(*code),
            Error::Malformed { .. }
            | Error::NotKafka
            | Error::TooLarge { .. }
            | Error::Missing { .. } => Exit::Data,
            Error::Unwritable { .. } => Exit::Software,
            Error::Itself | Error::Certificate(_) | Error::Fenced { .. } => Exit::Config,
            Error::Tls { .. } | Error::TlsOnly | Error::Login { .. } | Error::Proxy { .. } => {
                Exit::Permission
            }
            Error::Connect { .. }
            | Error::Handshake { .. }
            | Error::Io(_)
            | Error::Closed
            | Error::Http
            | Error::Stalled { .. }
            | Error::Timeout { .. }
            | Error::Unsupported { .. }
            | Error::NoTransactions
            | Error::NoBroker(_) => Exit::Unavailable,
        };
        let failure = Self::new(exit, error.to_string());
        match error {
            Error::Connect { .. } => failure.advise(
                "Is a broker running there? Start one with `sedge serve`, or name another with \
                 --bootstrap-server",
            ),
            _ => failure,
        }
    }
}

fn exit_of(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::GroupIdNotFound
        | ErrorCode::UnknownTopicId => Exit::Unavailable,
        ErrorCode::TopicAlreadyExists => Exit::CannotCreate,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => Exit::Permission,
        ErrorCode::KafkaStorageError => Exit::Io,
        code if code.is_retriable() => Exit::Temporary,
        _ => Exit::Data,
    }
}
