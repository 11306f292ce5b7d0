//! Tests a segment of records that is cut short or missing: consumers get past it, and losses are
//! reported.

use std::collections::BTreeSet;

use sedge_tests::limits;
use sedge_tests::sedge::Sedge;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection};

use crate::metadata::{create_and_fill, options, read};
use crate::offline::{DATA_ERROR, copy, doctor, segment};

const RECORDS: i64 = 900;

#[test]
fn consumers_get_past_a_segment_that_is_cut_or_gone() {
    let directory = TempDir::new("lost-segment");
    let mut whole = Sedge::start(&directory.join("data"), options());
    let mut connection = Connection::open(&whole.bootstrap());
    create_and_fill(&mut connection, "t", RECORDS);
    whole.terminate();
    for share in [Some(2), Some(10), None] {
        for with_views in [true, false] {
            let data = directory.join(&format!("{share:?}-{with_views}"));
            copy(whole.data(), &data);
            let second = segment(&data, 2);
            let bytes = std::fs::metadata(&second).unwrap().len();
            match share {
                Some(share) => {
                    let file = std::fs::File::options().write(true).open(&second).unwrap();
                    file.set_len(bytes / share).unwrap();
                }
                None => std::fs::remove_file(&second).unwrap(),
            }
            if !with_views {
                std::fs::remove_dir_all(data.join("views")).unwrap();
            }
            let (said, code) = doctor(&data, &[]);
            assert_eq!(code, DATA_ERROR, "{said}");
            let mut started = Sedge::start(&data, options());
            let mut connection = Connection::open(&started.bootstrap());
            // `read` fails if a fetch returns nothing behind which a consumer could continue.
            let found = read(&mut connection, "t");
            let there: BTreeSet<i64> = found.into_iter().map(|(_, offset)| offset).collect();
            let lost: Vec<i64> = (0..RECORDS).filter(|at| !there.contains(at)).collect();
            assert!(lost.len() > 50, "{} are lost", lost.len());
            let (first, last) = (lost[0], lost[lost.len() - 1]);
            assert_eq!(lost.len() as i64, last + 1 - first, "one stretch");
            assert!(last < RECORDS - 1, "what lies behind is there");
            // A start that reads the damage reports it; otherwise the doctor does.
            if share.is_none() || !with_views {
                let told = format!("t-0: offsets {first} to {last} are lost");
                let process = started.process();
                process.wait_for(&told, limits::CONDITION, |output| {
                    let mut lines = output.stderr.iter();
                    lines.find(|line| line.contains(&told)).cloned()
                });
            }
            // Writing continues.
            let batch = wire::Batch::of(&[b"more".to_vec()]).encode();
            let produced = wire::produce(&mut connection, "t", 0, &batch);
            assert_eq!((produced.error, produced.base_offset), (0, RECORDS));
        }
    }
}
