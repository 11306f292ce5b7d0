//! Tests a real data directory: what survives a restart, and what is refused.

use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Entry, Error, LogStore, Options, View, open};

use crate::bytes_of::{Derive, append, batch, commit, whole};
use crate::stores::{Directory, on_disk, small};

const P: PartitionId = PartitionId(5);
const FAR: Offset = Offset(i64::MAX);

fn fill(store: &dyn LogStore, from: i64, until: i64) {
    for n in from..until {
        let entries = vec![
            append(P.0, vec![batch(n, 1, n, 900)]),
            append(8, vec![batch(n, 1, n, 100)]),
        ];
        store.append(commit(entries, n)).unwrap();
    }
}

fn check(store: &dyn LogStore, from: i64, until: i64) {
    assert_eq!(store.bounds(P).unwrap().next_offset, Offset(until));
    let got = store
        .read(P, Offset(from), FAR, usize::MAX >> 1)
        .unwrap()
        .concat();
    let want: Vec<u8> = (from..until)
        .flat_map(|n| whole(&batch(n, 1, n, 900)))
        .collect();
    assert!(got == want, "{} bytes, not {}", got.len(), want.len());
    for key in [P.0, 8] {
        let end = store.view_get(View::Producers, &key.to_be_bytes()).unwrap();
        assert_eq!(end, Some(until.to_be_bytes().to_vec()));
    }
}

#[test]
fn a_restart_finds_everything() {
    let directory = Directory::new();
    let (store, report) = on_disk(directory.path(), small());
    assert!(!report.views_rebuilt);
    let identity = store.identity().clone();
    assert_eq!(identity.cluster_id.len(), 22);
    fill(&store, 0, 100);
    store.close().unwrap();
    assert!(
        store
            .append(commit(vec![append(1, vec![batch(0, 1, 1, 1)])], 0))
            .is_err()
    );
    drop(store);

    let (store, report) = on_disk(directory.path(), small());
    assert_eq!((report.frames_replayed, report.torn_tail), (0, None));
    assert_eq!(*store.identity(), identity);
    check(&store, 0, 100);
    fill(&store, 100, 130);
    // Dropped without a close, as after a kill.
    drop(store);

    let (store, report) = on_disk(directory.path(), small());
    assert_eq!(report.frames_replayed, 30);
    assert!(!report.views_rebuilt && report.holes.is_empty());
    check(&store, 0, 130);
}

#[test]
fn views_that_are_gone_or_damaged_are_made_again() {
    let damages: [fn(&std::path::Path); 4] = [
        |views| std::fs::remove_dir_all(views).unwrap(),
        |views| std::fs::remove_dir_all(views.join("keyspaces")).unwrap(),
        |views| {
            for entry in std::fs::read_dir(views).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|of| of == "jnl") {
                    let mut bytes = std::fs::read(&path).unwrap();
                    bytes[..200].fill(0xA5);
                    std::fs::write(&path, bytes).unwrap();
                }
            }
        },
        |views| std::fs::write(views.join("version"), b"of the future").unwrap(),
    ];
    for damage in damages {
        let directory = Directory::new();
        let (store, _) = on_disk(directory.path(), small());
        fill(&store, 0, 200);
        let entry = Entry::LogStart {
            partition: P,
            offset: Offset(150),
        };
        store.append(commit(vec![entry], 0)).unwrap();
        store.close().unwrap();
        fill_sequence_is_continued(directory.path(), store, damage);
    }
}

fn fill_sequence_is_continued(
    path: &std::path::Path,
    store: sedge_storage::Store,
    damage: fn(&std::path::Path),
) {
    drop(store);
    damage(&path.join("views"));
    let (store, report) = on_disk(path, small());
    assert!(report.views_rebuilt && !report.lost_tail);
    assert_eq!(report.holes, []);
    assert_eq!(store.bounds(P).unwrap().log_start, Offset(150));
    check(&store, 150, 200);
    fill(&store, 200, 210);
    drop(store);
    let (store, report) = on_disk(path, small());
    assert!(!report.views_rebuilt, "once is enough");
    check(&store, 150, 210);
}

#[test]
fn a_locked_directory_names_the_process() {
    let directory = Directory::new();
    let (_store, _) = on_disk(directory.path(), small());
    let error = open(directory.path(), small(), &mut Derive::default()).unwrap_err();
    let own = std::process::id();
    assert!(
        matches!(error, Error::Locked { process: Some(id), .. } if id == own),
        "{error}"
    );
}

#[test]
fn a_newer_format_and_other_owners_are_refused() {
    let directory = Directory::new();
    let options = |cluster: &str, node_id| Options {
        cluster_id: Some(cluster.to_owned()),
        node_id,
        ..small()
    };
    drop(on_disk(directory.path(), options("one", 1)));
    drop(on_disk(directory.path(), options("one", 1)));
    let refused = |options| open(directory.path(), options, &mut Derive::default()).unwrap_err();
    let error = refused(options("two", 1));
    assert!(
        matches!(
            error,
            Error::OtherOwner {
                key: "cluster.id",
                ..
            }
        ),
        "{error}"
    );
    let error = refused(options("one", 2));
    assert!(
        matches!(error, Error::OtherOwner { key: "node.id", .. }),
        "{error}"
    );
    let meta = directory.path().join("meta.toml");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replace("format = 1", "format = 2")).unwrap();
    let error = refused(options("one", 1));
    assert!(
        matches!(
            error,
            Error::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    std::fs::write(&meta, "format: 1").unwrap();
    let error = refused(options("one", 1));
    assert!(matches!(error, Error::BadMeta { line: 1, .. }), "{error}");
}

#[test]
fn retention_gives_space_back() {
    let directory = Directory::new();
    let (store, _) = on_disk(directory.path(), small());
    fill(&store, 0, 1000);
    store.sync().unwrap();
    let before = store.usage();
    for partition in [P, PartitionId(8)] {
        let entry = Entry::LogStart {
            partition,
            offset: Offset(990),
        };
        store.append(commit(vec![entry], 0)).unwrap();
    }
    let mut freed = 0;
    loop {
        let round = store.free_segments().unwrap();
        freed += round.bytes;
        if !round.more {
            break;
        }
    }
    let after = store.usage();
    assert!(
        freed > before.disk_bytes * 8 / 10,
        "{freed} of {}",
        before.disk_bytes
    );
    assert!(after.disk_bytes <= before.disk_bytes - freed + (64 << 10));
    check(&store, 990, 1000);
    store.close().unwrap();
    drop(store);
    std::fs::remove_dir_all(directory.path().join("views")).unwrap();
    let (store, report) = on_disk(directory.path(), small());
    assert!(report.views_rebuilt);
    check(&store, 990, 1000);
}
