//! Tests how batches are packed, and what a link does with joined ones.

use alloc::vec;
use std::string::{String, ToString};

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, PartitionId, ProducerEpoch, ProducerId};
use sedge_protocol::records::Compacted;

use super::*;
use crate::mirror::tests::{batch_at, limits};
use crate::mirror::{Limits, Link, Outcome, Outgoing, Position};

const P: PartitionId = PartitionId(7);
const PACKING: Packing = Packing {
    batch_bytes: 1000,
    compression: Some(Compression::Lz4),
};

fn read() -> Read {
    Read {
        spread: None,
        partition: P,
        generation: 0,
        from: Offset(0),
        until: Offset(1_000_000),
        bytes_max: 1 << 18,
        batches_max: 5,
        packing: PACKING,
        apart_until: Offset(0),
        late_before: None,
        ends: [None; 5],
    }
}

fn document(number: i64) -> String {
    std::format!(r#"{{"sensor":"boiler-7","number":{number},"celsius":21.5}}"#)
}

fn single(base: i64, codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    builder.push(
        1_800_000_000_000 - base,
        Some(base.to_string().as_bytes()),
        (base % 3 != 0).then_some(document(base).as_bytes()),
        &[("h", Some(b"v")), ("none", None)],
    );
    let mut batch = builder.build().unwrap();
    batch.header.set_base_offset(Offset(base));
    batch.header.set_leader_epoch(LeaderEpoch(base as i32));
    batch
}

/// The offsets that each packed batch covers, and its records.
fn shape(packed: &[Prepared]) -> Vec<(i64, i64, i32)> {
    let count = |it: &Prepared| match &it.batch {
        Some(Ok(batch)) => batch.header.record_count(),
        Some(Err(_)) => -1,
        None => 0,
    };
    packed
        .iter()
        .map(|it| (it.base.get(), it.next.get(), count(it)))
        .collect()
}

#[test]
fn single_records_become_one_batch_and_nothing_of_them_changes() {
    for codec in [Compression::None, Compression::Gzip, Compression::Zstd] {
        // The batch at 3 is missing: retention of a compacted topic removed it.
        let offsets = [0, 1, 2, 4, 5];
        let mut read = read();
        read.packing.batch_bytes = 4000;
        let packed = pack(&read, offsets.map(|base| single(base, codec)));
        assert_eq!(shape(&packed), [(0, 6, 5)], "{codec:?}");
        let [packed] = &packed[..] else {
            panic!("one batch")
        };
        assert!(packed.is_joined);
        assert_eq!(packed.leader_epoch, LeaderEpoch(5));
        let Some(Ok(batch)) = &packed.batch else {
            panic!("it can be sent")
        };
        assert_eq!(batch.header.computed_crc(&batch.body), batch.header.crc());
        assert_eq!(batch.header.compression(), Compression::Lz4 as i16);
        assert_eq!(batch.header.max_timestamp(), 1_800_000_000_000);
        let body = decompress(&batch.header, &batch.body, 1 << 20).unwrap();
        let records = Records::new(&batch.header, &body).map(Result::unwrap);
        for (at, (record, base)) in records.zip(offsets).enumerate() {
            let time = batch.header.base_timestamp() + record.timestamp_delta;
            assert_eq!(time, 1_800_000_000_000 - base);
            assert_eq!(record.offset_delta, at as i32);
            assert_eq!(record.key, Some(base.to_string().as_bytes()));
            let value = (base % 3 != 0).then(|| document(base));
            assert_eq!(record.value, value.as_ref().map(String::as_bytes));
            let headers: Vec<_> = record.headers.iter().collect();
            let expected: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"v")), (b"none", None)];
            assert_eq!(headers, expected);
        }
    }
}

/// What is packed on an executor's thread must cost no more than a CRC.
#[test]
fn what_stays_as_it_is_stored_is_told_before_it_is_packed() {
    let check = |batch: Batch, packing: Packing, expected: bool| {
        let read = Read { packing, ..read() };
        assert_eq!(stays(&read, &batch), expected);
        let packed = pack(&read, [batch.clone()]);
        if let (true, Some(Ok(sent))) = (expected, &packed[0].batch) {
            assert_eq!(sent.body.as_ptr(), batch.body.as_ptr());
        }
    };
    let none = Packing {
        batch_bytes: 0,
        compression: None,
    };
    let lz4 = Packing {
        batch_bytes: 0,
        ..PACKING
    };
    let plain = || single(3, Compression::None);
    check(plain(), none, true);
    check(plain(), lz4, false);
    check(plain(), PACKING, false);
    check(single(3, Compression::Zstd), lz4, true);
    check(single(3, Compression::Zstd), PACKING, false);
    let mut append_time = plain();
    append_time.header.set_log_append_time(1, &append_time.body);
    check(append_time, none, false);
}

#[test]
fn joined_records_of_an_append_time_topic_keep_the_append_time() {
    const APPENDED_MS: i64 = 1_900_000_000_000;
    let batches = [0, 1].map(|base| {
        let mut batch = single(base, Compression::None);
        batch
            .header
            .set_log_append_time(APPENDED_MS + base, &batch.body);
        batch
    });
    let packed = pack(&read(), batches);
    let Some(Ok(batch)) = &packed[0].batch else {
        panic!("it can be sent")
    };
    assert!(!batch.header.is_log_append_time());
    let body = decompress(&batch.header, &batch.body, 1 << 20).unwrap();
    let records = Records::new(&batch.header, &body).map(Result::unwrap);
    let times = records.map(|record| batch.header.base_timestamp() + record.timestamp_delta);
    assert_eq!(times.collect::<Vec<_>>(), [APPENDED_MS, APPENDED_MS + 1]);
}

#[test]
fn a_hundred_single_records_cost_less_than_half_of_their_own_bytes() {
    let batches: Vec<Batch> = (0..100).map(|it| single(it, Compression::None)).collect();
    let values: usize = (0..100).map(|it| document(it).len()).sum();
    let mut read = read();
    read.packing.batch_bytes = 64 << 10;
    let packed = pack(&read, batches);
    let Some(Ok(batch)) = &packed[0].batch else {
        panic!("it can be sent")
    };
    assert_eq!(batch.header.record_count(), 100);
    assert!(batch.bytes() * 2 < values, "{} of {values}", batch.bytes());
}

#[test]
fn what_is_large_or_compressed_or_without_records_is_not_joined() {
    let alone = |batches: Vec<Batch>| {
        let packed = pack(&read(), batches);
        assert!(packed.iter().all(|it| !it.is_joined), "{packed:?}");
        packed
    };
    let mut builder = BatchBuilder::new(Compression::None);
    for number in 0..60 {
        builder.push(number, None, Some(document(number).as_bytes()), &[]);
    }
    let large = builder.build().unwrap();
    assert!(large.body.len() > PACKING.batch_bytes / SMALL_PART);
    let packed = alone(vec![large.clone(), batch_at(60, 1)]);
    let Some(Ok(sent)) = &packed[0].batch else {
        panic!("it can be sent")
    };
    assert_eq!(sent.header.compression(), Compression::Lz4 as i16);
    assert!(sent.bytes() < large.bytes());
    let compressed = single(1, Compression::Gzip);
    assert!(compressed.body.len() > PACKING.batch_bytes / SMALL_COMPRESSED_PART);
    let packed = alone(vec![compressed.clone(), compressed.clone()]);
    let Some(Ok(sent)) = &packed[0].batch else {
        panic!("it can be sent")
    };
    assert_eq!(sent.body, compressed.body, "as it is stored");
    let mut off = read();
    off.packing.batch_bytes = 0;
    assert_eq!(pack(&off, [batch_at(0, 1), batch_at(1, 1)]).len(), 2);
}

#[test]
fn a_joined_batch_is_bounded_and_passes_by_what_has_no_records() {
    let empty = |base: i64| {
        let whole = batch_at(base, 1);
        Compacted::new(&whole.header, None).build().unwrap()
    };
    let batches = [batch_at(0, 2), empty(2), batch_at(3, 1), empty(4)];
    assert_eq!(shape(&pack(&read(), batches)), [(0, 5, 3)]);
    // Nothing begins with a batch without records.
    assert_eq!(
        shape(&pack(&read(), [empty(0), batch_at(1, 1)])),
        [(0, 1, 0), (1, 2, 1)]
    );
    let mut small = read();
    small.packing.batch_bytes = 5 * batch_at(100, 1).body.len();
    let packed = pack(&small, (100..130).map(|base| batch_at(base, 1)));
    let five = |first: i64| (first, first + 5, 5);
    assert_eq!(shape(&packed), [100, 105, 110, 115, 120].map(five));
}

#[test]
fn a_batch_that_may_be_upstream_has_the_same_records_again() {
    let mut again = read();
    again.ends[0] = Some(Offset(3));
    again.ends[1] = Some(Offset(4));
    let batches = |count: i64| (0..count).map(|base| batch_at(base, 1));
    let packed = pack(&again, batches(10));
    assert_eq!(shape(&packed), [(0, 3, 3), (3, 4, 1), (4, 10, 6)]);
    // The read ends before the second one does: the next read has all of that.
    again.ends[1] = Some(Offset(6));
    assert_eq!(shape(&pack(&again, batches(5))), [(0, 3, 3)]);
}

#[test]
fn what_is_late_is_left_out_and_not_joined() {
    let mut read = read();
    // The records have timestamps of 1000 and their offset.
    read.late_before = Some(1002);
    let packed = pack(&read, (0..5).map(|base| batch_at(base, 1)));
    assert_eq!(shape(&packed), [(0, 1, 0), (1, 2, 0), (2, 5, 3)]);
    assert_eq!(packed[0].late, 1);
}

#[test]
fn a_batch_that_cannot_be_joined_is_found_alone() {
    let mut corrupt = batch_at(1, 1);
    let mut body = corrupt.body.to_vec();
    body[4] ^= 1;
    corrupt.body = body.into();
    let packed = pack(&read(), [batch_at(0, 1), corrupt, batch_at(2, 1)]);
    assert_eq!(shape(&packed), [(0, 1, 1), (1, 2, -1), (2, 3, 1)]);
}

fn link(linger_ms: u64, end: i64) -> Link {
    let mut link = Link::new(Limits {
        linger_ms,
        packing: PACKING,
        ..limits()
    });
    let position = Position {
        cursor: None,
        is_moved: false,
        is_forgotten: false,
        log_start: Offset(0),
        high_watermark: Offset(end),
    };
    link.open(P, position);
    link.handle_producer(ProducerId(1), ProducerEpoch(0));
    link
}

/// Reads single records.
fn send(link: &mut Link, now_ms: u64) -> Vec<Outgoing> {
    let Some(read) = link.poll_read(now_ms) else {
        return Vec::new();
    };
    let batches = (read.from.get()..read.until.get()).map(|base| batch_at(base, 1));
    let packed = pack(&read, batches);
    link.handle_read(&read, packed, now_ms)
}

fn tell(link: &mut Link, sent: &Outgoing, outcome: Outcome, now_ms: u64) {
    link.handle_outcome(P, sent.generation, sent.base, outcome, now_ms, 0);
}

#[test]
fn a_joined_batch_that_is_refused_is_sent_as_it_is_stored_and_later_ones_are_smaller() {
    let mut link = link(0, 20);
    let sent = send(&mut link, 0);
    assert_eq!(sent[0].batch.header.record_count(), 20);
    let refused = Outcome::Refused(ErrorCode::MessageTooLarge);
    tell(&mut link, &sent[0], refused, 0);
    assert_eq!(link.holds().count(), 0, "the next try is in a moment");
    link.handle_producer(ProducerId(2), ProducerEpoch(0));
    let now_ms = link.next_deadline_ms().unwrap();
    for record in 0..20 {
        let sent = send(&mut link, now_ms);
        let Some(first) = sent.first() else { continue };
        assert_eq!(first.batch.header.record_count(), 1, "{record}");
        for sent in &sent {
            let at = Some(sent.base);
            tell(&mut link, sent, Outcome::Acknowledged(at), now_ms);
        }
    }
    assert_eq!(link.lag(), 0);
    link.handle_bounds(P, Offset(0), Offset(120), now_ms);
    let sent = send(&mut link, now_ms);
    let bytes = |count: i64| (20..20 + count).map(|it| batch_at(it, 1).body.len());
    let count = i64::from(sent[0].batch.header.record_count());
    assert!(bytes(count).sum::<usize>() <= 500, "{count}");
}

/// The hold names the one batch that the upstream does not take.
#[test]
fn a_record_that_is_refused_holds_no_others() {
    let mut link = link(0, 3);
    let sent = send(&mut link, 0);
    let refused = Outcome::Refused(ErrorCode::InvalidRecord);
    tell(&mut link, &sent[0], refused, 0);
    link.handle_producer(ProducerId(2), ProducerEpoch(0));
    let now_ms = link.next_deadline_ms().unwrap();
    let sent = send(&mut link, now_ms);
    tell(
        &mut link,
        &sent[0],
        Outcome::Acknowledged(Some(Offset(0))),
        now_ms,
    );
    let sent = send(&mut link, now_ms);
    tell(&mut link, &sent[0], refused, now_ms);
    let (_, hold) = link.holds().next().expect("the partition is held");
    assert_eq!((hold.at, hold.next), (Offset(1), Some(Offset(2))));
}

#[test]
fn new_records_linger_and_a_backlog_does_not() {
    let mut link = link(100, 3);
    let sent = send(&mut link, 0);
    assert_eq!(sent[0].batch.header.record_count(), 3);
    tell(
        &mut link,
        &sent[0],
        Outcome::Acknowledged(Some(Offset(0))),
        0,
    );
    link.handle_bounds(P, Offset(0), Offset(4), 10);
    assert!(send(&mut link, 10).is_empty());
    link.handle_bounds(P, Offset(0), Offset(9), 50);
    assert!(send(&mut link, 50).is_empty());
    assert_eq!(link.next_deadline_ms(), Some(110));
    let sent = send(&mut link, 110);
    assert_eq!(
        sent[0].batch.header.record_count(),
        6,
        "all that came meanwhile"
    );
    tell(
        &mut link,
        &sent[0],
        Outcome::Acknowledged(Some(Offset(3))),
        110,
    );
    link.handle_bounds(P, Offset(0), Offset(10), 120);
    assert!(
        send(&mut link, 120).is_empty(),
        "the next ones linger again"
    );
    assert_eq!(link.next_deadline_ms(), Some(220));
}
