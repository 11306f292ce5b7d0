//! Tests fetches from a store in memory, without a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once};
use sedge_core::config::BrokerDefaults;
use sedge_core::fetch::session::{TopicKey, Wanted};
use sedge_core::metadata::MetadataMachine;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{NodeId, PartitionId};
use sedge_protocol::records::{BatchBuilder, Compression};
use sedge_storage::{Commit, Entry, MemoryStore};

use super::Source;
use super::plan::{Found, Target, targets};
use super::read::{Isolation, Read};
use super::wait::{Fetched, Wish, fetch};
use crate::config::Durability;
use crate::log::Log;
use crate::log::clock::Clock;
use crate::net::memory::Pool;
use crate::process::disk_work::DiskWork;

/// Bytes of a batch of [`Fixture::append`].
const BATCH_BYTES: usize = 1_000;

struct Fixture {
    log: Log,
    disk_work: DiskWork,
    memory: Arc<Pool>,
}

impl Fixture {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let image = MetadataMachine::new(NodeId(0), BrokerDefaults::default());
        let image = image.image().clone();
        let clock = Clock::start(None, None);
        Self {
            log: Log::new(store, image, clock, Durability::Sync, Arc::default()),
            disk_work: DiskWork::new(1),
            memory: Pool::new(1 << 20),
        }
    }

    /// Appends a batch with one record and publishes it, as the writer does.
    fn append(&self, id: u32) {
        let id = PartitionId(id);
        let partition = self.log.partition(id).unwrap();
        let mut builder = BatchBuilder::new(Compression::None);
        let overhead = 61 + 9;
        builder.push(1, None, Some(&vec![7; BATCH_BYTES - overhead]), &[]);
        let mut batch = builder.build().unwrap();
        assert_eq!(batch.bytes(), BATCH_BYTES);
        batch.header.set_base_offset(partition.high_watermark());
        let next = batch.header.next_offset();
        let commit = Commit {
            entries: vec![Entry::Append {
                partition: id,
                batches: vec![batch],
            }],
            ..Commit::default()
        };
        self.log.store.append(commit).unwrap();
        partition.publish_high_watermark(next);
        partition.publish_last_stable_offset(next);
        self.log.appended(&partition, BATCH_BYTES);
    }

    /// Returns the targets; partition 9 does not exist.
    fn targets(&self, wanted: &[Wanted]) -> Vec<Target> {
        targets(wanted, |wanted| match wanted.partition {
            9 => Err(ErrorCode::UnknownTopicOrPartition),
            index => Ok(Found {
                partition: self.log.partition(PartitionId(index as u32)).unwrap(),
                filtered_by: None,
            }),
        })
    }

    async fn fetch(&self, wish: Wish, wanted: &[Wanted]) -> Fetched {
        let source = Source {
            log: &self.log,
            disk_work: &self.disk_work,
            memory: &self.memory,
        };
        fetch(&source, wish, || self.targets(wanted)).await
    }
}

fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
    Wanted {
        topic: TopicKey::Name("t".into()),
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        partition_max_bytes: 1 << 20,
    }
}

fn wish(bytes_min: usize, bytes_max: usize, wait: Duration) -> Wish {
    Wish {
        bytes_min,
        bytes_max,
        deadline: Instant::now() + wait,
        isolation: Isolation::ReadUncommitted,
    }
}

const AT_ONCE: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_hours(1);

fn batches(fetched: &Fetched) -> Vec<usize> {
    let batches = |read: &Read| read.bytes() / BATCH_BYTES;
    fetched.reads.iter().map(batches).collect()
}

#[test]
fn only_the_first_batch_of_all_partitions_breaks_the_limits() {
    let log = Fixture::new();
    for partition in [1, 1, 2, 2] {
        log.append(partition);
    }
    let check = |bytes_max: usize, expected: &[usize]| {
        let all = [wanted(3, 0), wanted(1, 0), wanted(2, 0)];
        let fetched = block_on(log.fetch(wish(1, bytes_max, AT_ONCE), &all));
        assert_eq!(batches(&fetched), expected, "{bytes_max}");
    };
    check(0, &[0, 1, 0]);
    check(1, &[0, 1, 0]);
    check(2 * BATCH_BYTES, &[0, 2, 0]);
    check(3 * BATCH_BYTES - 1, &[0, 2, 0]);
    check(3 * BATCH_BYTES, &[0, 2, 1]);
    check(1 << 20, &[0, 2, 2]);
}

#[test]
fn an_offset_that_is_not_there_is_an_error_of_its_partition_alone() {
    let log = Fixture::new();
    log.append(1);
    let all = [wanted(1, 2), wanted(1, -1), wanted(9, 0), wanted(1, 0)];
    let fetched = block_on(log.fetch(wish(1, 1 << 20, LONG), &all));
    let errors: Vec<_> = fetched.reads.iter().map(|read| read.error).collect();
    let (beyond, unknown) = (
        Some(ErrorCode::OffsetOutOfRange),
        Some(ErrorCode::UnknownTopicOrPartition),
    );
    assert_eq!(errors, [beyond, beyond, unknown, None]);
    assert_eq!(batches(&fetched), [0, 0, 0, 1]);
    let outcomes: Vec<_> = fetched.reads.iter().map(Read::outcome).collect();
    assert_eq!(outcomes[0].high_watermark, 1);
    assert_eq!(outcomes[2].high_watermark, -1);
    assert!(outcomes[2].is_error && !outcomes[3].is_error);
}

#[test]
fn a_fetch_waits_for_what_it_wants_and_sees_what_came_while_it_parked() {
    block_on(async {
        let log = Fixture::new();
        log.append(1);
        let all = [wanted(1, 0), wanted(2, 0)];
        let mut waiting = Box::pin(log.fetch(wish(2 * BATCH_BYTES, 1 << 20, LONG), &all));
        assert!(poll_once(&mut waiting).await.is_none());
        log.append(3);
        assert!(poll_once(&mut waiting).await.is_none());
        log.append(2);
        assert_eq!(batches(&waiting.await), [1, 1]);
        // Each read may miss what is appended after it: the next read is immediate.
        let (log, grown) = (
            Arc::new(Fixture::new()),
            Arc::new(std::sync::Barrier::new(2)),
        );
        let writer = {
            let (log, grown) = (Arc::clone(&log), Arc::clone(&grown));
            std::thread::spawn(move || {
                for _ in 0..500 {
                    grown.wait();
                    log.append(1);
                }
            })
        };
        for offset in 0..500 {
            grown.wait();
            let fetched = log
                .fetch(wish(1, 1 << 20, LONG), &[wanted(1, offset)])
                .await;
            assert_eq!(batches(&fetched), [1]);
        }
        writer.join().unwrap();
    });
}

#[test]
fn what_never_fits_is_not_waited_for() {
    let log = Fixture::new();
    log.append(1);
    log.append(1);
    let wish = wish(10 * BATCH_BYTES, 2 * BATCH_BYTES, LONG);
    let fetched = block_on(log.fetch(wish, &[wanted(1, 0)]));
    assert_eq!(batches(&fetched), [2]);
}

#[test]
fn a_fetch_with_too_little_is_answered_at_its_deadline() {
    let log = Fixture::new();
    log.append(1);
    let fetch = async |wait: Duration| {
        let wish = wish(1 << 20, 2 << 20, wait);
        let fetched = log.fetch(wish, &[wanted(1, 0)]).await;
        batches(&fetched)
    };
    let before = Box::pin(fetch(LONG));
    assert_eq!(block_on(poll_once(before)), None);
    for wait in [AT_ONCE, Duration::from_millis(20)] {
        assert_eq!(block_on(fetch(wait)), [1], "{wait:?}");
    }
}

#[test]
fn isolation_is_read_from_the_wire() {
    let check = |level, expected| assert_eq!(Isolation::from_wire(level), expected);
    check(0, Isolation::ReadUncommitted);
    check(1, Isolation::ReadCommitted);
    check(7, Isolation::ReadUncommitted);
}
