//! `bench mirror-narrow`: a link over 64 kbit/s with 600 ms and 30 % loss, with a backlog of a day:
//! what gets through, and when alarms are there.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::apache_kafka::ApacheKafka;
use crate::http::metric;
use crate::limits;
use crate::narrow::Narrow;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, Decoder, error, key};

const NETWORK: Narrow = Narrow {
    bytes_per_s: 8_000,
    round_trip: Duration::from_millis(600),
    lost_percent: 30,
};
/// Records of the backlog: a day of one a second.
const BACKLOG: usize = 86_400;
const ALARM_EVERY: Duration = Duration::from_secs(2);

/// How a link is set up.
struct Setup {
    name: &'static str,
    mode: &'static str,
    /// Whether alarms have a link of their own.
    is_apart: bool,
}

const SETUPS: [Setup; 3] = [
    Setup {
        name: "at-least-once",
        mode: "at-least-once",
        is_apart: false,
    },
    Setup {
        name: "exactly-once",
        mode: "exactly-once",
        is_apart: false,
    },
    Setup {
        name: "exactly-once, alarms in a link of their own",
        mode: "exactly-once",
        is_apart: true,
    },
];

pub fn run(seconds: u64) -> String {
    let duration = Duration::from_secs(seconds);
    let idle = std::thread::spawn(move || NETWORK.round_trips(duration, ALARM_EVERY));
    let carries = NETWORK.carries(duration);
    let idle = idle.join().expect("round trips are measured");
    let mut text = format!(
        "64 kbit/s, 600 ms, 30 % of the segments lost, by a proxy; a day of one record a second \
         waits\none connection that sends without pause gets {carries:.0} bytes/s through \
         ({:.0} arrive); with nothing else, a byte and its echo take {}\n",
        NETWORK.arrives(),
        spread(idle),
    );
    for setup in &SETUPS {
        let (goodput, delays, missing) = measure(setup, duration);
        let all = delays.len() + missing;
        writeln!(
            text,
            "{}: {goodput:.0} bytes/s of batches, {:.0} % of what the connection carries; alarms \
             after {}; {missing} of {all} not there at the end",
            setup.name,
            100.0 * goodput / carries,
            spread(delays),
        )
        .expect("a String takes everything");
    }
    text
}

fn spread(mut delays: Vec<Duration>) -> String {
    delays.sort_unstable();
    let at = |percent: usize| {
        let at = (delays.len() * percent / 100).min(delays.len().saturating_sub(1));
        delays.get(at).map_or(f64::NAN, Duration::as_secs_f64)
    };
    format!(
        "{:.1} s (median), {:.1} (p99), {:.1} (all)",
        at(50),
        at(99),
        at(100)
    )
}

/// Returns bytes a second, and the time of each alarm until a `read_committed` reader has it.
fn measure(setup: &Setup, duration: Duration) -> (f64, Vec<Duration>, usize) {
    let directory = TempDir::new("bench-mirror-narrow");
    let target = Arc::new(Mutex::new(String::new()));
    let behind = Arc::clone(&target);
    let network = NETWORK.start(move || locked(&behind).clone());
    let advertised = (
        "advertised.listeners".to_owned(),
        format!("PLAINTEXT://{network}"),
    );
    let mut kafka = ApacheKafka::start_full(&directory.join("kafka"), &[advertised], &[]);
    *locked(&target) = kafka.bootstrap();
    let mut there = Connection::open(&kafka.bootstrap());
    for topic in ["backlog", "alarms"] {
        wire::create_topic(&mut there, topic, 1, &[]);
    }
    let place = directory.join("edge");
    let plain = "durability = \"interval\"\n";
    let mut sedge = Sedge::start(&place, Options::default().config(plain.to_owned()));
    let mut here = Connection::open(&sedge.bootstrap());
    for topic in ["backlog", "alarms"] {
        wire::create_topic(&mut here, topic, 1, &[]);
    }
    for number in 0..BACKLOG {
        produce(
            &mut here,
            "backlog",
            &format!("{{\"number\":{number},\"celsius\":21.5}}"),
        );
    }
    sedge.terminate();
    let alarms = "\"topics.priority\" = [\"alarms:high\"]\n";
    let one = |name: &str, topics: &str, more: &str| {
        let mode = setup.mode;
        format!(
            "[mirror.{name}]\nbootstrap.servers = \"{network}\"\nmode = \"{mode}\"\n\
             topics = [{topics}]\n{more}"
        )
    };
    let links = if setup.is_apart {
        one(
            "hq",
            "\"backlog\"",
            "\"topics.priority\" = [\"backlog:low\"]\n",
        ) + &one("alarms", "\"alarms\"", alarms)
    } else {
        one("hq", "\"backlog\", \"alarms\"", alarms)
    };
    let link = plain.to_owned() + &links;
    let mut sedge = Sedge::start(&place, Options::default().config(link));
    let mut here = Connection::open(&sedge.bootstrap());
    let sent = |sedge: &Sedge| {
        metric(
            sedge.console(),
            "sedge_mirror_bytes_sent_total{link=\"hq\"}",
        )
    };
    let deadline = Instant::now() + limits::COMMAND;
    while sent(&sedge) == 0.0 {
        assert!(Instant::now() < deadline, "nothing is sent");
        std::thread::sleep(limits::POLL);
    }
    let (began, first) = (Instant::now(), sent(&sedge));
    let (mut waiting, mut delays, mut offset) = (Vec::new(), Vec::new(), 0);
    let mut due = began;
    let until = began + duration;
    let patience = until + Duration::from_secs(30);
    let mut goodput = 0.0;
    while Instant::now() < until || (!waiting.is_empty() && Instant::now() < patience) {
        if Instant::now() >= due && Instant::now() < until {
            waiting.push(Instant::now());
            produce(&mut here, "alarms", "fire");
            due += ALARM_EVERY;
        }
        let (records, next) = committed(&mut there, "alarms", offset);
        offset = next;
        for _ in 0..records.min(waiting.len()) {
            delays.push(waiting.remove(0).elapsed());
        }
        if Instant::now() < until {
            goodput = (sent(&sedge) - first) / began.elapsed().as_secs_f64();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    sedge.kill();
    kafka.terminate();
    (goodput, delays, waiting.len())
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn produce(here: &mut Connection, topic: &str, value: &str) {
    let batch = Batch::of(&[value.as_bytes().to_vec()]).encode();
    assert_eq!(wire::produce(here, topic, 0, &batch).error, error::NONE);
}

/// Returns how many records a `read_committed` reader gets from an offset on, and the next offset.
fn committed(there: &mut Connection, topic: &str, offset: i64) -> (usize, i64) {
    /// Where a fetch request has the isolation level, and the value for `read_committed`.
    const ISOLATION: (usize, u8) = (16, 1);
    const HEADER_BYTES: usize = 61;
    let mut body = wire::fetch_request(topic, 0, offset, 1 << 20);
    body[ISOLATION.0] = ISOLATION.1;
    let fetched = wire::fetched(&there.ask(key::FETCH, wire::FETCH_VERSION, &body));
    let mut bytes = &fetched.records[..];
    let next = wire::next_offset(bytes).unwrap_or(offset);
    let mut records = 0;
    while bytes.len() >= HEADER_BYTES {
        let length = 12 + Decoder(&bytes[8..]).i32() as usize;
        let is_control = Decoder(&bytes[21..]).i16() & (1 << 5) != 0;
        if !is_control && Decoder(bytes).i64() >= offset {
            records += Decoder(&bytes[57..]).i32() as usize;
        }
        bytes = bytes.get(length..).unwrap_or_default();
    }
    (records, next)
}
