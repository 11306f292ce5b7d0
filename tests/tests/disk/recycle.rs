//! Tests reused segment files while the broker is killed: records that retention has kept are there
//! once, in order, and nothing of earlier segments appears.

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::http;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::soak::Random;
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, error};

const ROUNDS: u64 = 8;
/// `ListOffsets` timestamp of the log start.
const EARLIEST: i64 = -2;

#[test]
fn kills_over_recycled_segments_lose_nothing() {
    if is_skipped_on_kafka() {
        return;
    }
    let mut random = Random::new();
    sedge_tests::report::line(format_args!("recycle: SEDGE_SEED={}", random.seed()));
    let directory = TempDir::on_disk("recycle");
    let options = Options::default()
        .set("sedge.segment.bytes", "1048576")
        .set("log.retention.bytes", "2500000")
        .set("log.retention.check.interval.ms", "20");
    let mut sedge = Sedge::start(&directory.join("data"), options);
    wire::create_topic(&mut Connection::open(&sedge.bootstrap()), "t", 1, &[]);
    let mut next = 0;
    let mut recycled = 0.0;
    for round in 0..ROUNDS {
        let mut connection = Connection::open(&sedge.bootstrap());
        for _ in 0..60 + random.below(60) {
            let batch = Batch::of(&[value(next)]).encode();
            let produced = wire::produce(&mut connection, "t", 0, &batch);
            assert_eq!((produced.error, produced.base_offset), (error::NONE, next));
            next += 1;
        }
        recycled += http::metric(sedge.console(), "sedge_storage_segments_recycled_total");
        if round % 4 == 3 {
            sedge.terminate();
        } else {
            sedge.kill();
        }
        if round % 3 == 2 {
            std::fs::remove_dir_all(sedge.data().join("views")).expect("there are views");
        }
        sedge.start_again();
        check(&mut sedge, next);
    }
    assert!(recycled > 10.0, "{recycled} segments were recycled");
}

/// Returns 100,000 bytes that identify their number.
fn value(number: i64) -> Vec<u8> {
    number.to_be_bytes().repeat(12_500)
}

fn check(sedge: &mut Sedge, next: i64) {
    let mut connection = Connection::open(&sedge.bootstrap());
    let mut at = wire::offset_for_time(&mut connection, "t", 0, EARLIEST);
    assert!(at < next, "something is left");
    while at < next {
        let fetched = wire::fetch(&mut connection, "t", 0, at);
        if fetched.error == wire::error::OFFSET_OUT_OF_RANGE {
            // Retention has continued meanwhile.
            let start = wire::offset_for_time(&mut connection, "t", 0, EARLIEST);
            assert!(
                start > at,
                "{at} is out of range\n{}",
                sedge.process().tail()
            );
            at = start;
            continue;
        }
        assert_eq!(fetched.error, error::NONE, "{}", sedge.process().tail());
        assert_eq!(fetched.high_watermark, next);
        let records = wire::records(&fetched.records);
        assert!(
            !records.is_empty(),
            "nothing at {at}\n{}",
            sedge.process().tail()
        );
        for record in records {
            assert_eq!(record.offset, at);
            assert!(record.value == value(at), "the value at {at}");
            at += 1;
        }
    }
    let tail = sedge.process().tail();
    assert!(!tail.contains("is damaged"), "{tail}");
}
