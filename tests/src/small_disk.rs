//! A small file system for a test, and files of others that fill it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::limits;
use crate::process::Process;
use crate::report;

const FILL_AT_ONCE: usize = 64 << 10;

/// A tmpfs, unmounted on drop. End the processes that write to it before.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs. Returns `None`, after printing a line, if mounting is not possible: it needs
    /// root.
    pub fn mount(at: &Path, mib: usize) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the directory can be made");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "sedge-test"])
            .arg(at);
        let done = Process::run("mount", &mut mount, b"", limits::COMMAND);
        if !done.status.success() {
            report::line(format_args!(
                "skipped: no file system can be mounted here: {}",
                done.stderr
            ));
            return None;
        }
        Some(Self(at.to_path_buf()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn free_bytes(&self) -> u64 {
        let volume = rustix::fs::statvfs(&self.0).expect("it is mounted");
        volume.f_bavail * volume.f_frsize
    }

    /// Adds a file of others with this many bytes.
    pub fn add_file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, vec![0_u8; bytes]).expect("it fits");
        path
    }

    /// Adds a file of others with all free bytes except `left`.
    pub fn fill(&self, name: &str, left: u64) -> PathBuf {
        let path = self.0.join(name);
        let mut file = File::create(&path).expect("a name takes no room");
        let some = vec![0_u8; FILL_AT_ONCE];
        while self.free_bytes() > left && file.write_all(&some).is_ok() {}
        path
    }

    /// Removes the files of others whose names begin with `prefix`.
    pub fn empty(&self, prefix: &str) {
        for file in std::fs::read_dir(&self.0).expect("it is mounted") {
            let file = file.expect("it can be listed");
            if file.file_name().to_string_lossy().starts_with(prefix) {
                std::fs::remove_file(file.path()).expect("it is there");
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.0);
        Process::run("umount", &mut umount, b"", limits::COMMAND);
    }
}
