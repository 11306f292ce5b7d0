//! Power cuts on a real file system, without a virtual machine.
//!
//! ext4 is mounted from a loop device whose backing file is served by this process over FUSE. So
//! this process sees every write and every flush that the kernel sends to the "disk", in order.
//! From them it can build, for any moment, the disk that a power cut would have left: flushed
//! writes are there, later ones are there, lost or torn, sector by sector. The kernel mounts that
//! disk, which replays ext4's journal, and the broker starts on it.
//!
//! This needs root, `/dev/fuse` and loop devices.

mod disk;
mod events;
mod fuse;

use std::path::Path;
use std::process::Command;

pub use disk::{LoggedDisk, Mounted};
pub use events::{Event, Events};

use crate::limits;
use crate::process::Process;

/// Returns the reason why this is not possible here, if it is not.
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

/// Runs a system command, which must succeed.
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
