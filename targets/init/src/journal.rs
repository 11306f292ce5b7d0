//! The log of a device: the console, two files in memory, and on request two on the data partition.

use std::fmt::Arguments;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of a file in memory; there are two.
const MEMORY_BYTES_MAX: u64 = 256 << 10;
/// Bytes of a file on the data partition; there are two.
const DISK_BYTES_MAX: u64 = 4 << 20;

static JOURNAL: Mutex<Journal> = Mutex::new(Journal {
    memory: None,
    disk: None,
});

struct Journal {
    memory: Option<Rotating>,
    disk: Option<Rotating>,
}

/// Prints a line on the console and logs it.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => {
        $crate::journal::say(format_args!($($arguments)*))
    };
}

/// Prints a line of the init on the console, and logs it.
pub fn say(line: Arguments<'_>) {
    let line = format!("[{:8.2}] init: {line}", uptime().as_secs_f64());
    print(&line);
    keep(&line);
}

/// Prints a line on the console. A console that is gone harms nothing.
pub fn print(line: &str) {
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Logs a line.
pub fn keep(line: &str) {
    let mut journal = lock();
    let Journal { memory, disk } = &mut *journal;
    for file in [memory, disk].into_iter().flatten() {
        // A full disk must not stop the broker: the line is in memory all the same.
        let _ = file.write(line);
    }
}

/// Returns the log in memory, the oldest line first.
pub fn all() -> String {
    let paths = lock()
        .memory
        .as_ref()
        .map(|file| [file.older(), file.path.clone()]);
    let paths = paths.into_iter().flatten();
    let texts = paths.filter_map(|path| fs::read(path).ok());
    texts
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .collect()
}

/// Keeps the log in memory from now on.
pub fn to_memory(directory: &Path) {
    lock().memory = Rotating::open(directory, MEMORY_BYTES_MAX).ok();
}

/// Keeps the log on the data partition too.
pub fn to_disk(directory: &Path) -> io::Result<()> {
    lock().disk = Some(Rotating::open(directory, DISK_BYTES_MAX)?);
    Ok(())
}

/// Returns the time since the kernel started.
pub fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn lock() -> MutexGuard<'static, Journal> {
    JOURNAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that, when it is full, becomes the older one of two.
struct Rotating {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Rotating {
    fn open(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join("sedge.log");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self {
            bytes: file.metadata()?.len(),
            path,
            file,
            bytes_max,
        })
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.bytes >= self.bytes_max {
            fs::rename(&self.path, self.older())?;
            self.file = File::create(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }
}
