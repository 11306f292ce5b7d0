//! Tests memory while many clients read their answers slowly or not at all, and many others send
//! half a request: it stays within the configured limit, and a well-behaved client is served.
//!
//! `SEDGE_SOAK=1` uses a thousand consumers that ask for 50 MiB each and two hundred producers, for
//! both profiles; use a release build. Without it, the test uses fewer of them.

#[path = "memory/large_requests.rs"]
mod large_requests;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use rustix::net::sockopt;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{
    self, Batch, Connection, FETCH_VERSION, PRODUCE_VERSION, error, fetch_request, frame, key,
};
use sedge_tests::{proc, report};

const MIB: usize = 1 << 20;
/// Bytes that a fetch asks for.
const ASKED: i32 = 50 << 20;
/// Bytes that a slow consumer reads in each [`TICK`]: 64 KB/s.
const SLOW_BYTES: usize = 16 << 10;
const TICK: Duration = Duration::from_millis(250);
/// Sizes that half-sent requests announce, in turn.
const CLAIMS: [usize; 3] = [64 << 10, MIB, 8 * MIB];
/// Memory on top of the budget: the program itself.
const PROGRAM_BYTES: u64 = 16 << 20;

struct Load {
    profile: &'static str,
    budget: u64,
    consumers: usize,
    producers: usize,
    time: Duration,
    p99_max: Duration,
}

#[test]
fn memory_has_a_cap_whatever_clients_leave_unread_or_half_sent() {
    let long = std::env::var_os("SEDGE_SOAK").is_some();
    let load = |profile, budget| Load {
        profile,
        budget,
        consumers: if long { 1_000 } else { 200 },
        producers: if long { 200 } else { 60 },
        time: Duration::from_secs(if long { 60 } else { 8 }),
        // Allows for a machine that runs other tests, and for a debug build.
        p99_max: Duration::from_millis(if long { 50 } else { 1_000 }),
    };
    let mut loads = vec![load("small", 96 << 20)];
    if long {
        loads.push(load("standard", 352 << 20));
    }
    for load in loads {
        run(&load);
    }
}

fn run(load: &Load) {
    let directory = TempDir::new("memory");
    let data = directory.join("data");
    let options = Options::default()
        .set("sedge.profile", load.profile)
        .set("sedge.memory.max.bytes", &load.budget.to_string())
        .set("max.connections", "1400")
        .set("durability", "interval")
        .set("log.cleaner.enable", "false");
    let mut sedge = Sedge::start(&data, options);
    let pid = sedge.process().pid();
    let bootstrap = sedge.bootstrap();
    let program = proc::resident_kib(pid) << 10;
    fill(&bootstrap);
    let filled = proc::resident_kib(pid) << 10;

    let mut consumers: Vec<Consumer> = (0..load.consumers)
        .map(|number| Consumer::start(&bootstrap, number))
        .collect();
    let mut producers: Vec<HalfSent> = (0..load.producers)
        .map(|number| HalfSent::start(&bootstrap, CLAIMS[number % CLAIMS.len()]))
        .collect();
    let over = AtomicBool::new(false);
    let mut waits = std::thread::scope(|scope| {
        let good = scope.spawn(|| behave(&bootstrap, &over));
        let until = Instant::now() + load.time;
        while Instant::now() < until {
            let began = Instant::now();
            drop_page_cache(&data);
            for consumer in &mut consumers {
                consumer.go_on(&bootstrap);
            }
            for producer in &mut producers {
                producer.go_on(&bootstrap);
            }
            std::thread::sleep(TICK.saturating_sub(began.elapsed()));
        }
        over.store(true, Ordering::Release);
        good.join().expect("the client that behaves")
    });
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    let peak = proc::resident_peak_kib(pid) << 10;
    let taken: usize = consumers.iter().map(|consumer| consumer.taken).sum();
    let closed: usize = consumers.iter().map(|consumer| consumer.closed).sum();
    let cut: usize = producers.iter().map(|producer| producer.closed).sum();
    let in_mib = |bytes: u64| bytes >> 20;
    report::line(format_args!(
        "{}: {} consumers (took {} MiB, {closed} closed), {} half-sent requests ({cut} closed): \
         resident {} MiB at start, {} MiB filled, {} MiB at most, budget {} MiB; a client that behaves: \
         {} rounds, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        load.profile,
        load.consumers,
        taken / MIB,
        load.producers,
        in_mib(program),
        in_mib(filled),
        in_mib(peak),
        in_mib(load.budget),
        waits.len(),
        ms(waits[waits.len() / 2]),
        ms(p99),
        ms(waits[waits.len() - 1]),
    ));
    // A debug build is larger by itself.
    let most = load.budget + PROGRAM_BYTES.max(program);
    assert!(peak <= most, "{} MiB of {}", in_mib(peak), in_mib(most));
    assert!(p99 <= load.p99_max, "{p99:?}");
    assert!(taken > 0, "slow consumers get on");
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Fills a topic of large commits, and one of small ones.
fn fill(bootstrap: &str) {
    let mut connection = Connection::open(bootstrap);
    for (topic, commits, bytes) in [
        ("large", 64, 900_000),
        ("small", 20_000, 700),
        ("good", 1, 100),
    ] {
        wire::create_topic(&mut connection, topic, 1, &[]);
        let batch = Batch::filled(1, bytes).encode();
        let request = wire::produce_request(topic, 0, -1, &batch);
        for _ in 0..commits / 10 {
            for _ in 0..10 {
                connection.send(key::PRODUCE, PRODUCE_VERSION, &request);
            }
            for _ in 0..10 {
                let reply = connection.reply().frame();
                assert_eq!(wire::produced(&reply[4..]).error, error::NONE);
            }
        }
    }
}

fn drop_page_cache(data: &Path) {
    let segments = std::fs::read_dir(data.join("segments")).expect("the segments");
    for entry in segments.flatten() {
        if let Ok(file) = std::fs::File::open(entry.path()) {
            // Pages that are not written yet stay; that is up to the operating system.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}

fn open(bootstrap: &str) -> TcpStream {
    let stream = Connection::open(bootstrap).stream;
    sockopt::set_socket_recv_buffer_size(stream.as_fd(), 8 << 10).expect("a socket takes options");
    stream.set_nonblocking(true).expect("as above");
    stream
}

/// A consumer that asks for much. Every other one then reads slowly, the others not at all.
struct Consumer {
    stream: TcpStream,
    request: Vec<u8>,
    stalls: bool,
    taken: usize,
    closed: usize,
}

impl Consumer {
    fn start(bootstrap: &str, number: usize) -> Self {
        let topic = if number % 4 < 2 { "large" } else { "small" };
        let body = fetch_request(topic, 0, 0, ASKED);
        let mut consumer = Self {
            stream: open(bootstrap),
            request: frame(key::FETCH, FETCH_VERSION, 1, &body),
            stalls: number.is_multiple_of(2),
            taken: 0,
            closed: 0,
        };
        consumer.ask();
        consumer
    }

    /// Sends two requests, so that one waits behind the other.
    fn ask(&mut self) {
        for _ in 0..2 {
            drop(self.stream.write_all(&self.request));
        }
    }

    fn go_on(&mut self, bootstrap: &str) {
        if self.stalls {
            return;
        }
        let mut bytes = [0; SLOW_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.again(bootstrap),
            Ok(taken) => self.taken += taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.again(bootstrap),
        }
    }

    fn again(&mut self, bootstrap: &str) {
        self.closed += 1;
        self.stream = open(bootstrap);
        self.ask();
    }
}

/// A client that sends half of a request; when its connection is closed, it reconnects.
struct HalfSent {
    stream: TcpStream,
    half: Vec<u8>,
    sent: usize,
    closed: usize,
}

impl HalfSent {
    fn start(bootstrap: &str, claim: usize) -> Self {
        let body = wire::produce_request("good", 0, -1, &vec![0; claim]);
        let mut half = frame(key::PRODUCE, PRODUCE_VERSION, 1, &body);
        half.truncate(claim / 2);
        Self {
            stream: open(bootstrap),
            half,
            sent: 0,
            closed: 0,
        }
    }

    fn go_on(&mut self, bootstrap: &str) {
        while let Ok(sent @ 1..) = self.stream.write(&self.half[self.sent..]) {
            self.sent += sent;
        }
        let is_closed = match self.stream.read(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        if is_closed {
            self.closed += 1;
            self.sent = 0;
            self.stream = open(bootstrap);
        }
    }
}

/// Produces a record and fetches it, repeatedly. Returns the time of each round.
fn behave(bootstrap: &str, over: &AtomicBool) -> Vec<Duration> {
    let mut connection = Connection::open(bootstrap);
    let batch = Batch::filled(1, 1_000).encode();
    let mut waits = Vec::new();
    while !over.load(Ordering::Acquire) {
        let began = Instant::now();
        let produced = wire::produce(&mut connection, "good", 0, &batch);
        assert_eq!(produced.error, error::NONE);
        let fetched = wire::fetch(&mut connection, "good", 0, produced.base_offset);
        let next = wire::next_offset(&fetched.records);
        assert_eq!(next, Some(produced.base_offset + 1));
        waits.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    waits
}
