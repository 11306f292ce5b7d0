//! Tests that the doctor finds each kind of damage, and nothing else.

use std::path::Path;

use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::Found;
use sedge_storage::doctor::{Doctor, Inspect, Kind, Repair, Report};
use sedge_storage::{Chunk, Entry, Error, LogStore, ReadLimits, Store, Wait, scan_segment};

use crate::bytes_of::{append, batch, commit, whole};
use crate::stores::{Directory, on_disk, small};

const P: PartitionId = PartitionId(5);
const Q: PartitionId = PartitionId(8);
const FAR: Offset = Offset(i64::MAX);

pub struct Nothing;

impl Inspect for Nothing {
    fn batch(&mut self, _: PartitionId, _: &Batch) -> Result<(), String> {
        Ok(())
    }

    fn is_compacted(&self, _: PartitionId) -> bool {
        false
    }
}

pub fn examine(path: &Path) -> Report {
    Doctor::open(path).unwrap().examine(&mut Nothing).unwrap()
}

/// Returns kind, partition, first and next offset of each problem.
fn wrong(report: &Report) -> Vec<(Kind, Option<u32>, i64, i64)> {
    let mut all = Vec::new();
    for finding in report.findings.iter().filter(|of| of.is_wrong()) {
        if finding.lost.is_empty() {
            all.push((finding.kind, finding.partition.map(|id| id.0), 0, 0));
        }
        for lost in &finding.lost {
            let (base, next) = (lost.base_offset.0, lost.next_offset.0);
            all.push((finding.kind, Some(lost.partition.0), base, next));
        }
    }
    all
}

fn fill(store: &Store, from: i64, until: i64) {
    for n in from..until {
        let entries = vec![
            append(
                P.0,
                vec![batch(2 * n, 1, n, 900), batch(2 * n + 1, 1, n, 80)],
            ),
            append(Q.0, vec![batch(n, 1, n, 100)]),
        ];
        store.append(commit(entries, n)).unwrap();
        if n % 7 == 0 {
            store.sync().unwrap();
        }
    }
}

/// Creates 200 commits over several segments, and closes the store.
fn filled() -> Directory {
    let directory = Directory::new();
    let (store, _) = on_disk(directory.path(), small());
    fill(&store, 0, 200);
    store.close().unwrap();
    directory
}

/// Returns a batch's segment file, its position, and that of its frame.
fn find(directory: &Path, partition: PartitionId, offset: i64) -> (std::path::PathBuf, u64, u64) {
    for entry in std::fs::read_dir(directory.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let (_, found, _) = scan_segment(&std::fs::read(&path).unwrap()).unwrap();
        for frame in found {
            let Found::Frame {
                position,
                head,
                body,
            } = frame
            else {
                continue;
            };
            let mut at = 0;
            for entry in &head.entries {
                let end = at + entry.bytes as usize;
                while at < end {
                    let header = BatchHeader::read(&body[at..]).unwrap();
                    if entry.partition == partition && header.base_offset().0 == offset {
                        return (path, position + head.bytes() + at as u64, position);
                    }
                    at += header.batch_bytes().unwrap();
                }
            }
        }
    }
    panic!("{partition} has no batch at {offset}");
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, position: u64) {
    change(path, |bytes| bytes[position as usize] ^= 0x40);
}

fn segment(directory: &Path, id: u64) -> std::path::PathBuf {
    directory.join(format!("segments/{id:010}.seg"))
}

#[test]
fn a_clean_directory_is_clean() {
    let directory = Directory::new();
    let path = directory.path();
    let (store, _) = on_disk(path, small());
    drop(store);
    assert_eq!(examine(path).findings, []);

    let (store, _) = on_disk(path, small());
    fill(&store, 0, 300);
    store.close().unwrap();
    drop(store);
    let (store, _) = on_disk(path, small());
    fill(&store, 300, 310);
    // As after a kill.
    drop(store);
    let report = examine(path);
    assert_eq!(report.findings, []);
    assert_eq!(
        (report.commits, report.batches, report.partitions),
        (310, 930, 2)
    );

    let (store, report) = on_disk(path, small());
    assert!(!report.views_rebuilt);
    let start = |partition, offset| Entry::LogStart {
        partition,
        offset: Offset(offset),
    };
    store
        .append(commit(vec![start(P, 590), start(Q, 100)], 0))
        .unwrap();
    store
        .append(commit(vec![append(9, vec![batch(0, 3, 5, 40)])], 0))
        .unwrap();
    let partition = PartitionId(9);
    store
        .append(commit(vec![Entry::Drop { partition }], 0))
        .unwrap();
    while store.free_segments().unwrap().more {}
    store.close().unwrap();
    drop(store);
    let report = examine(path);
    assert_eq!(report.findings, []);
    assert!(report.segments < 12, "segments were freed: {report:?}");

    std::fs::remove_dir_all(path.join("views")).unwrap();
    let report = examine(path);
    assert!(report.is_clean());
    assert_eq!(report.findings[0].kind, Kind::NoViews);
    assert!(!path.join("views").exists(), "nothing is changed");
}

#[test]
fn a_flipped_bit_costs_the_batch_it_is_in() {
    // The base offset, the length, the magic, the checksum, the attributes, the first byte of the
    // records, one of the last bytes.
    for (round, place) in [7, 9, 16, 18, 22, 61, 130].into_iter().enumerate() {
        for (partition, offset) in [[(P, 40), (Q, 20)], [(P, 41), (Q, 21)]][round % 2] {
            let directory = filled();
            let (file, position, _) = find(directory.path(), partition, offset);
            flip(&file, position + place);
            let report = examine(directory.path());
            assert_eq!(
                wrong(&report),
                [(Kind::Batch, Some(partition.0), offset, offset + 1)],
                "byte {place}: {:?}",
                report.findings
            );
            let found = &report.findings[0];
            assert_eq!(found.position, position);
            assert_eq!(report.batches, 599);
        }
    }
}

#[test]
fn a_frame_is_not_clean_if_only_its_own_checksum_does_not_match() {
    let directory = filled();
    let (file, position, _) = find(directory.path(), P, 40);
    // The checksum of a batch does not cover its leader epoch.
    flip(&file, position + 13);
    let report = examine(directory.path());
    assert!(!report.is_clean());
    assert_eq!(report.findings[0].kind, Kind::Table);
    assert_eq!(report.batches, 600, "each is still read");
}

#[test]
fn a_flipped_bit_in_the_head_costs_the_commit() {
    for place in [0, 20, 46, 60] {
        let directory = filled();
        let (file, _, position) = find(directory.path(), P, 40);
        flip(&file, position + place);
        let report = examine(directory.path());
        let mut lost = wrong(&report);
        lost.sort_unstable();
        assert_eq!(
            lost,
            [
                (Kind::Frame, Some(P.0), 40, 42),
                (Kind::Frame, Some(Q.0), 20, 21)
            ],
            "byte {place}: {:?}",
            report.findings
        );
    }
}

/// Commits that begin on pages of their own, each synced: the padding before them is not damage,
/// and a scan may begin at one.
#[test]
fn what_is_left_out_before_a_page_is_no_damage() {
    let directory = Directory::new();
    let path = directory.path();
    let (store, _) = on_disk(path, small());
    for n in 0..40 {
        let body = if n % 2 == 0 { 3900 } else { 500 };
        let one = vec![append(P.0, vec![batch(n, 1, n, body)])];
        store.append(commit(one, n)).unwrap();
        store.sync().unwrap();
    }
    store.close().unwrap();
    drop(store);
    assert_eq!(examine(path).findings, []);
    let (store, report) = on_disk(path, small());
    assert!(!report.views_rebuilt && !report.lost_tail, "{report:?}");
    drop(store);
    for offset in 3..7 {
        let (file, position, frame) = find(path, P, offset);
        flip(&file, position + 100);
        let expected = [(Kind::Batch, Some(P.0), offset, offset + 1)];
        let report = examine(path);
        assert_eq!(wrong(&report), expected, "{:?}", report.findings);
        flip(&file, position + 100);
        flip(&file, frame + 20);
        let expected = [(Kind::Frame, Some(P.0), offset, offset + 1)];
        let report = examine(path);
        assert_eq!(wrong(&report), expected, "{:?}", report.findings);
        flip(&file, frame + 20);
    }
    assert_eq!(examine(path).findings, []);
}

#[test]
fn headers_footers_and_files_that_are_gone_are_missed() {
    // The end of its footer, without the trailer, is left in the next segment.
    let directory = filled();
    change(&segment(directory.path(), 2), |bytes| {
        let end = bytes.len() - 10;
        bytes[..end].fill(7);
    });
    let kinds = kinds(&examine(directory.path()));
    assert!(kinds.starts_with(&[Kind::Segment]), "{kinds:?}");
    assert!(kinds.contains(&Kind::Offsets) && kinds.contains(&Kind::Views));

    let directory = filled();
    change(&segment(directory.path(), 2), |bytes| {
        let at = bytes.len() - 60;
        bytes[at] ^= 1;
    });
    assert_eq!(
        wrong(&examine(directory.path())),
        [(Kind::Footer, None, 0, 0)]
    );

    let directory = filled();
    let (file, ..) = find(directory.path(), Q, 100);
    std::fs::remove_file(file).unwrap();
    let report = examine(directory.path());
    let lost: Vec<_> = wrong(&report)
        .into_iter()
        .filter(|of| of.0 == Kind::Offsets)
        .collect();
    let [(_, Some(5), base, next), (_, Some(8), ..)] = lost[..] else {
        panic!("{report:?}")
    };
    assert!(base <= 200 && 200 < next, "{base} to {next}");

    // A file that was about to be reused.
    let directory = filled();
    std::fs::copy(segment(directory.path(), 1), segment(directory.path(), 99)).unwrap();
    assert_eq!(examine(directory.path()).findings, []);

    let directory = filled();
    std::fs::write(directory.path().join("meta.toml"), "format: 1").unwrap();
    assert_eq!(
        wrong(&examine(directory.path())),
        [(Kind::Meta, None, 0, 0)]
    );

    let directory = Directory::new();
    let error = Doctor::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::NoData { .. }), "{error}");
}

fn kinds(report: &Report) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = wrong(report).iter().map(|of| of.0).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_torn_tail_is_told_and_cut_when_asked() {
    let directory = filled();
    let path = directory.path();
    let last = std::fs::read_dir(path.join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max()
        .unwrap();
    let mut before = Vec::new();
    change(&last, |bytes| {
        before.clone_from(bytes);
        let at = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[at..at + 5].copy_from_slice(b"SFRMx");
    });
    let torn = std::fs::read(&last).unwrap();
    let report = examine(path);
    assert!(report.is_clean());
    assert_eq!(report.findings[0].kind, Kind::TornTail);
    assert_eq!(report.findings[0].bytes, 5);
    assert!(std::fs::read(&last).unwrap() == torn, "nothing is changed");
    let doctor = Doctor::open(path).unwrap();
    doctor.repair(Repair::TornTail, &report).unwrap();
    assert!(std::fs::read(&last).unwrap() == before);
    drop(doctor);
    assert_eq!(examine(path).findings, []);
}

#[test]
fn views_of_another_log_are_told_and_thrown_away_when_asked() {
    let (directory, other) = (filled(), Directory::new());
    let (store, _) = on_disk(other.path(), small());
    fill(&store, 0, 50);
    store.close().unwrap();
    drop(store);
    let views = directory.path().join("views");
    std::fs::remove_dir_all(&views).unwrap();
    std::fs::rename(other.path().join("views"), &views).unwrap();
    let report = examine(directory.path());
    assert_eq!(kinds(&report), [Kind::Views]);
    let doctor = Doctor::open(directory.path()).unwrap();
    doctor.repair(Repair::Views, &report).unwrap();
    drop(doctor);
    assert!(examine(directory.path()).is_clean());
    let (store, report) = on_disk(directory.path(), small());
    assert!(report.views_rebuilt);
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(400));
    store.close().unwrap();
    drop(store);
    assert_eq!(examine(directory.path()).findings, []);

    std::fs::write(views.join("version"), b"of the future").unwrap();
    assert_eq!(kinds(&examine(directory.path())), [Kind::Views]);
}

/// Returns the expected batches of `P` from `from` on, without the `lost` ones.
fn expect(from: i64, lost: &[i64]) -> Vec<u8> {
    (from..400)
        .filter(|offset| !lost.contains(offset))
        .flat_map(|offset| {
            let bytes = if offset % 2 == 0 { 900 } else { 80 };
            whole(&batch(offset, 1, offset / 2, bytes))
        })
        .collect()
}

#[test]
fn accepted_damage_is_passed_over_and_does_not_come_back() {
    let directory = filled();
    let path = directory.path();
    let (file, position, _) = find(path, P, 40);
    flip(&file, position + 100);
    let (file, _, frame) = find(path, P, 100);
    flip(&file, frame + 10);
    let report = examine(path);
    assert_eq!(kinds(&report), [Kind::Batch, Kind::Frame]);
    let doctor = Doctor::open(path).unwrap();
    doctor.repair(Repair::Damage, &report).unwrap();
    drop(doctor);
    let report = examine(path);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(report.findings.iter().all(|of| of.is_known));

    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_dir_all(path.join("views")).unwrap();
        }
        let (store, report) = on_disk(path, small());
        assert_eq!((report.views_rebuilt, report.holes), (rebuilt, vec![]));
        let read = |from| {
            let chunks = store.read(P, Offset(from), FAR, usize::MAX >> 1);
            chunks.unwrap().concat()
        };
        let lost = [40, 100, 101];
        assert!(read(0) == expect(0, &lost), "rebuilt: {rebuilt}");
        assert!(read(40) == expect(40, &lost));
        assert!(read(100) == expect(100, &lost));
        let located = store
            .locate(P, Offset(40), Offset(41), ReadLimits::of(1), Wait::ForDisk)
            .unwrap()
            .chunks;
        let [Chunk::Read(instead)] = &located[..] else {
            panic!("{located:?}")
        };
        let header = BatchHeader::read(instead).unwrap();
        assert_eq!(
            (header.base_offset(), header.record_count()),
            (Offset(40), 0)
        );
        assert_eq!(header.next_offset(), Offset(41));
        assert_eq!(store.bounds(Q).unwrap().next_offset, Offset(200));
        store.close().unwrap();
    }
    assert!(examine(path).is_clean());
}

#[test]
fn missing_offsets_can_be_accepted() {
    let directory = filled();
    let (file, ..) = find(directory.path(), Q, 100);
    std::fs::remove_file(file).unwrap();
    std::fs::remove_dir_all(directory.path().join("views")).unwrap();
    let report = examine(directory.path());
    assert_eq!(kinds(&report), [Kind::Offsets]);
    let doctor = Doctor::open(directory.path()).unwrap();
    doctor.repair(Repair::Damage, &report).unwrap();
    drop(doctor);
    assert!(examine(directory.path()).is_clean());
}
