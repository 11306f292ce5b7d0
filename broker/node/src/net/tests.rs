//! Tests connections over loopback sockets, served by a test service.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_executor::Task;
use sedge_core::security_protocol::SecurityProtocol;
use sedge_protocol::Bytes;

use super::Net;
use super::listener::{Listener, accept};
use super::service::{
    Answer, Answered, Disconnect, Estimate, Reply, Rule, Service, Session, Start,
};
use crate::config::{self, Flags, HostPort, ListenerConfig, SocketBuffers};
use crate::metrics::Metrics;
use crate::process::runtime::Runtime;
use crate::tls::ServerTls;

mod tls;

/// Kinds of requests.
const NOW: i16 = 0;
/// A pipelined request, answered when the test says so.
const LATER: i16 = 1;
const LARGE: i16 = 2;
/// Its answer mutes the connection for [`MUTE`].
const MUTING: i16 = 3;
/// Its answer mutes the connection for longer than any test takes.
const SILENCING: i16 = 4;
const REFUSED: i16 = 5;
/// As [`LATER`], but the connection is muted from the start of the request.
const MUTED_LATER: i16 = 6;

/// More than the buffers of both sockets hold.
const LARGE_BYTES: usize = 8 << 20;
const MUTE: Duration = Duration::from_millis(50);
const SILENCE: Duration = Duration::from_hours(1);

/// A request that has started.
struct Started {
    number: u32,
    /// The client that asks.
    principal: String,
    /// Releases its answer, if it is answered later.
    release: Option<async_channel::Sender<()>>,
}

/// Answers a request with its number; a large one with many bytes behind it.
#[derive(Clone)]
struct Echo(Arc<Mutex<Sender<Started>>>);

impl Service for Echo {
    fn rule(&self, api_key: i16) -> Rule {
        Rule {
            start: if matches!(api_key, LATER | MUTED_LATER) {
                Start::Pipelined
            } else {
                Start::InTurn
            },
            estimate: if api_key == LARGE {
                Estimate::Recent
            } else {
                Estimate::Nothing
            },
        }
    }

    fn refuses(&self, _: IpAddr) -> Option<Duration> {
        None
    }

    async fn call(&self, session: &Arc<Session>, frame: Bytes) -> Result<Answer, Disconnect> {
        let api_key = i16::from_be_bytes(*frame.first_chunk().unwrap());
        let number = u32::from_be_bytes(*frame.last_chunk().unwrap());
        let (release, released) = async_channel::bounded(1);
        let started = Started {
            number,
            principal: session.principal().to_string(),
            release: matches!(api_key, LATER | MUTED_LATER).then_some(release),
        };
        self.0.lock().unwrap().send(started).unwrap();
        let bytes = if api_key == LARGE { LARGE_BYTES } else { 0 };
        let mut answered = Answered::from(reply(number, bytes));
        match api_key {
            LATER | MUTED_LATER => {
                return Ok(Answer::Later {
                    answered: Box::pin(async move {
                        released.recv().await.unwrap();
                        Ok(answered)
                    }),
                    mute: if api_key == LATER {
                        Duration::ZERO
                    } else {
                        SILENCE
                    },
                });
            }
            MUTING => answered.mute = MUTE,
            SILENCING => answered.mute = SILENCE,
            REFUSED => return Err(Disconnect::UnacknowledgedFailure),
            _ => {}
        }
        Ok(Answer::Now(answered))
    }
}

fn reply(number: u32, bytes: usize) -> Reply {
    let mut frame = (4 + bytes as u32).to_be_bytes().to_vec();
    frame.extend(number.to_be_bytes());
    frame.extend((0..bytes).map(|at| at as u8));
    Reply::from(vec![Bytes::from(frame).into()])
}

struct Server {
    address: SocketAddr,
    started: Receiver<Started>,
    net: Arc<Net>,
    _accepting: Task<()>,
}

impl Server {
    fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(tls: Option<Arc<ServerTls>>) -> Self {
        Self::start_set(tls, &[])
    }

    fn start_set(tls: Option<Arc<ServerTls>>, settings: &[(&str, &str)]) -> Self {
        let values = [("log.dirs", "/nonexistent"), ("sedge.console", "off")];
        let values = values.into_iter().chain(settings.iter().copied());
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let flags = Flags {
            file: None,
            values: values.map(owned).collect(),
        };
        let config = config::load(&flags).unwrap();
        let runtime = Runtime::start(1).unwrap();
        let net = Net::new(&config, Arc::new(Metrics::default()), runtime.clone());
        let buffers = SocketBuffers {
            send: Some(64 << 10),
            receive: None,
        };
        let listener = ListenerConfig {
            name: "PLAINTEXT".to_owned(),
            protocol: SecurityProtocol::Plaintext,
            tls,
            sasl: None,
            address: HostPort::parse("127.0.0.1:0").unwrap(),
            advertised: None,
            max_connections: None,
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(Arc::new(listener), address, buffers).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, started) = channel();
        let service = Echo(Arc::new(Mutex::new(sender)));
        Self {
            address,
            started,
            _accepting: runtime.spawn(accept(listener, Arc::clone(&net), service)),
            net,
        }
    }

    fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).unwrap())
    }

    /// Waits for the next request to start.
    fn started(&self, number: u32) -> Started {
        let started = self.started.recv_timeout(Duration::from_mins(1)).unwrap();
        assert_eq!(started.number, number);
        started
    }

    /// Checks that no other request starts, although another client is served.
    fn none_is_started(&self, other: &mut Client, number: u32) {
        other.send(NOW, number);
        assert_eq!(other.receive(), (number, 0));
        self.started(number);
        assert!(self.started.try_recv().is_err());
    }
}

struct Client<S = TcpStream>(S);

impl<S: Read + Write> Client<S> {
    fn send(&mut self, api_key: i16, number: u32) {
        let mut request = 6_u32.to_be_bytes().to_vec();
        request.extend(api_key.to_be_bytes());
        request.extend(number.to_be_bytes());
        self.0.write_all(&request).unwrap();
    }

    /// Reads a reply slowly. Returns its number, and the number of bytes behind it.
    fn receive(&mut self) -> (u32, usize) {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).unwrap();
        let bytes = u32::from_be_bytes(*head.first_chunk().unwrap()) as usize - 4;
        let mut at = 0;
        let mut piece = [0; 10_007];
        while at < bytes {
            let room = piece.len().min(bytes - at);
            let read = self.0.read(&mut piece[..room]).unwrap();
            assert!(read > 0, "the reply ends at {at} of {bytes}");
            assert!(
                (at..)
                    .zip(&piece[..read])
                    .all(|(at, byte)| at as u8 == *byte)
            );
            at += read;
        }
        (u32::from_be_bytes(*head.last_chunk().unwrap()), bytes)
    }
}

#[test]
fn replies_leave_in_the_order_of_the_requests_whatever_is_ready_first() {
    let server = Server::start();
    let (mut client, mut other) = (server.connect(), server.connect());
    for number in 0..5 {
        client.send(LATER, number);
    }
    client.send(NOW, 5);
    let mut releases: Vec<_> = (0..5)
        .map(|number| server.started(number).release.unwrap())
        .collect();
    // A request in turn does not start before all of those are answered.
    server.none_is_started(&mut other, 100);
    let first = releases.remove(0);
    for release in releases.iter().rev() {
        release.send_blocking(()).unwrap();
    }
    server.none_is_started(&mut other, 101);
    first.send_blocking(()).unwrap();
    for number in 0..6 {
        assert_eq!(client.receive(), (number, 0));
    }
    server.started(5);
}

#[test]
fn no_request_starts_while_its_connection_is_muted() {
    let server = Server::start();
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send(SILENCING, 1);
    client.send(LATER, 2);
    client.send(NOW, 3);
    server.started(1);
    // The reply itself is not delayed, nor is another connection.
    assert_eq!(client.receive(), (1, 0));
    for number in 100..120 {
        server.none_is_started(&mut other, number);
    }
}

#[test]
fn a_request_that_is_answered_later_mutes_its_connection_at_once() {
    let server = Server::start();
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send(MUTED_LATER, 1);
    client.send(LATER, 2);
    let release = server.started(1).release.unwrap();
    for number in 100..110 {
        server.none_is_started(&mut other, number);
    }
    release.send_blocking(()).unwrap();
    assert_eq!(client.receive(), (1, 0));
}

/// A client whose connection is muted cannot do anything.
#[test]
fn a_muted_connection_is_not_idle() {
    let server = Server::start_set(None, &[("connections.max.idle.ms", "20")]);
    let (mut idle, mut muted) = (server.connect(), server.connect());
    muted.send(SILENCING, 1);
    server.started(1);
    assert_eq!(muted.receive(), (1, 0));
    idle.send(NOW, 2);
    server.started(2);
    assert_eq!(idle.receive(), (2, 0));
    let closed = |client: &mut Client| client.0.read(&mut [0]).map(|bytes| bytes == 0);
    assert!(closed(&mut idle).unwrap());
    // Much later than it would have been.
    muted.0.set_read_timeout(Some(10 * MUTE)).unwrap();
    let error = closed(&mut muted).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_connection_goes_on_when_its_mute_is_over() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(MUTING, 1);
    client.send(LATER, 2);
    client.send(NOW, 3);
    server.started(1);
    assert_eq!(client.receive(), (1, 0));
    let later = server.started(2);
    later.release.unwrap().send_blocking(()).unwrap();
    assert_eq!(client.receive(), (2, 0));
    assert_eq!(client.receive(), (3, 0));
}

#[test]
fn a_slow_reader_gets_all_of_it_and_holds_up_nobody_else() {
    let server = Server::start();
    let (mut slow, mut other) = (server.connect(), server.connect());
    slow.send(LARGE, 1);
    slow.send(LARGE, 2);
    server.started(1);
    // The client has not read the first reply, which is larger than the sockets' buffers.
    server.none_is_started(&mut other, 100);
    assert_eq!(slow.receive(), (1, LARGE_BYTES));
    assert_eq!(slow.receive(), (2, LARGE_BYTES));
    server.started(2);
}

#[test]
fn a_service_that_refuses_a_request_has_the_connection_closed() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(REFUSED, 1);
    assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(server.net.metrics.connections_broken_off.get(), 1);
}
