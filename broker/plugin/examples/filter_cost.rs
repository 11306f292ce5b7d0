//! Measures a filter's cost per record: batches of 100 records of 1 KiB, of which one in ten is
//! dropped.
//!
//! `cargo run --release -p sedge-plugin --example filter_cost ARTIFACT`, where ARTIFACT is the
//! output of `sedge plugin compile` for `plugins/drop-out-of-range` and this machine.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::{error::Error, fs, hint::black_box, time::Instant};

use sedge_plugin::{BatchInfo, CodeCache, Engine, FilterStage, Limits, RecordBlob, Verdict};

const ROUNDS: usize = 15;
const BATCHES: usize = 2000;
const RECORDS: usize = 100;
const VALUE_BYTES: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let artifact = std::env::args().nth(1).ok_or("name an artifact")?;
    let artifact = fs::read(artifact)?;
    let limits = Limits::default();
    let directory = std::env::temp_dir().join(format!("filter-cost-{}", std::process::id()));
    let cache = CodeCache::open(&directory, None)?;
    cache.import(&artifact, &limits)?;
    let engine = Engine::new()?;
    let began = Instant::now();
    let factory = cache
        .load(&engine, "range", &artifact, limits, None)?
        .into_filter()?;
    println!("load {} bytes: {:?}", artifact.len(), began.elapsed());
    fs::remove_dir_all(&directory)?;
    let began = Instant::now();
    let mut filter = factory.instantiate(&[])?;
    println!("instantiate: {:?}", began.elapsed());

    let values: Vec<Vec<u8>> = (0..RECORDS).map(reading).collect();
    let info = BatchInfo {
        topic: "readings",
        partition: 0,
        stage: FilterStage::Produce,
        base_timestamp_ms: 0,
        origin: None,
    };
    let mut records = RecordBlob::new();
    let (mut gathering, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = processor_nanos()?;
        for _ in 0..BATCHES {
            gather(&mut records, &filter, &values)?;
        }
        gathering.push(nanos_a_record(began)?);
        let began = processor_nanos()?;
        for _ in 0..BATCHES {
            gather(&mut records, &filter, &values)?;
            let outcome = filter.filter(&info, &records)?;
            let kept = outcome
                .verdicts()
                .filter(|verdict| *verdict == Verdict::Keep)
                .count();
            assert_eq!(black_box(kept), RECORDS - RECORDS / 10);
        }
        whole.push(nanos_a_record(began)?);
    }
    let bytes = values[0].len();
    println!(
        "batches of {RECORDS} of {bytes} bytes; ns of processor a record, least, median, most:"
    );
    print("gathering alone", &mut gathering);
    print("gathering, filter, verdicts", &mut whole);
    Ok(())
}

fn reading(index: usize) -> Vec<u8> {
    let celsius = if index.is_multiple_of(10) {
        400.5
    } else {
        21.4
    };
    let mut reading = format!("{{\"sensor\":\"roof-{index}\",\"celsius\":{celsius},\"note\":\"");
    while reading.len() < VALUE_BYTES - 2 {
        reading.push('x');
    }
    reading.push_str("\"}");
    reading.into_bytes()
}

fn gather(
    records: &mut RecordBlob,
    filter: &sedge_plugin::FilterInstance,
    values: &[Vec<u8>],
) -> Result<(), Box<dyn Error>> {
    records.start(filter.needs(), filter.factory().limits());
    for value in values {
        records
            .push(Some(b"key"), Some(value), None, 1)
            .map_err(|_| "too large")?;
    }
    Ok(())
}

/// Returns this thread's processor time, which excludes what other threads do meanwhile.
fn processor_nanos() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

fn nanos_a_record(began: u64) -> Result<f64, Box<dyn Error>> {
    Ok((processor_nanos()? - began) as f64 / (BATCHES * RECORDS) as f64)
}

fn print(what: &str, nanos: &mut [f64]) {
    nanos.sort_by(f64::total_cmp);
    let (least, median, most) = (nanos[0], nanos[nanos.len() / 2], nanos[nanos.len() - 1]);
    println!("{what}: {least:.0} {median:.0} {most:.0}");
}
