//! Mounted disks: one that logs every write, and those that a power cut left.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::events::Events;
use super::{fuse, run};

/// A mounted ext4, unmounted on drop.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    /// Mounts an image, through a loop device that is removed with it.
    pub fn new(image: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("the mount point can be made");
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop,noatime"])
            .args([image, at]));
        Self {
            at: at.to_owned(),
            is_mounted: true,
        }
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts. Fails if a process still uses it.
    pub fn unmount(&mut self) {
        self.is_mounted = false;
        run(Command::new("umount").arg(&self.at));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = unmount(&self.at, UnmountFlags::DETACH);
        }
    }
}

/// An ext4 on a disk that logs every request.
#[derive(Debug)]
pub struct LoggedDisk {
    pub events: Events,
    /// First, so that it is dropped before the disk below it.
    mounted: Mounted,
    fuse_at: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl LoggedDisk {
    /// Creates a file system of `bytes` in `directory`, and keeps `base`, the image before the
    /// first event.
    pub fn start(directory: &Path, bytes: u64) -> Self {
        let base = Self::base(directory);
        let image = directory.join("image");
        let file = File::create(&base).expect("the image can be made");
        file.set_len(bytes).expect("the image can be made");
        // These options leave the kernel no work to do in the background later.
        run(Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=16"])
            .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&base));
        run(Command::new("cp")
            .arg("--sparse=always")
            .args([&base, &image]));
        let fuse_at = directory.join("fuse");
        std::fs::create_dir_all(&fuse_at).expect("the mount point can be made");
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let device = open(Path::new("/dev/fuse")).expect("/dev/fuse can be opened");
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        let options = CString::new(options).expect("there is no zero in it");
        mount(
            "sedge",
            &fuse_at,
            "fuse",
            MountFlags::NOSUID,
            Some(&*options),
        )
        .expect("FUSE can be mounted");
        let events = Events::default();
        let image = open(&image).expect("the image can be opened");
        let server = {
            let events = events.clone();
            std::thread::spawn(move || fuse::serve(device, &image, bytes, &events))
        };
        let mounted = Mounted::new(&fuse_at.join("disk"), &directory.join("mounted"));
        Self {
            events,
            mounted,
            fuse_at,
            server: Some(server),
        }
    }

    /// Returns the image before the first event.
    pub fn base(directory: &Path) -> PathBuf {
        directory.join("base")
    }

    pub fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Unmounts it all.
    pub fn end(mut self) -> Events {
        self.mounted.unmount();
        self.unmount_fuse();
        self.events.clone()
    }

    fn unmount_fuse(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = unmount(&self.fuse_at, UnmountFlags::DETACH);
            // The server ends when the last user of the file is gone.
            drop(server);
        }
    }
}

impl Drop for LoggedDisk {
    fn drop(&mut self) {
        drop(std::mem::replace(
            &mut self.mounted,
            Mounted {
                at: PathBuf::new(),
                is_mounted: false,
            },
        ));
        self.unmount_fuse();
    }
}
