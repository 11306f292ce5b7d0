//! The interface between the sockets and the code that they serve: a [`Service`] turns requests
//! into answers.
//!
//! **Invariant:** nothing in `net` knows a broker or a handler (`net/tests.rs` serves a test
//! service).

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sedge_core::security::Principal;
use sedge_core::security::sasl::{Barred, Login, Mechanism};
use sedge_protocol::Bytes;

use super::activity::Activity;
use super::memory::Admission;
use super::reply::Frame;
use super::unsupported::Unsupported;
use crate::config::ListenerConfig;
use crate::metrics::HandshakeFailure;

/// Answers the requests of connections. A clone is a handle to the same service.
pub trait Service: Clone + Send + Sync + 'static {
    /// Returns the rule for requests of this kind, before they are read.
    fn rule(&self, api_key: i16) -> Rule;

    /// Counts a new connection from this address. Returns the time after which the connection is to
    /// be closed unserved, if the address opens too many.
    fn refuses(&self, remote: IpAddr) -> Option<Duration>;

    /// Starts the request in `frame`. The requests of one connection are started in order.
    ///
    /// # Errors
    /// The reason for closing the connection.
    fn call(
        &self,
        session: &Arc<Session>,
        frame: Bytes,
    ) -> impl Future<Output = Result<Answer, Disconnect>> + Send;
}

/// The rule for one kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub start: Start,
    pub estimate: Estimate,
}

impl Rule {
    /// That of requests before authentication. Messages of a login may have no header.
    pub const LOGIN: Self = Self {
        start: Start::InTurn,
        estimate: Estimate::Nothing,
    };
}

/// When a request may start, relative to earlier unanswered ones on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once, if the earlier ones are pipelined too; otherwise in turn.
    Pipelined,
    /// When all of them are answered, so that it sees their effects.
    InTurn,
}

/// The memory that an answer is expected to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// The size of recent answers of this kind. The body of the request is read once that much is
    /// free.
    Recent,
    /// Nothing: answers of this kind are small, or the service charges them itself.
    Nothing,
}

/// A connection, as its requests see it.
#[derive(Debug)]
pub struct Session {
    pub remote: SocketAddr,
    /// This machine's address that the client connected to.
    pub local: SocketAddr,
    pub listener: Arc<ListenerConfig>,
    /// The client's identity, as soon as it is known.
    principal: OnceLock<Principal>,
    /// Set if the client logged in with a delegation token.
    by_token: OnceLock<()>,
    /// On a listener with SASL.
    login: Option<Mutex<Login>>,
    /// The client's name and version, as it first gave them (KIP-511).
    pub client: OnceLock<ClientSoftware>,
    /// Bytes of record batches that were charged to the client, and withheld until it had waited:
    /// they are sent without being charged again.
    pub withheld_bytes: AtomicU64,
    pub activity: Arc<Activity>,
}

impl Session {
    /// Creates a session. A client that connects to a dual-stack listener by IPv4 is recorded by
    /// its IPv4 address, and so is our address: a client without IPv6 cannot use the mapped form.
    pub fn new(
        remote: SocketAddr,
        local: SocketAddr,
        listener: Arc<ListenerConfig>,
        activity: Arc<Activity>,
    ) -> Self {
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let login = listener.sasl.as_ref().map(|sasl| {
            let mechanisms = sasl.mechanisms.clone();
            Mutex::new(Login::new(mechanisms, sasl.session_ms_max))
        });
        Self {
            remote: canonical(remote),
            local: canonical(local),
            listener,
            principal: OnceLock::new(),
            by_token: OnceLock::new(),
            login,
            client: OnceLock::new(),
            withheld_bytes: AtomicU64::new(0),
            activity,
        }
    }

    /// Returns the client's identity.
    pub fn principal(&self) -> &Principal {
        self.principal.get().unwrap_or(&Principal::ANONYMOUS)
    }

    /// Stores the client's identity. The first call counts: a connection keeps its principal.
    pub fn identify(&self, principal: Principal) {
        let _ = self.principal.set(principal);
    }

    /// Stores that the client logged in with a delegation token.
    pub fn came_by_token(&self) {
        let _ = self.by_token.set(());
    }

    /// Returns whether the client logged in with a delegation token.
    pub fn is_by_token(&self) -> bool {
        self.by_token.get().is_some()
    }

    /// Returns whether the client has shown who it is, as far as its listener asks.
    pub fn is_authenticated(&self) -> bool {
        self.login.is_none() || self.principal.get().is_some()
    }

    /// Returns the client's login. `None` if its listener has no SASL.
    pub fn login(&self) -> Option<MutexGuard<'_, Login>> {
        let login = self.login.as_ref()?;
        Some(login.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the host and the port that the client is told to connect to: those that its listener
    /// advertises, or the address that it connected to.
    pub fn advertised(&self) -> (String, u16) {
        let ListenerConfig {
            address,
            advertised,
            ..
        } = &*self.listener;
        match advertised {
            Some(advertised) => (advertised.host.clone(), advertised.port),
            None if address.is_wildcard() => (self.local.ip().to_string(), self.local.port()),
            None => (address.host.clone(), self.local.port()),
        }
    }
}

/// Name and version of a client, as it gave them in ApiVersions (KIP-511).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    pub name: String,
    pub version: String,
}

impl fmt::Display for ClientSoftware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A service's answer to a request.
pub enum Answer {
    Now(Answered),
    /// The connection reads on, whatever the request waits for.
    Later {
        answered: Pin<Box<dyn Future<Output = Result<Answered, Disconnect>> + Send>>,
        /// How long no further request may start, from now on.
        mute: Duration,
    },
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(_) => "Now",
            Self::Later { .. } => "Later",
        })
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub struct Answered {
    /// The reply; `None` for a request that has none (acks=0).
    pub reply: Option<Reply>,
    /// How long no further request of the connection may start (KIP-219).
    pub mute: Duration,
    /// Closes the connection after the reply.
    pub close: Option<Disconnect>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        Self {
            reply: Some(reply),
            mute: Duration::ZERO,
            close: None,
        }
    }
}

/// A reply, and the memory that it holds, if the service has already charged it.
#[derive(Debug)]
pub struct Reply {
    pub frame: Frame,
    pub memory: Option<Admission>,
}

impl From<Frame> for Reply {
    fn from(frame: Frame) -> Self {
        let memory = None;
        Self { frame, memory }
    }
}

/// Reason why the broker closes a connection. Each is logged as one line.
#[derive(Debug)]
pub enum Disconnect {
    /// The length in front of a frame is negative or over `socket.request.max.bytes`; before
    /// authentication, over `sasl.server.max.receive.size`.
    FrameLength {
        bytes: i64,
        bytes_max: usize,
        is_authenticated: bool,
    },
    /// The first bytes are a TLS ClientHello.
    TlsOnPlaintext,
    /// The first bytes are those of an HTTP request.
    Http,
    /// The TLS handshake failed.
    Handshake {
        failure: HandshakeFailure,
        why: String,
    },
    /// The client did not show by SASL who it is.
    Authentication {
        mechanism: Option<Mechanism>,
        why: String,
    },
    /// A request came that the client's login does not allow now.
    Barred { barred: Barred, api_key: i16 },
    /// The frame cannot be decoded as the API and version that it names.
    Malformed {
        api_key: i16,
        api_version: i16,
        reason: String,
    },
    /// The broker does not support the API, or its version.
    Unsupported(Unsupported),
    /// Others wait for the memory that its half-sent request or its unread answer holds.
    Stalled,
    /// A write with acks=0 failed: closing the connection is the only possible answer.
    UnacknowledgedFailure,
    /// No byte was read or written for `connections.max.idle.ms`.
    Idle { idle_ms: u64 },
    /// The broker is shutting down.
    ShuttingDown,
    /// The socket failed.
    Io(io::Error),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameLength {
                bytes,
                bytes_max,
                is_authenticated,
            } => {
                let key = if *is_authenticated {
                    "the smaller of socket.request.max.bytes and queued.max.request.bytes"
                } else {
                    "before authentication (sasl.server.max.receive.size)"
                };
                write!(
                    f,
                    "a frame claims {bytes} bytes; allowed are 0 to {bytes_max}, {key}"
                )
            }
            Self::TlsOnPlaintext => f.write_str(
                "TLS on a plaintext listener: set security.protocol=PLAINTEXT for the client, or \
                 connect it to a TLS listener",
            ),
            Self::Http => {
                f.write_str("HTTP on a Kafka listener: use the console's address (sedge.console)")
            }
            Self::Handshake { why, .. } => write!(f, "the TLS handshake failed: {why}"),
            Self::Authentication { mechanism, why } => match mechanism {
                Some(mechanism) => write!(f, "SASL {mechanism} failed: {why}"),
                None => write!(f, "SASL failed: {why}"),
            },
            Self::Barred { barred, api_key } => match barred {
                Barred::Unauthenticated => write!(
                    f,
                    "a request of API {api_key} came before authentication: set \
                     security.protocol=SASL_PLAINTEXT or SASL_SSL for the client"
                ),
                Barred::DuringExchange => {
                    write!(f, "a request of API {api_key} came during authentication")
                }
                Barred::Expired => f.write_str(
                    "its session expired (connections.max.reauth.ms, or its token), and the client \
                     did not authenticate again",
                ),
            },
            Self::Malformed {
                api_key,
                api_version,
                reason,
            } => {
                write!(
                    f,
                    "a request of API {api_key} v{api_version} cannot be decoded: {reason}"
                )
            }
            Self::Unsupported(request) => request.fmt(f),
            Self::Stalled => f.write_str(
                "the client stalled while sending its request or reading its response, and other \
                 connections waited for its memory (sedge.memory.max.bytes, \
                 queued.max.request.bytes)",
            ),
            Self::UnacknowledgedFailure => f.write_str("a produce with acks=0 failed"),
            Self::Idle { idle_ms } => {
                write!(
                    f,
                    "no byte came or went for connections.max.idle.ms={idle_ms}"
                )
            }
            Self::ShuttingDown => f.write_str("the broker is shutting down"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Disconnect {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use sedge_core::security_protocol::SecurityProtocol;

    use super::*;
    use crate::config::HostPort;

    fn session(remote: &str, local: &str, address: &str, advertised: Option<&str>) -> Session {
        let parse = |text: &str| HostPort::parse(text).unwrap();
        let listener = ListenerConfig {
            name: "PLAINTEXT".to_owned(),
            protocol: SecurityProtocol::Plaintext,
            tls: None,
            sasl: None,
            address: parse(address),
            advertised: advertised.map(parse),
            max_connections: None,
        };
        Session::new(
            remote.parse().unwrap(),
            local.parse().unwrap(),
            Arc::new(listener),
            Arc::default(),
        )
    }

    #[test]
    fn a_client_by_ipv4_of_a_dual_stack_listener_has_no_mapped_address() {
        let mapped = "[::ffff:192.0.2.1]:9092";
        let session = session(mapped, "[2001:db8::1]:9092", ":9092", None);
        assert_eq!(session.remote.to_string(), "192.0.2.1:9092");
        assert_eq!(session.local.to_string(), "[2001:db8::1]:9092");
    }

    #[test]
    fn a_client_is_told_what_the_listener_that_it_came_by_advertises() {
        let check = |local: &str, address: &str, advertised, expected: (&str, u16)| {
            let session = session("192.0.2.1:1234", local, address, advertised);
            let (host, port) = session.advertised();
            assert_eq!((host.as_str(), port), expected, "{address} {advertised:?}");
        };
        check("10.0.0.1:9092", ":9092", None, ("10.0.0.1", 9092));
        check("10.0.0.1:9092", "0.0.0.0:9092", None, ("10.0.0.1", 9092));
        check("10.0.0.1:9092", "broker:9092", None, ("broker", 9092));
        // Port 0 means any port: the client is told the port that was bound.
        check("127.0.0.1:4321", "localhost:0", None, ("localhost", 4321));
        let other = Some("outside.example:19092");
        check("10.0.0.1:9092", ":9092", other, ("outside.example", 19_092));
        check("10.0.0.1:4321", ":0", other, ("outside.example", 19_092));
    }
}
