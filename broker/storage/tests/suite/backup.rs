//! Tests backups: their contents, what a further backup copies again, and what is refused.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::backup::{Backup, BackupOptions, MANIFEST, back_up};
use sedge_storage::doctor::{Doctor, Kind, Repair};
use sedge_storage::{Entry, Error, LogStore, Missing, SegmentId, Store};

use crate::beside::write_beside;
use crate::bytes_of::{Derive, append, batch, commit, whole};
use crate::doctor::Nothing;
use crate::stores::{Directory, on_disk, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);

fn fill(store: &Store, from: i64, until: i64) {
    for n in from..until {
        let entries = vec![append(P.0, vec![batch(n, 1, n, 900)])];
        store.append(commit(entries, n)).unwrap();
    }
}

fn take(data: &Directory, target: &Path) -> Backup {
    back_up(data.path(), target, BackupOptions::default()).unwrap()
}

/// Opens a backup and checks that its log is complete from `from` to at least `least`.
fn check(target: &Path, from: i64, least: i64) {
    let report = Doctor::open(target).unwrap().examine(&mut Nothing).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    let (store, report) = on_disk(target, small());
    assert!(report.holes.is_empty() && !report.lost_tail, "{report:?}");
    let end = store.bounds(P).unwrap().next_offset.0;
    assert!(end >= least, "{end} of {least}");
    let chunks = store.read(P, Offset(from), FAR, usize::MAX >> 1).unwrap();
    let want: Vec<u8> = (from..end)
        .flat_map(|n| whole(&batch(n, 1, n, 900)))
        .collect();
    assert!(chunks.concat() == want);
    // The copy continues from the end of the log.
    fill(&store, end, end + 100);
    store.close().unwrap();
}

#[test]
fn a_backup_is_whole_and_the_next_takes_what_is_new() {
    let (data, target) = (Directory::new(), Directory::new());
    let target = target.path().join("copy");
    let (store, _) = on_disk(data.path(), small());
    fill(&store, 0, 200);
    store.sync().unwrap();
    let first = take(&data, &target);
    assert_eq!(first.last_sequence.0, 200);
    assert!(
        first.linked_segments > 3 && first.copied_segments == 1,
        "{first:?}"
    );
    assert!(target.join(MANIFEST).exists());
    let again = take(&data, &target);
    assert_eq!((again.linked_segments, again.copied_segments), (0, 1));
    assert_eq!(again.kept_segments, first.linked_segments);

    fill(&store, 200, 300);
    store.sync().unwrap();
    let second = take(&data, &target);
    assert_eq!(second.kept_segments, first.linked_segments);
    assert!((1..6).contains(&second.linked_segments), "{second:?}");

    let start = Entry::LogStart {
        partition: P,
        offset: Offset(250),
    };
    store.append(commit(vec![start], 0)).unwrap();
    while store.free_segments().unwrap().more {}
    let third = take(&data, &target);
    assert!(third.removed_segments > 3, "{third:?}");
    check(&target, 250, 300);
    // The broker on the copy has not harmed what it shares with the first.
    fill(&store, 300, 310);
    store.close().unwrap();
    drop(store);
    let report = Doctor::open(data.path()).unwrap().examine(&mut Nothing);
    assert!(report.unwrap().is_clean());
}

#[test]
fn a_copy_shares_nothing() {
    let (data, target) = (Directory::new(), Directory::new());
    let (store, _) = on_disk(data.path(), small());
    fill(&store, 0, 100);
    store.sync().unwrap();
    let options = BackupOptions { copy: true };
    let backup = back_up(data.path(), target.path(), options).unwrap();
    assert_eq!(backup.linked_segments, 0);
    assert_eq!(backup.copied_bytes, backup.bytes);
    for entry in std::fs::read_dir(target.path().join("segments")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().nlink(), 1);
    }
    drop(store);
    check(target.path(), 0, 100);
}

#[test]
fn a_backup_while_the_log_is_written_and_freed_has_all_that_was_there() {
    let (data, target) = (Directory::new(), Directory::new());
    let (store, _) = on_disk(data.path(), small());
    let write = |from| {
        fill(&store, from, from + 20);
        store.sync().unwrap();
        if from % 200 == 0 && from > 400 {
            let entry = Entry::LogStart {
                partition: P,
                offset: Offset(from - 300),
            };
            store.append(commit(vec![entry], 0)).unwrap();
            store.free_segments().unwrap();
        }
        from + 20
    };
    write_beside(write, |written| {
        for round in 1..=5 {
            let least = written.wait_for(round * 400);
            let target = target.path().join(round.to_string());
            take(&data, &target);
            let (copy, report) = on_disk(&target, small());
            assert!(report.holes.is_empty() && !report.lost_tail);
            let bounds = copy.bounds(P).unwrap();
            assert!(bounds.next_offset.0 >= least);
            let (from, end) = (bounds.log_start, bounds.next_offset);
            let chunks = copy.read(P, from, FAR, usize::MAX >> 1).unwrap();
            let want: Vec<u8> = (from.0..end.0)
                .flat_map(|n| whole(&batch(n, 1, n, 900)))
                .collect();
            assert!(chunks.concat() == want, "{from} to {end}");
        }
    });
}

#[test]
fn what_is_no_backup_of_this_broker_is_refused() {
    let (data, other, target) = (Directory::new(), Directory::new(), Directory::new());
    drop(on_disk(data.path(), small()));
    drop(on_disk(other.path(), small()));
    let refused =
        |data: &Path, target: &Path| back_up(data, target, BackupOptions::default()).unwrap_err();
    let error = refused(data.path(), other.path());
    assert!(matches!(error, Error::NoBackup { .. }), "{error}");
    let error = refused(target.path(), other.path());
    assert!(matches!(error, Error::NoData { .. }), "{error}");
    take(&data, target.path());
    let error = refused(other.path(), target.path());
    assert!(matches!(error, Error::OtherOwner { .. }), "{error}");
    let (_running, _) = on_disk(target.path(), small());
    let error = refused(data.path(), target.path());
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    let broken_off = Directory::new();
    std::fs::create_dir(broken_off.path().join("segments.new")).unwrap();
    let error =
        sedge_storage::open(broken_off.path(), small(), &mut Derive::default()).unwrap_err();
    assert!(matches!(error, Error::UnfinishedBackup { .. }), "{error}");
}

/// Returns a backup of three or more segments, and the result of a start on it.
fn taken(target: &Directory) {
    let data = Directory::new();
    let (store, _) = on_disk(data.path(), small());
    fill(&store, 0, 200);
    store.sync().unwrap();
    back_up(data.path(), target.path(), BackupOptions { copy: true }).unwrap();
}

fn start(target: &Directory) -> Result<Store, Error> {
    let opened = sedge_storage::open(target.path(), small(), &mut Derive::default());
    opened.map(|(store, _)| store)
}

#[test]
fn a_start_makes_an_ordinary_directory_of_a_backup() {
    let target = Directory::new();
    taken(&target);
    let meta = || std::fs::read_to_string(target.path().join("meta.toml")).unwrap();
    assert!(meta().contains("backup = true"));
    drop(start(&target).unwrap());
    assert!(!target.path().join(MANIFEST).exists());
    assert!(!meta().contains("backup"), "{}", meta());
    // Removing data from it now is not a loss.
    let store = start(&target).unwrap();
    let entry = Entry::LogStart {
        partition: P,
        offset: Offset(150),
    };
    store.append(commit(vec![entry], 0)).unwrap();
    while store.free_segments().unwrap().more {}
    store.close().unwrap();
    drop(store);
    start(&target).unwrap().close().unwrap();
}

#[test]
fn an_incomplete_backup_is_refused_until_what_is_there_is_accepted() {
    type Harm = (Missing, fn(&Path));
    let segment = |path: &Path| path.join("segments/0000000002.seg");
    let harms: [Harm; 4] = [
        (Missing::Manifest, |path| {
            std::fs::remove_file(path.join(MANIFEST)).unwrap();
        }),
        (Missing::Line(0), |path| {
            std::fs::write(path.join(MANIFEST), "format = 1").unwrap();
        }),
        (Missing::Segment(SegmentId(2)), |path| {
            std::fs::remove_file(path.join("segments/0000000002.seg")).unwrap();
        }),
        (Missing::Generation(SegmentId(2)), |path| {
            let (from, to) = ("segments/0000000001.seg", "segments/0000000002.seg");
            std::fs::copy(path.join(from), path.join(to)).unwrap();
        }),
    ];
    for (expected, harm) in harms {
        let target = Directory::new();
        taken(&target);
        harm(target.path());
        let refused = start(&target).unwrap_err();
        let Error::IncompleteBackup { missing, .. } = &refused else {
            panic!("{refused}")
        };
        // If two segments have the same size, either may be the longer one.
        let is_short = *missing == Missing::Bytes(SegmentId(2));
        assert!(*missing == expected || is_short, "{refused}");
        assert!(refused.to_string().contains("copy it again"), "{refused}");
        assert!(!target.path().join("views").exists(), "nothing was begun");

        let doctor = Doctor::open(target.path()).unwrap();
        let report = doctor.examine(&mut Nothing).unwrap();
        assert_eq!(
            report.findings[0].kind,
            Kind::Backup,
            "{:?}",
            report.findings
        );
        doctor.repair(Repair::Backup, &report).unwrap();
        drop(doctor);
        start(&target).unwrap().close().unwrap();
    }
    // A copy that was interrupted within a segment.
    let target = Directory::new();
    taken(&target);
    let file = std::fs::File::options()
        .write(true)
        .open(segment(target.path()));
    file.unwrap().set_len(9_000).unwrap();
    let refused = start(&target).unwrap_err();
    let Error::IncompleteBackup { missing, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!(missing, Missing::Bytes(SegmentId(2)));
}
