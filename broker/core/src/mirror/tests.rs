//! Tests a link event by event, with real batches.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use std::string::ToString;

use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId};
use sedge_protocol::kafka::compression::Compression;
use sedge_protocol::records::{BatchBuilder, Compacted, Records, decompress};

use super::stamp::{advance, stamp};
use super::*;
use crate::backoff::Backoff;

const P: PartitionId = PartitionId(7);

/// Builds a batch of `records` records as the log holds it, at `base`.
pub(super) fn batch_at(base: i64, records: i64) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for number in base..base + records {
        let value = number.to_string();
        builder.push(1000 + number, None, Some(value.as_bytes()), &[]);
    }
    let mut batch = builder.build().unwrap();
    batch.header.set_base_offset(Offset(base));
    batch.header.set_leader_epoch(LeaderEpoch(3));
    batch
}

pub(super) fn limits() -> Limits {
    Limits {
        window_bytes: 1 << 20,
        read_bytes: 1 << 16,
        held_after_ms: 60_000,
        linger_ms: 0,
        packing: Packing {
            batch_bytes: 0,
            compression: None,
        },
        backoff: Backoff::new(100, 1000),
    }
}

fn link(end: i64) -> Link {
    let mut link = Link::new(limits());
    let position = Position {
        cursor: None,
        is_moved: false,
        is_forgotten: false,
        log_start: Offset::ZERO,
        high_watermark: Offset(end),
    };
    link.open(P, position);
    link.handle_producer(ProducerId(50), ProducerEpoch(0));
    link
}

/// Reads batches of ten records.
fn read(link: &mut Link, now_ms: u64) -> Vec<Outgoing> {
    let Some(read) = link.poll_read(now_ms) else {
        return Vec::new();
    };
    let first = read.from.get() / 10 * 10;
    let mut left = read.bytes_max;
    let mut batches = Vec::new();
    for base in (first..read.until.get()).step_by(10) {
        let batch = batch_at(base, 10);
        if !batches.is_empty() && left < batch.bytes() {
            break;
        }
        left = left.saturating_sub(batch.bytes());
        batches.push(batch);
    }
    handle_read(link, &read, batches, now_ms)
}

fn handle_read(link: &mut Link, read: &Read, batches: Vec<Batch>, now_ms: u64) -> Vec<Outgoing> {
    link.handle_read(
        read,
        batches.into_iter().map(Prepared::new).collect(),
        now_ms,
    )
}

/// Answers a batch. `ErrorCode::None` acknowledges it at its local offset.
fn answer(link: &mut Link, sent: &Outgoing, code: ErrorCode, now_ms: u64) -> Option<Verdict> {
    let outcome = match code {
        ErrorCode::None => Outcome::Acknowledged(Some(sent.base)),
        code => Outcome::Refused(code),
    };
    tell(link, sent, outcome, now_ms)
}

fn tell(link: &mut Link, sent: &Outgoing, outcome: Outcome, now_ms: u64) -> Option<Verdict> {
    link.handle_outcome(
        sent.partition,
        sent.generation,
        sent.base,
        outcome,
        now_ms,
        0,
    )
}

fn sequences(sent: &[Outgoing]) -> Vec<i32> {
    sent.iter()
        .map(|sent| sent.batch.header.base_sequence())
        .collect()
}

/// Returns a link whose producer is known upstream: the first batch went through alone.
fn proven(end: i64) -> Link {
    let mut link = link(end);
    let first = read(&mut link, 0);
    assert_eq!(
        first.len(),
        1,
        "one alone before the producer is known upstream"
    );
    assert!(read(&mut link, 0).is_empty());
    answer(&mut link, &first[0], ErrorCode::None, 0);
    link
}

/// Returns the batch as the upstream receives it.
fn sent_on(batch: Batch) -> Result<Batch, StampError> {
    let mut batch = Prepared::new(batch).batch.unwrap()?;
    stamp(&mut batch, (ProducerId(5), ProducerEpoch(2)), 1234, false);
    Ok(batch)
}

#[test]
fn a_stamped_batch_is_the_links_own_and_its_bytes_are_the_same() {
    let before = batch_at(40, 10);
    let batch = sent_on(before.clone()).unwrap();
    let header: BatchHeader = batch.header;
    assert_eq!(batch.body, before.body);
    assert_eq!(header.computed_crc(&batch.body), header.crc());
    assert_eq!(header.producer_id(), Some(ProducerId(5)));
    assert_eq!(header.producer_epoch(), ProducerEpoch(2));
    assert_eq!(header.base_sequence(), 1234);
    assert_eq!(header.base_offset(), Offset::ZERO);
    assert_eq!(header.leader_epoch(), LeaderEpoch(-1));
    assert_eq!(header.record_count(), 10);
}

/// Consumers here see the append time. The producer's clock may be in 1970, and an upstream's
/// retention would act on that.
#[test]
fn records_of_an_append_time_topic_keep_the_append_time() {
    const APPENDED_MS: i64 = 1_800_000_000_000;
    for codec in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut builder = BatchBuilder::new(codec);
        for number in 0..100_i64 {
            let headers = [("h", Some(&b"v"[..]))];
            builder.push(number * 7, Some(b"key"), Some(b"a value"), &headers);
        }
        let mut before = builder.build().unwrap();
        before.header.set_log_append_time(APPENDED_MS, &before.body);
        let Batch { header, body } = sent_on(before.clone()).unwrap();
        assert!(!header.is_log_append_time(), "{codec:?}");
        assert_eq!(header.compression(), before.header.compression());
        assert_eq!(header.max_timestamp(), APPENDED_MS);
        assert_eq!(header.computed_crc(&body), header.crc());
        assert_eq!(
            (header.record_count(), header.last_offset_delta()),
            (100, 99)
        );
        let opened = decompress(&header, &body, 1 << 20).unwrap();
        for record in Records::new(&header, &opened).map(Result::unwrap) {
            let time = header.base_timestamp() + record.timestamp_delta;
            assert_eq!(time, APPENDED_MS, "{codec:?}");
            assert_eq!(record.key, Some(&b"key"[..]));
            assert_eq!(record.headers.iter().count(), 1);
        }
    }
}

#[test]
fn a_corrupt_batch_is_not_given_a_right_crc() {
    let mut batch = batch_at(0, 3);
    let mut body = batch.body.to_vec();
    body[5] ^= 1;
    batch.body = body.into();
    assert_eq!(sent_on(batch).unwrap_err(), StampError::Corrupt);
}

#[test]
fn sequences_wrap_behind_the_largest() {
    let check = |sequence, count, expected| assert_eq!(advance(sequence, count), expected);
    check(0, 10, 10);
    check(i32::MAX - 1, 1, i32::MAX);
    check(i32::MAX, 1, 0);
    check(i32::MAX - 3, 10, 6);
}

#[test]
fn five_in_flight_and_the_cursor_follows() {
    let mut link = proven(100);
    let sent = read(&mut link, 0);
    assert_eq!(sequences(&sent), [10, 20, 30, 40, 50]);
    assert!(read(&mut link, 0).is_empty(), "the window is full");
    assert_eq!(link.cursor(P), Some(Offset(10)));
    for sent in &sent[..2] {
        answer(&mut link, sent, ErrorCode::None, 0);
    }
    assert_eq!(link.cursor(P), Some(Offset(30)));
    assert_eq!(link.uncommitted(), [(P, Offset(30))]);
    link.handle_committed(&[(P, Offset(30))]);
    assert_eq!(link.uncommitted(), []);
    assert_eq!(sequences(&read(&mut link, 0)), [60, 70]);
    assert_eq!(link.lag(), 70);
}

#[test]
fn a_commit_that_comes_late_leaves_the_newer_cursor_uncommitted() {
    let mut link = proven(100);
    let sent = read(&mut link, 0);
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    let committing = link.uncommitted();
    answer(&mut link, &sent[1], ErrorCode::None, 0);
    link.handle_committed(&committing);
    assert_eq!(link.uncommitted(), [(P, Offset(30))]);
}

#[test]
fn what_got_no_answer_goes_again_with_the_same_sequences() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    link.handle_outcome(P, sent[1].generation, sent[1].base, Outcome::Lost, 0, 0);
    assert!(
        read(&mut link, 0).is_empty(),
        "not before the backoff is over"
    );
    let at_ms = link.next_deadline_ms().unwrap();
    assert!((80..=120).contains(&at_ms), "{at_ms}");
    // Answers to earlier sends are ignored.
    answer(&mut link, &sent[2], ErrorCode::OutOfOrderSequenceNumber, 0);
    answer(&mut link, &sent[3], ErrorCode::None, 0);
    let again = read(&mut link, at_ms);
    assert_eq!(sequences(&again), [20, 30, 40, 50]);
    for sent in &again {
        answer(&mut link, sent, ErrorCode::DuplicateSequenceNumber, at_ms);
    }
    assert_eq!(link.cursor(P), Some(Offset(60)));
    assert_eq!(link.lag(), 0);
    assert_eq!(link.counts().retries, 4);
    assert_eq!(link.counts().sent_records, 60);
    assert_eq!(link.bytes_in_flight(), 0);
}

#[test]
fn a_producer_that_the_upstream_lost_is_replaced() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    let verdict = answer(&mut link, &sent[0], ErrorCode::OutOfOrderSequenceNumber, 0);
    assert_eq!(verdict, Some(Verdict::NewProducer));
    let at_ms = link.next_deadline_ms().unwrap();
    assert!(read(&mut link, at_ms).is_empty());
    assert!(link.needs_producer());
    link.handle_producer(ProducerId(51), ProducerEpoch(0));
    let again = read(&mut link, at_ms);
    assert_eq!(sequences(&again), [0], "alone, from the first sequence");
    assert_eq!(again[0].batch.header.producer_id(), Some(ProducerId(51)));
    assert_eq!(again[0].base, Offset(10));
}

#[test]
fn what_the_upstream_refuses_holds_the_partition_and_nothing_else() {
    const Q: PartitionId = PartitionId(8);
    let mut link = proven(60);
    let position = Position {
        cursor: None,
        is_moved: false,
        is_forgotten: false,
        log_start: Offset::ZERO,
        high_watermark: Offset(10),
    };
    link.open(Q, position);
    let sent: Vec<_> = (0..2).flat_map(|_| read(&mut link, 0)).collect();
    let first = sent.iter().find(|sent| sent.partition == P).unwrap();
    let other = sent.iter().find(|sent| sent.partition == Q).unwrap();
    assert_eq!(
        answer(&mut link, first, ErrorCode::MessageTooLarge, 0),
        Some(Verdict::Hold)
    );
    let held: Vec<_> = link.holds().collect();
    let trouble = Trouble::Refused(ErrorCode::MessageTooLarge);
    let (at, next) = (Offset(10), Some(Offset(20)));
    let hold = Hold { trouble, at, next };
    assert_eq!(held, [(P, hold)]);
    answer(&mut link, other, ErrorCode::None, 0);
    assert_eq!(link.cursor(Q), Some(Offset(10)));
    // The limit was raised upstream.
    let again = read(&mut link, HOLD_MS);
    assert_eq!(sequences(&again)[0], 10);
    answer(&mut link, &again[0], ErrorCode::None, HOLD_MS);
    assert_eq!(link.holds().count(), 0);
}

#[test]
fn a_corrupt_batch_holds_the_partition_once_it_is_next() {
    let mut link = proven(40);
    let plan = link.poll_read(0).unwrap();
    let mut rotten = batch_at(20, 10);
    let mut body = rotten.body.to_vec();
    body[0] ^= 1;
    rotten.body = body.into();
    let sent = handle_read(&mut link, &plan, vec![batch_at(10, 10), rotten.clone()], 0);
    assert_eq!(sent.len(), 1, "what is before it goes");
    assert_eq!(link.holds().count(), 0);
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    let plan = link.poll_read(0).unwrap();
    assert!(handle_read(&mut link, &plan, vec![rotten], 0).is_empty());
    let trouble = Trouble::Unfit(StampError::Corrupt);
    let (at, next) = (Offset(20), Some(Offset(30)));
    let hold = Hold { trouble, at, next };
    assert_eq!(link.holds().collect::<Vec<_>>(), [(P, hold)]);
    assert_eq!(link.cursor(P), Some(Offset(20)));
    assert_eq!(link.poll_read(0), None);
}

#[test]
fn what_retention_took_is_counted_and_passed() {
    let mut link = proven(100);
    let sent = read(&mut link, 0);
    link.handle_bounds(P, Offset(80), Offset(100), 0);
    assert!(
        read(&mut link, 0).is_empty(),
        "what is in flight may still be acknowledged"
    );
    for sent in &sent {
        answer(&mut link, sent, ErrorCode::None, 0);
    }
    let sent = read(&mut link, 0);
    assert_eq!(sent[0].base, Offset(80));
    assert_eq!(link.counts().lost_to_retention, 20);
    assert_eq!(link.cursor(P), Some(Offset(80)));
    assert_eq!(sequences(&sent)[0], 60, "sequences go on without a hole");
}

#[test]
fn takes_up_where_it_stopped() {
    let check = |cursor: Option<i64>, log_start, end, expected| {
        let mut link = Link::new(limits());
        let position = Position {
            cursor: cursor.map(Offset),
            is_moved: false,
            is_forgotten: false,
            log_start: Offset(log_start),
            high_watermark: Offset(end),
        };
        link.open(P, position);
        link.handle_producer(ProducerId(1), ProducerEpoch(0));
        assert_eq!(
            link.poll_read(0).map(|read| read.from.get()),
            expected,
            "{position:?}"
        );
    };
    check(None, 0, 10, Some(0));
    check(None, 5, 10, Some(5));
    check(Some(7), 0, 10, Some(7));
    check(Some(7), 9, 10, Some(9));
    check(Some(10), 0, 10, None);
    check(Some(12), 0, 10, None);
}

#[test]
fn a_cursor_inside_a_batch_sends_the_batch_whole() {
    let mut link = Link::new(limits());
    let position = Position {
        cursor: Some(Offset(13)),
        is_moved: false,
        is_forgotten: false,
        log_start: Offset::ZERO,
        high_watermark: Offset(20),
    };
    link.open(P, position);
    link.handle_producer(ProducerId(1), ProducerEpoch(0));
    let sent = read(&mut link, 0);
    assert_eq!(sent[0].base, Offset(10));
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    assert_eq!(link.cursor(P), Some(Offset(20)));
    assert_eq!(link.counts().sent_records, 7);
}

#[test]
fn the_window_is_shared_in_turn() {
    let mut link = Link::new(Limits {
        window_bytes: 100,
        ..limits()
    });
    for partition in 0..3 {
        let position = Position {
            cursor: None,
            is_moved: false,
            is_forgotten: false,
            log_start: Offset::ZERO,
            high_watermark: Offset(100),
        };
        link.open(PartitionId(partition), position);
    }
    link.handle_producer(ProducerId(1), ProducerEpoch(0));
    let mut order = Vec::new();
    for _ in 0..6 {
        let sent = read(&mut link, 0);
        assert!(read(&mut link, 0).is_empty(), "a batch fills the window");
        order.push(sent[0].partition.get());
        answer(&mut link, &sent[0], ErrorCode::None, 0);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_read_that_brings_nothing_is_not_repeated_at_once() {
    let mut link = proven(20);
    let plan = link.poll_read(0).unwrap();
    assert!(handle_read(&mut link, &plan, Vec::new(), 0).is_empty());
    assert_eq!(link.poll_read(0), None);
    assert!(link.poll_read(200).is_some());
}

#[test]
fn control_batches_are_passed_over() {
    let mut link = proven(30);
    let mut builder = BatchBuilder::new(Compression::None).control();
    builder.push(0, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
    let mut control = builder.build().unwrap();
    control.header.set_base_offset(Offset(10));
    let plan = link.poll_read(0).unwrap();
    let sent = handle_read(&mut link, &plan, vec![control, batch_at(11, 9)], 0);
    assert_eq!(sequences(&sent), [10]);
    assert_eq!(link.cursor(P), Some(Offset(11)));
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    assert_eq!(link.cursor(P), Some(Offset(20)));
}

/// Compaction has removed the fourth and the sixth of the records 10 to 19, and all of 20 to 29.
#[test]
fn what_compaction_left_closes_up() {
    let mut link = proven(40);
    let [some, none] = [(10, &[3, 5][..]), (20, &[])].map(|(base, kept)| {
        let whole = batch_at(base, 10);
        let mut left = Compacted::new(&whole.header, Some(9_000_000));
        for record in Records::new(&whole.header, &whole.body).map(Result::unwrap) {
            if kept.contains(&record.offset_delta) {
                left.keep(&record);
            }
        }
        left.build().unwrap()
    });
    let plan = link.poll_read(0).unwrap();
    let sent = handle_read(&mut link, &plan, vec![some, none, batch_at(30, 10)], 0);
    assert_eq!(sequences(&sent), [10, 12]);
    let Batch { header, body } = &sent[0].batch;
    assert_eq!((header.record_count(), header.last_offset_delta()), (2, 1));
    assert!(!header.has_delete_horizon());
    let records: Vec<_> = Records::new(header, body).map(Result::unwrap).collect();
    let times = records
        .iter()
        .map(|record| header.base_timestamp() + record.timestamp_delta);
    assert_eq!(times.collect::<Vec<_>>(), [1013, 1015]);
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    assert_eq!(link.cursor(P), Some(Offset(30)));
    answer(&mut link, &sent[1], ErrorCode::None, 0);
    assert_eq!(link.cursor(P), Some(Offset(40)));
}

#[test]
fn a_partition_that_went_away_leaves_nothing_behind() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    link.handle_outcome(P, sent[0].generation, sent[0].base, Outcome::Lost, 0, 0);
    link.close(P);
    assert_eq!(link.bytes_in_flight(), 0);
    assert_eq!(link.next_deadline_ms(), None);
    assert_eq!(link.uncommitted(), []);
    assert_eq!(answer(&mut link, &sent[1], ErrorCode::None, 0), None);
    assert_eq!(link.poll_read(1_000_000), None);
}

#[test]
fn verdicts() {
    let check = |code, expected| assert_eq!(judge(code), expected, "{code}");
    check(ErrorCode::NotLeaderOrFollower, Verdict::Retry);
    check(ErrorCode::UnknownTopicOrPartition, Verdict::Retry);
    check(ErrorCode::NotEnoughReplicasAfterAppend, Verdict::Retry);
    check(ErrorCode::KafkaStorageError, Verdict::Retry);
    check(ErrorCode::UnknownServerError, Verdict::Retry);
    check(ErrorCode::UnknownProducerId, Verdict::NewProducer);
    check(ErrorCode::InvalidProducerEpoch, Verdict::NewProducer);
    check(ErrorCode::MessageTooLarge, Verdict::Hold);
    check(ErrorCode::TopicAuthorizationFailed, Verdict::Hold);
}

#[test]
fn a_refusal_names_the_error_as_kafka_does() {
    let check = |code, expected: &str| {
        let said = Trouble::Refused(code).to_string();
        assert_eq!(
            said,
            format!("the upstream refuses a batch with {expected}")
        );
    };
    check(ErrorCode::NotEnoughReplicas, "NOT_ENOUGH_REPLICAS");
    check(ErrorCode::MessageTooLarge, "MESSAGE_TOO_LARGE");
}

/// The upstream still knows the five newest batches of the producer, and would take the new topic's
/// batches for those, repeated.
#[test]
fn a_topic_that_was_created_again_goes_under_another_producer() {
    const AGAIN: PartitionId = PartitionId(9);
    let mut link = proven(10);
    assert_eq!(link.close(P), 0);
    let position = Position {
        cursor: None,
        is_moved: false,
        is_forgotten: false,
        log_start: Offset::ZERO,
        high_watermark: Offset(10),
    };
    link.open(AGAIN, position);
    assert!(link.needs_producer());
    assert_eq!(link.poll_read(0), None);
    link.handle_producer(ProducerId(51), ProducerEpoch(0));
    let sent = read(&mut link, 0);
    assert_eq!(sequences(&sent), [0]);
    assert_eq!(sent[0].batch.header.producer_id(), Some(ProducerId(51)));
}

#[test]
fn what_a_deleted_topic_had_not_sent_is_counted() {
    let mut link = proven(60);
    assert_eq!(read(&mut link, 0).len(), 5);
    assert_eq!(link.close(P), 50);
    assert_eq!(link.counts().lost_to_deletion, 50);
}

#[test]
fn an_acknowledgement_at_an_offset_given_before_is_not_believed() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    let old = Outcome::Acknowledged(Some(Offset(10)));
    assert_eq!(
        tell(&mut link, &sent[1], old, 0),
        Some(Verdict::Disbelieved)
    );
    assert_eq!(link.cursor(P), Some(Offset(20)));
    link.handle_producer(ProducerId(51), ProducerEpoch(0));
    let again = read(&mut link, 1000);
    assert_eq!(sequences(&again), [0]);
    assert_eq!(again[0].base, Offset(20));
    // A new producer repeats nothing, so this is the batch's real upstream offset.
    let there = Outcome::Acknowledged(Some(Offset(0)));
    assert_eq!(
        tell(&mut link, &again[0], there, 1000),
        Some(Verdict::Acknowledged)
    );
    assert_eq!(link.cursor(P), Some(Offset(30)));
}

/// Tasks that wait for answers may report in another order.
#[test]
fn acknowledgements_that_are_told_in_another_order_are_believed() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    for number in [2, 0, 1, 4, 3] {
        let verdict = answer(&mut link, &sent[number], ErrorCode::None, 0);
        assert_eq!(verdict, Some(Verdict::Acknowledged), "{number}");
    }
    assert_eq!(link.cursor(P), Some(Offset(60)));
}

#[test]
fn only_what_was_sent_twice_can_be_a_duplicate() {
    let mut link = proven(20);
    let sent = read(&mut link, 0);
    let verdict = answer(&mut link, &sent[0], ErrorCode::DuplicateSequenceNumber, 0);
    assert_eq!(verdict, Some(Verdict::Disbelieved));
    assert_eq!(link.cursor(P), Some(Offset(10)));
}

/// The upstream has the batch at 10, but its answer was lost. The next batch must not be sent under
/// its sequence.
#[test]
fn a_sequence_is_not_given_to_another_batch_when_retention_takes_the_first() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    tell(&mut link, &sent[0], Outcome::Lost, 0);
    link.handle_bounds(P, Offset(20), Offset(60), 0);
    assert!(read(&mut link, 1000).is_empty());
    assert!(link.needs_producer());
    link.handle_producer(ProducerId(51), ProducerEpoch(0));
    let again = read(&mut link, 1000);
    assert_eq!(again[0].base, Offset(20));
    assert_eq!(again[0].batch.header.producer_id(), Some(ProducerId(51)));
    assert_eq!(link.counts().lost_to_retention, 10);
}

#[test]
fn a_partition_that_fails_for_a_minute_is_held_until_it_gets_on() {
    let mut link = proven(60);
    let mut now_ms = 0;
    let mut held_at_ms = None;
    while held_at_ms.is_none() && now_ms < 200_000 {
        for sent in read(&mut link, now_ms) {
            answer(&mut link, &sent, ErrorCode::UnknownServerError, now_ms);
        }
        if link.holds().count() > 0 {
            held_at_ms = Some(now_ms);
        }
        now_ms += 100;
    }
    let trouble = Trouble::Refused(ErrorCode::UnknownServerError);
    let (at, next) = (Offset(10), Some(Offset(20)));
    let hold = Hold { trouble, at, next };
    assert_eq!(link.holds().collect::<Vec<_>>(), [(P, hold)]);
    let held_at_ms = held_at_ms.unwrap();
    assert!((60_000..63_000).contains(&held_at_ms), "{held_at_ms}");
    // No answer says less than the error before.
    let sent = read(&mut link, now_ms + 2000);
    tell(&mut link, &sent[0], Outcome::Lost, now_ms + 2000);
    assert_eq!(link.holds().collect::<Vec<_>>(), [(P, hold)]);
    let sent = read(&mut link, now_ms + 4000);
    answer(&mut link, &sent[0], ErrorCode::None, now_ms + 4000);
    assert_eq!(link.holds().count(), 0);
}

#[test]
fn a_link_that_was_down_for_an_hour_is_not_held_after_one_more_failure() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    tell(&mut link, &sent[0], Outcome::Lost, 0);
    let sent = read(&mut link, 3_600_000);
    tell(&mut link, &sent[0], Outcome::Lost, 3_600_000);
    assert_eq!(link.holds().count(), 0);
}

/// The upstream never accepts a batch, so an operator has the link continue behind it.
#[test]
fn a_seek_goes_past_a_batch_and_counts_what_is_skipped() {
    let mut link = proven(60);
    let sent = read(&mut link, 0);
    answer(&mut link, &sent[0], ErrorCode::InvalidRecord, 0);
    assert_eq!(link.holds().count(), 1);
    assert_eq!(link.seek(P, Offset(20)), 10);
    assert_eq!(link.holds().count(), 0);
    assert_eq!(link.counts().skipped, 10);
    assert_eq!(link.uncommitted(), [(P, Offset(20))]);
    link.handle_producer(ProducerId(51), ProducerEpoch(0));
    let sent = read(&mut link, 0);
    assert_eq!((sent[0].base, sequences(&sent)[0]), (Offset(20), 0));
    // Seeking back is possible too, and skips nothing.
    assert_eq!(link.seek(P, Offset(0)), 0);
    assert_eq!(link.cursor(P), Some(Offset(0)));
    assert_eq!(link.bytes_in_flight(), 0);
}

#[test]
fn a_paused_partition_waits_for_a_seek() {
    let mut link = proven(60);
    let trouble = Trouble::CreatedAgain(Side::Here);
    link.pause(P, trouble);
    assert_eq!(link.uncommitted(), [], "a restart finds it as it is");
    assert_eq!(link.poll_read(1_000_000), None);
    link.handle_bounds(P, Offset(0), Offset(90), 0);
    assert_eq!(link.poll_read(2_000_000), None);
    let (at, next) = (Offset(10), None);
    let hold = Hold { trouble, at, next };
    assert_eq!(link.holds().collect::<Vec<_>>(), [(P, hold)]);
    link.seek(P, Offset(0));
    link.handle_producer(ProducerId(51), ProducerEpoch(0));
    assert_eq!(link.poll_read(2_000_000).unwrap().from, Offset(0));
}
