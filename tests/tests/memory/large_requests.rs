//! A budget of 64 MiB under clients that send and fetch 8 MiB at once, half of which never read.
//!
//! `SEDGE_SOAK=1` has 200 of them; use a release build.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tls::{Certificates, Client, Sessions};
use sedge_tests::wire::{
    self, Batch, Connection, FETCH_VERSION, PRODUCE_VERSION, Reply, error, key,
};
use sedge_tests::{limits, ports, proc, report, soak};

const MIB: u64 = 1 << 20;
const BUDGET_BYTES: u64 = 64 * MIB;
/// What the process may have in memory with that budget: the program itself takes some.
const RESIDENT_BYTES_MAX: u64 = 96 * MIB;
/// A little less than 8 MiB, so that a request with it is no more than that.
const VALUE_BYTES: usize = (8 << 20) - 1024;
const FETCH_BYTES: i32 = 8 << 20;
/// How often each of those that read has to get on.
const ROUNDS_MIN: u64 = 2;
/// A client that does not read comes again after this time: the broker may have cut it.
const HOLDS: Duration = Duration::from_secs(2);

#[test]
fn a_small_budget_holds_while_clients_send_and_fetch_8_mib_each() {
    run("plain", |_, options| (options, Connection::open));
}

#[test]
fn a_small_budget_holds_over_tls_as_well() {
    run("tls", |directory, options| {
        let certificates = Certificates::make(&directory.join("security"));
        let client = Client::new(&certificates, None, Sessions::Fresh);
        let ssl = format!("127.0.0.1:{}", ports::free());
        let mut options = options.listener(format!("SSL://{ssl}"));
        options.settings.extend(certificates.settings());
        let open = move |_: &str| Connection::open_secured(&client, &ssl);
        (options, open)
    });
}

/// Counts what the clients did.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    cut: AtomicU64,
}

fn run<S, Open>(name: &str, with: impl FnOnce(&Path, Options) -> (Options, Open))
where
    S: Read + Write + Socket,
    Open: Fn(&str) -> Connection<S> + Sync,
{
    let clients = if soak::is_long() { 200 } else { 24 };
    let time = Duration::from_secs(if soak::is_long() { 60 } else { 6 });
    let directory = TempDir::new("memory-large");
    let options = Options::default()
        .set("sedge.profile", "small")
        .set("sedge.memory.max.bytes", &BUDGET_BYTES.to_string())
        .set("max.connections", "250")
        .set("message.max.bytes", &(9 * MIB).to_string())
        .set("log.retention.bytes", &(128 * MIB).to_string())
        .set("log.retention.check.interval.ms", "100")
        .set("durability", "interval");
    let (options, open) = with(directory.path(), options);
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let pid = sedge.process().pid();
    let program = proc::resident_kib(pid) << 10;
    let bootstrap = sedge.bootstrap();
    let mut connection = Connection::open(&bootstrap);
    wire::create_topic(&mut connection, "large", 1, &[]);
    wire::wait_leader(&mut connection, "large", 0);
    let batch = Batch::filled(1, VALUE_BYTES).encode();
    let first = wire::produce(&mut connection, "large", 0, &batch);
    assert_eq!(first.error, error::NONE, "{first:?}");

    let seen = Seen::default();
    let client = Large {
        batch: &batch,
        seen: &seen,
        open: &|| open(&bootstrap),
    };
    let counts: Vec<AtomicU64> = (0..clients / 2).map(|_| AtomicU64::new(0)).collect();
    let counted = || -> Vec<u64> {
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        let mut counts: Vec<u64> = counts.collect();
        counts.sort_unstable();
        counts
    };
    let rounds = std::thread::scope(|scope| {
        let client = &client;
        for _ in 0..clients / 2 {
            scope.spawn(|| client.never_read());
        }
        for count in &counts {
            scope.spawn(|| client.get_on(count));
        }
        let began = Instant::now();
        while began.elapsed() < time || counted()[0] < ROUNDS_MIN {
            if began.elapsed() > limits::CONDITION {
                break;
            }
            std::thread::sleep(limits::POLL);
        }
        seen.is_over.store(true, Ordering::Release);
        counted()
    });
    let peak = proc::resident_peak_kib(pid) << 10;
    report::line(format_args!(
        "{name}: {clients} clients of 8 MiB, half of which never read: resident {} MiB at most, {} \
         at the start; of the others each sent and fetched {} to {} times, {} were cut",
        peak / MIB,
        program / MIB,
        rounds[0],
        rounds[rounds.len() - 1],
        seen.cut.load(Ordering::Relaxed)
    ));
    // A debug build is larger by itself.
    let most = RESIDENT_BYTES_MAX.max(BUDGET_BYTES + 2 * program);
    assert!(peak <= most, "{} MiB of {}", peak / MIB, most / MIB);
    assert!(rounds[0] >= ROUNDS_MIN, "one is starved: {rounds:?}");
}

/// The socket of a connection.
trait Socket {
    fn socket(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Socket for sedge_tests::tls::Stream {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

struct Large<'a, S> {
    batch: &'a [u8],
    seen: &'a Seen,
    open: &'a (dyn Fn() -> Connection<S> + Sync),
}

impl<S: Read + Write + Socket> Large<'_, S> {
    fn is_over(&self) -> bool {
        self.seen.is_over.load(Ordering::Acquire)
    }

    /// Sends a fetch and a batch, and keeps the connection.
    fn never_read(&self) {
        let produce = wire::produce_request("large", 0, -1, self.batch);
        while !self.is_over() {
            let began = Instant::now();
            let mut connection = (self.open)();
            let socket = connection.stream.socket();
            let timeout = socket.set_write_timeout(Some(limits::POLL));
            timeout.expect("a socket takes options");
            let fetch = wire::fetch_request("large", 0, 0, FETCH_BYTES);
            connection.send(key::FETCH, FETCH_VERSION, &fetch);
            connection.send(key::PRODUCE, PRODUCE_VERSION, &produce);
            while began.elapsed() < HOLDS && !self.is_over() {
                std::thread::sleep(limits::POLL);
            }
        }
    }

    /// Sends a batch and fetches it, and counts how often.
    fn get_on(&self, rounds: &AtomicU64) {
        let produce = wire::produce_request("large", 0, -1, self.batch);
        let mut connection = (self.open)();
        while !self.is_over() {
            if round(&mut connection, &produce).is_some() {
                rounds.fetch_add(1, Ordering::Relaxed);
            } else {
                self.seen.cut.fetch_add(1, Ordering::Relaxed);
                connection = (self.open)();
            }
        }
    }
}

/// Returns `None` if the broker closed the connection.
fn round(connection: &mut Connection<impl Read + Write>, produce: &[u8]) -> Option<()> {
    connection.send(key::PRODUCE, PRODUCE_VERSION, produce);
    let produced = wire::produced(&body(connection.reply())?);
    assert_eq!(produced.error, error::NONE, "{produced:?}");
    let fetch = wire::fetch_request("large", 0, produced.base_offset, FETCH_BYTES);
    connection.send(key::FETCH, FETCH_VERSION, &fetch);
    let fetched = wire::fetched(&body(connection.reply())?);
    // Others write so much that it may be deleted already.
    if fetched.error != error::OFFSET_OUT_OF_RANGE {
        assert_eq!(fetched.error, error::NONE);
        let next = wire::next_offset(&fetched.records);
        assert!(next > Some(produced.base_offset), "{next:?}");
    }
    Some(())
}

fn body(reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Frame(frame) => Some(frame[4..].to_vec()),
        Reply::Closed => None,
    }
}
