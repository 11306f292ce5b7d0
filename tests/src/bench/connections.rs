//! `bench connections`: memory of thousands of idle connections with TLS, and what a flood of
//! connections on one listener costs the client of another, compared with Apache Kafka in one run.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::{Outcome, Peer, Spread};
use crate::flood::{Flood, Manner};
use crate::temp_dir::TempDir;
use crate::tls::{self, Certificates, Client, Sessions};
use crate::wire::{self, Batch, Connection, error, key};
use crate::{limits, proc};

/// How many, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Idle connections.
    pub idle: usize,
    pub rounds: usize,
    pub seconds: u64,
    pub with_kafka: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            idle: 10_000,
            rounds: 5,
            seconds: 3,
            with_kafka: true,
        }
    }
}

/// Descriptors of either process that are no connections of clients.
const OTHER_FILES: u64 = 500;
/// Threads that open the idle connections.
const OPENING: usize = 4;
const FLOOD_A_SECOND: u32 = 2_000;
/// The client sends a request this often, far below what the broker can take.
const REQUEST_EVERY: Duration = Duration::from_millis(2);
const RECORD_BYTES: usize = 1_000;
/// Requests before measuring: a JVM compiles code that has run often.
const WARM: Duration = Duration::from_secs(5);
/// Interval between two readings of memory, until two agree.
const SETTLE: Duration = Duration::from_millis(500);
const AGREE_KIB: u64 = 256;

/// Runs both measurements and returns their tables.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::new("bench-connections");
    let certificates = Certificates::make(&directory.join("security"));
    let client = Client::new(&certificates, None, Sessions::Fresh);
    let idle = plan.idle.min(openable(plan.idle, progress));
    let places = (idle + 100).to_string();
    let settings = [("max.connections", &*places)];
    let mut peers = Peer::with_tls(
        directory.path(),
        "SSL",
        &certificates,
        &settings,
        plan.with_kafka,
    );
    let mut table = String::from("idle connections with TLS | resident MiB before, after | each\n");
    for (peer, address) in &mut peers {
        let row = idle_memory(peer, address, &client, idle);
        progress(&row);
        writeln!(table, "{row}").expect("a String takes everything");
    }
    let head = format!(
        "flood of {FLOOD_A_SECOND} a second on the listener with TLS | broker | p50, p99, p99.9 ms of \
         a client of the other, quiet | flooded | p99 flooded/quiet by rounds\n"
    );
    progress(&head);
    table.push_str(&head);
    for (name, manner) in [
        ("connect", Manner::Silent),
        ("hello", Manner::Says(client.hello())),
    ] {
        for (peer, address) in &mut peers {
            let row = flooded(plan, peer, address, name, &manner);
            progress(&row);
            writeln!(table, "{row}").expect("as above");
        }
    }
    table
}

/// Raises this process's limit of open files, which a broker that it starts inherits, and returns
/// how many connections it allows.
fn openable(wanted: usize, progress: &dyn Fn(&str)) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit can be raised");
    let most = maximum.map_or(usize::MAX, |most| most.saturating_sub(OTHER_FILES) as usize);
    if most < wanted {
        progress(&format!(
            "only {most} connections: the hard limit of open files is {maximum:?} (`ulimit -Hn`)"
        ));
    }
    most
}

/// Opens the connections, each of which asks one thing, and measures while they say nothing.
fn idle_memory(peer: &mut Peer, address: &str, client: &Client, count: usize) -> String {
    let pid = peer.pid();
    drop(Connection::open_secured(client, address));
    let before = settled(pid);
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let mut open: Vec<Connection<tls::Stream>> = std::thread::scope(|scope| {
        let open_some = || {
            let mut open = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let mut connection = Connection::open_secured(client, address);
                is_served(&mut connection);
                open.push(connection);
            }
            open
        };
        let threads: Vec<_> = (0..OPENING).map(|_| scope.spawn(open_some)).collect();
        let opened = threads.into_iter();
        opened
            .flat_map(|thread| thread.join().expect("each is served"))
            .collect()
    });
    let took = began.elapsed();
    let after = settled(pid);
    // None was closed to save memory.
    open.iter_mut().for_each(is_served);
    let each = (after as f64 - before as f64) / open.len() as f64;
    format!(
        "{} | {} | {:.1}, {:.1} | {each:.1} KiB (opened in {:.1} s)",
        open.len(),
        peer.name(),
        before as f64 / 1024.0,
        after as f64 / 1024.0,
        took.as_secs_f64()
    )
}

fn is_served(connection: &mut Connection<tls::Stream>) {
    let answer = connection.ask(key::API_VERSIONS, 0, &[]);
    assert_eq!(wire::Decoder(&answer).i16(), error::NONE);
}

fn settled(pid: u32) -> u64 {
    let deadline = Instant::now() + limits::CONDITION;
    let mut last = proc::resident_kib(pid);
    loop {
        std::thread::sleep(SETTLE);
        let now = proc::resident_kib(pid);
        if now.abs_diff(last) < AGREE_KIB || Instant::now() > deadline {
            return now;
        }
        last = now;
    }
}

fn flooded(plan: &Plan, peer: &mut Peer, ssl: &str, name: &str, manner: &Manner) -> String {
    let topic = format!("flood-{name}");
    let mut connection = Connection::open(&peer.bootstrap());
    wire::create_topic(&mut connection, &topic, 1, &[]);
    wire::wait_leader(&mut connection, &topic, 0);
    let time = Duration::from_secs(plan.seconds);
    {
        let _flood = Flood::start(ssl, FLOOD_A_SECOND, manner);
        steadily(&mut connection, &topic, WARM);
    }
    let (mut quiet, mut loud) = (Outcome::default(), Outcome::default());
    let (mut ratios, mut rates) = (Spread::default(), Spread::default());
    for _ in 0..plan.rounds {
        let mut alone = steadily(&mut connection, &topic, time);
        let flood = Flood::start(ssl, FLOOD_A_SECOND, manner);
        let mut beside = steadily(&mut connection, &topic, time);
        rates.add(flood.rate());
        drop(flood);
        ratios.add(beside.latency_ms(99.0) / alone.latency_ms(99.0));
        quiet.merge(alone);
        loud.merge(beside);
    }
    let show = |outcome: &mut Outcome| {
        let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percent| outcome.latency_ms(percent));
        format!("{p50:.2}, {p99:.2}, {p999:.2}")
    };
    format!(
        "{name}, {} a second | {} | {} | {} | {}",
        rates.show(0),
        peer.name(),
        show(&mut quiet),
        show(&mut loud),
        ratios.show(2)
    )
}

/// Produces at a steady rate. A latency counts from the time at which the request was due.
fn steadily(connection: &mut Connection, topic: &str, time: Duration) -> Outcome {
    let batch = Batch::filled(1, RECORD_BYTES).encode();
    let mut outcome = Outcome::default();
    let (until, mut due) = (Instant::now() + time, Instant::now());
    while due < until {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let produced = wire::produce(connection, topic, 0, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        outcome.note(due.elapsed(), batch.len());
        due += REQUEST_EVERY;
    }
    outcome
}
