//! `bench validation`: measures the processor time of producing compressed JSON, which both brokers
//! open to check its records, and compares it with Apache Kafka in one run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use crate::bench::{Load, Outcome, Peer, Spread};
use crate::proc;
use crate::temp_dir::TempDir;
use crate::wire::{Batch, Codec};

/// The duration, and the number of rounds.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub seconds: u64,
    pub warm_bytes: u64,
    /// Bytes after which a cell ends early.
    pub cell_bytes: u64,
    /// Only cells whose name contains this.
    pub cells: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 3,
            seconds: 5,
            warm_bytes: 1_000_000_000,
            cell_bytes: 512 << 20,
            cells: String::new(),
        }
    }
}

const PARTITIONS: i32 = 4;
const IN_FLIGHT: usize = 5;

/// Approximate bytes of a batch as sent: one that sedge opens on the executor, and one that it
/// hands over.
const BATCH_BYTES: [usize; 2] = [12 << 10, 64 << 10];
const CODECS: [Codec; 5] = [
    Codec::Lz4,
    Codec::Zstd,
    Codec::Snappy,
    Codec::Gzip,
    Codec::None,
];

/// A name, a broker, and the configuration of its topic.
type Column = (&'static str, usize, &'static [(&'static str, &'static str)]);

/// The columns of each cell.
const COLUMNS: [Column; 3] = [
    ("kafka", 0, &[]),
    ("sedge", 1, &[]),
    ("relaxed", 1, &[("sedge.produce.validation", "relaxed")]),
];

/// Runs every cell and returns the table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    let directory = TempDir::new("bench-validation");
    let mut peers = [
        Peer::kafka(directory.path()),
        Peer::sedge_set(directory.path(), "interval", &[]),
    ];
    for peer in &mut peers {
        progress(&format!("warming {}", peer.name()));
        for codec in CODECS {
            let batch = batch(codec, BATCH_BYTES[0]);
            let load = load(peer, &format!("warm-{codec:?}"), batch.bytes.len());
            load.create(&[]);
            let bytes = plan.warm_bytes / CODECS.len() as u64;
            load.produce_encoded(&batch.bytes, Duration::MAX, bytes);
            load.delete();
        }
    }
    let mut table = String::from("codec batch (opened) | broker | produce MB/s | CPU s/GB sent\n");
    for codec in CODECS {
        for batch_bytes in BATCH_BYTES {
            let batch = batch(codec, batch_bytes);
            let (sent, opened) = (batch.bytes.len() >> 10, batch.opened_bytes >> 10);
            let cell = format!("{codec:?} {sent}K ({opened}K)");
            if !cell.contains(&plan.cells) {
                continue;
            }
            let mut rates: [Spread; 3] = Default::default();
            let mut costs: [Spread; 3] = Default::default();
            for round in 0..plan.rounds {
                for (at, (name, peer, configs)) in COLUMNS.iter().enumerate() {
                    let peer = &mut peers[*peer];
                    let topic = format!("{name}-{codec:?}-{batch_bytes}-{round}");
                    let (mut produced, cpu) = measure(peer, &topic, configs, &batch, plan);
                    rates[at].add(produced.mb_per_second());
                    costs[at].add(cpu / (produced.bytes as f64 / 1e9));
                    progress(&format!("{topic}: p99 {:.1} ms", produced.latency_ms(99.0)));
                }
            }
            let mut rows = String::new();
            for (at, (name, ..)) in COLUMNS.iter().enumerate() {
                let (rate, cost) = (rates[at].show(0), costs[at].show(2));
                writeln!(rows, "{cell} | {name} | {rate} | {cost}").expect("into a String");
            }
            let ratio = |of: &[Spread; 3]| of[1].median() / of[0].median();
            let (rate, cost) = (ratio(&rates), ratio(&costs));
            writeln!(rows, "{cell} | sedge/kafka | {rate:.2} | {cost:.2}").expect("into a String");
            progress(&rows);
            table.push_str(&rows);
        }
    }
    table
}

fn load(peer: &Peer, topic: &str, batch_bytes: usize) -> Load {
    Load {
        bootstrap: peer.bootstrap(),
        topic: topic.to_lowercase(),
        partitions: PARTITIONS,
        in_flight: IN_FLIGHT,
        batch_bytes,
        record_bytes: 0,
        tls: None,
    }
}

fn measure(
    peer: &mut Peer,
    topic: &str,
    configs: &[(&str, &str)],
    batch: &Encoded,
    plan: &Plan,
) -> (Outcome, f64) {
    let pid = peer.pid();
    let load = load(peer, topic, batch.bytes.len());
    load.create(configs);
    let before = proc::cpu(pid);
    let time = Duration::from_secs(plan.seconds);
    let outcome = load.produce_encoded(&batch.bytes, time, plan.cell_bytes);
    let cpu = proc::cpu(pid).saturating_sub(before).as_secs_f64();
    load.delete();
    // The next cell must not pay for pages of this one.
    rustix::fs::sync();
    (outcome, cpu)
}

struct Encoded {
    bytes: Vec<u8>,
    opened_bytes: usize,
}

/// Builds readings as JSON that the codec compresses to about `bytes`.
fn batch(codec: Codec, bytes: usize) -> Encoded {
    let mut count = 64;
    loop {
        let values: Vec<Vec<u8>> = (0..count).map(reading).collect();
        let plain = Batch::of(&values);
        let opened_bytes = plain.payload.len();
        let packed = compress(codec, &plain.payload);
        if packed.len() >= bytes {
            let bytes = plain.compressed(codec, packed).encode();
            return Encoded {
                bytes,
                opened_bytes,
            };
        }
        // Most of the way in one step; the ratio changes little with the size.
        count = (count * bytes / packed.len()).max(count + 16);
    }
}

fn reading(n: usize) -> Vec<u8> {
    let mut state = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 8) % bound
    };
    let mut text = format!("{{\"device\":\"press-{:04}\"", below(500));
    let (time, celsius) = (1_700_000_000_000 + n * 250, below(400));
    let (bar, turns) = (below(10_000), below(3_000));
    write!(
        text,
        ",\"site\":\"plant-{}\",\"ts\":{time},\"celsius\":{}.{},\"bar\":{}.{:02},\"rpm\":{turns},\
         \"status\":\"{}\",\"seq\":{n}}}",
        below(8),
        celsius / 10,
        celsius % 10,
        bar / 100,
        bar % 100,
        ["ok", "ok", "ok", "warm", "stopped"][below(5) as usize],
    )
    .expect("into a String");
    text.into_bytes()
}

/// Compresses at each codec's default level, framed as clients frame it.
fn compress(codec: Codec, plain: &[u8]) -> Vec<u8> {
    match codec {
        Codec::None => plain.to_vec(),
        Codec::Gzip => {
            let level = flate2::Compression::new(6);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).expect("into a Vec");
            encoder.finish().expect("into a Vec")
        }
        Codec::Snappy => {
            let mut packed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for block in plain.chunks(32 << 10) {
                let block = snap::raw::Encoder::new().compress_vec(block);
                let block = block.expect("a block is small");
                packed.extend((block.len() as u32).to_be_bytes());
                packed.extend(block);
            }
            packed
        }
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).expect("into a Vec");
            encoder.finish().expect("into a Vec")
        }
        Codec::Zstd => {
            let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            zstd_safe::compress(&mut packed, plain, 3).expect("there is room");
            packed
        }
    }
}
