//! Measures the store's costs: throughput, bytes written for each byte appended, memory when idle,
//! time to open.
//!
//! `cargo run --release -p sedge-storage --example measure -- DIR [MEGABYTES]`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sedge_protocol::batch::{Batch, BatchHeader, HEADER_BYTES};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Commit, Entry, LogStore, NoViews, Options, Room, Store, open};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH_BYTES: usize = 16 << 10;
const SYNC_COMMITS: u64 = 2000;
/// The interval at which the broker calls `flush_views`, and syncs in interval mode.
const TICK: Duration = Duration::from_secs(1);

static BODY: [u8; BATCH_BYTES - HEADER_BYTES] = [0x5A; BATCH_BYTES - HEADER_BYTES];

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: measure DIR [MEGABYTES]")?;
    let megabytes: u64 = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    for partitions in [1, 100] {
        let directory = Path::new(&directory).join(format!("partitions-{partitions}"));
        println!("{partitions} partitions, commits of one batch of {BATCH_BYTES} bytes");
        one(&directory, partitions, megabytes << 20)?;
    }
    Ok(())
}

fn one(directory: &Path, partitions: u32, bytes: u64) -> Outcome<()> {
    let store = reopen(directory)?;
    println!(
        "  idle                 {:>8.1} MiB resident",
        resident_mib()?
    );
    let commits = bytes / BATCH_BYTES as u64;
    let before = written()?;
    let (started, processor) = (Instant::now(), processor_seconds()?);
    let mut tick = Instant::now();
    for commit in 0..commits {
        append(&store, commit, partitions)?;
        if tick.elapsed() > TICK {
            tick = Instant::now();
            store.sync()?;
            store.flush_views()?;
        }
    }
    report("interval", commits, started, processor, before)?;
    println!(
        "  written, log + views {:>8.3} bytes a byte",
        amplification(&store)
    );
    println!(
        "  after appends        {:>8.1} MiB resident",
        resident_mib()?
    );
    drop(store);
    let store = reopen(directory)?;
    read_all(&store, partitions)?;
    store.close()?;
    drop(store);
    let store = reopen(directory)?;
    println!(
        "  idle, opened         {:>8.1} MiB resident",
        resident_mib()?
    );
    let before = written()?;
    let (started, processor) = (Instant::now(), processor_seconds()?);
    for commit in commits..commits + SYNC_COMMITS {
        append(&store, commit, partitions)?;
        store.sync()?;
    }
    report("sync each", SYNC_COMMITS, started, processor, before)?;
    store.close()?;
    Ok(())
}

fn reopen(directory: &Path) -> Outcome<Store> {
    let started = Instant::now();
    let (store, report) = open(directory, Options::default(), &mut NoViews)?;
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    println!(
        "  open                 {milliseconds:>8.1} ms, {} commits replayed",
        report.frames_replayed
    );
    Ok(store)
}

fn append(store: &Store, number: u64, partitions: u32) -> Outcome<()> {
    let partition = PartitionId((number % u64::from(partitions)) as u32);
    let offset = (number / u64::from(partitions)) as i64;
    let commit = Commit {
        entries: vec![Entry::Append {
            partition,
            batches: vec![batch(offset)],
        }],
        updates: Vec::new(),
        append_ms: number as i64,
    };
    store.reserve(Room::ordinary(BATCH_BYTES as u64, 1))?;
    store.append(commit)?;
    Ok(())
}

fn batch(offset: i64) -> Batch {
    let mut header = [0; HEADER_BYTES];
    header[8..12].copy_from_slice(&(BATCH_BYTES as i32 - 12).to_be_bytes());
    header[16] = 2;
    let mut header = BatchHeader::read(&header).expect("61 bytes");
    header.set_base_offset(Offset(offset));
    Batch {
        header,
        body: Bytes::from_static(&BODY),
    }
}

fn read_all(store: &Store, partitions: u32) -> Outcome<()> {
    let (started, processor) = (Instant::now(), processor_seconds()?);
    let mut bytes = 0;
    for partition in (0..partitions).map(PartitionId) {
        let mut from = Offset::ZERO;
        loop {
            let chunks = store.read(partition, from, Offset(i64::MAX), 1 << 20)?;
            let count: usize = chunks.iter().map(Bytes::len).sum();
            if count == 0 {
                break;
            }
            bytes += count;
            from = from.plus((count / BATCH_BYTES) as i64);
        }
    }
    let megabytes = bytes as f64 / 1e6;
    println!(
        "  read                 {:>8.0} MB/s, {:.2} s of CPU a GB",
        megabytes / started.elapsed().as_secs_f64(),
        (processor_seconds()? - processor) * 1e3 / megabytes
    );
    Ok(())
}

fn report(what: &str, commits: u64, started: Instant, processor: f64, before: u64) -> Outcome<()> {
    let bytes = (commits * BATCH_BYTES as u64) as f64;
    println!(
        "  append, {what:<12} {:>8.0} MB/s, {:.2} s of CPU a GB, {:.3} bytes to disk a byte",
        bytes / 1e6 / started.elapsed().as_secs_f64(),
        (processor_seconds()? - processor) * 1e9 / bytes,
        (written()? - before) as f64 / bytes
    );
    Ok(())
}

fn amplification(store: &Store) -> f64 {
    let usage = store.usage();
    (usage.log_bytes_written + usage.view_bytes_written) as f64 / usage.payload_bytes_written as f64
}

fn proc_field(file: &str, field: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/{file}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or("no such field")?;
    Ok(line.split_whitespace().next().ok_or("no value")?.parse()?)
}

fn resident_mib() -> Outcome<f64> {
    Ok(proc_field("status", "VmRSS:")? as f64 / 1024.0)
}

/// Returns the bytes that the kernel has to write for this process.
fn written() -> Outcome<u64> {
    proc_field("io", "write_bytes:")
}

fn processor_seconds() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    // User and system time, in hundredths of a second.
    Ok((ticks(11) + ticks(12)) / 100.0)
}
