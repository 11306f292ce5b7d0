//! Tests what filters remember: across batches, restarts and versions, and not twice.

use sedge_tests::sedge::Options;
use sedge_tests::wire::{
    self, Batch, Connection, Decoder, Encoder, PRODUCE_VERSION, error, key, produce_request,
};
use sedge_tests::{http, plugin};

use crate::support::{Place, REMEMBER, SET, alter, produce};

const INVALID_CONFIG: i16 = 40;

/// Starts a broker with the filter `memory` on a topic.
fn start(name: &str, options: Options, partitions: i32) -> (Place, Connection) {
    let place = Place::start(name, options);
    place.deploy("memory", REMEMBER);
    let mut at = place.connect();
    wire::create_topic(&mut at, "t", partitions, &[("sedge.filter", "memory")]);
    plugin::wait_taken(&mut at, "t", b"drop");
    (place, at)
}

fn batch(commands: &[&str]) -> Batch {
    let values: Vec<Vec<u8>> = commands.iter().map(|of| of.as_bytes().to_vec()).collect();
    Batch::of(&values)
}

fn idempotent(sequence: i32, commands: &[&str]) -> Batch {
    Batch {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: sequence,
        ..batch(commands)
    }
}

fn tell(at: &mut Connection, commands: &[&str]) -> (i16, Vec<(i32, String)>) {
    produce(at, "t", &batch(commands).encode())
}

/// Returns the values of a partition's records.
fn values(at: &mut Connection, partition: i32) -> Vec<String> {
    let mut values = Vec::new();
    let mut offset = 0;
    loop {
        let fetched = wire::fetch(at, "t", partition, offset);
        assert_eq!(fetched.error, error::NONE);
        let Some(next) = wire::next_offset(&fetched.records) else {
            return values;
        };
        offset = next;
        let records = wire::records(&fetched.records).into_iter();
        values.extend(records.map(|record| String::from_utf8(record.value).expect("a text")));
    }
}

/// Returns what the filter has under a key, which it writes to the topic.
fn remembered(at: &mut Connection, key: &str) -> String {
    let (error, _) = tell(at, &[&format!("get {key}")]);
    assert_eq!(error, error::NONE);
    values(at, 0).pop().expect("it was written")
}

fn metric(place: &Place, name: &str) -> u64 {
    let name = format!("sedge_plugin_{name}{{plugin=\"memory\"}}");
    http::metric(place.sedge.console(), &name) as u64
}

#[test]
fn a_filter_remembers_across_batches_restarts_versions_and_bindings() {
    let (mut place, mut at) = start("state-kept", Options::default(), 2);
    tell(&mut at, &["sum a 1", "sum b 10", "sum a 2"]);
    assert_eq!(values(&mut at, 0), ["1", "10", "3"]);
    // A partition has a state of its own.
    let other = produce_request("t", 1, -1, &batch(&["sum a 100"]).encode());
    at.ask(key::PRODUCE, PRODUCE_VERSION, &other);
    assert_eq!(values(&mut at, 1), ["100"]);
    tell(&mut at, &["delete b\ndrop"]);
    for kill in [false, true] {
        if kill {
            place.sedge.kill();
        } else {
            place.sedge.terminate();
        }
        place.sedge.start_again();
        at = place.connect();
        assert_eq!(remembered(&mut at, "a"), "3");
        assert_eq!(remembered(&mut at, "b"), "nothing");
    }
    let altered = alter(&mut at, "t", SET, ("sedge.filter", ""), false);
    assert_eq!(altered.0, error::NONE, "{altered:?}");
    tell(&mut at, &["sum a 1"]);
    assert_eq!(values(&mut at, 0).pop().as_deref(), Some("sum a 1"));
    place.deploy("memory", REMEMBER);
    let altered = alter(&mut at, "t", SET, ("sedge.filter", "memory"), false);
    assert_eq!(altered.0, error::NONE, "{altered:?}");
    plugin::wait_taken(&mut at, "t", b"drop");
    assert_eq!(remembered(&mut at, "a"), "3");
    // A deleted plugin has no state any more, whatever is deployed under its name later.
    let altered = alter(&mut at, "t", SET, ("sedge.filter", ""), false);
    assert_eq!(altered.0, error::NONE, "{altered:?}");
    plugin::delete(&place.sedge.bootstrap(), "memory");
    place.wait("the state is gone", |place| {
        metric(place, "state_bytes") == 0
    });
    place.deploy("memory", REMEMBER);
    let altered = alter(&mut at, "t", SET, ("sedge.filter", "memory"), false);
    assert_eq!(altered.0, error::NONE, "{altered:?}");
    plugin::wait_taken(&mut at, "t", b"drop");
    assert_eq!(remembered(&mut at, "a"), "nothing");
}

/// The filter ran again, and counted a batch twice.
#[test]
fn a_batch_that_is_sent_again_does_not_run_a_stateful_filter_again() {
    let (mut place, mut at) = start("state-again", Options::default(), 1);
    let calls = |place: &Place| metric(place, "calls_total");
    let first = idempotent(0, &["sum a 1", "sum a 1"]).encode();
    // The second has no record that stays, and the third is refused.
    let second = idempotent(2, &["sum a 5\ndrop"]).encode();
    let refused = idempotent(3, &["sum a 50\nreject"]).encode();
    let third = idempotent(3, &["sum a 7"]).encode();
    let send = |at: &mut Connection, batch: &[u8]| wire::produce(at, "t", 0, batch);
    let offsets = [&first, &second].map(|batch| {
        let produced = send(&mut at, batch);
        assert_eq!(produced.error, error::NONE, "{produced:?}");
        produced.base_offset
    });
    assert_eq!(send(&mut at, &refused).error, error::INVALID_RECORD);
    for kill in [false, true] {
        if kill {
            place.sedge.kill();
            place.sedge.start_again();
            at = place.connect();
        }
        let before = if kill { 0 } else { calls(&place) };
        for _ in 0..2 {
            for (batch, offset) in [&first, &second].into_iter().zip(offsets) {
                let produced = send(&mut at, batch);
                assert_eq!(produced.error, error::NONE, "{produced:?}");
                assert_eq!(produced.base_offset, offset, "{kill}");
            }
        }
        if !kill {
            assert_eq!(calls(&place), before, "no call for a repeat");
        }
    }
    // Pipelined, so that the repeat comes before the writer has answered.
    let request = produce_request("t", 0, -1, &third);
    let frame = |number| wire::frame(key::PRODUCE, PRODUCE_VERSION, number, &request);
    at.send_raw(&[frame(1), frame(2), frame(3)].concat());
    let replies = [1, 2, 3].map(|_| wire::produced(&at.reply().frame()[4..]));
    for reply in &replies {
        assert_eq!(
            (reply.error, reply.base_offset),
            (error::NONE, replies[0].base_offset)
        );
    }
    assert_eq!(remembered(&mut at, "a"), "14");
}

#[test]
fn batches_that_are_refused_change_nothing() {
    let (place, mut at) = start("state-refused", Options::default(), 1);
    tell(&mut at, &["put a 1", "put b 2\ndrop"]);
    for (what, expected) in [
        (vec!["put a 9", "delete b", "reject"], error::INVALID_RECORD),
        (
            vec!["put a 9", "delete b", "panic"],
            error::POLICY_VIOLATION,
        ),
    ] {
        assert_eq!(tell(&mut at, &what).0, expected, "{what:?}");
        assert_eq!(remembered(&mut at, "a"), "1");
        assert_eq!(remembered(&mut at, "b"), "2");
    }
    // A batch that continues without the filter leaves no change either.
    alter(
        &mut at,
        "t",
        SET,
        ("sedge.filter.on.error", "fail-open"),
        false,
    );
    assert_eq!(tell(&mut at, &["put a 9", "panic"]).0, error::NONE);
    assert_eq!(remembered(&mut at, "a"), "1");
    // Nothing is written when a consumer reads.
    let on_fetch = alter(&mut at, "t", SET, ("sedge.filter.fetch", "memory"), false);
    assert_eq!(on_fetch.0, INVALID_CONFIG, "{on_fetch:?}");
    assert!(on_fetch.1.contains("sedge:plugin/state"), "{on_fetch:?}");
    // A filter that uses its state before there is a batch does not start.
    alter(
        &mut at,
        "t",
        SET,
        ("sedge.filter.on.error", "fail-closed"),
        false,
    );
    alter(&mut at, "t", SET, ("sedge.plugin.memory.early", "1"), false);
    let produced = wire::produce(&mut at, "t", 0, &batch(&["get a"]).encode());
    assert_eq!(produced.error, error::POLICY_VIOLATION, "{produced:?}");
    drop(place);
}

/// Lanes are held until the writer answers, so a request must not hold two, nor wait for itself.
#[test]
fn requests_with_several_partitions_do_not_wait_for_each_other() {
    const ROUNDS: i32 = 30;
    let (place, mut at) = start("state-lanes", Options::default(), 2);
    let request = |partitions: [i32; 3]| {
        let body = Encoder::default().string(None).i16(-1).i32(10_000).i32(1);
        let mut body = body.string("t").i32(partitions.len() as i32);
        for partition in partitions {
            body = body.i32(partition).bytes(&batch(&["sum a 1"]).encode());
        }
        wire::frame(key::PRODUCE, PRODUCE_VERSION, partitions[0], &body.0)
    };
    let mut clients = [place.connect(), place.connect()];
    for (client, partitions) in clients.iter_mut().zip([[0, 1, 0], [1, 0, 1]]) {
        let many = request(partitions).repeat(ROUNDS as usize);
        client.send_raw(&many);
    }
    for client in &mut clients {
        for _ in 0..ROUNDS {
            let reply = client.reply().frame();
            let mut d = Decoder(&reply);
            d.take(8);
            d.string();
            for _ in 0..d.i32() {
                d.i32();
                assert_eq!(d.i16(), error::NONE);
                d.take(24);
                assert_eq!(d.i32(), 0);
                d.string();
            }
        }
    }
    // Each batch saw the one before, in the order of the log.
    for partition in [0, 1] {
        let expected: Vec<String> = (1..=3 * ROUNDS).map(|sum| sum.to_string()).collect();
        assert_eq!(
            values(&mut at, partition),
            expected,
            "partition {partition}"
        );
    }
}

#[test]
fn state_is_bounded_and_costs_little_more_than_its_own_bytes() {
    let options = Options::default().set("plugin.state.partition.bytes", "100000");
    let (place, mut at) = start("state-bounds", options, 2);
    let (error, reasons) = tell(&mut at, &["put a 1", "keys 1000 100"]);
    assert_eq!(error, error::INVALID_RECORD);
    let [(1, reason)] = &reasons[..] else {
        panic!("{reasons:?}")
    };
    // 96 bytes, 10 of the key, 100 of the value.
    assert_eq!(reason, "full at 484");
    assert_eq!(metric(&place, "state_refused_total"), 1);
    assert_eq!(metric(&place, "state_bytes"), 0);
    let long = format!("put {} 1", "k".repeat(1025));
    let (_, reasons) = tell(&mut at, &[&long]);
    assert!(reasons[0].1.contains("key-too-large"), "{reasons:?}");
    let large = format!("put a {}", "v".repeat(65_537));
    let (_, reasons) = tell(&mut at, &[&large]);
    assert!(reasons[0].1.contains("value-too-large"), "{reasons:?}");

    // The same keys twice in a batch: written once.
    assert_eq!(
        tell(&mut at, &["keys 100 40", "keys 100 48\ndrop"]).0,
        error::NONE
    );
    let changed = metric(&place, "state_changed_bytes_total");
    let written = metric(&place, "state_written_bytes_total");
    assert_eq!(changed, 100 * (10 + 48));
    assert!(written * 10 <= changed * 13, "{written} for {changed}");
    // The same values again: nothing to write.
    assert_eq!(tell(&mut at, &["keys 100 48\ndrop"]).0, error::NONE);
    assert_eq!(metric(&place, "state_written_bytes_total"), written);
    assert_eq!(metric(&place, "state_bytes"), 100 * (96 + 10 + 48));
}
