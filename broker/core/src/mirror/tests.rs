//! What a link does, event by event. Batches are real ones.

use alloc::vec;
use alloc::vec::Vec;
use std::string::ToString;

use sedge_protocol::ErrorCode;
use sedge_protocol::batch::{Batch, BatchHeader};
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId};
use sedge_protocol::kafka::compression::Compression;
use sedge_protocol::records::{BatchBuilder, Compacted, Records};

use super::stamp::advance;
use super::*;
use crate::backoff::Backoff;

const P: PartitionId = PartitionId(7);

/// A batch of `records` records as the log holds it, at `base`.
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
        backoff: Backoff::new(100, 1000),
    }
}

fn link(end: i64) -> Link {
    let mut link = Link::new(limits());
    let position = Position {
        cursor: None,
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
    link.handle_read(&read, batches, now_ms)
}

fn answer(link: &mut Link, sent: &Outgoing, code: ErrorCode, now_ms: u64) -> Verdict {
    let outcome = Outcome::Answered(code);
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

/// A link whose producer is known upstream: the first batch went through alone.
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

#[test]
fn a_stamped_batch_is_the_links_own_and_its_records_are_the_same() {
    let mut batch = batch_at(40, 10);
    batch.header.set_log_append_time(77, &batch.body.clone());
    let before = batch.clone();
    stamp(&mut batch, (ProducerId(5), ProducerEpoch(2)), 1234).unwrap();
    let header: BatchHeader = batch.header;
    assert_eq!(batch.body, before.body);
    assert_eq!(header.computed_crc(&batch.body), header.crc());
    assert_eq!(header.producer_id(), Some(ProducerId(5)));
    assert_eq!(header.producer_epoch(), ProducerEpoch(2));
    assert_eq!(header.base_sequence(), 1234);
    assert_eq!(header.base_offset(), Offset::ZERO);
    assert_eq!(header.leader_epoch(), LeaderEpoch(-1));
    assert!(!header.is_log_append_time());
    assert_eq!(header.record_count(), 10);
}

#[test]
fn a_corrupt_batch_is_not_given_a_right_crc() {
    let mut batch = batch_at(0, 3);
    let mut body = batch.body.to_vec();
    body[5] ^= 1;
    batch.body = body.into();
    let producer = (ProducerId(5), ProducerEpoch(2));
    assert_eq!(stamp(&mut batch, producer, 0), Err(StampError::Corrupt));
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
    // Answers to what was sent before are nobody's.
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
    assert_eq!(verdict, Verdict::NewProducer);
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
        log_start: Offset::ZERO,
        high_watermark: Offset(10),
    };
    link.open(Q, position);
    let sent: Vec<_> = (0..2).flat_map(|_| read(&mut link, 0)).collect();
    let first = sent.iter().find(|sent| sent.partition == P).unwrap();
    let other = sent.iter().find(|sent| sent.partition == Q).unwrap();
    assert_eq!(
        answer(&mut link, first, ErrorCode::MessageTooLarge, 0),
        Verdict::Hold
    );
    let held: Vec<_> = link.holds().collect();
    assert_eq!(held, [(P, Hold::Refused(ErrorCode::MessageTooLarge))]);
    answer(&mut link, other, ErrorCode::None, 0);
    assert_eq!(link.cursor(Q), Some(Offset(10)));
    // Somebody raised the limit.
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
    let sent = link.handle_read(&plan, vec![batch_at(10, 10), rotten.clone()], 0);
    assert_eq!(sent.len(), 1, "what is before it goes");
    assert_eq!(link.holds().count(), 0);
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    let plan = link.poll_read(0).unwrap();
    assert!(link.handle_read(&plan, vec![rotten], 0).is_empty());
    assert_eq!(
        link.holds().collect::<Vec<_>>(),
        [(P, Hold::Unfit(StampError::Corrupt))]
    );
    assert_eq!(link.cursor(P), Some(Offset(20)));
    assert_eq!(link.poll_read(0), None);
}

#[test]
fn what_retention_took_is_counted_and_passed() {
    let mut link = proven(100);
    let sent = read(&mut link, 0);
    link.handle_bounds(P, Offset(80), Offset(100));
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
    assert!(link.handle_read(&plan, Vec::new(), 0).is_empty());
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
    let sent = link.handle_read(&plan, vec![control, batch_at(11, 9)], 0);
    assert_eq!(sequences(&sent), [10]);
    assert_eq!(link.cursor(P), Some(Offset(11)));
    answer(&mut link, &sent[0], ErrorCode::None, 0);
    assert_eq!(link.cursor(P), Some(Offset(20)));
}

/// Of records 10 to 19, compaction has left the fourth and the sixth; of 20 to 29 none.
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
    let sent = link.handle_read(&plan, vec![some, none, batch_at(30, 10)], 0);
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
    assert_eq!(
        answer(&mut link, &sent[1], ErrorCode::None, 0),
        Verdict::Acknowledged
    );
    assert_eq!(link.poll_read(1_000_000), None);
}

#[test]
fn verdicts() {
    let check = |code, expected| assert_eq!(judge(Outcome::Answered(code)), expected, "{code}");
    check(ErrorCode::None, Verdict::Acknowledged);
    check(ErrorCode::DuplicateSequenceNumber, Verdict::Acknowledged);
    check(ErrorCode::NotLeaderOrFollower, Verdict::Retry);
    check(ErrorCode::UnknownTopicOrPartition, Verdict::Retry);
    check(ErrorCode::NotEnoughReplicasAfterAppend, Verdict::Retry);
    check(ErrorCode::KafkaStorageError, Verdict::Retry);
    check(ErrorCode::UnknownServerError, Verdict::Retry);
    check(ErrorCode::UnknownProducerId, Verdict::NewProducer);
    check(ErrorCode::InvalidProducerEpoch, Verdict::NewProducer);
    check(ErrorCode::MessageTooLarge, Verdict::Hold);
    check(ErrorCode::TopicAuthorizationFailed, Verdict::Hold);
    assert_eq!(judge(Outcome::Lost), Verdict::Retry);
}
