//! `bench tls`: produce and fetch over TLS, and how many connections a second are begun, compared
//! with Apache Kafka in one run.
//!
//! The clients are the same for both brokers and share the machine with them, so the figure that
//! counts is the broker's processor time.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bench::{Load, Peer, Secured, Spread};
use crate::temp_dir::TempDir;
use crate::tls::{self, Certificates, Client, Sessions};
use crate::wire::{Connection, key};
use crate::{flood, proc, wire};

use super::throughput::{self, Column, IN_FLIGHT, PARTITIONS, measure, rows, warm};

/// The duration, and the number of rounds.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub seconds: u64,
    pub warm_bytes: u64,
    /// Only cells whose name contains this.
    pub cells: String,
    pub with_kafka: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 3,
            seconds: 3,
            warm_bytes: 1_500_000_000,
            cells: String::new(),
            with_kafka: true,
        }
    }
}

/// Batch sizes, of records of 1 KiB.
const CELLS: [usize; 2] = [16 << 10, 64 << 10];
const RECORD_BYTES: usize = 1 << 10;
/// The head of the rows of [`connections`].
pub(super) const CONNECTIONS_HEAD: &str =
    "connections | broker | a second | CPU ms each | resumed\n";
/// Clients that connect at once.
const CONNECTING: usize = 4;
/// Connections before measuring: a JVM compiles code that has run often.
const CONNECTIONS_BEFORE: Duration = Duration::from_secs(10);

/// Runs every cell and returns the table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::new("bench-tls");
    let certificates = Certificates::make(&directory.join("security"));
    let client = Client::new(&certificates, None, Sessions::Fresh);
    let at = directory.path();
    let peers = Peer::with_tls(at, "SSL", &certificates, &[], plan.with_kafka);
    let mut peers: Vec<(Peer, Secured)> = peers
        .into_iter()
        .map(|(peer, address)| {
            let client = client.clone();
            (peer, Secured { address, client })
        })
        .collect();
    for (peer, secured) in &mut peers {
        let agreed = tls::agreed(&secured.connect().stream);
        progress(&format!(
            "{}: {agreed}; warming with {} MB",
            peer.name(),
            plan.warm_bytes / 1_000_000
        ));
        warm(peer, Some(secured.clone()), plan.warm_bytes);
    }
    let mut table = String::from(throughput::HEAD);
    for batch_bytes in CELLS {
        let cell = format!("tls {}K/{RECORD_BYTES}", batch_bytes >> 10);
        if cell.contains(&plan.cells) {
            let rows = transfers(plan, &mut peers, &cell, batch_bytes);
            progress(&rows);
            table.push_str(&rows);
        }
    }
    table.push_str(CONNECTIONS_HEAD);
    for sessions in [Sessions::Fresh, Sessions::Resumed] {
        let cell = format!("tls {sessions:?}").to_lowercase();
        if cell.contains(&plan.cells) {
            let client = Client::new(&certificates, None, sessions);
            let rows = connections(plan, &mut peers, &cell, &client, &|_, _| {});
            progress(&rows);
            table.push_str(&rows);
        }
    }
    table
}

fn transfers(plan: &Plan, peers: &mut [(Peer, Secured)], cell: &str, batch_bytes: usize) -> String {
    let limits = throughput::Plan {
        seconds: plan.seconds,
        ..throughput::Plan::default()
    };
    let mut columns: Vec<Column> = peers.iter().map(|_| Column::default()).collect();
    for round in 0..plan.rounds {
        for ((peer, secured), column) in peers.iter_mut().zip(&mut columns) {
            let load = Load {
                bootstrap: peer.bootstrap(),
                topic: format!("tls-{batch_bytes}-{round}"),
                partitions: PARTITIONS,
                in_flight: IN_FLIGHT,
                batch_bytes,
                record_bytes: RECORD_BYTES,
                tls: Some(secured.clone()),
            };
            measure(peer, &load, "interval", &limits, column);
        }
    }
    let peers: Vec<&Peer> = peers.iter().map(|(peer, _)| peer).collect();
    rows(cell, &peers, &columns)
}

/// What a client does first on a connection with the broker of this number.
type Begin<'a> = &'a (dyn Fn(usize, &mut Connection<tls::Stream>) + Sync);

/// Connects, begins, asks for the versions of the API and disconnects, as often as possible.
pub(super) fn connections(
    plan: &Plan,
    peers: &mut [(Peer, Secured)],
    cell: &str,
    client: &Client,
    begin: Begin<'_>,
) -> String {
    let mut columns = vec![(Spread::default(), Spread::default(), Spread::default()); peers.len()];
    for (at, (peer, secured)) in peers.iter().enumerate() {
        if matches!(peer, Peer::Kafka(_)) {
            let begin = |connection: &mut _| begin(at, connection);
            connect_for(CONNECTIONS_BEFORE, client, &secured.address, &begin);
        }
    }
    for _ in 0..plan.rounds {
        let each = peers.iter_mut().zip(&mut columns).enumerate();
        for (at, ((peer, secured), (rate, cost, resumed))) in each {
            let begin = |connection: &mut _| begin(at, connection);
            let pid = peer.pid();
            let (before, began) = (proc::cpu(pid), Instant::now());
            let time = Duration::from_secs(plan.seconds);
            let opened = connect_for(time, client, &secured.address, &begin);
            let spent = proc::cpu(pid).saturating_sub(before);
            let count = opened.count.into_inner() as f64;
            rate.add(count / began.elapsed().as_secs_f64());
            cost.add(spent.as_secs_f64() * 1e3 / count);
            resumed.add(opened.resumed.into_inner() as f64 * 100.0 / count);
        }
    }
    let mut text = String::new();
    for ((peer, _), (rate, cost, resumed)) in peers.iter().zip(&columns) {
        let (name, rate, cost) = (peer.name(), rate.show(0), cost.show(2));
        let resumed = resumed.median();
        writeln!(text, "{cell} | {name} | {rate} | {cost} | {resumed:.0} %")
            .expect("a String takes everything");
    }
    if let [(kafka_rate, kafka_cost, _), (rate, cost, _)] = &columns[..] {
        let rate = rate.median() / kafka_rate.median();
        let cost = cost.median() / kafka_cost.median();
        writeln!(text, "{cell} | sedge/kafka | {rate:.2} | {cost:.2} |").expect("as above");
    }
    text
}

/// Connections that were opened.
#[derive(Debug, Default)]
struct Opened {
    count: AtomicU64,
    resumed: AtomicU64,
}

fn connect_for(
    time: Duration,
    client: &Client,
    address: &str,
    begin: &(dyn Fn(&mut Connection<tls::Stream>) + Sync),
) -> Opened {
    let (opened, until) = (Opened::default(), Instant::now() + time);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTING {
            scope.spawn(|| {
                while Instant::now() < until {
                    let mut connection = Connection::open_secured(client, address);
                    let is_resumed = tls::is_resumed(&connection.stream);
                    begin(&mut connection);
                    let answer = connection.ask(key::API_VERSIONS, 0, &[]);
                    assert_eq!(wire::Decoder(&answer).i16(), wire::error::NONE);
                    flood::reset(&connection.stream.sock);
                    opened.count.fetch_add(1, Ordering::Relaxed);
                    let resumed = u64::from(is_resumed);
                    opened.resumed.fetch_add(resumed, Ordering::Relaxed);
                }
            });
        }
    });
    opened
}
