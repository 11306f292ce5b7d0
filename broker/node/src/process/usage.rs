//! The operating system's figures about this process.

/// Returns the resident memory, if the system reports it.
pub fn resident_bytes() -> Option<u64> {
    resident_bytes_of("self")
}

/// Returns the bytes that the kernel sent to a disk for this process, if it reports them.
pub fn written_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// Returns the resident memory of a process, by its number or `self`.
pub fn resident_bytes_of(process: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
