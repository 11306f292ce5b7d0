//! Tests ten thousand partitions: everything that is done with few is done with many.
//! `cargo xtask bench scale` measures the speed.

use sedge_tests::proc;
use sedge_tests::scale::{self, TOPIC_PARTITIONS};
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection, error};

const PARTITIONS: i32 = 10_000;
const RECORD_BYTES: usize = 100;
const OPEN_FILES_MAX: usize = 200;
/// Resident memory of a development build, whose code alone is much larger than a release's.
const RESIDENT_KIB_MAX: u64 = 160 << 10;

#[test]
fn ten_thousand_partitions_are_created_written_restarted_and_deleted() {
    let directory = TempDir::new("scale");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut connection = Connection::open(&sedge.bootstrap());
    scale::create(&mut connection, PARTITIONS);
    assert_eq!(scale::describe(&mut connection).0, PARTITIONS as usize);
    let topics: Vec<String> = (0..PARTITIONS / TOPIC_PARTITIONS)
        .map(scale::name)
        .collect();
    for topic in &topics {
        scale::produce_to_all(&mut connection, topic, TOPIC_PARTITIONS, RECORD_BYTES);
    }
    let pid = sedge.process().pid();
    assert!(
        proc::open_files(pid) <= OPEN_FILES_MAX,
        "{}",
        proc::open_files(pid)
    );
    let resident = proc::resident_kib(pid);
    assert!(resident <= RESIDENT_KIB_MAX, "{resident} KiB resident");
    drop(connection);

    for round in 0..2 {
        if round == 0 {
            sedge.kill();
        } else {
            sedge.terminate();
        }
        sedge.start_again();
        let mut connection = Connection::open(&sedge.bootstrap());
        assert_eq!(scale::describe(&mut connection).0, PARTITIONS as usize);
        for topic in &topics {
            // Each was written once before, and the first ones once more in each round.
            for partition in [0, 499, TOPIC_PARTITIONS - 1] {
                let fetched = wire::fetch(&mut connection, topic, partition, 0);
                assert_eq!(
                    (fetched.error, fetched.high_watermark),
                    (error::NONE, 1 + round)
                );
                let records = wire::records(&fetched.records);
                assert_eq!(records.len() as i64, 1 + round, "{topic} {partition}");
                wire::wait_leader(&mut connection, topic, partition);
            }
        }
    }

    let mut connection = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut connection, "large", PARTITIONS, &[]);
    scale::produce_to_all(&mut connection, "large", PARTITIONS, RECORD_BYTES);
    wire::delete_topic(&mut connection, "large");
    let gone = wire::fetch(&mut connection, "large", 0, 0);
    assert_eq!(gone.error, error::UNKNOWN_TOPIC);
    sedge.kill();
    sedge.start_again();
    let mut connection = Connection::open(&sedge.bootstrap());
    assert_eq!(scale::describe(&mut connection).0, PARTITIONS as usize);
    let fetched = wire::fetch(&mut connection, &topics[0], 0, 0);
    assert_eq!((fetched.error, fetched.high_watermark), (error::NONE, 3));
}
