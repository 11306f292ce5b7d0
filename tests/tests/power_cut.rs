//! Tests power cuts on ext4. The broker runs on a disk whose every write and flush is logged. From
//! the log, the test builds the disks that a cut at random moments would have left; on each of them
//! the broker starts and is asked for everything it acknowledged before that moment. Meanwhile
//! topics are compacted, sparse segments emptied, records deleted by time, size and request, and
//! freed files reused; if one of these did not happen, the test fails.
//!
//! The test is long and mounts file systems: it runs if `SEDGE_SOAK` is set
//! (`cargo xtask test --only power_cut --soak`), as root.

#[path = "power_cut/check.rs"]
mod check;
#[path = "power_cut/load.rs"]
mod load;
#[path = "power_cut/promises.rs"]
mod promises;
#[path = "power_cut/topics.rs"]
mod topics;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use sedge_tests::power_cut::{self, LoggedDisk, Mounted};
use sedge_tests::report;
use sedge_tests::sedge::Options;
use sedge_tests::segments;
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;

const CUTS: usize = 200;

fn options() -> Options {
    Options::default()
        .set("sedge.profile", "small")
        .set("sedge.segment.bytes", "1048576")
        .set("sedge.segment.spares", "32")
        .set("log.cleaner.backoff.ms", "20")
        .set("log.retention.check.interval.ms", "200")
}

#[test]
fn what_was_acknowledged_outlives_power_cuts() {
    if !soak::is_long() {
        return report::line(format_args!("power cuts: left out without SEDGE_SOAK"));
    }
    if let Some(why) = power_cut::is_missing() {
        return report::line(format_args!("power cuts: left out, {why}"));
    }
    let mut random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    let directory = TempDir::new("power-cut");
    let (events, promises) = load::run(directory.path(), &mut random);
    let first = promises.first_moment();
    report::line(format_args!(
        "{promises}; {} writes and flushes, {} flushes",
        events.count(),
        events.flushes()
    ));
    let span = (events.count() - first) as u64;
    let mut moments: Vec<usize> = (0..CUTS)
        .map(|_| first + random.below(span) as usize)
        .collect();
    moments.sort_unstable();

    let durable = LoggedDisk::base(directory.path());
    let image = directory.join("cut");
    let (mut applied, mut checked, mut within_cold) = (0, 0, 0);
    for moment in moments {
        let flushed = events.flushed(moment);
        let open = |path: &Path| {
            File::options()
                .write(true)
                .open(path)
                .expect("the image is there")
        };
        events.apply(applied, flushed, &open(&durable));
        applied = flushed;
        let copied = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([&durable, &image])
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "the image is copied"
        );
        events.apply_in_doubt(flushed, moment, &open(&image), &mut random);
        let mut disk = Mounted::new(&image, &directory.join("after"));
        let data = disk.path().join("data");
        within_cold += usize::from(segments::cold(&data).unfinished > 0);
        checked += check::after_cut(&data, moment, &promises);
        disk.unmount();
    }
    assert!(
        within_cold >= CUTS / 20,
        "{within_cold} cuts while a cold segment was written"
    );
    report::line(format_args!(
        "{CUTS} power cuts, {within_cold} of them while a cold segment was written: {checked} \
         records asked for, 0 lost, 0 deleted ones back, 0 starts refused"
    ));
}
