//! `bench mirror`: a link to Apache Kafka, exactly-once and at-least-once: how fast it catches up
//! with what it costs, and when records are visible upstream to a `read_committed` consumer.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::apache_kafka::ApacheKafka;
use crate::http;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Connection, error, key};
use crate::{limits, proc};

const MODES: [&str; 2] = ["exactly-once", "at-least-once"];
/// What a link does to batches that were produced without compression.
const PACKINGS: [(&str, &str); 2] = [("producer", "as stored"), ("lz4", "compressed")];
const LOOK_EVERY: Duration = Duration::from_millis(250);
const PARTITIONS: i32 = 4;
const RECORD_BYTES: usize = 1 << 10;
const BATCH_RECORDS: usize = 64;
/// Where a fetch request has the isolation level, and the value for `read_committed`.
const ISOLATION: (usize, u8) = (16, 1);

pub fn run(mb: u64, seconds: u64) -> String {
    let directory = TempDir::new("bench-mirror");
    let mut kafka = ApacheKafka::start_full(&directory.join("kafka"), &[], &[]);
    let mut text = String::from("a link to Apache Kafka on loopback, batches of 64 KiB\n");
    for (packing, name) in PACKINGS {
        for mode in MODES {
            let (speed, cpu) = catch_up(&directory, &kafka, mode, packing, mb);
            writeln!(
                text,
                "{mode}, {name}: catches up with {speed:.0} MB/s, {cpu:.2} s of CPU a GB"
            )
            .expect("a String takes everything");
        }
    }
    writeln!(text, "1,000 records a second, one a batch").expect("as above");
    for mode in MODES {
        let mut delays = delays(&directory, &kafka, mode, seconds);
        delays.sort_unstable();
        let at = |percent: usize| {
            let at = (delays.len() * percent / 100).min(delays.len() - 1);
            delays[at].as_secs_f64() * 1e3
        };
        writeln!(
            text,
            "{mode}: visible upstream after {:.1} ms (median), {:.1} (p99), {:.1} (all)",
            at(50),
            at(99),
            at(100)
        )
        .expect("as above");
    }
    kafka.terminate();
    text
}

fn start(
    directory: &TempDir,
    kafka: &ApacheKafka,
    name: &str,
    link: Option<(&str, &str)>,
) -> Sedge {
    let link = link.map(|(mode, packing)| {
        format!(
            "[mirror.hq]\nbootstrap.servers = \"{}\"\ntopics = [\".*\"]\nmode = \"{mode}\"\n\
             \"compression.type\" = \"{packing}\"\n",
            kafka.bootstrap()
        )
    });
    let config = format!("durability = \"interval\"\n{}", link.unwrap_or_default());
    Sedge::start(&directory.join(name), Options::default().config(config))
}

/// Returns MB/s, and seconds of CPU for a GB.
fn catch_up(
    directory: &TempDir,
    kafka: &ApacheKafka,
    mode: &str,
    packing: &str,
    mb: u64,
) -> (f64, f64) {
    let name = format!("backlog-{mode}-{packing}");
    let mut sedge = start(directory, kafka, &name, None);
    let mut here = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut here, &name, PARTITIONS, &[]);
    let bytes = Batch::filled(BATCH_RECORDS, RECORD_BYTES).encode();
    let count = (mb << 20) / bytes.len() as u64;
    for number in 0..count {
        let partition = (number % PARTITIONS as u64) as i32;
        let produced = wire::produce(&mut here, &name, partition, &bytes);
        assert_eq!(produced.error, error::NONE);
    }
    sedge.terminate();
    let mut sedge = start(directory, kafka, &name, Some((mode, packing)));
    let pid = sedge.process().pid();
    let sent = |sedge: &Sedge| {
        let names = ["sedge_mirror_bytes_sent_total", "sedge_mirror_lag_records"];
        let of = names.map(|name| format!("{name}{{link=\"hq\"}}"));
        let [sent, lag] = http::metrics(sedge.console(), [&of[0], &of[1]]);
        (sent, lag)
    };
    let deadline = Instant::now() + limits::COMMAND;
    while sent(&sedge).0 == 0.0 {
        assert!(Instant::now() < deadline, "nothing is sent");
        std::thread::sleep(limits::POLL);
    }
    let (began, cpu, first) = (Instant::now(), proc::cpu(pid), sent(&sedge).0);
    while sent(&sedge).1 > 0.0 {
        assert!(Instant::now() < deadline, "the link does not catch up");
        // Metrics cost the broker as much as some batches do.
        std::thread::sleep(LOOK_EVERY);
    }
    let copied = sent(&sedge).0 - first;
    let took = (began.elapsed(), proc::cpu(pid).saturating_sub(cpu));
    sedge.terminate();
    let speed = copied / 1e6 / took.0.as_secs_f64();
    (speed, took.1.as_secs_f64() / (copied / 1e9))
}

/// Returns the time of each record from before it is produced until a consumer upstream has it.
fn delays(directory: &TempDir, kafka: &ApacheKafka, mode: &str, seconds: u64) -> Vec<Duration> {
    let topic = format!("quiet-{mode}");
    let mut sedge = start(directory, kafka, &topic, Some((mode, "lz4")));
    let mut here = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut here, &topic, 1, &[]);
    let mut there = Connection::open(&kafka.bootstrap());
    let deadline = Instant::now() + limits::COMMAND;
    while wire::fetch(&mut there, &topic, 0, 0).error != error::NONE {
        assert!(Instant::now() < deadline, "the topic is not upstream");
        std::thread::sleep(limits::POLL);
    }
    let count = 1000 * seconds;
    let of = topic.clone();
    let reader = std::thread::spawn(move || read_delays(&mut there, &of, count));
    let began = Instant::now();
    for number in 0..count {
        let due = began + Duration::from_millis(number);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let batch = Batch::of(&[now().as_nanos().to_string().into_bytes()]).encode();
        let produced = wire::produce(&mut here, &topic, 0, &batch);
        assert_eq!(produced.error, error::NONE);
    }
    let delays = reader.join().expect("the reader ends");
    sedge.terminate();
    delays
}

fn read_delays(there: &mut Connection, topic: &str, count: u64) -> Vec<Duration> {
    let (mut delays, mut offset) = (Vec::new(), 0);
    while (delays.len() as u64) < count {
        let mut body = wire::fetch_request(topic, 0, offset, 1 << 20);
        body[ISOLATION.0] = ISOLATION.1;
        let fetched = wire::fetched(&there.ask(key::FETCH, wire::FETCH_VERSION, &body));
        let now = now();
        for record in wire::records(&fetched.records) {
            // Control records have no value that is a number.
            let sent = String::from_utf8_lossy(&record.value).parse::<u64>();
            if let Ok(sent) = sent
                && record.offset >= offset
            {
                delays.push(now.saturating_sub(Duration::from_nanos(sent)));
            }
        }
        offset = wire::next_offset(&fetched.records).unwrap_or(offset);
    }
    delays
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set")
}
