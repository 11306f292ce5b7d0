//! Tests links over bad networks: HTTP proxies, captive portals, stalled brokers, and a network
//! that comes back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sedge_tests::link::Site;
use sedge_tests::sedge::Options;
use sedge_tests::{ports, tools, wire};

const TOPIC: &str = "over";

/// An HTTP proxy that makes tunnels for who has the password.
struct HttpProxy {
    port: u16,
    /// The first line of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    /// Starts a proxy that asks for `user:s3cret`.
    fn start() -> Self {
        let port = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let lines = Arc::clone(&lines);
                thread::spawn(move || serve(client, &lines));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut client: TcpStream, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let first = head.lines().next().unwrap_or_default().to_owned();
    let mut lines = asked.lock().unwrap_or_else(PoisonError::into_inner);
    lines.push(first.clone());
    drop(lines);
    // user:s3cret
    if !head.contains("Proxy-Authorization: Basic dXNlcjpzM2NyZXQ=\r\n") {
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        return;
    }
    let target = first.split(' ').nth(1).unwrap_or_default();
    let Ok(broker) = TcpStream::connect(target) else {
        let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n");
        return;
    };
    let _ = client.write_all(b"HTTP/1.1 200 OK\r\nVia: test\r\n\r\n");
    let (mut from, mut to) = (
        client.try_clone().expect("a copy"),
        broker.try_clone().expect("a copy"),
    );
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    let (mut from, mut to) = (broker, client);
    let _ = std::io::copy(&mut from, &mut to);
}

/// Makes a link to the site's upstream with further keys.
fn create(site: &Site, keys: &[&str]) {
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    create_to(site, &servers, keys);
}

fn create_to(site: &Site, servers: &str, keys: &[&str]) {
    let mut arguments = vec!["create", "hq", "--set", servers, "--set", "topics=over.*"];
    arguments.extend(keys.iter().flat_map(|key| ["--set", key]));
    tools::must(site.mirror(&arguments), "create");
}

fn wait_error(site: &mut Site, why: &str) {
    site.wait(&format!("the link says {why:?}"), |site| {
        let described = site.describe();
        described["why"].as_str().unwrap_or_default().contains(why)
    });
}

#[test]
fn a_link_goes_through_an_http_proxy() {
    let proxy = HttpProxy::start();
    let mut site = Site::without_link(Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    let all: Vec<String> = (0..5).map(|n| format!("value {n}")).collect();
    site.produce_values(TOPIC, &all);
    let without = format!("proxy=http://127.0.0.1:{}", proxy.port);
    create(&site, &[&without]);
    wait_error(&mut site, "asks for a user and a password");
    let with = format!("proxy=http://user:s3cret@127.0.0.1:{}", proxy.port);
    tools::must(site.mirror(&["alter", "hq", "--set", &with]), "alter");
    site.wait_upstream(TOPIC, &all);
    let tunnel = format!("CONNECT {} HTTP/1.1", site.upstream_bootstrap());
    assert!(proxy.asked().contains(&tunnel), "{:?}", proxy.asked());
    // The password is shown nowhere.
    let described = site.describe().to_string();
    assert!(!described.contains("s3cret"), "{described}");
    assert_eq!(site.logged("s3cret"), 0);

    // What the proxy cannot reach.
    let nowhere = format!("bootstrap.servers=127.0.0.1:{}", ports::free());
    tools::must(site.mirror(&["alter", "hq", "--set", &nowhere]), "alter");
    wait_error(&mut site, "cannot reach 127.0.0.1");
}

#[test]
fn a_captive_portal_is_named_as_what_it_is() {
    let port = ports::free();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let _ = client.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n");
        }
    });
    let mut site = Site::without_link(Options::default());
    wire::create_topic(&mut site.here, TOPIC, 1, &[]);
    create_to(&site, &format!("bootstrap.servers=127.0.0.1:{port}"), &[]);
    wait_error(&mut site, "captive portal");
    // The link goes on as soon as the portal lets it through.
    let servers = format!("bootstrap.servers={}", site.upstream_bootstrap());
    site.produce_values(TOPIC, &["a".to_owned()]);
    tools::must(site.mirror(&["alter", "hq", "--set", &servers]), "alter");
    site.wait_upstream(TOPIC, &["a".to_owned()]);
}

#[test]
fn what_is_no_proxy_is_refused_without_its_password() {
    let site = Site::without_link(Options::default());
    for proxy in ["user:s3cret@proxy:3128", "https://user:s3cret@proxy:3128"] {
        let proxy = format!("proxy={proxy}");
        let made = site.mirror(&[
            "create",
            "hq",
            "--set",
            "bootstrap.servers=h:9092",
            "--set",
            "topics=a",
            "--set",
            &proxy,
        ]);
        assert!(!made.status.success(), "{}", made.stdout);
        assert!(made.stderr.contains("http://"), "{}", made.stderr);
        assert!(!made.stderr.contains("s3cret"), "{}", made.stderr);
    }
}
