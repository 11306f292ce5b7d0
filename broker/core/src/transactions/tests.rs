use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::records::TransactionResult;
use sedge_protocol::transaction_records::{TransactionRecord, TransactionStatus};

use super::init::LAST_EPOCH;
use super::*;
use crate::shard::Shard;

const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;
const TIMEOUT_MS: i32 = 60_000;

/// A coordinator whose records are written at once, unless held back.
struct Coordinator {
    machine: TransactionCoordinator,
    now: Now,
    log: Vec<TransactionRecord>,
    next_producer: i64,
}

impl Coordinator {
    fn new() -> Self {
        let now = Now {
            wall_ms: 1_000_000,
            monotonic_ms: 50,
            append_ms: 900_000,
        };
        Self {
            machine: TransactionCoordinator::new(TransactionConfig::default(), now),
            now,
            log: Vec::new(),
            next_producer: 100,
        }
    }

    fn fresh(&mut self) -> ProducerId {
        self.next_producer += 1;
        ProducerId(self.next_producer)
    }

    fn write<R>(&mut self, planned: TransactionPlanned<R>) -> R {
        for record in planned.actions.persist {
            self.machine.apply(self.now, &record);
            self.log.push(record);
        }
        planned.reply
    }

    fn init(&mut self, id: &str) -> Result<(i64, i16, Option<Ending>), ErrorCode> {
        self.init_from(id, None)
    }

    fn init_from(
        &mut self,
        id: &str,
        expected: Option<(i64, i16)>,
    ) -> Result<(i64, i16, Option<Ending>), ErrorCode> {
        let expected = expected.map(|(id, epoch)| (ProducerId(id), ProducerEpoch(epoch)));
        let request = InitRequest {
            transactional_id: id,
            timeout_ms: TIMEOUT_MS,
            expected,
            fresh: self.fresh(),
        };
        let planned = self.machine.handle_init(self.now, request);
        let ((id, epoch), ending) = self.write(planned)?;
        Ok((id.get(), epoch.get(), ending))
    }

    fn add(&mut self, producer: (i64, i16), partitions: &[(&str, i32)]) -> Result<(), ErrorCode> {
        let planned = self
            .machine
            .handle_add(self.now, of(producer), partitions, 0);
        self.write(planned)
    }

    fn end(
        &mut self,
        producer: (i64, i16),
        result: TransactionResult,
        bumps_epoch: bool,
    ) -> Result<Ended, ErrorCode> {
        let request = EndRequest {
            producer: of(producer),
            result,
            bumps_epoch,
            fresh: self.fresh(),
        };
        let planned = self.machine.handle_end(self.now, request);
        self.write(planned)
    }

    fn status(&self) -> TransactionStatus {
        self.machine.describe("t").unwrap().status
    }
}

/// A producer of the transactional id `t`.
fn of((id, epoch): (i64, i16)) -> ProducerOf<'static> {
    ProducerOf {
        transactional_id: "t",
        producer_id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
    }
}

fn ended(producer: (i64, i16), ending: Option<Ending>) -> Ended {
    Ended {
        producer: (ProducerId(producer.0), ProducerEpoch(producer.1)),
        ending,
    }
}

#[test]
fn a_transaction_ends_with_a_marker_in_each_of_its_partitions() {
    let mut it = Coordinator::new();
    let (id, epoch, ending) = it.init("t").unwrap();
    assert_eq!((epoch, ending), (0, None));
    it.add((id, 0), &[("a", 1), ("b", 0)]).unwrap();
    it.add((id, 0), &[("a", 0), ("a", 1)]).unwrap();
    assert_eq!(it.status(), TransactionStatus::Ongoing);
    let ending = it.end((id, 0), COMMIT, false).unwrap().ending.unwrap();
    assert!(ending.is_committed());
    assert_eq!(ending.marker.epoch, ProducerEpoch(0));
    let partitions = vec![("a".to_string(), vec![0, 1]), ("b".to_string(), vec![0])];
    assert_eq!(ending.partitions, partitions);
    assert_eq!(it.status(), TransactionStatus::CompleteCommit);
    // The answer was lost.
    assert_eq!(it.end((id, 0), COMMIT, false), Ok(ended((id, 0), None)));
    assert_eq!(
        it.end((id, 0), ABORT, false),
        Err(ErrorCode::InvalidTxnState)
    );
    // The next transaction begins anew.
    it.add((id, 0), &[("c", 2)]).unwrap();
    let ending = it.end((id, 0), ABORT, false).unwrap().ending.unwrap();
    assert_eq!(ending.partitions, [("c".to_string(), vec![2])]);
}

/// KIP-890.
#[test]
fn each_end_takes_a_new_epoch_if_the_client_knows_that() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    it.add((id, 0), &[("a", 0)]).unwrap();
    let first = it.end((id, 0), COMMIT, true).unwrap();
    assert_eq!(first.producer, (ProducerId(id), ProducerEpoch(1)));
    assert_eq!(first.ending.unwrap().marker.epoch, ProducerEpoch(1));
    // The answer was lost.
    assert_eq!(it.end((id, 0), COMMIT, true), Ok(ended((id, 1), None)));
    assert_eq!(
        it.end((id, 0), ABORT, true),
        Err(ErrorCode::InvalidTxnState)
    );
    assert_eq!(it.end((id, 1), COMMIT, true), Ok(ended((id, 1), None)));
    // An abort without records also takes an epoch.
    assert_eq!(it.end((id, 1), ABORT, true), Ok(ended((id, 2), None)));
    it.add((id, 2), &[("a", 0)]).unwrap();
    assert_eq!(it.end((id, 1), ABORT, true), Err(ErrorCode::ProducerFenced));
    assert_eq!(it.add((id, 1), &[("a", 0)]), Err(ErrorCode::ProducerFenced));
}

#[test]
fn a_new_producer_fences_the_one_before_and_ends_what_it_left() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    it.add((id, 0), &[("a", 0)]).unwrap();
    let (again, epoch, ending) = it.init("t").unwrap();
    assert_eq!((again, epoch), (id, 1));
    let ending = ending.unwrap();
    assert!(!ending.is_committed());
    assert_eq!(ending.marker.epoch, ProducerEpoch(1));
    assert_eq!(
        it.end((id, 0), COMMIT, false),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(it.status(), TransactionStatus::Empty);
    let (_, epoch, ending) = it.init("t").unwrap();
    assert_eq!((epoch, ending), (2, None));
}

/// KIP-360.
#[test]
fn a_producer_that_continues_names_its_epoch() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    let next = it.init_from("t", Some((id, 0))).unwrap();
    assert_eq!((next.0, next.1), (id, 1));
    // The answer was lost.
    let next = it.init_from("t", Some((id, 0))).unwrap();
    assert_eq!((next.0, next.1), (id, 2));
    let fenced = it.init_from("t", Some((id, 0)));
    assert_eq!(fenced, Err(ErrorCode::ProducerFenced));
    let other = it.init_from("t", Some((id + 1, 2)));
    assert_eq!(other, Err(ErrorCode::ProducerFenced));
}

#[test]
fn after_the_last_epoch_comes_another_producer_id() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    let mut record = it.log[0].clone();
    record.value.as_mut().unwrap().epoch = LAST_EPOCH;
    it.machine.apply(it.now, &record);
    let last = LAST_EPOCH.get();
    it.add((id, last), &[("a", 0)]).unwrap();
    let end = it.end((id, last), COMMIT, true).unwrap();
    let marker = end.ending.unwrap().marker;
    assert_eq!(
        (marker.producer_id, marker.epoch.get()),
        (ProducerId(id), last + 1)
    );
    let next = (end.producer.0.get(), end.producer.1.get());
    assert_ne!(next.0, id);
    assert_eq!(next.1, 0);
    assert_eq!(it.machine.id_of(ProducerId(next.0)), Some("t"));
    // The answer was lost.
    assert_eq!(it.end((id, last), COMMIT, true), Ok(ended(next, None)));
    assert_eq!(
        it.add((id, last), &[("a", 0)]),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
}

#[test]
fn a_request_waits_for_the_record_of_the_one_before() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    let planned = it.machine.handle_add(it.now, of((id, 0)), &[("a", 0)], 0);
    assert_eq!(planned.reply, Ok(()));
    let concurrent = Err(ErrorCode::ConcurrentTransactions);
    assert_eq!(it.add((id, 0), &[("b", 0)]), concurrent);
    assert_eq!(it.machine.verify(of((id, 0)), "a", 0), concurrent);
    assert_eq!(it.init("t").map(|_| ()), concurrent);
    // The record could not be written.
    it.machine
        .handle_save_failed(it.now, &planned.actions.persist[0]);
    assert_eq!(it.status(), TransactionStatus::Empty);
    it.add((id, 0), &[("b", 0)]).unwrap();
    let includes = |index| it.machine.verify(of((id, 0)), "b", index);
    assert_eq!(includes(0), Ok(()));
    assert_eq!(includes(1), Err(ErrorCode::InvalidTxnState));
}

#[test]
fn an_id_whose_first_record_is_lost_begins_again() {
    let mut it = Coordinator::new();
    let request = InitRequest {
        transactional_id: "t",
        timeout_ms: TIMEOUT_MS,
        expected: None,
        fresh: it.fresh(),
    };
    let planned = it.machine.handle_init(it.now, request);
    let concurrent = it.init("t").map(|_| ());
    assert_eq!(concurrent, Err(ErrorCode::ConcurrentTransactions));
    it.machine
        .handle_save_failed(it.now, &planned.actions.persist[0]);
    let (_, epoch, ending) = it.init("t").unwrap();
    assert_eq!((epoch, ending), (0, None));
}

#[test]
fn an_overdue_transaction_is_aborted_and_its_producer_fenced() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    it.add((id, 0), &[("a", 0)]).unwrap();
    it.now.monotonic_ms += TIMEOUT_MS as u64 - 1;
    // Adding a partition gives the transaction no more time.
    it.add((id, 0), &[("a", 1)]).unwrap();
    assert!(it.machine.end_overdue(it.now).is_none());
    assert_eq!(it.machine.next_deadline(), it.now.monotonic_ms + 1);
    it.now.monotonic_ms += 1;
    let planned = it.machine.end_overdue(it.now).unwrap();
    // It is not ended twice, while the record is on its way.
    assert!(it.machine.end_overdue(it.now).is_none());
    assert!(it.machine.next_deadline() > it.now.monotonic_ms);
    let ending = it.write(planned);
    assert_eq!(ending.marker.epoch, ProducerEpoch(1));
    assert_eq!(
        it.end((id, 0), COMMIT, false),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(it.status(), TransactionStatus::CompleteAbort);
    let (_, epoch, _) = it.init("t").unwrap();
    assert_eq!(epoch, 2);
}

/// While the disk was full, the coordinator aborted an overdue transaction again and again, without
/// a pause.
#[test]
fn an_overdue_transaction_waits_after_its_end_could_not_be_written() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    it.add((id, 0), &[("a", 0)]).unwrap();
    it.now.monotonic_ms += TIMEOUT_MS as u64;
    let planned = it.machine.end_overdue(it.now).unwrap();
    let record = &planned.actions.persist[0];
    it.machine.handle_save_failed(it.now, record);
    assert!(it.machine.end_overdue(it.now).is_none());
    let next = it.now.monotonic_ms + limits::SAVE_RETRY_MS;
    assert_eq!(it.machine.next_deadline(), next);
    it.now.monotonic_ms = next;
    let planned = it.machine.end_overdue(it.now).unwrap();
    it.write(planned);
    assert_eq!(it.status(), TransactionStatus::CompleteAbort);
    assert!(it.machine.deadlines.is_empty());
}

#[test]
fn a_start_leads_to_the_same_state() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    it.init("u").unwrap();
    it.add((id, 0), &[("a", 0), ("b", 3)]).unwrap();
    let mut restored = TransactionCoordinator::new(TransactionConfig::default(), it.now);
    for record in &it.log {
        let (key, value) = TransactionCoordinator::encode(record).unwrap();
        let record = TransactionCoordinator::decode(&key, value.as_deref()).unwrap();
        Shard::restore(&mut restored, it.now, &record);
    }
    let all = Selection {
        longer_than_ms: -1,
        ..Selection::default()
    };
    assert_eq!(restored.list(it.now, &all), it.machine.list(it.now, &all));
    assert_eq!(restored.text_bytes, it.machine.text_bytes);
    assert_eq!(restored.deadlines, it.machine.deadlines);
    // The producer does not notice.
    it.machine = restored;
    let ending = it.end((id, 0), COMMIT, false).unwrap().ending.unwrap();
    assert_eq!(ending.partitions.len(), 2);
}

#[test]
fn an_id_expires_when_it_was_idle_for_long() {
    let mut it = Coordinator::new();
    let (id, ..) = it.init("t").unwrap();
    it.init("u").unwrap();
    it.add((id, 0), &[("a", 0)]).unwrap();
    let config = TransactionConfig::default();
    it.now.append_ms += config.id_expiration_ms;
    assert!(it.machine.expire(it.now).is_empty());
    it.now.monotonic_ms += config.expiration_interval_ms;
    let actions = it.machine.expire(it.now);
    it.write(Planned { reply: (), actions });
    assert!(it.machine.describe("u").is_none());
    assert_eq!(it.status(), TransactionStatus::Ongoing);
    assert_eq!(it.machine.ids.len(), 1);
}

#[test]
fn bad_requests_get_kafka_s_errors() {
    let mut it = Coordinator::new();
    assert_eq!(it.init("").map(|_| ()), Err(ErrorCode::InvalidRequest));
    let unknown = it.add((7, 0), &[("a", 0)]);
    assert_eq!(unknown, Err(ErrorCode::InvalidProducerIdMapping));
    let (id, ..) = it.init("t").unwrap();
    let other = it.add((id + 1, 0), &[("a", 0)]);
    assert_eq!(other, Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(
        it.end((id, 0), COMMIT, false),
        Err(ErrorCode::InvalidTxnState)
    );
    for timeout_ms in [0, -1, 15 * 60 * 1_000 + 1] {
        let request = InitRequest {
            transactional_id: "t",
            timeout_ms,
            expected: None,
            fresh: ProducerId(1),
        };
        let reply = it.machine.handle_init(it.now, request).reply;
        assert_eq!(reply, Err(ErrorCode::InvalidTransactionTimeout));
    }
    let many: Vec<(&str, i32)> = (0..=limits::PARTITIONS_MAX as i32)
        .map(|at| ("a", at))
        .collect();
    assert_eq!(it.add((id, 0), &many), Err(ErrorCode::PolicyViolation));
}
