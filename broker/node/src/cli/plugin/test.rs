//! `sedge plugin test`: runs a plugin over records without a broker, and compares its answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use sedge_plugin::Engine;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::lines::{self, Line, Members};
use super::trial::{Answer, Setting, Taken};
use crate::process::failure::{Exit, Failure};
use crate::process::logging;
use crate::process::output::{self, Output};

/// Differences that are shown; the rest are counted.
const DIFFERENCES_MAX: usize = 20;

/// The shape of the answers, for `--help`.
const ANSWERS_HELP: &str = "\
With -o json, each answer is a line such as
  {\"verdict\": \"replace\", \"value\": {\"celsius\": 21.4}}
with the verdicts keep, drop, replace, reject (with a reason), route (with a topic) and failed (the
plugin failed in this batch); {\"partition\": 3} from a partitioner; and {\"grant\": \"throttle\", \"ms\": 100} from a quota
policy, with the grants allow, throttle and reject. Each batch adds a line with its time,
instructions and memory. This output can be the file of --expect: lines of batches do not count, and
what a line of that file leaves out is not compared.

Instructions are wasmtime's fuel, which makes the plugin slower: `plugin bench` measures the time.

The exit code is 0 if all is as expected, 1 if an answer is not, and 65 if the plugin fails and there
is no file of expectations.";

/// Run a plugin over records, without a broker.
#[derive(Debug, Args)]
#[command(after_help = lines::HELP, after_long_help = format!("{}\n\n{ANSWERS_HELP}", lines::HELP))]
pub struct Test {
    #[command(flatten)]
    setting: Setting,
    /// File with the expected answer to each record, as JSON lines
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl Test {
    /// Runs the plugin and prints its answers.
    ///
    /// # Errors
    /// The plugin cannot be started, fails, or does not answer as expected.
    pub fn run(&self) -> Result<(), Failure> {
        logging::start(logging::Format::Logfmt);
        let expected = self.expect.as_deref().map(expectations).transpose()?;
        let mut trial = self.setting.start(Engine::metered())?;
        let mut answers: Vec<Answer> = Vec::with_capacity(trial.count());
        let mut failure = None;
        for (index, batch) in trial.batches().enumerate() {
            let count = batch.len();
            let (answered, taken) = trial.run(batch);
            let of_batch = answered.map_or_else(
                |failed| {
                    let reason = failed.to_string();
                    let answer = vec![
                        ("verdict", lines::raw(&json!("failed"))),
                        ("reason", lines::raw(&json!(reason))),
                    ];
                    failure.get_or_insert(reason);
                    vec![answer; count]
                },
                |answers| answers.each(),
            );
            for answer in &of_batch {
                self.print(answers.len(), answer)?;
                answers.push(answer.clone());
            }
            self.print_batch(index, count, &taken)?;
        }
        if let Some(state) = trial.state().filter(|_| self.output == Output::Text) {
            let (keys, bytes) = (state.keys, state.bytes);
            output::line(format_args!("state: {keys} keys, {bytes} bytes"))?;
        }
        match (expected, failure) {
            (Some(expected), _) => {
                compare(&expected, &answers, |index| trial.line(index).unwrap_or(""))
            }
            (None, None) => Ok(()),
            (None, Some(reason)) => Err(Failure::new(Exit::Data, reason)),
        }
    }

    fn print(&self, index: usize, answer: &Answer) -> Result<(), Failure> {
        match self.output {
            Output::Json => output::line(format_args!("{}", written(answer))),
            Output::Text => {
                let members = answer.iter().enumerate().map(|(at, (name, value))| {
                    let value = value.get();
                    let bare = serde_json::from_str::<String>(value).ok();
                    // The first member is the verdict, which needs no name.
                    match bare.filter(|_| at == 0) {
                        Some(verdict) => verdict,
                        None => format!("{name}={value}"),
                    }
                });
                let members: Vec<String> = members.collect();
                output::line(format_args!("{:>6} {}", index + 1, members.join(" ")))
            }
        }
    }

    fn print_batch(&self, index: usize, count: usize, taken: &Taken) -> Result<(), Failure> {
        let micros = taken.time.as_micros();
        match self.output {
            Output::Json => output::json(&json!({
                "batch": index + 1,
                "records": count,
                "us": u64::try_from(micros).unwrap_or(u64::MAX),
                "instructions": taken.instructions,
                "memory_bytes": taken.memory_bytes,
            })),
            Output::Text => {
                let or_unknown = |number: Option<u64>| {
                    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
                };
                let memory = taken.memory_bytes.map(|bytes| bytes as u64);
                output::line(format_args!(
                    "batch {}: {count} records, {micros} us, {} instructions, {} bytes of memory",
                    index + 1,
                    or_unknown(taken.instructions),
                    or_unknown(memory),
                ))
            }
        }
    }
}

/// An expected answer.
type Expected = BTreeMap<String, Box<RawValue>>;

/// Reads a file of expectations, without lines about batches.
fn expectations(path: &Path) -> Result<Vec<Line<Expected>>, Failure> {
    let mut lines = lines::read(path, |line| {
        let members: Members<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let owned = members.0.into_iter();
        Ok(owned
            .map(|(name, value)| (name, value.to_owned()))
            .collect::<Expected>())
    })?;
    lines.retain(|line| !line.content.contains_key("batch"));
    Ok(lines)
}

fn compare<'a>(
    expected: &[Line<Expected>],
    answers: &[Answer],
    record: impl Fn(usize) -> &'a str,
) -> Result<(), Failure> {
    let mut differences = 0;
    for index in 0..expected.len().max(answers.len()) {
        let (wanted, got) = (expected.get(index), answers.get(index));
        if let (Some(wanted), Some(got)) = (wanted, got)
            && is_met(&wanted.content, got)
        {
            continue;
        }
        differences += 1;
        if differences > DIFFERENCES_MAX {
            continue;
        }
        let wanted = wanted.map_or("nothing", |line| line.text.trim());
        let got = got.map_or_else(|| "nothing".to_owned(), written);
        output::note(format_args!("record {}: {}", index + 1, record(index)));
        output::note(format_args!("  expected {wanted}"));
        output::note(format_args!("  got      {got}"));
    }
    if differences == 0 {
        return Ok(());
    }
    let total = answers.len();
    let what = format!("{differences} of {total} answers are not as expected");
    Err(Failure::new(Exit::Different, what))
}

/// Returns whether an answer has all expected members.
fn is_met(expected: &Expected, answer: &Answer) -> bool {
    expected.iter().all(|(name, wanted)| {
        let got = answer.iter().find(|(is, _)| is == name);
        got.is_some_and(|(_, got)| is_same(wanted, got))
    })
}

/// Compares what two members stand for; if both are JSON, as JSON.
fn is_same(left: &RawValue, right: &RawValue) -> bool {
    let json = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    let same_bytes = match (lines::field(left), lines::field(right)) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    };
    same_bytes || json(left) == json(right)
}

fn written(answer: &Answer) -> String {
    let members: Vec<String> = answer
        .iter()
        .map(|(name, value)| format!("\"{name}\":{}", value.get()))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    #[test]
    fn an_expectation_names_what_matters() {
        let answer: Answer = vec![
            ("verdict", raw(r#""replace""#)),
            ("value", raw(r#"{"a":1,"b":2}"#)),
        ];
        for (expected, is) in [
            ("{}", true),
            (r#"{"verdict":"replace"}"#, true),
            (r#"{"value": {"b": 2, "a": 1}}"#, true),
            (r#"{"value": "{\"a\":1,\"b\":2}"}"#, true),
            (r#"{"value": {"a": 1}}"#, false),
            (r#"{"verdict":"keep"}"#, false),
            (r#"{"key": null}"#, false),
            (r#"{"verdct":"replace"}"#, false),
        ] {
            let expected: Expected = serde_json::from_str(expected).expect("JSON");
            assert_eq!(is_met(&expected, &answer), is, "{expected:?}");
        }
    }
}
