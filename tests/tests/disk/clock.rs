//! Tests retention with an unreliable clock: a boot in 1970, jumps by years forward and back,
//! records from any time.
//!
//! A topic whose records live for a second shows that retention has run; one whose records live for
//! an hour must then still have all of them.

use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wall_clock::{WallClock, now_ms};
use sedge_tests::wire::{self, Batch, Connection, error};

const YEAR: i64 = 365 * 86_400;

struct Site {
    sedge: Sedge,
    clock: WallClock,
    produced: i64,
    witnesses: i64,
    // Last, so that the broker ends before its directory is removed.
    _directory: TempDir,
}

#[test]
fn a_clock_that_jumps_deletes_nothing_that_should_live() {
    if is_skipped_on_kafka() {
        return;
    }
    let Some(mut site) = Site::start() else {
        return;
    };
    let epoch = -now_ms() / 1000;
    // Absurd producer timestamps: of the broker's 1970, the far future, the true present.
    for timestamp in [5_000, i64::MAX / 2, now_ms(), 0] {
        site.produce(timestamp);
    }
    site.see_retention_run();
    // The first synchronisation.
    site.clock.move_by(0);
    site.produce(now_ms());
    site.see_retention_run();
    // Years forward, years back, and back again.
    for years in [30, -20, 100, 0] {
        site.clock.move_by(years * YEAR);
        site.produce(now_ms() + years * YEAR * 1000);
        site.see_retention_run();
    }
    // Another boot in 1970, after a kill and after a stop.
    for kill in [true, false] {
        site.restart(kill, epoch);
        site.produce(1_000);
        site.see_retention_run();
    }
    site.restart(true, 50 * YEAR);
    site.see_retention_run();
}

#[test]
fn look_ups_by_time_work_after_the_first_synchronisation() {
    if is_skipped_on_kafka() {
        return;
    }
    let Some(mut site) = Site::start() else {
        return;
    };
    let mut connection = Connection::open(&site.sedge.bootstrap());
    let by_broker = [("message.timestamp.type", "LogAppendTime")];
    wire::create_topic(&mut connection, "stamped", 1, &by_broker);
    let batch = Batch::filled(1, 100).encode();
    let mut produce = || {
        let produced = wire::produce(&mut connection, "stamped", 0, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
    };
    (0..3).for_each(|_| produce());
    let synchronised_ms = now_ms();
    site.clock.move_by(0);
    (0..3).for_each(|_| produce());
    let mut find = |timestamp| wire::offset_for_time(&mut connection, "stamped", 0, timestamp);
    assert_eq!(find(synchronised_ms), 3);
    assert_eq!(find(1), 0);
    assert_eq!(find(now_ms() + 1_000), -1);
    site.restart(true, 0);
    let mut connection = Connection::open(&site.sedge.bootstrap());
    assert_eq!(
        wire::offset_for_time(&mut connection, "stamped", 0, synchronised_ms),
        3
    );
}

impl Site {
    /// Starts a broker that boots in 1970.
    fn start() -> Option<Self> {
        let directory = TempDir::new("clock");
        let clock = WallClock::build(&directory)?;
        clock.move_by(100 - now_ms() / 1000);
        let mut options = Options::default().set("log.retention.check.interval.ms", "50");
        options.variables.extend(clock.variables());
        let sedge = Sedge::start(&directory.join("data"), options);
        let mut connection = Connection::open(&sedge.bootstrap());
        let hour = [
            ("retention.ms", "3600000"),
            ("message.timestamp.after.max.ms", MAX),
        ];
        wire::create_topic(&mut connection, "hour", 1, &hour);
        let second = [
            ("retention.ms", "1000"),
            ("message.timestamp.after.max.ms", MAX),
        ];
        wire::create_topic(&mut connection, "second", 1, &second);
        Some(Self {
            sedge,
            clock,
            produced: 0,
            witnesses: 0,
            _directory: directory,
        })
    }

    fn restart(&mut self, kill: bool, moved_by: i64) {
        if kill {
            self.sedge.kill();
        } else {
            self.sedge.terminate();
        }
        self.clock.move_by(moved_by);
        self.sedge.start_again();
    }

    fn produce(&mut self, timestamp: i64) {
        let mut batch = Batch::filled(1, 100);
        batch.base_timestamp = timestamp;
        let mut connection = Connection::open(&self.sedge.bootstrap());
        let produced = wire::produce(&mut connection, "hour", 0, &batch.encode());
        assert_eq!(produced.error, error::NONE, "{timestamp}: {produced:?}");
        self.produced += 1;
    }

    /// Waits until a record that lives for a second is deleted, and checks that all that live for
    /// an hour exist.
    fn see_retention_run(&mut self) {
        let mut connection = Connection::open(&self.sedge.bootstrap());
        let batch = Batch::filled(1, 100).encode();
        let produced = wire::produce(&mut connection, "second", 0, &batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        let began = Instant::now();
        while wire::fetch(&mut connection, "second", 0, self.witnesses).error
            != error::OFFSET_OUT_OF_RANGE
        {
            assert!(
                began.elapsed() < limits::CONDITION,
                "retention does not run\n{}",
                self.sedge.process().tail()
            );
            std::thread::sleep(limits::POLL);
        }
        self.witnesses += 1;
        let fetched = wire::fetch(&mut connection, "hour", 0, 0);
        assert_eq!(
            fetched.error,
            error::NONE,
            "{}",
            self.sedge.process().tail()
        );
        assert_eq!(wire::records(&fetched.records).len() as i64, self.produced);
    }
}

const MAX: &str = "9223372036854775807";
