//! `sedge plugin bench`: measures what a plugin costs, without a broker.

use std::time::{Duration, Instant};

use clap::Args;
use sedge_plugin::Engine;
use serde_json::json;

use super::lines;
use super::trial::Setting;
use crate::process::failure::{Exit, Failure};
use crate::process::logging;
use crate::process::output::{self, Output};

/// Batches that warm up caches and the plugin's memory, and are not counted.
const WARM_UP_BATCHES: usize = 10;
/// Fewest measured batches, so that the 99th percentile is more than one of them.
const BATCHES_MIN: usize = 200;
/// Most measured batches: their times are kept.
const BATCHES_MAX: usize = 10_000_000;

/// Measure what a plugin costs for each record.
#[derive(Debug, Args)]
#[command(after_help = lines::HELP)]
pub struct Bench {
    #[command(flatten)]
    setting: Setting,
    /// Seconds to measure
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    seconds: u32,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl Bench {
    /// Runs the plugin over the records again and again, and prints the time of a record.
    ///
    /// # Errors
    /// The plugin cannot be started, or fails.
    pub fn run(&self) -> Result<(), Failure> {
        logging::start(logging::Format::Logfmt);
        let mut trial = self.setting.start(Engine::new())?;
        let mut nanos = Vec::new();
        let mut memory_bytes = None;
        let mut records = 0;
        let time_max = Duration::from_secs(u64::from(self.seconds));
        let batches: Vec<_> = trial.batches().collect();
        let mut batches = batches.iter().cycle();
        let mut began = Instant::now();
        for round in 0.. {
            let Some(batch) = batches.next() else { break };
            if round == WARM_UP_BATCHES {
                began = Instant::now();
            }
            let is_enough = nanos.len() >= BATCHES_MIN && began.elapsed() >= time_max;
            if is_enough || nanos.len() >= BATCHES_MAX {
                break;
            }
            let (answers, taken) = trial.run(batch.clone());
            answers.map_err(|failed| Failure::new(Exit::Data, failed.to_string()))?;
            memory_bytes = taken.memory_bytes;
            if round >= WARM_UP_BATCHES {
                records += batch.len();
                nanos.push(taken.time.as_nanos() as f64 / batch.len() as f64);
            }
        }
        nanos.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (nanos.len() as f64 * share) as usize;
            nanos
                .get(index.min(nanos.len() - 1))
                .copied()
                .unwrap_or(0.0)
        };
        let figures = [
            ("least", at(0.0)),
            ("median", at(0.5)),
            ("p99", at(0.99)),
            ("most", at(1.0)),
        ];
        match self.output {
            Output::Json => {
                let [least, median, p99, most] = figures.map(|(_, nanos)| nanos.round());
                let state = trial.state().map(|state| {
                    json!({
                        "keys": state.keys,
                        "bytes": state.bytes,
                        "changed_bytes": state.changed_bytes,
                        "written_bytes": state.written_bytes,
                    })
                });
                output::json(&json!({
                    "batches": nanos.len(),
                    "records": records,
                    "memory_bytes": memory_bytes,
                    "state": state,
                    "ns_a_record": {
                        "least": least, "median": median, "p99": p99, "most": most,
                    },
                }))
            }
            Output::Text => {
                output::line(format_args!(
                    "{} batches, {records} records, {} bytes of memory",
                    nanos.len(),
                    memory_bytes.unwrap_or_default(),
                ))?;
                let shown = figures.map(|(name, nanos)| format!("{name} {nanos:.0}"));
                output::line(format_args!("ns a record: {}", shown.join(", ")))?;
                let Some(state) = trial.state() else {
                    return Ok(());
                };
                output::line(format_args!(
                    "state: {} keys, {} bytes; {:.2} bytes written for each byte changed",
                    state.keys,
                    state.bytes,
                    state.amplification(),
                ))
            }
        }
    }
}
