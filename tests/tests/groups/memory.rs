//! Tests the memory of committed offsets: bounded in RAM and on flash, whatever metadata clients
//! store with them.

use sedge_tests::metrics;
use sedge_tests::proc;
use sedge_tests::report;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Commit, Connection, Decoder, Encoder, committed, error, key};

const INVALID_COMMIT_OFFSET_SIZE: i16 = 28;
const METADATA_BYTES: usize = 4_000;
const PARTITIONS: i32 = 1_000;
const AT_ONCE: i32 = 100;
/// Number of offsets that the broker accepts, approximately: 32 MiB of them.
const OFFSETS_MAX: usize = (32 << 20) / METADATA_BYTES;
/// Resident memory of the process with a full table. A debug build takes some 50 MiB by itself.
const RESIDENT_MIB_MAX: u64 = 160;

#[test]
fn committed_offsets_are_bounded_and_a_start_does_not_write_them_again() {
    let directory = TempDir::new("offsets-memory");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut at = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut at, "t", PARTITIONS, &[]);
    let taken = fill(&mut at);
    assert!(
        (OFFSETS_MAX * 9 / 10..OFFSETS_MAX).contains(&taken),
        "{taken} offsets were taken"
    );
    // Existing offsets can still be changed, even with metadata of the same size.
    let metadata = "n".repeat(METADATA_BYTES);
    let moved = Commit {
        metadata: &metadata,
        ..Commit::of("g0", "t", 9)
    };
    assert_eq!(moved.ask(&mut at), error::NONE);
    check_resident(&mut sedge, "filling");
    sedge.kill();
    sedge.start_again();
    let mut at = Connection::open(&sedge.bootstrap());
    let written = || metrics::sample(sedge.console(), "sedge_storage_written_bytes_total");
    let before = written();
    for offset in 10..30 {
        assert_eq!(Commit::of("small", "t", offset).ask(&mut at), error::NONE);
    }
    let mib = (written() - before) / f64::from(1 << 20);
    assert!(mib < 8.0, "20 small commits wrote {mib:.1} MiB");
    assert_eq!(committed(&mut at, "g0", "t", 0), Some(9));
    assert_eq!(committed(&mut at, "g1", "t", PARTITIONS - 1), Some(7));
    assert_eq!(committed(&mut at, "small", "t", 0), Some(29));
    check_resident(&mut sedge, "a start");
}

#[test]
fn a_large_content_is_trimmed_in_parts() {
    let directory = TempDir::new("offsets-trim");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut at = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut at, "t", PARTITIONS, &[]);
    // Two groups, one of which is written repeatedly.
    let groups = ["still", "moving"];
    for group in groups {
        commit_all(&mut at, group, 1);
    }
    let mut offset = 1;
    while wire::fetch(&mut at, "__consumer_offsets", 0, 0).error == error::NONE {
        offset += 1;
        commit_all(&mut at, "moving", offset);
        assert!(offset < 20, "the log is never trimmed");
    }
    check_resident(&mut sedge, "a trim");
    for is_rebuilt in [false, true] {
        sedge.kill();
        if is_rebuilt {
            let views = directory.join("data/views");
            std::fs::remove_dir_all(views).expect("the views are there");
        }
        sedge.start_again();
        let mut at = Connection::open(&sedge.bootstrap());
        for partition in [0, 1, PARTITIONS / 2, PARTITIONS - 1] {
            assert_eq!(committed(&mut at, "still", "t", partition), Some(1));
            assert_eq!(committed(&mut at, "moving", "t", partition), Some(offset));
        }
        // The first append adds what the view lacks.
        assert_eq!(Commit::of("small", "t", 1).ask(&mut at), error::NONE);
        check_resident(&mut sedge, "a start");
    }
}

/// Commits offsets with long metadata until one is refused. Returns how many were accepted.
fn fill(at: &mut Connection) -> usize {
    let mut taken = 0;
    for group in 0.. {
        let group = format!("g{group}");
        for first in (0..PARTITIONS).step_by(AT_ONCE as usize) {
            let codes = commit(at, &group, first, 7);
            taken += codes.iter().filter(|code| **code == error::NONE).count();
            if let Some(refused) = codes.iter().find(|code| **code != error::NONE) {
                assert_eq!(*refused, INVALID_COMMIT_OFFSET_SIZE);
                return taken;
            }
            assert!(taken < 2 * OFFSETS_MAX, "nothing is refused");
        }
    }
    taken
}

/// Commits an offset for all partitions.
fn commit_all(at: &mut Connection, group: &str, offset: i64) {
    for first in (0..PARTITIONS).step_by(AT_ONCE as usize) {
        let codes = commit(at, group, first, offset);
        assert!(codes.iter().all(|code| *code == error::NONE), "{codes:?}");
    }
}

/// Commits an offset for [`AT_ONCE`] partitions (`OffsetCommit` v4).
fn commit(at: &mut Connection, group: &str, first: i32, offset: i64) -> Vec<i16> {
    let metadata = "m".repeat(METADATA_BYTES);
    let mut body = Encoder::default().string(group).i32(-1).string("").i64(-1);
    body = body.i32(1).string("t").i32(AT_ONCE);
    for partition in first..first + AT_ONCE {
        body = body.i32(partition).i64(offset).string(&*metadata);
    }
    let reply = at.ask(key::OFFSET_COMMIT, 4, &body.0);
    let mut d = Decoder(&reply);
    let (_, _, _) = (d.i32(), d.i32(), d.string());
    let mut codes = Vec::new();
    for _ in 0..d.i32() {
        d.i32();
        codes.push(d.i16());
    }
    codes
}

fn check_resident(sedge: &mut Sedge, after: &str) {
    let peak = proc::resident_peak_kib(sedge.process().pid()) >> 10;
    report::line(format_args!("{peak} MiB resident at most, after {after}"));
    assert!(peak < RESIDENT_MIB_MAX, "{peak} MiB after {after}");
}
