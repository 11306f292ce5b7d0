//! Checks how much the systemd unit lets the broker do, where systemd is there to say so.

use std::process::Command;

use super::Findings;
use crate::{process, workspace::Workspace, workspace::on_path};

const UNIT: &str = "boards/systemd/sedge.service";

/// The score that `systemd-analyze security` may give, times ten: 0 may nothing, 100 everything.
const EXPOSURE_MAX: &str = "14";

pub fn check(workspace: &Workspace, findings: &mut Findings) {
    let Some(program) = on_path("systemd-analyze") else {
        findings.notes.push(format!(
            "{UNIT}: not scored, as there is no systemd-analyze"
        ));
        return;
    };
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold, UNIT];
    let mut command = Command::new(program);
    if !process::succeeds(command.args(arguments).current_dir(&workspace.root)) {
        findings.errors.push(format!(
            "{UNIT}: its score is above {EXPOSURE_MAX} tenths; `systemd-analyze security \
             --offline=true {UNIT}` says why"
        ));
    }
}
