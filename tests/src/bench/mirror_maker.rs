//! `bench mirror-maker`: a link beside MirrorMaker 2 with its defaults, in one run, from the same
//! broker to the same Apache Kafka: bytes on the wire for single JSON records, and catching up.
//!
//! The bytes are those of both directions between the link, or MirrorMaker 2 at the edge, and the
//! centre, from the first record's arrival on: topics and groups are made before.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::Spread;
use crate::apache_kafka::ApacheKafka;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::wire::{self, Batch, Codec, Connection, error};
use crate::{limits, mirror_maker, proc};

const RECORD_BYTES: usize = 1 << 10;
const BATCH_RECORDS: usize = 64;
const PARTITIONS: i32 = 4;
/// A link copies so many times as much as MirrorMaker 2, to take as long.
const LINK_TIMES: u64 = 5;

/// What copies in a cell, with further keys of the link.
const COPIERS: [(&str, Option<&str>); 4] = [
    ("MirrorMaker 2", None),
    ("exactly-once", Some("mode = \"exactly-once\"")),
    ("at-least-once", Some("mode = \"at-least-once\"")),
    (
        "exactly-once, linger.ms and commit.interval.ms 1000",
        Some("mode = \"exactly-once\"\n\"linger.ms\" = 1000\n\"commit.interval.ms\" = 1000"),
    ),
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub records: usize,
    pub mb: u64,
    pub rounds: usize,
}

/// The centre, behind a proxy that counts.
struct Centre {
    proxy: Proxy,
    kafka: ApacheKafka,
    directory: TempDir,
}

impl Centre {
    fn start() -> Self {
        let directory = TempDir::new("bench-mirror-maker");
        let proxy = Proxy::start();
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let settings = [("advertised.listeners".to_owned(), advertised)];
        let kafka = ApacheKafka::start_full(&directory.join("kafka"), &settings, &[]);
        proxy.forward_to(&kafka.bootstrap());
        Self {
            proxy,
            kafka,
            directory,
        }
    }
}

/// A broker at the edge, and what copies its topic.
struct Copier {
    sedge: Sedge,
    maker: Option<Process>,
    /// The topic's name at the centre.
    there: String,
}

impl Copier {
    /// Starts an edge with `fill`, and then what copies the topic.
    fn start(
        centre: &Centre,
        topic: &str,
        link: Option<&str>,
        fill: impl FnOnce(&mut Connection),
    ) -> Self {
        let place = centre.directory.join(topic);
        let plain = "durability = \"interval\"\n".to_owned();
        let mut sedge = Sedge::start(&place, Options::default().config(plain.clone()));
        let mut here = Connection::open(&sedge.bootstrap());
        wire::create_topic(&mut here, topic, PARTITIONS, &[]);
        fill(&mut here);
        let upstream = centre.proxy.address();
        let Some(link) = link else {
            let source = sedge.bootstrap();
            let place = centre.directory.join(&format!("{topic}-mm2"));
            let maker = mirror_maker::start(&place, &source, &upstream, topic);
            return Self {
                sedge,
                maker: Some(maker),
                there: format!("{}{topic}", mirror_maker::PREFIX),
            };
        };
        sedge.terminate();
        let link = format!(
            "{plain}[mirror.hq]\nbootstrap.servers = \"{upstream}\"\ntopics = [\"{topic}\"]\n\
             {link}\n"
        );
        Self {
            sedge: Sedge::start(&place, Options::default().config(link)),
            maker: None,
            there: topic.to_owned(),
        }
    }

    fn pid(&mut self) -> u32 {
        match &self.maker {
            Some(maker) => maker.pid(),
            None => self.sedge.process().pid(),
        }
    }

    /// Returns the offsets of the topic at the centre: its records, and the markers of
    /// transactions.
    fn arrived(&self, there: &mut Connection) -> i64 {
        if wire::fetch(there, &self.there, 0, 0).error != error::NONE {
            return 0;
        }
        let end = |partition| wire::offset_for_time(there, &self.there, partition, -1);
        (0..PARTITIONS).map(end).sum()
    }

    /// Waits until a `read_committed` reader there would have so many records.
    fn wait(&self, centre: &Centre, records: usize) {
        let mut there = Connection::open(&centre.kafka.bootstrap());
        let deadline = Instant::now() + Duration::from_mins(10);
        let is_done = |there: &mut Connection| {
            if self.maker.is_some() {
                return self.arrived(there) >= records as i64;
            }
            // The link counts what is committed.
            let sent = "sedge_mirror_records_sent_total{link=\"hq\"}";
            crate::http::metric(self.sedge.console(), sent) >= records as f64
        };
        while !is_done(&mut there) {
            assert!(
                Instant::now() < deadline,
                "{} records of {}",
                records,
                self.there
            );
            std::thread::sleep(limits::POLL);
        }
    }

    fn end(mut self) {
        if let Some(mut maker) = self.maker.take() {
            maker.kill();
        }
        self.sedge.terminate();
    }
}

/// A document as a device sends it.
fn document(number: usize) -> Vec<u8> {
    let celsius = 200 + number * 7919 % 313;
    let text = format!(
        r#"{{"device":"boiler-{}","time":{},"celsius":{}.{},"pressure":{},"state":"running"}}"#,
        number % 17,
        1_795_780_800_000_u64 + 97 * number as u64,
        celsius / 10,
        celsius % 10,
        1_000 + number * 104_729 % 977,
    );
    text.into_bytes()
}

/// Returns bytes on the wire for a record, of single records that are produced one after the other
/// while they are copied.
fn wire_bytes(centre: &Centre, topic: &str, link: Option<&str>, records: usize) -> f64 {
    let mut copier = Copier::start(centre, topic, link, |here| {
        produce(here, topic, &Batch::of(&[document(0)]).encode());
    });
    copier.wait(centre, 1);
    // What the first record has started is over.
    std::thread::sleep(Duration::from_secs(3));
    let before = centre.proxy.forwarded();
    let mut here = Connection::open(&copier.sedge.bootstrap());
    for number in 1..=records {
        produce(&mut here, topic, &Batch::of(&[document(number)]).encode());
        // Some thousand records a second.
        std::thread::sleep(Duration::from_micros(500));
    }
    copier.wait(centre, records + 1);
    let bytes = centre.proxy.forwarded() - before;
    let _ = copier.pid();
    copier.end();
    bytes as f64 / records as f64
}

fn produce(here: &mut Connection, topic: &str, batch: &[u8]) {
    assert_eq!(wire::produce(here, topic, 0, batch).error, error::NONE);
}

/// What catching up costs.
struct CaughtUp {
    mb_per_s: f64,
    cpu_s_per_gb: f64,
    peak_mib: f64,
}

fn catch_up(centre: &Centre, topic: &str, link: Option<&str>, mb: u64) -> CaughtUp {
    let plain = Batch::filled(BATCH_RECORDS, RECORD_BYTES);
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut encoder, &plain.payload).expect("a Vec takes everything");
    let payload = encoder.finish().expect("a Vec takes everything");
    let batch = plain.compressed(Codec::Lz4, payload).encode();
    let times = link.map_or(1, |_| LINK_TIMES);
    let count = times * (mb << 20) / (BATCH_RECORDS * RECORD_BYTES) as u64;
    let mut copier = Copier::start(centre, topic, link, |here| {
        for number in 0..count {
            let partition = (number % PARTITIONS as u64) as i32;
            let produced = wire::produce(here, topic, partition, &batch);
            assert_eq!(produced.error, error::NONE);
        }
    });
    let pid = copier.pid();
    copier.wait(centre, 1);
    let (began, cpu) = (Instant::now(), proc::cpu(pid));
    let mut there = Connection::open(&centre.kafka.bootstrap());
    let first = copier.arrived(&mut there);
    let all = count as usize * BATCH_RECORDS;
    let is_early = first < all as i64 / 2;
    assert!(
        is_early,
        "half of the backlog was copied before it was looked at: give a larger --mb"
    );
    copier.wait(centre, all);
    let took = began.elapsed().as_secs_f64();
    let cpu = proc::cpu(pid).saturating_sub(cpu).as_secs_f64();
    let peak_mib = proc::resident_peak_kib(pid) as f64 / 1024.0;
    copier.end();
    let bytes = (all as f64 - first as f64) * RECORD_BYTES as f64;
    CaughtUp {
        mb_per_s: bytes / 1e6 / took,
        cpu_s_per_gb: cpu / (bytes / 1e9),
        peak_mib,
    }
}

pub fn run(plan: Plan) -> String {
    let mut centre = Centre::start();
    let values: usize = (1..=plan.records).map(|it| document(it).len()).sum();
    let mut text = format!(
        "single JSON records of {} bytes, bytes on the wire for each\n",
        values / plan.records.max(1)
    );
    let mut of_maker = f64::NAN;
    for (at, (name, link)) in COPIERS.iter().enumerate() {
        let mut spread = Spread::default();
        for round in 0..plan.rounds {
            let topic = format!("single-{at}-{round}");
            spread.add(wire_bytes(&centre, &topic, *link, plan.records));
        }
        if link.is_none() {
            of_maker = spread.median();
        }
        let part = 100.0 * spread.median() / of_maker;
        writeln!(text, "{name}: {}, {part:.0} %", spread.show(0)).expect("as a String does");
    }
    text += "catching up, batches of 64 records of 1 KiB, lz4\n";
    let mut of_maker = [f64::NAN; 3];
    for (at, (name, link)) in COPIERS.iter().enumerate().take(3) {
        let mut spreads = [Spread::default(), Spread::default(), Spread::default()];
        for round in 0..plan.rounds {
            let topic = format!("backlog-{at}-{round}");
            let caught_up = catch_up(&centre, &topic, *link, plan.mb);
            spreads[0].add(caught_up.mb_per_s);
            spreads[1].add(caught_up.cpu_s_per_gb);
            spreads[2].add(caught_up.peak_mib);
        }
        if link.is_none() {
            of_maker = [0, 1, 2].map(|of| spreads[of].median());
        }
        let times = |of: usize| spreads[of].median() / of_maker[of];
        writeln!(
            text,
            "{name}: {} MB/s ({:.1} times), {} s of CPU a GB ({:.2}), {} MiB at most ({:.2})",
            spreads[0].show(0),
            times(0),
            spreads[1].show(2),
            times(1),
            spreads[2].show(0),
            times(2)
        )
        .expect("as a String does");
    }
    centre.kafka.terminate();
    text
}
