//! Measures a quota policy's cost per decision, and a partitioner's per key in batches of 100.
//!
//! `cargo run --release -p sedge-plugin --example world_costs POLICY PARTITIONER`, where both are
//! outputs of `sedge plugin compile` for this machine, of `plugins/tenant-quota` and
//! `plugins/geohash-partitioner`.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::{error::Error, fs, hint::black_box, time::Instant};

use sedge_plugin::{
    CodeCache, Engine, Grant, Limits, Plugin, QuotaOperation, QuotaRequest, RecordBlob,
};

const ROUNDS: usize = 15;
const CALLS: usize = 5_000;
const KEYS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new()?;
    let mut policy = load(&engine, 1)?.into_quota()?.instantiate(&[])?;
    let request = QuotaRequest {
        operation: QuotaOperation::Produce,
        principal: Some("User:alice"),
        client_id: Some("acme.line-4"),
        peer: "192.0.2.17",
        listener: "SASL_SSL",
        topics: &["readings"],
        bytes: 1,
        records: 100,
        now_ms: 0,
    };
    measure("a decision", 1, || {
        let grant = policy.decide(&request)?;
        assert_eq!(black_box(grant), Grant::Allow);
        Ok(())
    })?;
    let mut partitioner = load(&engine, 2)?.into_partitioner()?.instantiate(&[])?;
    let mut records = RecordBlob::new();
    let keys: Vec<String> = (0..KEYS).map(|key| format!("sensor-{key:04}")).collect();
    measure("a key", KEYS, || {
        records.start(partitioner.needs(), partitioner.factory().limits());
        for key in &keys {
            let pushed = records.push(Some(key.as_bytes()), Some(b"21.4"), None, 0);
            pushed.map_err(|_| "too large")?;
        }
        let chosen = partitioner.partition("readings", 12, &records)?;
        assert_eq!(black_box(chosen).len(), KEYS);
        Ok(())
    })
}

fn load(engine: &Engine, argument: usize) -> Result<Plugin, Box<dyn Error>> {
    let artifact = std::env::args().nth(argument).ok_or("name two artifacts")?;
    let artifact = fs::read(artifact)?;
    let limits = Limits::default();
    let directory = std::env::temp_dir().join(format!("world-costs-{}", std::process::id()));
    let cache = CodeCache::open(&directory, None)?;
    cache.import(&artifact, &limits)?;
    let plugin = cache.load(engine, "measured", &artifact, limits, None)?;
    fs::remove_dir_all(&directory)?;
    Ok(plugin)
}

/// Prints the least, the median and the largest time of a call, divided by `parts`.
fn measure(
    what: &str,
    parts: usize,
    mut call: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut nanos = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..CALLS {
            call()?;
        }
        nanos.push(began.elapsed().as_nanos() as f64 / (CALLS * parts) as f64);
    }
    nanos.sort_by(f64::total_cmp);
    let (least, median, most) = (nanos[0], nanos[ROUNDS / 2], nanos[ROUNDS - 1]);
    println!("ns of {what}, least, median, most: {least:.0} {median:.0} {most:.0}");
    Ok(())
}
