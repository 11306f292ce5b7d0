//! Tests Produce, Fetch, ListOffsets and InitProducerId.

use super::{
    Asked, Batch, Codec, Connection, Decoder, Duration, Encoder, FETCH_VERSION, Instant,
    PRODUCE_VERSION, error, fetched, key, wire,
};

const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const INVALID_TIMESTAMP: i16 = 32;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const HOUR_MS: i64 = 3_600_000;

pub fn acks_0_has_no_reply(asked: &mut Asked) {
    asked.create(1, &[]);
    let batch = Batch::filled(3, 10).encode();
    let body = wire::produce_request(&asked.topic, 0, 0, &batch);
    asked.connection.send(key::PRODUCE, PRODUCE_VERSION, &body);
    // The next frame on the connection answers the next request: `ask` compares correlation ids.
    asked.connection.ask(key::API_VERSIONS, 0, &[]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while wire::fetch(&mut asked.connection, &asked.topic, 0, 0).high_watermark != 3 {
        assert!(Instant::now() < deadline, "the records are written");
    }
}

pub fn fetch_inside_a_batch(asked: &mut Asked) {
    asked.create(1, &[]);
    for _ in 0..3 {
        asked.produce(&Batch::filled(10, 10));
    }
    let got = wire::fetch(&mut asked.connection, &asked.topic, 0, 15);
    assert_eq!(got.error, error::NONE);
    let offsets: Vec<i64> = wire::records(&got.records)
        .iter()
        .map(|r| r.offset)
        .collect();
    assert_eq!(offsets, (10..30).collect::<Vec<i64>>());
}

pub fn first_batch_over_the_limit(asked: &mut Asked) {
    asked.create(1, &[]);
    asked.produce(&Batch::filled(1, 50_000));
    asked.produce(&Batch::filled(1, 50_000));
    let body = wire::fetch_request(&asked.topic, 0, 0, 1);
    let got = fetched(&asked.connection.ask(key::FETCH, FETCH_VERSION, &body));
    assert_eq!(
        wire::records(&got.records).len(),
        1,
        "one whole batch: {} B",
        got.records.len()
    );
}

pub fn replies_in_order(asked: &mut Asked) {
    asked.create(2, &[]);
    // Waits for half a second, while the others need not wait.
    let slow = wire::fetch_request(&asked.topic, 0, 0, 1000);
    let quick = wire::produce_request(&asked.topic, 1, -1, &Batch::filled(1, 10).encode());
    let connection = &mut asked.connection;
    let sent = [
        connection.send(key::FETCH, FETCH_VERSION, &slow),
        connection.send(key::PRODUCE, PRODUCE_VERSION, &quick),
        connection.send(key::API_VERSIONS, 0, &[]),
    ];
    for correlation in sent {
        assert_eq!(Decoder(&connection.reply().frame()).i32(), correlation);
    }
}

pub fn produce_wakes_fetch(asked: &mut Asked) {
    asked.create(1, &[]);
    let body = Encoder::default()
        .i32(-1)
        .i32(20_000)
        .i32(1)
        .i32(1 << 20)
        .i8(0)
        .i32(0)
        .i32(-1);
    let body = body
        .i32(1)
        .string(&*asked.topic)
        .i32(1)
        .i32(0)
        .i32(-1)
        .i64(0)
        .i64(-1);
    let body = body.i32(1 << 20).i32(0).string("").0;
    let mut waiting = Connection::open(&asked.broker.bootstrap());
    let began = Instant::now();
    waiting.send(key::FETCH, FETCH_VERSION, &body);
    asked.produce(&Batch::filled(1, 10));
    let reply = waiting.reply().frame();
    assert_eq!(wire::records(&fetched(&reply[4..]).records).len(), 1);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it did not wait its time out"
    );
}

pub fn fetch_out_of_range(asked: &mut Asked) {
    asked.create(1, &[]);
    asked.produce(&Batch::filled(5, 10));
    for offset in [6, 1_000_000, -1] {
        let got = wire::fetch(&mut asked.connection, &asked.topic, 0, offset);
        assert_eq!(got.error, OFFSET_OUT_OF_RANGE, "at {offset}");
    }
    assert_eq!(
        wire::fetch(&mut asked.connection, &asked.topic, 0, 5).error,
        error::NONE
    );
}

pub fn unknown_leader_epoch(asked: &mut Asked) {
    asked.create(1, &[]);
    asked.produce(&Batch::filled(1, 10));
    let body = Encoder::default()
        .i32(-1)
        .i32(100)
        .i32(1)
        .i32(1000)
        .i8(0)
        .i32(0)
        .i32(-1);
    let body = body
        .i32(1)
        .string(&*asked.topic)
        .i32(1)
        .i32(0)
        .i32(1000)
        .i64(0)
        .i64(-1);
    let body = body.i32(1000).i32(0).string("").0;
    let got = fetched(&asked.connection.ask(key::FETCH, FETCH_VERSION, &body));
    assert_eq!(got.error, UNKNOWN_LEADER_EPOCH);
}

/// Sends `ListOffsets` v5 for one time. Returns the error, the timestamp, the offset.
fn offset_at(asked: &mut Asked, time: i64) -> (i16, i64, i64) {
    let body = Encoder::default()
        .i32(-1)
        .i8(0)
        .i32(1)
        .string(&*asked.topic);
    let body = body.i32(1).i32(0).i32(-1).i64(time).0;
    let reply = asked.connection.ask(key::LIST_OFFSETS, 5, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    d.string();
    d.i32();
    d.i32();
    (d.i16(), d.i64(), d.i64())
}

pub fn list_offsets(asked: &mut Asked) {
    asked.create(1, &[]);
    assert_eq!(offset_at(asked, -1), (0, -1, 0), "the end of an empty log");
    assert_eq!(offset_at(asked, -2), (0, -1, 0), "its start");
    let mut batch = Batch::filled(2, 10);
    let base = batch.base_timestamp - HOUR_MS;
    for n in 0..5 {
        batch.base_timestamp = base + n * 1000;
        asked.produce(&batch);
    }
    assert_eq!(offset_at(asked, -1), (0, -1, 10), "the end");
    assert_eq!(offset_at(asked, -2), (0, -1, 0), "the start");
    assert_eq!(offset_at(asked, 0), (0, base, 0), "before all");
    assert_eq!(
        offset_at(asked, base + 2000),
        (0, base + 2000, 4),
        "just then"
    );
    assert_eq!(
        offset_at(asked, base + 2001),
        (0, base + 3000, 6),
        "between two"
    );
    assert_eq!(offset_at(asked, base + 9999), (0, -1, -1), "after all");
}

pub fn list_offsets_after_delete_records(asked: &mut Asked) {
    let base = Batch::filled(1, 10).base_timestamp - HOUR_MS;
    for (kind, time) in [("CreateTime", base), ("LogAppendTime", 0)] {
        asked.topic = format!("{}-{kind}", asked.topic);
        asked.create(1, &[("message.timestamp.type", kind)]);
        let mut batch = Batch::filled(4, 10);
        batch.base_timestamp = base;
        asked.produce(&batch);
        asked.produce(&batch);
        wire::delete_records(&mut asked.connection, &asked.topic, 0, 2);
        let (error, _, offset) = offset_at(asked, time);
        assert_eq!((error, offset), (0, 2), "{kind}");
        let got = wire::fetch(&mut asked.connection, &asked.topic, 0, offset);
        assert_eq!(got.error, error::NONE, "what is answered can be fetched");
    }
}

pub fn fetch_of_more_than_fits(asked: &mut Asked) {
    asked.create(1, &[]);
    asked.produce(&Batch::filled(1, 5000));
    asked.produce(&Batch::filled(1, 5000));
    let body = Encoder::default()
        .i32(-1)
        .i32(20_000)
        .i32(1 << 20)
        .i32(1000)
        .i8(0)
        .i32(0)
        .i32(-1);
    let body = body
        .i32(1)
        .string(&*asked.topic)
        .i32(1)
        .i32(0)
        .i32(-1)
        .i64(0)
        .i64(-1);
    let body = body.i32(1 << 20).i32(0).string("").0;
    let began = Instant::now();
    let got = fetched(&asked.connection.ask(key::FETCH, FETCH_VERSION, &body));
    assert_eq!(wire::records(&got.records).len(), 1);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "an answer that cannot grow is not waited for"
    );
}

pub fn batches_as_produced(asked: &mut Asked) {
    asked.create(1, &[]);
    let batch = Batch::filled(4, 100).encode();
    for base in [0, 4, 8] {
        let produced = wire::produce(&mut asked.connection, &asked.topic, 0, &batch);
        assert_eq!((produced.error, produced.base_offset), (error::NONE, base));
    }
    let got = wire::fetch(&mut asked.connection, &asked.topic, 0, 0).records;
    assert_eq!(got.len(), 3 * batch.len());
    for (n, stored) in got.chunks(batch.len()).enumerate() {
        assert_eq!(Decoder(stored).i64(), n as i64 * 4, "the base offset");
        assert_eq!(
            stored[16..],
            batch[16..],
            "all behind the leader epoch is untouched"
        );
    }
}

pub fn log_append_time(asked: &mut Asked) {
    asked.create(1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut batch = Batch::filled(1, 10);
    let now = batch.base_timestamp;
    batch.base_timestamp = 1000;
    let produced = asked.produce(&batch);
    assert_eq!(produced.error, error::NONE, "{produced:?}");
    let got = wire::fetch(&mut asked.connection, &asked.topic, 0, 0).records;
    // This checks the CRC, too.
    assert_eq!(wire::records(&got).len(), 1);
    assert_eq!(Decoder(&got[21..]).i16() & 8, 8, "the timestamp type");
    let max_timestamp = Decoder(&got[35..]).i64();
    assert!(
        (max_timestamp - now).abs() < HOUR_MS,
        "{max_timestamp} is about {now}"
    );
}

pub fn timestamp_outside_the_window(asked: &mut Asked) {
    asked.create(1, &[("message.timestamp.before.max.ms", "60000")]);
    let mut batch = Batch::filled(1, 10);
    batch.base_timestamp -= HOUR_MS;
    assert_eq!(asked.produce(&batch).error, INVALID_TIMESTAMP);
    assert_eq!(asked.produce(&Batch::filled(1, 10)).error, error::NONE);
}

/// Kafka opens every body, and so does sedge: what is acknowledged can be read.
pub fn bodies_that_cannot_be_read(asked: &mut Asked) {
    asked.create(1, &[]);
    let two = || Batch::spread(&[(0, 0), (0, 1)]);
    let mut cut = two().framed();
    cut.payload.truncate(cut.payload.len() - 3);
    let more = Batch {
        count: Some(3),
        last_offset_delta: Some(2),
        ..two().framed()
    };
    let fewer = Batch {
        count: Some(1),
        last_offset_delta: Some(0),
        ..two().framed()
    };
    let mut cases = vec![
        ("cut short", cut),
        ("two records, said three", more),
        ("two records, said one", fewer),
        ("a gap", Batch::spread(&[(0, 0), (0, 5)]).framed()),
    ];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let noise = two().compressed(codec, b"nonsense".to_vec());
        cases.push(("not the codec's", noise));
    }
    for (what, batch) in cases {
        let produced = asked.produce(&batch);
        let codec = batch.codec;
        // Kafka answers an unknown server error for a body that it cannot decompress.
        let tripped = produced.error == -1 && asked.broker.is_kafka();
        assert!(
            tripped || produced.error == error::INVALID_RECORD,
            "{what}, {codec:?}: {produced:?}"
        );
    }
    let late = asked.produce(&Batch::spread(&[(0, 0), (1_000_000_000, 1)]).framed());
    assert_eq!(late.error, INVALID_TIMESTAMP, "{late:?}");
    assert_eq!(late.record_errors, [1]);
    assert_eq!(asked.produce(&two().framed()).base_offset, 0);
}

/// Some clients leave it unset.
pub fn largest_timestamp_of_a_batch(asked: &mut Asked) {
    asked.create(1, &[]);
    let mut base = 0;
    for is_compressed in [false, true] {
        for said in [-1, 0, 3000, 1_000_000_000] {
            let mut batch = Batch::spread(&[(0, 0), (5000, 1), (3000, 2)]);
            if is_compressed {
                batch = batch.framed();
            }
            // Each one later than all before.
            let first = batch.base_timestamp - HOUR_MS + base * 10_000;
            batch.base_timestamp = first;
            batch.max_timestamp = Some(if said > 0 { first + said } else { said });
            assert_eq!(asked.produce(&batch).base_offset, base, "{said}");
            assert_eq!(offset_at(asked, first + 4000), (0, first + 5000, base + 1));
            let got = wire::fetch(&mut asked.connection, &asked.topic, 0, base).records;
            assert_eq!(Decoder(&got[35..]).i64(), first + 5000, "as stored");
            base += 3;
        }
    }
}

pub fn log_append_time_of_a_producer(asked: &mut Asked) {
    const LOG_APPEND_TIME: i16 = 8;
    asked.create(1, &[]);
    let batch = Batch {
        attributes: LOG_APPEND_TIME,
        ..Batch::filled(2, 10)
    };
    assert_eq!(asked.produce(&batch).error, error::NONE);
    let got = wire::fetch(&mut asked.connection, &asked.topic, 0, 0).records;
    assert_eq!(
        Decoder(&got[21..]).i16(),
        0,
        "the topic's own timestamp type"
    );
    assert_eq!(wire::records(&got).len(), 2);
}

/// KIP-467: clients tell records apart by the index.
pub fn every_bad_record_is_named(asked: &mut Asked) {
    asked.create(1, &[("cleanup.policy", "compact")]);
    for bad in [vec![], vec![7], (0..30).step_by(3).collect::<Vec<i32>>()] {
        let record = |n: i32| {
            let key = (!bad.contains(&n)).then(|| b"key".to_vec());
            (key, Some(b"value".to_vec()))
        };
        let records: Vec<_> = (0..30).map(record).collect();
        let produced = asked.produce(&Batch::some_keyed(&records));
        let code = if bad.is_empty() {
            error::NONE
        } else {
            error::INVALID_RECORD
        };
        assert_eq!(produced.error, code, "{produced:?}");
        assert_eq!(produced.record_errors, bad);
    }
}

pub fn compacted_topic_needs_keys(asked: &mut Asked) {
    asked.create(1, &[("cleanup.policy", "compact")]);
    let produced = asked.produce(&Batch::filled(2, 10));
    assert_eq!(produced.error, error::INVALID_RECORD, "{produced:?}");
    assert!(produced.message.is_some(), "it says why");
}

pub fn idempotence_over_a_restart(asked: &mut Asked) {
    asked.create(1, &[]);
    let (producer_id, producer_epoch) = wire::init_producer_id(&mut asked.connection);
    let batch = Batch {
        producer_id,
        producer_epoch,
        base_sequence: 0,
        ..Batch::filled(3, 10)
    };
    assert!(producer_id >= 0);
    assert_eq!(
        (
            asked.produce(&batch).error,
            asked.produce(&batch).base_offset
        ),
        (0, 0)
    );
    let mut next = Batch {
        base_sequence: 3,
        ..batch.clone()
    };
    assert_eq!(asked.produce(&next).base_offset, 3);
    let gap = Batch {
        base_sequence: 9,
        ..batch.clone()
    };
    assert_eq!(asked.produce(&gap).error, OUT_OF_ORDER_SEQUENCE);

    asked.broker.restart();
    asked.reconnect();
    wire::wait_known(&mut asked.connection, &asked.topic, 0);
    assert_eq!(
        asked.produce(&next).base_offset,
        3,
        "a repeat is known after a restart"
    );
    assert_eq!(asked.produce(&gap).error, OUT_OF_ORDER_SEQUENCE);
    next.base_sequence = 6;
    let produced = asked.produce(&next);
    assert_eq!((produced.error, produced.base_offset), (error::NONE, 6));
}
