//! Tests producers that are idle for `producer.id.expiration.ms`, and transactional ids.

use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Decoder, Encoder, error, key};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

#[test]
fn a_silent_producer_is_forgotten_and_one_that_is_not_is_not() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("producers");
    let settings = Options::default().set("producer.id.expiration.check.interval.ms", "10");
    let mut sedge = Sedge::start(&directory.join("data"), settings.clone());
    let produce = |sedge: &Sedge, base_sequence| {
        let mut connection = Connection::open(&sedge.bootstrap());
        let batch = Batch {
            producer_id: 4711,
            producer_epoch: 0,
            base_sequence,
            ..Batch::filled(1, 10)
        };
        wire::produce(&mut connection, "t", 0, &batch.encode()).error
    };
    wire::create_topic(&mut Connection::open(&sedge.bootstrap()), "t", 1, &[]);
    assert_eq!(produce(&sedge, 0), error::NONE);
    // A day has not passed, whatever the wall clock says.
    sedge.terminate();
    sedge.start_again();
    assert_eq!(produce(&sedge, 55), OUT_OF_ORDER_SEQUENCE_NUMBER);
    sedge.terminate();
    sedge.set_options(settings.set("producer.id.expiration.ms", "1"));
    sedge.start_again();
    let deadline = Instant::now() + limits::CONDITION;
    while produce(&sedge, 55) != error::NONE {
        assert!(Instant::now() < deadline, "{}", sedge.process().tail());
        std::thread::sleep(limits::POLL);
    }
}

#[test]
fn a_transactional_id_has_one_producer_at_a_time() {
    const END_TXN: i16 = 26;
    const INVALID_PRODUCER_EPOCH: i16 = 47;
    const INVALID_TXN_STATE: i16 = 48;
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("transactional-id");
    let sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut connection = Connection::open(&sedge.bootstrap());
    let body = Encoder::default().string("orders").i32(60_000).0;
    let mut producers = Vec::new();
    for _ in 0..5 {
        let reply = connection.ask(key::INIT_PRODUCER_ID, 1, &body);
        let mut d = Decoder(&reply);
        d.i32();
        assert_eq!(d.i16(), error::NONE);
        producers.push((d.i64(), d.i16()));
    }
    let (id, _) = producers[0];
    let expected: Vec<_> = (0..5).map(|epoch| (id, epoch)).collect();
    assert_eq!(producers, expected);
    let mut end = |epoch: i16| {
        let body = Encoder::default().string("orders").i64(id);
        let reply = connection.ask(END_TXN, 1, &body.i16(epoch).i8(1).0);
        let mut d = Decoder(&reply);
        d.i32();
        d.i16()
    };
    assert_eq!(end(3), INVALID_PRODUCER_EPOCH, "fenced by the next one");
    assert_eq!(end(4), INVALID_TXN_STATE, "nothing was sent");
}
