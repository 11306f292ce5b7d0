//! A plugin that runs without a broker, for `plugin test` and `plugin bench`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use sedge_plugin::{
    BatchInfo, CallError, Engine, Error, Field, FilterInstance, FilterStage, Grant, Limits, Origin,
    Outcome, PartitionerInstance, Plugin, QuotaInstance, RecordBlob, TooLarge, Usage, Verdict,
};
use serde_json::json;
use serde_json::value::RawValue;

use super::code;
use super::lines::{self, Line, Record, Request};
use super::memory::{Memory, Use};
use crate::cli::flags::key_value;
use crate::process::failure::{Exit, Failure};

/// Largest batch. The memory of a plugin is the smaller limit.
const BATCH_RECORDS_MAX: u32 = 1_000_000;

/// The plugin, its input and its surroundings.
#[derive(Debug, Args)]
pub struct Setting {
    /// A file that `plugin build` or `plugin compile` made
    file: PathBuf,
    /// File with a record on each line, as JSON; for a quota policy, a request
    #[arg(long, value_name = "FILE")]
    records: PathBuf,
    /// Setting of the plugin; can be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Records of a batch
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(BATCH_RECORDS_MAX))
    )]
    batch: u32,
    /// Topic of the records
    #[arg(long, value_name = "NAME", default_value = "test")]
    topic: String,
    /// Partitions of the topic, for a partitioner
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    partitions: u32,
    /// Client id of the producer
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Principal of the producer
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
}

/// A started plugin, and its input in batches.
pub struct Trial<'a> {
    setting: &'a Setting,
    kind: Kind,
    blob: RecordBlob,
}

enum Kind {
    Filter(FilterInstance, Vec<Line<Record>>, Option<Memory>),
    Partitioner(PartitionerInstance, Vec<Line<Record>>),
    Quota(QuotaInstance, Vec<Line<Request>>),
}

/// The answers of one call, or of the calls for one batch of requests.
pub enum Answers {
    Filter(Outcome),
    Partitioner(Vec<u32>),
    Quota(Vec<Grant>),
}

/// An answer about one record: the members of a line, without what is left as it is.
pub type Answer = Vec<(&'static str, Box<RawValue>)>;

/// Reason why a batch has no answers.
#[derive(Debug)]
pub enum Failed {
    TooLarge,
    Call(CallError),
}

/// What one batch took.
pub struct Taken {
    pub time: Duration,
    /// Instructions of all calls of the batch.
    pub instructions: Option<u64>,
    pub memory_bytes: Option<usize>,
}

impl Setting {
    /// Compiles and starts the plugin, and reads its input.
    ///
    /// # Errors
    /// The file is no plugin, the plugin refuses its settings, or a line is wrong.
    pub fn start(&self, engine: Result<Engine, Error>) -> Result<Trial<'_>, Failure> {
        let failed = |error: Error| code::plugin_failure(&self.file, &error);
        let content = code::read(&self.file)?;
        let component = code::component(&content).map_err(|e| failed(Error::Artifact(e)))?;
        let name = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let engine = engine.map_err(failed)?;
        let plugin = Plugin::compile(&engine, &name, component, Limits::default());
        let records = || non_empty(&self.records, lines::records(&self.records)?);
        let kind = match plugin.map_err(failed)? {
            Plugin::Filter(factory) => Kind::Filter(
                factory.instantiate(&self.config).map_err(failed)?,
                records()?,
                factory.has_state().then(Memory::new),
            ),
            Plugin::Partitioner(factory) => Kind::Partitioner(
                factory.instantiate(&self.config).map_err(failed)?,
                records()?,
            ),
            Plugin::Quota(factory) => Kind::Quota(
                factory.instantiate(&self.config).map_err(failed)?,
                non_empty(&self.records, lines::requests(&self.records)?)?,
            ),
        };
        Ok(Trial {
            setting: self,
            kind,
            blob: RecordBlob::new(),
        })
    }
}

fn non_empty<T>(path: &Path, lines: Vec<Line<T>>) -> Result<Vec<Line<T>>, Failure> {
    if lines.is_empty() {
        let what = format!("{} has no lines", path.display());
        return Err(Failure::new(Exit::Data, what));
    }
    Ok(lines)
}

impl Trial<'_> {
    /// Returns the number of lines.
    pub fn count(&self) -> usize {
        match &self.kind {
            Kind::Filter(_, lines, _) | Kind::Partitioner(_, lines) => lines.len(),
            Kind::Quota(_, lines) => lines.len(),
        }
    }

    /// Returns a line of the input.
    pub fn line(&self, index: usize) -> Option<&str> {
        let text = match &self.kind {
            Kind::Filter(_, lines, _) | Kind::Partitioner(_, lines) => {
                lines.get(index).map(|line| &line.text)
            }
            Kind::Quota(_, lines) => lines.get(index).map(|line| &line.text),
        };
        text.map(String::as_str)
    }

    /// Returns what the filter's state takes, if it has one.
    pub fn state(&self) -> Option<Use> {
        match &self.kind {
            Kind::Filter(_, _, memory) => memory.as_ref().map(Memory::used),
            Kind::Partitioner(..) | Kind::Quota(..) => None,
        }
    }

    /// Returns the batches, as the range of lines of each.
    pub fn batches(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (count, batch) = (self.count(), self.setting.batch as usize);
        (0..count)
            .step_by(batch)
            .map(move |from| from..count.min(from + batch))
    }

    /// Runs the plugin over one batch. The time includes copying the records, and the records of
    /// changed state, as in a broker.
    pub fn run(&mut self, batch: std::ops::Range<usize>) -> (Result<Answers, Failed>, Taken) {
        let began = Instant::now();
        let setting = self.setting;
        let blob = &mut self.blob;
        let (answers, usage) = match &mut self.kind {
            Kind::Filter(filter, lines, memory) => {
                let lines = lines.get(batch).unwrap_or_default();
                let limits = *filter.factory().limits();
                blob.start(filter.needs(), &limits);
                let base_timestamp_ms = lines.first().map_or(0, |line| line.content.timestamp_ms);
                let info = BatchInfo {
                    topic: &setting.topic,
                    partition: 0,
                    stage: FilterStage::Produce,
                    base_timestamp_ms,
                    origin: Some(Origin::Client {
                        principal: setting.principal.as_deref(),
                        client_id: setting.client_id.as_deref(),
                        peer: Ipv4Addr::LOCALHOST.into(),
                        listener: "PLAINTEXT",
                    }),
                };
                let answers = gather(blob, lines, |at_ms| at_ms.saturating_sub(base_timestamp_ms))
                    .map_err(Failed::from)
                    .and_then(|()| {
                        let mut none = None;
                        let table = memory
                            .as_mut()
                            .map_or(&mut none, |memory| &mut memory.table);
                        Ok(filter.filter_with(&info, blob, table)?)
                    });
                if let Some(memory) = memory {
                    let is_written = |outcome: &Outcome| !outcome.rejects_any();
                    memory.end(answers.as_ref().is_ok_and(is_written));
                }
                (answers.map(Answers::Filter), filter.usage())
            }
            Kind::Partitioner(partitioner, lines) => {
                let lines = lines.get(batch).unwrap_or_default();
                let limits = *partitioner.factory().limits();
                blob.start(partitioner.needs(), &limits);
                // The timestamp of a partitioner's records is 0.
                let answers = gather(blob, lines, |_| 0)
                    .map_err(Failed::from)
                    .and_then(|()| {
                        Ok(partitioner.partition(&setting.topic, setting.partitions, blob)?)
                    });
                (answers.map(Answers::Partitioner), partitioner.usage())
            }
            Kind::Quota(policy, lines) => {
                let lines = lines.get(batch).unwrap_or_default();
                let mut grants = Vec::with_capacity(lines.len());
                let mut instructions = Some(0);
                let mut failed = None;
                for line in lines {
                    match line.content.with(|request| policy.decide(request)) {
                        Ok(grant) => grants.push(grant),
                        Err(error) => failed = Some(Failed::Call(error)),
                    }
                    let used = policy.usage().and_then(|usage| usage.instructions);
                    instructions = instructions.zip(used).map(|(sum, used)| sum + used);
                }
                let usage = policy.usage().map(|usage| Usage {
                    instructions,
                    ..usage
                });
                let answers = failed.map_or(Ok(grants), Err);
                (answers.map(Answers::Quota), usage)
            }
        };
        let taken = Taken {
            time: began.elapsed(),
            instructions: usage.and_then(|usage| usage.instructions),
            memory_bytes: usage.map(|usage| usage.memory_bytes),
        };
        (answers, taken)
    }
}

fn gather(
    blob: &mut RecordBlob,
    lines: &[Line<Record>],
    delta_ms: impl Fn(i64) -> i64,
) -> Result<(), TooLarge> {
    for line in lines {
        let record = &line.content;
        let delta_ms = delta_ms(record.timestamp_ms);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        blob.push(key, value, Some(&record.headers), delta_ms)?;
    }
    Ok(())
}

impl Answers {
    /// Returns the answers as members of lines.
    pub fn each(&self) -> Vec<Answer> {
        match self {
            Self::Filter(outcome) => outcome.verdicts().map(of_verdict).collect(),
            Self::Partitioner(chosen) => chosen
                .iter()
                .map(|partition| vec![("partition", lines::raw(&json!(partition)))])
                .collect(),
            Self::Quota(grants) => grants.iter().map(of_grant).collect(),
        }
    }
}

fn of_verdict(verdict: Verdict<'_>) -> Answer {
    let named = |name: &str| vec![("verdict", lines::raw(&json!(name)))];
    match verdict {
        Verdict::Keep => named("keep"),
        Verdict::Drop => named("drop"),
        Verdict::Reject { reason } => {
            let mut answer = named("reject");
            answer.push(("reason", lines::raw(&json!(reason))));
            answer
        }
        Verdict::Replace { key, value } => replaced(named("replace"), key, value),
        Verdict::Route { topic, key, value } => {
            let mut answer = named("route");
            answer.push(("topic", lines::raw(&json!(topic))));
            replaced(answer, key, value)
        }
    }
}

/// Adds the fields of a record that is replaced, or replaced and routed.
fn replaced(mut answer: Answer, key: Field<'_>, value: Field<'_>) -> Answer {
    for (name, field) in [("key", key), ("value", value)] {
        match field {
            Field::Same => {}
            Field::Null => answer.push((name, lines::member(None))),
            Field::Bytes(bytes) => answer.push((name, lines::member(Some(bytes)))),
        }
    }
    answer
}

fn of_grant(grant: &Grant) -> Answer {
    let named = |name: &str| vec![("grant", lines::raw(&json!(name)))];
    match grant {
        Grant::Allow => named("allow"),
        Grant::Throttle { ms } => {
            let mut answer = named("throttle");
            answer.push(("ms", lines::raw(&json!(ms))));
            answer
        }
        Grant::Reject { reason } => {
            let mut answer = named("reject");
            answer.push(("reason", lines::raw(&json!(reason))));
            answer
        }
    }
}

impl From<TooLarge> for Failed {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the batch does not fit in the plugin's memory"),
            Self::Call(error) => write!(f, "the plugin {error}"),
        }
    }
}
