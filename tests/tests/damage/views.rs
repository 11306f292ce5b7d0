//! Tests views that end the process that reads them.

use sedge_tests::sedge::Sedge;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::Connection;

use crate::metadata::{create_and_fill, options, read};
use crate::offline::{DATA_ERROR, doctor, wrong};

const RECORDS: i64 = 50;

#[test]
fn the_doctor_outlives_views_that_end_the_process_that_reads_them() {
    let directory = TempDir::new("views-that-end-it");
    let data = directory.join("data");
    let mut broker = Sedge::start(&data, options());
    let mut connection = Connection::open(&broker.bootstrap());
    create_and_fill(&mut connection, "t", RECORDS);
    broker.terminate();
    // The first bytes of fjall's list of tables, on which it asserts.
    let tables = data.join("views/keyspaces/0");
    for entry in std::fs::read_dir(tables).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with('v') {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            bytes[9] ^= 1;
            std::fs::write(entry.path(), bytes).unwrap();
        }
    }
    let (said, code) = doctor(&data, &[]);
    assert_eq!((wrong(&said), code), (vec!["views".to_owned()], DATA_ERROR));
    let what = said["findings"][0]["what"].to_string();
    assert!(what.contains("ended the process"), "{said}");
    assert_eq!(said["findings"][0]["repair"], "views", "{said}");
    let (said, code) = doctor(&data, &["--repair", "views"]);
    assert_eq!((wrong(&said), code), (vec![], 0), "{said}");
    let broker = Sedge::start(&data, options());
    let mut connection = Connection::open(&broker.bootstrap());
    assert_eq!(read(&mut connection, "t").len() as i64, RECORDS);
}
