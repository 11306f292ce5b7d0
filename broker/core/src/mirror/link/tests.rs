//! Tests the transactions of a link event by event.

use alloc::vec;

use sedge_protocol::ErrorCode;

use super::*;
use crate::mirror::tests::{batch_at, limits};
use crate::mirror::{Outcome, Outgoing, Position, Prepared};

const P: PartitionId = PartitionId(7);
const Q: PartitionId = PartitionId(8);

fn begun(partitions: &[(PartitionId, bool)]) -> Link {
    let mut link = Link::new(limits());
    link.use_transactions(TransactionLimits {
        gather_ms: 10,
        open_ms_min: 500,
        open_ms_max: 5000,
        bytes_max: 1 << 20,
        partitions_max: 100,
    });
    for (partition, is_moved) in partitions {
        let position = Position {
            cursor: Some(Offset(0)),
            is_moved: *is_moved,
            is_forgotten: false,
            log_start: Offset(0),
            high_watermark: Offset(100),
        };
        link.open(*partition, position);
    }
    link.handle_begun(ProducerId(5), ProducerEpoch(0), &[]);
    link
}

fn step(link: &mut Link, now_ms: u64) -> Step {
    let (round, step) = link.poll_step(now_ms).expect("there is a step");
    link.handle_step(round, StepOutcome::Done, now_ms, 0);
    step
}

fn added(step: &Step) -> Vec<PartitionId> {
    match step {
        Step::Add { partitions, .. } => partitions.clone(),
        Step::Commit(_) => panic!("{step:?}"),
    }
}

fn read(link: &mut Link, now_ms: u64) -> Vec<Outgoing> {
    let Some(read) = link.poll_read(now_ms) else {
        return Vec::new();
    };
    let batch = Prepared::new(batch_at(read.from.get(), 10));
    link.handle_read(&read, vec![batch], now_ms)
}

fn tell(link: &mut Link, sent: &Outgoing, outcome: Outcome, now_ms: u64) {
    let (partition, generation) = (sent.partition, sent.generation);
    link.handle_outcome(partition, generation, sent.base, outcome, now_ms, 0);
}

fn acknowledge(link: &mut Link, sent: &Outgoing, now_ms: u64) {
    tell(link, sent, Outcome::Acknowledged(Some(sent.base)), now_ms);
}

#[test]
fn records_and_the_cursor_behind_them_are_committed_together() {
    let mut link = begun(&[(P, false)]);
    assert!(read(&mut link, 0).is_empty(), "nothing before it is added");
    assert_eq!(added(&step(&mut link, 0)), [P]);
    let sent = read(&mut link, 0);
    assert!(sent[0].batch.header.is_transactional());
    // All that fits is in flight. The transaction is over, and waits for the answer.
    assert_eq!(link.poll_step(600), None);
    assert_eq!(link.poll_step(600), None);
    acknowledge(&mut link, &sent[0], 600);
    assert_eq!(link.cursor(P), Some(Offset(0)), "not before the commit");
    let Step::Commit(cursors) = step(&mut link, 600) else {
        panic!("the transaction is over")
    };
    assert_eq!(cursors[0].offset, Offset(10));
    assert_eq!(link.cursor(P), Some(Offset(10)));
    assert_eq!(link.counts().committed, 1);
    assert_eq!(link.counts().sent_records, 10);
}

#[test]
fn a_steady_stream_does_not_keep_a_transaction_open() {
    let mut link = begun(&[(P, false)]);
    step(&mut link, 0);
    for now_ms in 0..20 {
        let end = 100 + 10 * (now_ms as i64);
        link.handle_bounds(P, Offset(0), Offset(end), now_ms);
        let over = link.poll_step(now_ms);
        assert_eq!(over, None, "the last batch is not answered, {now_ms} ms");
        for sent in read(&mut link, now_ms) {
            acknowledge(&mut link, &sent, now_ms);
        }
    }
    // All that was there after 10 ms is sent. More has come since.
    assert!(matches!(link.poll_step(20), Some((_, Step::Commit(_)))));
}

#[test]
fn after_a_refusal_the_link_begins_again_from_the_upstreams_cursor() {
    let mut link = begun(&[(P, false)]);
    step(&mut link, 0);
    let sent = read(&mut link, 0);
    acknowledge(&mut link, &sent[0], 1);
    let next = read(&mut link, 1);
    assert_eq!(next[0].batch.header.base_sequence(), 10);
    tell(&mut link, &next[0], Outcome::Lost, 2);
    assert!(link.needs_producer());
    assert_eq!(link.bytes_in_flight(), 0);
    link.handle_begun(ProducerId(5), ProducerEpoch(1), &[(P, Offset(0))]);
    assert_eq!(added(&step(&mut link, 1000)), [P]);
    let again = read(&mut link, 1000);
    assert_eq!(
        (again[0].base, again[0].batch.header.base_sequence()),
        (Offset(0), 0)
    );
    assert_eq!(again[0].batch.header.producer_epoch(), ProducerEpoch(1));
}

/// The outcome of a commit was not known, and the upstream has it.
#[test]
fn the_upstreams_cursor_decides() {
    let mut link = begun(&[(P, false)]);
    step(&mut link, 0);
    let sent = read(&mut link, 0);
    acknowledge(&mut link, &sent[0], 0);
    assert_eq!(link.poll_step(0), None);
    let (round, _) = link.poll_step(600).expect("the commit");
    link.handle_step(round, StepOutcome::Failed, 600, 0);
    link.handle_begun(ProducerId(5), ProducerEpoch(1), &[(P, Offset(10))]);
    step(&mut link, 600);
    assert_eq!(read(&mut link, 600)[0].base, Offset(10));
}

#[test]
fn a_refused_partition_is_tried_alone() {
    let mut link = begun(&[(P, false), (Q, false)]);
    assert_eq!(added(&step(&mut link, 0)), [P, Q]);
    let sent = [read(&mut link, 0), read(&mut link, 0)].concat();
    let refused = Outcome::Refused(ErrorCode::MessageTooLarge);
    tell(&mut link, &sent[0], refused, 0);
    link.handle_begun(ProducerId(5), ProducerEpoch(1), &[]);
    assert_eq!(added(&step(&mut link, 0)), [Q]);
    let sent = read(&mut link, 0);
    let late_ms = 2 * crate::mirror::HOLD_MS;
    acknowledge(&mut link, &sent[0], late_ms);
    assert!(matches!(step(&mut link, late_ms), Step::Commit(_)));
    assert_eq!(added(&step(&mut link, late_ms)), [P]);
    let sent = read(&mut link, late_ms);
    assert_eq!(sent[0].partition, P);
    assert!(read(&mut link, late_ms).is_empty(), "one batch, to try");
    acknowledge(&mut link, &sent[0], late_ms);
    assert!(matches!(step(&mut link, late_ms), Step::Commit(_)));
    assert_eq!(link.holds().count(), 0);
}

#[test]
fn a_moved_cursor_is_upstream_and_then_here_before_anything_is_sent() {
    let mut link = begun(&[(P, true)]);
    assert!(
        link.uncommitted().is_empty(),
        "it is as it was committed here"
    );
    assert_eq!(added(&step(&mut link, 0)), []);
    assert!(read(&mut link, 0).is_empty());
    let Step::Commit(cursors) = step(&mut link, 0) else {
        panic!("there is nothing else to wait for")
    };
    assert_eq!(cursors[0].offset, Offset(0));
    assert_eq!(link.poll_step(0), None);
    let uncommitted = link.uncommitted();
    assert_eq!(uncommitted, [(P, Offset(0))]);
    link.handle_committed(&uncommitted);
    assert_eq!(added(&step(&mut link, 0)), [P]);
}

#[test]
fn a_cursor_that_is_moved_again_while_it_is_committed_is_committed_again() {
    let mut link = begun(&[(P, true)]);
    step(&mut link, 0);
    let (round, _) = link.poll_step(0).expect("the commit");
    link.seek(P, Offset(50));
    link.handle_step(round, StepOutcome::Done, 0, 0);
    assert!(link.needs_producer());
    link.handle_begun(ProducerId(5), ProducerEpoch(1), &[(P, Offset(0))]);
    step(&mut link, 0);
    let Step::Commit(cursors) = step(&mut link, 0) else {
        panic!("there is nothing else to wait for")
    };
    assert_eq!(cursors[0].offset, Offset(50));
}

/// Another instance of the link began at the same time, and has committed since.
#[test]
fn a_cursor_that_the_upstream_lacked_gives_way_to_one_that_it_has_got() {
    let mut link = begun(&[]);
    let position = Position {
        cursor: Some(Offset(0)),
        is_moved: true,
        is_forgotten: true,
        log_start: Offset(0),
        high_watermark: Offset(100),
    };
    link.open(P, position);
    link.handle_begun(ProducerId(5), ProducerEpoch(2), &[(P, Offset(60))]);
    assert_eq!(added(&step(&mut link, 0)), [P]);
    assert_eq!(read(&mut link, 0)[0].base, Offset(60));
}

#[test]
fn the_cursor_that_was_set_last_is_chosen() {
    let check = |here: Option<(i64, bool)>, upstream: Option<i64>, expected| {
        let here = here.map(|(offset, follows)| (Offset(offset), follows));
        let (cursor, is_moved) = choose_cursor(here, upstream.map(Offset));
        assert_eq!((cursor.map(Offset::get), is_moved), expected);
    };
    check(None, None, (None, false));
    check(None, Some(5), (Some(5), false));
    check(Some((3, true)), Some(5), (Some(5), false));
    check(Some((3, false)), Some(5), (Some(3), true));
    check(Some((3, true)), None, (Some(3), true));
}
