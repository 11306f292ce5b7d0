//! `sedge backup`: copies a broker's data while it runs.

use std::path::PathBuf;

use clap::Args;
use sedge_storage::backup::{Backup, BackupOptions, back_up};
use serde_json::json;

use super::data::{DataFlags, store_failure};
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Output};

/// Back up a broker's data while the broker runs.
#[derive(Debug, Args)]
#[command(
    after_help = "To restore, start a broker on the backup: `sedge serve --data DIR`. A second \
                  backup into the same DIR copies only what is new."
)]
pub struct BackupCommand {
    /// Directory of the backup: a new one, or an earlier backup of the same broker
    #[arg(value_name = "DIR")]
    into: PathBuf,
    #[command(flatten)]
    data: DataFlags,
    /// Copy every segment file; otherwise a backup on the same file system has hard links, which
    /// are lost with the disk
    #[arg(long)]
    copy: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl BackupCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The backup cannot be made, or the data that it copied is damaged.
    pub fn run(&self) -> Result<(), Failure> {
        let data = self.data.directory()?;
        let options = BackupOptions { copy: self.copy };
        let backup = back_up(&data, &self.into, options).map_err(|error| store_failure(&error))?;
        match self.output {
            Output::Text => self.print_text(&backup)?,
            Output::Json => output::json(&as_json(&backup))?,
        }
        if backup.damaged > 0 {
            let what = format!(
                "the backup is complete, but {} places in it are damaged, as they are in {}",
                backup.damaged,
                data.display()
            );
            let advice = "`sedge doctor --data DIR` on the backup names the damaged records";
            return Err(Failure::new(Exit::Data, what).advise(advice));
        }
        Ok(())
    }

    fn print_text(&self, backup: &Backup) -> Result<(), Failure> {
        output::line(format_args!(
            "{}: {} segments, {} bytes, up to commit {}: {} linked, {} copied ({} bytes), {} kept, \
             {} removed",
            self.into.display(),
            backup.segments,
            backup.bytes,
            backup.last_sequence.0,
            backup.linked_segments,
            backup.copied_segments,
            backup.copied_bytes,
            backup.kept_segments,
            backup.removed_segments,
        ))
    }
}

fn as_json(backup: &Backup) -> serde_json::Value {
    json!({
        "cluster_id": backup.cluster_id,
        "node_id": backup.node_id,
        "segments": backup.segments,
        "bytes": backup.bytes,
        "last_commit": backup.last_sequence.0,
        "linked_segments": backup.linked_segments,
        "copied_segments": backup.copied_segments,
        "copied_bytes": backup.copied_bytes,
        "kept_segments": backup.kept_segments,
        "removed_segments": backup.removed_segments,
        "damaged": backup.damaged,
    })
}
