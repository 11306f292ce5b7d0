//! The kernel's figures about a process, and about files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Clock ticks a second in `/proc`: 100 on every Linux that runs here.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the resident memory in KiB (`VmRSS`).
pub fn resident_kib(pid: u32) -> u64 {
    field(&read(pid, "status"), "VmRSS:")
}

/// Returns the resident memory in KiB that is no file's (`RssAnon`).
pub fn anonymous_kib(pid: u32) -> u64 {
    field(&read(pid, "status"), "RssAnon:")
}

/// Returns the peak resident memory in KiB (`VmHWM`); 0 if the process has ended.
pub fn resident_peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if status.contains("VmHWM:") {
        field(&status, "VmHWM:")
    } else {
        0
    }
}

/// Returns the processor time used so far, in user and kernel mode.
pub fn cpu(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The name in parentheses may contain anything, so count from its end.
    let after = stat.rsplit(')').next().expect("rsplit gives one");
    let numbers: Vec<&str> = after.split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .iter()
        .map(|&i| numbers[i].parse::<f64>().unwrap_or(0.0))
        .sum();
    Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
}

/// A thread of a process.
#[derive(Clone, Debug)]
pub struct Thread {
    pub name: String,
    pub nice: i64,
    /// Processor time used so far.
    pub cpu: Duration,
}

/// Returns the threads of the process.
pub fn each_thread(pid: u32) -> Vec<Thread> {
    let path = format!("/proc/{pid}/task");
    let tasks = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let stats = tasks.flatten().filter_map(|task| {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, after) = stat.rsplit_once(')')?;
        let numbers: Vec<i64> = after
            .split_whitespace()
            .map(|number| number.parse().unwrap_or_default())
            .collect();
        Some(Thread {
            name: name.split_once('(')?.1.to_owned(),
            nice: numbers[16],
            cpu: Duration::from_secs_f64((numbers[11] + numbers[12]) as f64 / TICKS_PER_SECOND),
        })
    });
    stats.collect()
}

/// Returns the bytes that the process caused to be written to storage.
pub fn written_bytes(pid: u32) -> u64 {
    field(&read(pid, "io"), "write_bytes:")
}

/// Returns the number of threads.
pub fn threads(pid: u32) -> u64 {
    field(&read(pid, "status"), "Threads:")
}

/// Returns the number of open file descriptors.
pub fn open_files(pid: u32) -> usize {
    let path = format!("/proc/{pid}/fd");
    let list = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    list.count()
}

/// Returns the disk space of the files below a directory. Files may be removed meanwhile.
pub fn allocated_bytes(directory: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => allocated_bytes(&entry.path()),
        Ok(of) => of.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    });
    bytes.sum()
}

fn read(pid: u32, file: &str) -> String {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name));
    let word = line.and_then(|line| line[name.len()..].split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in\n{text}"))
}
