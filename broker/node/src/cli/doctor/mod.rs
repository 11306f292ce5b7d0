//! `sedge doctor`: checks a data directory that no broker uses.
//!
//! A child process does the work, since fjall asserts on what it reads: damaged views may end the
//! process that opens them. In that case this process examines everything else and says so.

mod inspection;
pub(crate) mod metadata_repair;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use clap::{Args, ValueEnum};
use rustix::process::{Signal, set_parent_process_death_signal};
use sedge_protocol::ids::PartitionId;
use sedge_storage::doctor::{self, Doctor, Finding, Repair, Report};
use serde_json::{Value, json};

use super::data::{DataFlags, store_failure};
use crate::metadata::snapshot::SnapshotError;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Output, Table};
use inspection::Inspection;

/// Check a data directory while no broker runs on it.
#[derive(Debug, Args)]
pub struct DoctorCommand {
    #[command(flatten)]
    data: DataFlags,
    /// Repair WHAT; without this flag nothing is changed. Can be given more than once
    #[arg(long, value_enum, value_name = "WHAT")]
    repair: Vec<What>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    /// This process may end by what it looks at: its parent goes on
    #[arg(long, hide = true)]
    for_parent: bool,
}

/// The exit code of a process that panicked, if panics unwind.
const PANICKED: i32 = 101;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Delete the views; the next start rebuilds them from the log
    Views,
    /// Cut off a last write that is incomplete
    TornTail,
    /// Let a broker start on an incomplete backup, with what is there
    Backup,
    /// Rewrite damaged headers of segments from their frames
    Headers,
    /// Rewrite damaged footers of segments of which all frames are there
    Footers,
    /// Accept the loss of records: reads pass over them, and the doctor no longer reports them as
    /// wrong
    Damage,
    /// Rewrite the topics from what is left of `__cluster_metadata`; records of unknown topics
    /// become topics named recovered-N
    Metadata,
}

impl From<What> for Repair {
    fn from(what: What) -> Self {
        match what {
            What::Views => Self::Views,
            What::TornTail => Self::TornTail,
            What::Backup => Self::Backup,
            What::Headers => Self::Headers,
            What::Footers => Self::Footers,
            What::Damage => Self::Damage,
            What::Metadata => Self::Metadata,
        }
    }
}

impl DoctorCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The directory cannot be read, or something is wrong with it.
    pub fn run(&self) -> Result<(), Failure> {
        if self.for_parent {
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            return self.look(None);
        }
        let Some(ended) = child() else {
            return self.look(None);
        };
        match ended.code() {
            Some(code) if code != PANICKED => std::process::exit(code),
            _ => {
                let why = format!("reading them ended the process ({ended})");
                self.look(Some(&why))
            }
        }
    }

    /// Does all of the work, skipping the views if there is a reason to.
    fn look(&self, views_unread: Option<&str>) -> Result<(), Failure> {
        let config = self.data.config()?;
        let directory = config.data.clone();
        let failed = |error: sedge_storage::Error| store_failure(&error);
        let (mut inspection, mut report) = examine(&directory, views_unread)?;
        let mut changes = Vec::new();
        if !self.repair.is_empty() {
            let doctor = Doctor::open(&directory).map_err(failed)?;
            for what in &self.repair {
                doctor.repair((*what).into(), &report).map_err(failed)?;
            }
            drop(doctor);
            // After the other repairs, since it opens the store.
            if self.repair.contains(&What::Metadata) {
                let repaired = metadata_repair::repair(&config, inspection.seen(), &report);
                changes = repaired.map_err(|error| unrepaired(&error))?;
            }
            (inspection, report) = examine(&directory, views_unread)?;
        }
        let changes: Vec<String> = changes.iter().map(metadata_repair::told).collect();
        match self.output {
            Output::Text => {
                for change in &changes {
                    output::line(format_args!("{change}"))?;
                }
                print_text(&inspection, &report)?;
            }
            Output::Json => {
                let mut said = as_json(&inspection, &report);
                if let Some(said) = said.as_object_mut() {
                    said.insert("changes".to_owned(), json!(changes));
                }
                output::json(&said)?;
            }
        }
        if report.is_clean() {
            return Ok(());
        }
        let wrong = report.findings.iter().filter(|of| of.is_wrong()).count() as u64
            + report.findings_left_out;
        let failure = Failure::new(
            Exit::Data,
            format!("{}: {wrong} findings", directory.display()),
        );
        let mut repairs: Vec<Repair> = report
            .findings
            .iter()
            .filter(|of| of.is_wrong())
            .filter_map(|of| of.kind.repair())
            .collect();
        repairs.sort_unstable();
        repairs.dedup();
        let repairs: Vec<String> = repairs
            .iter()
            .map(|repair| format!("--repair {}", repair.name()))
            .collect();
        Err(match &repairs[..] {
            [] => failure.advise("restore a backup; a broker still serves what can be read"),
            repairs => failure.advise(format!(
                "restore a backup, or repair with {}",
                repairs.join(" ")
            )),
        })
    }
}

/// Returns the failure for metadata that could not be repaired.
fn unrepaired(error: &SnapshotError) -> Failure {
    match error {
        SnapshotError::Store(error) => store_failure(error),
        error => Failure::new(Exit::Io, format!("the topics cannot be rewritten: {error}")),
    }
}

/// Runs this program with the same arguments to its end. Returns `None` if no child can be started.
fn child() -> Option<ExitStatus> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command
        .args(std::env::args_os().skip(1))
        .arg("--for-parent");
    let mut child = command.spawn().ok()?;
    let ended = child.wait().ok()?;
    if ended.signal().is_some() || ended.code() == Some(PANICKED) {
        doctor::remove_copies_of(child.id());
    }
    Some(ended)
}

fn examine(directory: &Path, views_unread: Option<&str>) -> Result<(Inspection, Report), Failure> {
    let mut doctor = Doctor::open(directory).map_err(|error| store_failure(&error))?;
    if let Some(why) = views_unread {
        doctor = doctor.without_views(why.to_owned());
    }
    let mut inspection = Inspection::of(&doctor).map_err(|error| store_failure(&error))?;
    let report = doctor.examine(&mut inspection);
    Ok((inspection, report.map_err(|error| store_failure(&error))?))
}

fn print_text(inspection: &Inspection, report: &Report) -> Result<(), Failure> {
    let mut table = Table::new(&["found", "partition", "offsets", "segment", "at", "what"]);
    for finding in &report.findings {
        for (partition, offsets) in whose(finding) {
            let kind = finding.kind.name();
            let found = match (finding.is_wrong(), finding.is_known) {
                (true, _) => kind.to_owned(),
                (false, true) => format!("{kind} (known)"),
                (false, false) => format!("{kind} (harmless)"),
            };
            let name = partition.map(|id| inspection.name(id));
            let offsets = offsets.map(|(base, next)| match next - base {
                1 => base.to_string(),
                _ => format!("{base} to {}", next - 1),
            });
            let segment = finding.segment.map(|id| id.0);
            table.row([
                Value::from(found),
                Value::from(name),
                Value::from(offsets),
                Value::from(segment),
                Value::from(segment.map(|_| finding.position)),
                Value::from(finding.what.clone()),
            ]);
        }
    }
    if !report.findings.is_empty() {
        table.print(Output::Text)?;
    }
    if report.findings_left_out > 0 {
        output::line(format_args!("and {} more", report.findings_left_out))?;
    }
    output::line(format_args!(
        "{}: {} segments, {} bytes, {} commits, {} batches of {} partitions",
        if report.is_clean() {
            "clean"
        } else {
            "damaged"
        },
        report.segments,
        report.bytes,
        report.commits,
        report.batches,
        report.partitions
    ))
}

fn as_json(inspection: &Inspection, report: &Report) -> Value {
    let range = |(partition, offsets): Whose| {
        let place = partition.and_then(|id| inspection.place(id));
        json!({
            "partition_id": partition.map(|id| id.0),
            "topic": place.map(|place| &place.0),
            "partition": place.map(|place| place.1),
            "base_offset": offsets.map(|of| of.0),
            "next_offset": offsets.map(|of| of.1),
        })
    };
    let findings = report.findings.iter().map(|finding| {
        let ranges: Vec<Value> = whose(finding).into_iter().map(range).collect();
        json!({
            "kind": finding.kind.name(),
            "wrong": finding.is_wrong(),
            "known": finding.is_known,
            "what": finding.what,
            "segment": finding.segment.map(|id| id.0),
            "position": finding.position,
            "bytes": finding.bytes,
            "ranges": ranges,
            "repair": finding.kind.repair().map(Repair::name),
        })
    });
    json!({
        "clean": report.is_clean(),
        "cluster_id": report.identity.as_ref().map(|of| &of.cluster_id),
        "node_id": report.identity.as_ref().map(|of| of.node_id),
        "segments": report.segments,
        "bytes": report.bytes,
        "commits": report.commits,
        "batches": report.batches,
        "partitions": report.partitions,
        "findings": findings.collect::<Vec<_>>(),
        "findings_left_out": report.findings_left_out,
    })
}

/// A partition, and the range of offsets that it lost: from the first to before the second.
type Whose = (Option<PartitionId>, Option<(i64, i64)>);

/// Returns the partitions and offsets that a finding is about.
fn whose(finding: &Finding) -> Vec<Whose> {
    if finding.lost.is_empty() {
        return vec![(finding.partition, None)];
    }
    let lost = finding.lost.iter();
    lost.map(|lost| {
        let offsets = (lost.base_offset.get(), lost.next_offset.get());
        (Some(lost.partition), Some(offsets))
    })
    .collect()
}
