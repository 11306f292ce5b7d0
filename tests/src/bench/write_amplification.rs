//! `bench write-amp`: measures the bytes that reach the disk for each byte produced, with commits
//! of about 16 KiB. The page cache writes whole pages, so the number of pages that a commit touches
//! matters if each commit is synced alone.
//!
//! There are two figures: what the kernel charges to the process, and, if a file system can be
//! mounted, what its device received, including the file system's own journal. The device's figure
//! is what wears flash. The process's figure is an estimate of the kernel: it charges the whole
//! folio that a write touches, which may be larger than a page, and not what the file system adds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::{Load, Peer};
use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::{http, limits, proc};

const BYTES: u64 = 256 << 20;
/// Bytes for small commits; a commit for each KiB takes its time.
const BYTES_OF_SMALL: u64 = 48 << 20;
/// Share that Apache Kafka writes if it syncs each batch, which would otherwise take it minutes.
const KAFKA_SYNC_SHARE: u64 = 8;
const DISK_MIB: u64 = 2048;
const SECTOR_BYTES: u64 = 512;

/// Bytes that retention keeps of all partitions.
const KEPT_BYTES: u64 = 4 << 20;

/// Little is kept, so that freed files are soon reused.
const RECYCLING: &[(&str, &str)] = &[
    ("sedge.profile", "small"),
    ("log.retention.check.interval.ms", "500"),
    ("sedge.segment.bytes", "8388608"),
];

/// One way of producing.
struct Case {
    name: &'static str,
    durability: &'static str,
    producers: i32,
    in_flight: usize,
    records: usize,
    record_bytes: usize,
    bytes: u64,
    /// Each segment reuses a file that retention has freed.
    recycled: bool,
}

const RECORDS: usize = 15;
/// Fifteen records of this size make a batch of 16 KiB including the head of its commit.
const WHOLE_PAGES: usize = 1073;
/// Fifteen records of this size make a batch of 16 KiB without it: each commit reaches into a fifth
/// page.
const A_PAGE_MORE: usize = 1080;

const CASES: [Case; 8] = [
    Case {
        name: "sync, commits of 16 KiB, one at a time",
        durability: "sync",
        producers: 1,
        in_flight: 1,
        records: RECORDS,
        record_bytes: WHOLE_PAGES,
        bytes: BYTES,
        recycled: false,
    },
    Case {
        name: "sync, commits of 16 KiB and a little, one at a time",
        durability: "sync",
        producers: 1,
        in_flight: 1,
        records: RECORDS,
        record_bytes: A_PAGE_MORE,
        bytes: BYTES,
        recycled: false,
    },
    Case {
        name: "sync, batches of 16 KiB, five in flight",
        durability: "sync",
        producers: 1,
        in_flight: 5,
        records: RECORDS,
        record_bytes: A_PAGE_MORE,
        bytes: BYTES,
        recycled: false,
    },
    Case {
        name: "interval, commits of 16 KiB",
        durability: "interval",
        producers: 1,
        in_flight: 1,
        records: RECORDS,
        record_bytes: A_PAGE_MORE,
        bytes: BYTES,
        recycled: false,
    },
    Case {
        name: "sync, 1 KiB from each of 100 producers, one at a time",
        durability: "sync",
        producers: 100,
        in_flight: 1,
        records: 1,
        record_bytes: 1 << 10,
        bytes: BYTES_OF_SMALL,
        recycled: false,
    },
    Case {
        name: "interval, 1 KiB from each of 100 producers, one at a time",
        durability: "interval",
        producers: 100,
        in_flight: 1,
        records: 1,
        record_bytes: 1 << 10,
        bytes: BYTES_OF_SMALL,
        recycled: false,
    },
    Case {
        name: "sync, commits of 16 KiB, one at a time, over freed segments",
        durability: "sync",
        producers: 1,
        in_flight: 1,
        records: RECORDS,
        record_bytes: WHOLE_PAGES,
        bytes: BYTES_OF_SMALL,
        recycled: true,
    },
    Case {
        name: "sync, 1 KiB from each of 100 producers, over freed segments",
        durability: "sync",
        producers: 100,
        in_flight: 1,
        records: 1,
        record_bytes: 1 << 10,
        bytes: BYTES_OF_SMALL,
        recycled: true,
    },
];

/// Runs the benchmark. Reports each line as soon as it is measured.
pub fn run(with_kafka: bool, say: &dyn Fn(&str)) {
    say("bytes written for each byte produced");
    let directory = TempDir::new("bench-write");
    let disk = LoopDisk::mount(directory.path());
    for (number, case) in CASES.iter().enumerate() {
        let at = disk
            .as_ref()
            .map_or(directory.path(), |disk| disk.mounted.as_path());
        let at = at.join(number.to_string());
        let settings = if case.recycled { RECYCLING } else { &[] };
        let sedge = Peer::sedge_set(&at, case.durability, settings);
        let ours = measure(sedge, case, disk.as_ref());
        say(&format!("{}: {}", case.name, ours.text));
        // Apache Kafka does not reuse segments.
        if with_kafka && !case.recycled {
            let theirs = measure(Peer::kafka(&at), case, disk.as_ref());
            let ratio = ours.written / theirs.written;
            say(&format!(
                "  kafka, the same: {}; sedge/kafka {ratio:.2}",
                theirs.text
            ));
        }
        // The next cases need the space.
        drop(std::fs::remove_dir_all(&at));
    }
}

struct Measured {
    /// Bytes at the device, if that is measured.
    written: f64,
    text: String,
}

fn measure(mut peer: Peer, case: &Case, disk: Option<&LoopDisk>) -> Measured {
    let load = Load {
        bootstrap: peer.bootstrap(),
        topic: "written".into(),
        partitions: case.producers,
        in_flight: case.in_flight,
        batch_bytes: case.records * case.record_bytes,
        record_bytes: case.record_bytes,
        tls: None,
    };
    let is_kafka = matches!(peer, Peer::Kafka(_));
    let is_sync = case.durability == "sync";
    if case.recycled {
        let kept = (KEPT_BYTES / u64::from(case.producers.unsigned_abs())).to_string();
        load.create(&[("retention.bytes", &kept)]);
        // Until every file has been used before.
        load.produce(Duration::MAX, BYTES_OF_SMALL);
    } else if is_kafka && is_sync {
        load.create(&[("flush.messages", "1")]);
    } else {
        load.create(&[]);
    }
    rustix::fs::sync();
    let (process, device) = (proc::written_bytes(peer.pid()), device_bytes(disk));
    let bytes = if is_kafka && is_sync {
        case.bytes / KAFKA_SYNC_SHARE
    } else {
        case.bytes
    };
    let mut done = load.produce(Duration::MAX, bytes);
    let produced = done.bytes as f64;
    rustix::fs::sync();
    let by_process = (proc::written_bytes(peer.pid()) - process) as f64 / produced;
    let by_device = device
        .zip(device_bytes(disk))
        .map(|(before, after)| (after - before) as f64 / produced);
    let over = if case.recycled {
        let name = "sedge_storage_segments_recycled_total";
        format!(", {} segments", http::metric(peer.console(), name))
    } else {
        String::new()
    };
    let shown = by_device.map_or("not measured (no loop device here)".into(), |by_device| {
        format!("{by_device:.3}")
    });
    let text = format!(
        "batches of {} B{over}, process {by_process:.3}, device (ext4) {shown}; {:.1} MB/s, \
         p50 {:.2}, p99 {:.2} ms",
        done.bytes / done.requests,
        done.mb_per_second(),
        done.latency_ms(50.0),
        done.latency_ms(99.0),
    );
    peer.terminate();
    Measured {
        written: by_device.unwrap_or(by_process),
        text,
    }
}

/// An ext4 file system in a file, on a loop device.
struct LoopDisk {
    mounted: PathBuf,
    device: String,
}

impl LoopDisk {
    fn mount(directory: &Path) -> Option<Self> {
        let (image, mounted) = (directory.join("disk.img"), directory.join("disk"));
        std::fs::create_dir_all(&mounted).ok()?;
        let file = std::fs::File::create(&image).ok()?;
        file.set_len(DISK_MIB << 20).ok()?;
        run_ok(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        run_ok(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&mounted),
        )?;
        let source = run_ok(
            Command::new("findmnt")
                .args(["-n", "-o", "SOURCE"])
                .arg(&mounted),
        )?;
        let device = source.trim().strip_prefix("/dev/")?.to_string();
        Some(Self { mounted, device })
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        run_ok(Command::new("umount").arg("-l").arg(&self.mounted));
    }
}

fn device_bytes(disk: Option<&LoopDisk>) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/sys/block/{}/stat", disk?.device)).ok()?;
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * SECTOR_BYTES)
}

fn run_ok(command: &mut Command) -> Option<String> {
    let done = Process::run("disk", command, b"", limits::COMMAND);
    done.status.success().then_some(done.stdout)
}
