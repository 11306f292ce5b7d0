//! Kills a broker during compactions and during the emptying of segments, timed by its log lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sedge_tests::process::Output;
use sedge_tests::sedge::Sedge;
use sedge_tests::soak::{self, Random};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Record, error};
use sedge_tests::{limits, report, segments};

use super::{options, read_all};

/// Kills that must hit each kind of the cleaner's work.
const KILLS: usize = 12;
const KILLS_LONG: usize = 200;
/// At least one kill in this many hits.
const HIT_SHARE: usize = 4;
/// The cleaner's backoff, and a little more.
const CLEANER_ROUND: Duration = Duration::from_millis(40);
/// Short compared to the work that a kill has to hit.
const LOOK_AGAIN: Duration = Duration::from_micros(100);
const KEYS: u64 = 300;
const BATCHES_A_ROUND: u64 = 30;
const VALUE_BYTES: usize = 1000;

/// The records written to a partition: by offset, key and value.
type Written = BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>;

/// The cleaner's current work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Compaction,
    Emptying,
}

/// A log line of the cleaner that a kill follows within a number of microseconds.
struct Aim {
    line: &'static str,
    within_us: u64,
}

const fn aim(line: &'static str, within_us: u64) -> Aim {
    Aim { line, within_us }
}

/// During its reads and writes, and when the rows that make them count are about to be committed.
const COMPACTION: [Aim; 3] = [
    aim("compacting state-", 1000),
    aim("compacting state-", 4000),
    aim(" rows", 1000),
];
const EMPTYING: [Aim; 2] = [aim("emptying ", 1000), aim("emptying ", 6000)];
/// While segments are freed, which is part of neither. A fixed share of the kills goes there.
const FREEING: [Aim; 2] = [
    aim(" is compacted up to ", 3000),
    aim(" segments are emptied", 3000),
];
const FREEING_SHARE: u64 = 6;

/// Three topics share the segments: one is compacted, one is deleted by retention, so that segments
/// become sparse, and one must stay intact while its slices are merged.
#[test]
fn the_latest_values_outlive_kills_where_they_were_written() {
    let mut random = Random::new();
    report::line(format_args!("SEDGE_SEED={}", random.seed()));
    let directory = TempDir::new("compaction");
    let mut options = options();
    let filter = (
        "SEDGE_LOG".to_owned(),
        "info,sedge::cleaner=debug".to_owned(),
    );
    options.variables.push(filter);
    let mut sedge = Sedge::start(&directory.join("data"), options);
    {
        let mut connection = Connection::open(&sedge.bootstrap());
        let configs = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.2"),
        ];
        wire::create_topic(&mut connection, "state", 1, &configs);
        wire::create_topic(&mut connection, "kept", 1, &[]);
        wire::create_topic(&mut connection, "gone", 1, &[("retention.bytes", "1")]);
        wire::wait_known(&mut connection, "gone", 0);
    }
    let mut logs = Logs::default();
    let wanted = if soak::is_long() { KILLS_LONG } else { KILLS };
    let (mut compactions, mut emptyings, mut unfinished, mut kills) = (0, 0, 0, 0);
    while compactions < wanted / 2 || emptyings < wanted / 2 {
        let aims = if random.below(FREEING_SHARE) == 0 {
            &FREEING[..]
        } else if compactions <= emptyings {
            &COMPACTION[..]
        } else {
            &EMPTYING[..]
        };
        let aim = &aims[random.below(aims.len() as u64) as usize];
        let mut connection = Connection::open(&sedge.bootstrap());
        logs.write_until(&mut connection, &mut random, &mut sedge, aim.line);
        std::thread::sleep(Duration::from_micros(random.below(aim.within_us)));
        match kill(&mut sedge) {
            Some(Work::Compaction) => compactions += 1,
            Some(Work::Emptying) => emptyings += 1,
            None => {}
        }
        kills += 1;
        assert!(
            kills <= wanted * HIT_SHARE,
            "{compactions} of {kills} kills lie within a compaction, {emptyings} within an emptying"
        );
        unfinished += usize::from(segments::cold(sedge.data()).unfinished > 0);
        if kills % 4 == 2 {
            std::fs::remove_dir_all(sedge.data().join("views"))
                .expect("the views are there to be deleted");
        }
        sedge.start_again();
        logs.check(&mut Connection::open(&sedge.bootstrap()));
    }
    report::line(format_args!(
        "{kills} kills, {compactions} of them within a compaction and {emptyings} within the \
         emptying of segments ({unfinished} left a cold segment that was not finished): {} records \
         written, 0 lost, 0 back",
        logs.written.len() + logs.kept.len()
    ));
    logs.wait_compacted(&mut Connection::open(&sedge.bootstrap()));
    sedge.terminate();
}

/// Kills the broker. Returns the cleaner's work by its last log lines.
fn kill(sedge: &mut Sedge) -> Option<Work> {
    sedge.process().kill();
    // The last lines written are read, too.
    sedge.process().wait_exit(limits::SHUTDOWN);
    let work = work(&sedge.process().output());
    sedge.kill();
    work
}

/// Returns whether the cleaner logs `line` within one of its rounds.
fn says_soon(sedge: &mut Sedge, line: &str) -> bool {
    let seen = sedge.process().output().stderr.len();
    let until = Instant::now() + CLEANER_ROUND;
    let is_said = |of: &String| of.contains("sedge::cleaner") && of.contains(line);
    while Instant::now() < until {
        if sedge.process().output().stderr[seen..].iter().any(is_said) {
            return true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    false
}

/// Returns the work that was begun last and has not ended.
fn work(output: &Output) -> Option<Work> {
    let lines = output.stderr.iter().rev();
    let found = lines
        .filter(|line| line.contains("sedge::cleaner"))
        .find_map(|line| {
            let says = |words: &str| line.contains(words);
            if says("compacting ") {
                Some(Some(Work::Compaction))
            } else if says("emptying ") {
                Some(Some(Work::Emptying))
            } else if says(" is compacted up to ")
                || says(" are emptied")
                || says("cannot be emptied")
            {
                Some(None)
            } else {
                None
            }
        });
    found.flatten()
}

/// The acknowledged records.
#[derive(Default)]
struct Logs {
    written: Written,
    kept: Vec<Vec<u8>>,
}

impl Logs {
    /// Writes to all three topics until the broker logs `line` once more.
    fn write_until(
        &mut self,
        connection: &mut Connection,
        random: &mut Random,
        sedge: &mut Sedge,
        line: &str,
    ) {
        let deadline = Instant::now() + limits::CONDITION;
        for _ in 0..BATCHES_A_ROUND {
            self.write_some(connection, random);
        }
        // Earlier lines do not count.
        while !says_soon(sedge, line) {
            self.write_some(connection, random);
            assert!(Instant::now() < deadline, "it does not say {line:?}");
        }
    }

    fn write_some(&mut self, connection: &mut Connection, random: &mut Random) {
        let count = 1 + random.below(12);
        let records: Vec<_> = (0..count)
            .map(|_| {
                let key = format!("key-{}", random.below(KEYS)).into_bytes();
                let mut value = format!("{}-", random.below(u64::MAX)).into_bytes();
                value.resize(VALUE_BYTES, b'.');
                (key, (random.below(8) > 0).then_some(value))
            })
            .collect();
        let batch = Batch::keyed(&records).encode();
        let produced = wire::produce(connection, "state", 0, &batch);
        assert_eq!(produced.error, error::NONE, "{:?}", produced.message);
        for (delta, record) in records.into_iter().enumerate() {
            self.written
                .insert(produced.base_offset + delta as i64, record);
        }
        let batch = Batch::filled(2, VALUE_BYTES).encode();
        for topic in ["kept", "gone", "gone"] {
            let produced = wire::produce(connection, topic, 0, &batch);
            assert_eq!(produced.error, error::NONE, "{:?}", produced.message);
        }
        self.kept.push(batch);
    }

    fn check(&self, connection: &mut Connection) {
        check_latest(&read_all(connection, "state", 0), &self.written);
        check_kept(&read_all(connection, "kept", 0), &self.kept);
    }

    /// Waits until most records are removed. A read within a hole continues behind it, and the log
    /// end stays the same.
    fn wait_compacted(&self, connection: &mut Connection) {
        let written = &self.written;
        let end = written.keys().next_back().expect("much was written") + 1;
        let deadline = Instant::now() + limits::CONDITION;
        let left = loop {
            let left = read_all(connection, "state", 0);
            check_latest(&left, written);
            // Records in the active segment are not compacted, nor are those below the dirty ratio.
            if left.len() < written.len() / 4 {
                break left;
            }
            assert!(Instant::now() < deadline, "{} records are left", left.len());
            std::thread::sleep(limits::POLL);
        };
        report::line(format_args!(
            "{} records of {} are left",
            left.len(),
            written.len()
        ));
        self.check_hole(connection, left, end);
    }

    /// Compactions continue: a read in a hole is compared only if the log is the same before and
    /// after.
    fn check_hole(&self, connection: &mut Connection, mut left: Vec<Record>, end: i64) {
        let deadline = Instant::now() + limits::CONDITION;
        loop {
            let hole = (1..end).find(|offset| !left.iter().any(|record| record.offset == *offset));
            let hole = hole.expect("something is gone");
            let fetched = wire::fetch(connection, "state", 0, hole);
            assert_eq!((fetched.error, fetched.high_watermark), (error::NONE, end));
            let after = read_all(connection, "state", 0);
            check_latest(&after, &self.written);
            if after == left {
                let next = wire::records(&fetched.records);
                let next = next.iter().find(|record| record.offset >= hole);
                assert_eq!(next, left.iter().find(|record| record.offset >= hole));
                return;
            }
            left = after;
            assert!(Instant::now() < deadline, "it is compacted for ever");
        }
    }
}

fn check_kept(found: &[Record], written: &[Vec<u8>]) {
    let values = found.iter().map(|record| &record.value);
    let all: Vec<Record> = written
        .iter()
        .flat_map(|batch| wire::records(batch))
        .collect();
    assert!(values.eq(all.iter().map(|record| &record.value)));
    assert!(
        found
            .iter()
            .map(|record| record.offset)
            .eq(0..all.len() as i64)
    );
}

fn check_latest(found: &[Record], written: &Written) {
    let mut before = -1;
    let mut latest: BTreeMap<&[u8], i64> = BTreeMap::new();
    for Record { offset, key, value } in found {
        assert!(*offset > before, "{offset} comes after {before}");
        before = *offset;
        let (wrote, content) = &written[offset];
        assert_eq!(key, wrote, "at {offset}");
        assert_eq!(value, content.as_deref().unwrap_or_default(), "at {offset}");
        latest.insert(key, *offset);
    }
    let mut expected: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (offset, (key, _)) in written {
        expected.insert(key, *offset);
    }
    assert_eq!(latest, expected, "the latest offset of each key");
}
