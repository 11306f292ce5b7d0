//! The partitions of the disk that the device started from: found by their names, mounted, and the
//! last one extended to the end of the disk.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use sedge_init::gpt::{BLOCK, PRIMARY, TABLE_BLOCKS, Table};

use crate::{kernel, say};

/// Longest wait for a disk to appear: USB sticks take seconds.
const APPEARS_MAX: Duration = Duration::from_secs(20);
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(10);
/// Bytes of a block of the data partition's file system.
const EXT4_BLOCK: u64 = 4096;
const BLOCKS: &str = "/sys/class/block";

/// A partition.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The kernel's name, such as `mmcblk0p5`.
    name: String,
}

impl Partition {
    /// Waits for the partition of this name in the partition table.
    pub fn wait_for(label: &str) -> io::Result<Self> {
        let until = Instant::now() + APPEARS_MAX;
        loop {
            if let Some(partition) = Self::find(label) {
                return Ok(partition);
            }
            if Instant::now() > until {
                let why = format!("no disk has a partition `{label}`");
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
            thread::sleep(LOOKED_FOR_EVERY);
        }
    }

    fn find(label: &str) -> Option<Self> {
        let line = format!("PARTNAME={label}");
        let entries = fs::read_dir(BLOCKS).ok()?.flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| {
                let told = fs::read_to_string(entry.path().join("uevent"));
                told.is_ok_and(|told| told.lines().any(|told| told == line))
            })
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        // With two such disks, the same one is taken each time.
        names.sort();
        let name = names.into_iter().next()?;
        Some(Self { name })
    }

    /// Returns the partition's device.
    pub fn device(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Mounts the partition.
    pub fn mount(
        &self,
        at: &str,
        file_system: &str,
        flags: MountFlags,
        options: &str,
    ) -> io::Result<()> {
        let options = CString::new(options)?;
        let options = Some(options.as_c_str()).filter(|options| !options.is_empty());
        mount(self.device(), at, file_system, flags, options)?;
        Ok(())
    }

    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.number("size")? * BLOCK as u64)
    }

    fn number(&self, what: &str) -> io::Result<u64> {
        let path = Path::new(BLOCKS).join(&self.name).join(what);
        let text = fs::read_to_string(path)?;
        text.trim().parse().map_err(io::Error::other)
    }

    /// Returns the disk that has the partition.
    fn disk(&self) -> io::Result<Self> {
        let path = fs::canonicalize(Path::new(BLOCKS).join(&self.name))?;
        let disk = path.parent().and_then(Path::file_name);
        let name = disk.and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { name })
    }

    /// Extends the partition, which is the last one, to the end of its disk. Returns whether there
    /// was anything to extend.
    ///
    /// The table at the end is written first. If the power fails while the one at the start is
    /// written, its checksum is wrong, and the kernel uses the one at the end (`gpt` on its command
    /// line).
    pub fn extend(&self) -> io::Result<bool> {
        let disk = self.disk()?;
        let blocks = disk.number("size")?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(disk.device())?;
        let mut bytes = vec![0; TABLE_BLOCKS as usize * BLOCK];
        file.read_exact_at(&mut bytes, PRIMARY * BLOCK as u64)?;
        let table = Table::read(&bytes);
        let table = table.map_err(|why| io::Error::other(format!("partition table: {why:?}")))?;
        let Some(extended) = table.extended(blocks) else {
            return Ok(false);
        };
        file.write_all_at(&extended.secondary(), extended.backup() * BLOCK as u64)?;
        file.sync_data()?;
        file.write_all_at(&extended.primary(), PRIMARY * BLOCK as u64)?;
        file.sync_data()?;
        let number = self.number("partition")?;
        let Some(own) = extended.partitions.get(number as usize - 1) else {
            return Ok(false);
        };
        let start = (own.first_block * BLOCK as u64) as i64;
        let length = ((own.last_block - own.first_block + 1) * BLOCK as u64) as i64;
        kernel::resize_partition(&file, number as i32, start, length)?;
        Ok(true)
    }

    /// Extends the file system, mounted at `mounted`, to its partition.
    pub fn fill(&self, mounted: &str) -> io::Result<()> {
        let bytes = self.bytes()?;
        let blocks = bytes / EXT4_BLOCK;
        let has = rustix::fs::statvfs(mounted)?.f_blocks;
        // What the file system itself takes is not counted in `has`.
        if has + has / 8 >= blocks {
            return Ok(());
        }
        kernel::resize_ext4(&File::open(mounted)?, blocks)?;
        say!("the data partition has {} MiB now", bytes >> 20);
        Ok(())
    }
}
