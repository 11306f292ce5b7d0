//! Runs programs: each command is shown before it runs, and a failure names it.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use crate::error::{Error, Result};

/// Runs `command`, its output going to the terminal.
pub fn run(command: &mut Command) -> Result<()> {
    println!("  $ {}", line(command));
    run_quietly(command)
}

/// Replaces this process by `command`, so that Ctrl-C and the exit code are the command's own.
/// Returns only on failure.
pub fn become_one(command: &mut Command) -> Error {
    println!("  $ {}", line(command));
    let source = command.exec();
    Error::NotStarted {
        command: line(command),
        source,
    }
}

/// Runs `command` without showing it.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|source| Error::NotStarted {
        command: line(command),
        source,
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed {
            command: line(command),
            status,
        })
    }
}

/// Returns whether `command` succeeds; its output is discarded.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns what `command` prints on its standard output, as text.
pub fn output(command: &mut Command) -> Result<String> {
    let bytes = bytes(command)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Returns what `command` writes to its standard output.
pub fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::NotStarted {
            command: line(command),
            source,
        })?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Failed {
            command: line(command),
            status: output.status,
        })
    }
}

/// Returns the command as it would be typed, without its environment, and with only the last part
/// of a long path.
fn line(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(name)
        .chain(
            command
                .get_args()
                .map(|argument| argument.to_string_lossy().into_owned()),
        )
        .collect::<Vec<_>>()
        .join(" ")
}
