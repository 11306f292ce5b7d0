//! Tests that bytes written to the device are counted over restarts, and that an exceeded budget is
//! logged.

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::http;
use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};

const BATCH_BYTES: usize = 64 << 10;
const BATCHES: u64 = 20;

#[test]
fn what_is_written_is_counted_over_restarts() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("wear");
    let options = Options::default()
        .set("sedge.disk.write.budget.bytes.per.day", "1000")
        .set("sedge.disk.endurance.bytes", "1000000000000");
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let metric = |sedge: &Sedge, name: &str| http::metric(sedge.console(), name);
    let written = "sedge_disk_written_bytes_total";
    produce(&sedge);
    let first = metric(&sedge, written);
    if first == 0.0 {
        sedge_tests::report::line(format_args!(
            "skipped: the kernel counts nothing written to this file system"
        ));
        return;
    }
    let produced = (BATCHES as usize * BATCH_BYTES) as f64;
    assert!(first >= produced, "{first}");
    assert!(metric(&sedge, "sedge_disk_written_day_bytes") >= produced);
    assert!(metric(&sedge, "sedge_disk_written_per_produced") >= 1.0);
    let budget = "sedge_disk_write_budget_bytes_per_day";
    assert_eq!(metric(&sedge, budget) as u64, 1000);
    // The thread that enters the bytes tells it after others may read them.
    let tells = |line: &String| line.contains("sedge.disk.write.budget.bytes.per.day");
    sedge
        .process()
        .wait_for("the budget to be exceeded", limits::CONDITION, |output| {
            output.stderr.iter().any(tells).then_some(())
        });
    let warnings = sedge
        .process()
        .output()
        .stderr
        .iter()
        .filter(|line| tells(line))
        .count();
    assert_eq!(warnings, 1);

    sedge.terminate();
    sedge.start_again();
    assert!(metric(&sedge, written) >= first);
    produce(&sedge);
    let second = metric(&sedge, written);
    assert!(second >= first + produced, "{first} {second}");
    // A crash loses at most an hour of the logbook, and never what was there before.
    sedge.kill();
    sedge.start_again();
    assert!(metric(&sedge, written) >= first);
    // A logbook that cannot be read is begun anew.
    sedge.kill();
    std::fs::write(sedge.data().join("logbook"), b"append.ms = 9").expect("it can be written");
    sedge.start_again();
    assert!(metric(&sedge, written) < first);
    let mut connection = Connection::open(&sedge.bootstrap());
    let fetched = wire::fetch(&mut connection, "t", 0, 0);
    assert_eq!(fetched.error, error::NONE);
}

fn produce(sedge: &Sedge) {
    let mut connection = Connection::open(&sedge.bootstrap());
    let batch = Batch::filled(1, BATCH_BYTES).encode();
    wire::try_create_topic(&mut connection, "t", 1, &[]);
    for _ in 0..BATCHES {
        let produced = wire::produce(&mut connection, "t", 0, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
    }
}
