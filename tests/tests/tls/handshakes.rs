//! The threads on which handshakes run.

use std::time::Duration;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::proc;
use sedge_tests::tls::{Certificates, Client, Sessions};
use sedge_tests::wire::Connection;

use super::support::Site;

/// Some milliseconds of computing each, in a debug build.
const HANDSHAKES: usize = 200;

/// A step of a handshake takes as long as tens of requests, and strangers may ask for many.
#[test]
fn handshakes_run_on_threads_that_give_way_to_those_of_requests() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut site = Site::start("tls-handshakes", |options| options);
    let pid = site.sedge.process().pid();
    let of = |name: &str| {
        let mut threads = proc::each_thread(pid);
        threads.retain(|thread| thread.name.starts_with(name));
        let cpu: Duration = threads.iter().map(|thread| thread.cpu).sum();
        (threads, cpu)
    };
    assert!(of("sedge-tls").0.is_empty(), "no thread before the first");
    let (_, before) = of("sedge-net");
    let certificates = Certificates::at(&site.directory.join("security"));
    let client = Client::new(&certificates, Some("alice"), Sessions::Fresh);
    for _ in 0..HANDSHAKES {
        drop(Connection::open_secured(&client, &site.ssl));
    }
    let (low, handshakes) = of("sedge-tls");
    let (normal, requests) = of("sedge-net");
    assert!(!low.is_empty() && !normal.is_empty());
    for thread in &low {
        let least = normal.iter().map(|of| of.nice).max().unwrap_or_default();
        assert!(thread.nice > least, "{low:?} {normal:?}");
    }
    let requests = requests.saturating_sub(before);
    assert!(
        handshakes > 2 * requests,
        "{handshakes:?} for handshakes, {requests:?} on the other threads"
    );
}
