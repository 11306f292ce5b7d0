//! Tests producers that are idle for `producer.id.expiration.ms`, and those that want transactions.

use std::time::Instant;

use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::limits;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Decoder, Encoder, error, key};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

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
fn a_client_that_asks_for_transactions_is_told_of_once() {
    if is_skipped_on_kafka() {
        return;
    }
    let directory = TempDir::new("transactions");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut connection = Connection::open(&sedge.bootstrap());
    let body = Encoder::default().string("orders").i32(60_000).0;
    for _ in 0..5 {
        let reply = connection.ask(key::INIT_PRODUCER_ID, 1, &body);
        let mut d = Decoder(&reply);
        d.i32();
        assert_eq!(d.i16(), TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    let told = |line: &&String| line.contains("client sedge-tests asks for transactions");
    let count = |sedge: &mut Sedge| sedge.process().output().stderr.iter().filter(told).count();
    let deadline = Instant::now() + limits::CONDITION;
    while count(&mut sedge) == 0 {
        assert!(Instant::now() < deadline, "{}", sedge.process().tail());
        std::thread::sleep(limits::POLL);
    }
    assert_eq!(count(&mut sedge), 1);
}
