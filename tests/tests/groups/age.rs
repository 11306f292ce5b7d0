//! Tests that committed offsets age by the append clock: neither a jump of the wall clock nor the
//! time that the broker was off expires them.

use std::time::Instant;

use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wall_clock::WallClock;
use sedge_tests::wire::{self, Commit, Connection, committed, error};

const DAY: i64 = 86_400;
const KEEPER: &str = "keeper";
const WITNESS: &str = "witness";

#[test]
fn the_wall_clock_expires_no_committed_offset() {
    let directory = TempDir::new("offsets-age");
    let Some(clock) = WallClock::build(&directory) else {
        return;
    };
    let mut options = Options::default().set("offsets.retention.check.interval.ms", "1000");
    options.variables.extend(clock.variables());
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let mut at = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut at, "t", 1, &[]);
    assert_eq!(Commit::of(KEEPER, "t", 42).ask(&mut at), error::NONE);
    see_expiry_run(&mut at);
    for days in [400, -400, 30 * 365, 0] {
        clock.move_by(days * DAY);
        see_expiry_run(&mut at);
        assert_eq!(committed(&mut at, KEEPER, "t", 0), Some(42), "{days} days");
    }
    // Off for eight days, after a kill and after a stop.
    for (kill, days) in [(true, 8), (false, 16)] {
        if kill {
            sedge.kill();
        } else {
            sedge.terminate();
        }
        clock.move_by(days * DAY);
        sedge.start_again();
        let mut at = Connection::open(&sedge.bootstrap());
        see_expiry_run(&mut at);
        assert_eq!(committed(&mut at, KEEPER, "t", 0), Some(42), "{days} days");
    }
}

/// Commits an offset that expires at once, and waits until it has.
fn see_expiry_run(at: &mut Connection) {
    let witness = Commit {
        retention_ms: 1,
        ..Commit::of(WITNESS, "t", 1)
    };
    assert_eq!(witness.ask(at), error::NONE);
    let deadline = Instant::now() + limits::CONDITION;
    while committed(at, WITNESS, "t", 0).is_some() {
        assert!(Instant::now() < deadline, "offsets do not expire at all");
        std::thread::sleep(limits::POLL);
    }
}
