//! Power cuts on a real file system, without a virtual machine.
//!
//! ext4 is mounted from a loop device whose backing file is served by this process over FUSE. So
//! every write and every flush that the kernel sends to the "disk" is seen here, in order. Of them,
//! any moment can be made into the disk that a power cut would have left: what was flushed is
//! there, what came later is there, lost or torn, sector by sector. The kernel mounts that disk,
//! which replays ext4's journal, and the broker starts on it.
//!
//! It needs root, `/dev/fuse` and loop devices.

mod disk;
mod events;
mod fuse;

use std::path::Path;
use std::process::Command;

pub use disk::{LoggedDisk, Mounted};
pub use events::{Event, Events};

use crate::limits;
use crate::process::Process;

/// Why it cannot be done here, if it cannot.
pub fn is_missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        Some("it needs root, to mount")
    } else if !Path::new("/dev/fuse").exists() {
        Some("there is no /dev/fuse")
    } else if !Path::new("/dev/loop-control").exists() {
        Some("there are no loop devices")
    } else {
        None
    }
}

/// Runs a command of the system, which has to succeed.
fn run(command: &mut Command) -> String {
    let finished = Process::run("a system command", command, b"", limits::COMMAND);
    assert!(
        finished.status.success(),
        "{command:?}: {}\n{}",
        finished.status,
        finished.stderr
    );
    finished.stdout
}
