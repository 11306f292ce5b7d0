//! Tests the server through its socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::config::{ConsoleTokens, HostPort};
use crate::metrics::Metrics;

#[derive(Default)]
struct Broker {
    ready: AtomicBool,
}

impl Source for Broker {
    fn status(&self) -> Status {
        let topic = TopicStatus {
            name: "sensors".into(),
            partitions: 3,
            ..TopicStatus::default()
        };
        Status {
            cluster_id: "edge-1".into(),
            topics: vec![topic],
            ..Status::default()
        }
    }

    fn ready(&self) -> Result<(), String> {
        let ready = self.ready.load(Ordering::Relaxed);
        ready.then_some(()).ok_or_else(|| "recovering".into())
    }

    fn warnings(&self) -> Vec<String> {
        vec!["the filter range of topic sensors is not ready: not deployed".into()]
    }
}

/// Starts a console that is open to all, as [`start_with`].
fn start() -> (SocketAddr, Arc<Broker>) {
    start_with(ConsoleTokens::default())
}

/// Starts a console on a free port; it lives as long as the test's process.
fn start_with(tokens: ConsoleTokens) -> (SocketAddr, Arc<Broker>) {
    let listener = bind(&HostPort::parse("127.0.0.1:0").unwrap()).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let broker = Arc::new(Broker::default());
    let source = Arc::clone(&broker) as Arc<dyn Source>;
    std::thread::spawn(move || {
        async_io::block_on(serve(listener, source, Arc::default(), &tokens, None))
    });
    (address, broker)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Closing a connection with unread bytes may end it with a reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
}

#[test]
fn answers_what_it_has_and_refuses_the_rest() {
    let (address, broker) = start();
    let check = |answer: String, status: &str, part: &str| {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains(part), "{answer}");
    };
    check(get(address, "/"), "200", "<td>sensors</td>");
    check(get(address, "/"), "200", "default-src 'none'");
    check(
        get(address, "/metrics"),
        "200",
        "\nsedge_topic_bytes{topic=\"sensors\"} 0\n",
    );
    check(get(address, "/livez"), "200", "ok");
    check(get(address, "/readyz"), "503", "not ready: recovering");
    broker.ready.store(true, Ordering::Relaxed);
    check(get(address, "/readyz"), "200", "ok");
    let unready = "\r\n\r\nok\nthe filter range of topic sensors is not ready: not deployed\n";
    check(get(address, "/readyz"), "200", unready);
    check(get(address, "/etc/passwd"), "404", "/metrics");
    check(get(address, "/healthz"), "404", "/livez");
    check(get(address, "/favicon.ico"), "204", "");
    check(
        ask(
            address,
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        "405",
        "use GET or HEAD",
    );
    check(ask(address, "nonsense\r\n\r\n"), "400", "");
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(20_000));
    check(ask(address, &long), "431", "");
}

#[test]
fn a_stranger_learns_nothing() {
    let token = |text: &str| crate::config::console::parse_token(text).ok();
    let (address, broker) = start_with(ConsoleTokens {
        viewer: token("viewer-0123456789"),
        metrics: token("metrics-0123456789"),
        device: token("device-0123456789"),
    });
    let check = |path: &str, token: &str, status: &str, shown: bool| {
        let shows = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{shows}connection: close\r\n\r\n");
        let answer = ask(address, &request);
        let case = format!("{path} with {token:?}: {answer}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{case}");
        assert_eq!(answer.contains("sensors"), shown, "{case}");
        assert!(!answer.contains("0123456789"), "{case}");
    };
    for path in ["/", "/metrics", "/x", "/?token=viewer-0123456789"] {
        check(path, "", "401", false);
        check(path, "viewer-1234567890", "401", false);
    }
    check("/livez", "", "200", false);
    check("/readyz", "", "503", false);
    broker.ready.store(true, Ordering::Relaxed);
    check("/readyz", "", "200", false);
    check("/readyz", "viewer-0123456789", "200", true);
    check("/", "viewer-0123456789", "200", true);
    check("/metrics", "viewer-0123456789", "200", true);
    check("/metrics", "metrics-0123456789", "200", true);
    check("/", "metrics-0123456789", "403", false);
    check("/readyz", "metrics-0123456789", "200", false);
    let challenge = "\r\nwww-authenticate: Basic realm=\"sedge\"";
    assert!(get(address, "/").contains(challenge));
}

#[test]
fn connections_are_bounded_and_come_free_again() {
    let (address, _) = start();
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..limits::CONNECTIONS_MAX {
        let mut stream = connect(address);
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    let mut one_more = connect(address);
    let refused = one_more.read(&mut [0; 1]);
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
    drop(held);
    // The server notices that the held connections have ended at its own pace.
    while !get(address, "/livez").starts_with("HTTP/1.1 200") {
        std::thread::yield_now();
    }
}

#[test]
fn a_metric_of_the_broker_is_a_series() {
    let metrics = Metrics::default();
    metrics.bytes_in.add(7);
    let text = series::render(&Status::default(), &metrics);
    assert!(
        text.contains("\nsedge_kafka_received_bytes_total 7\n"),
        "{text}"
    );
}
