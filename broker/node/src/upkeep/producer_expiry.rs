//! `producer.id.expiration.ms`: a producer that was idle for this long, by the append clock, is
//! forgotten. If it comes back later, it may continue at any sequence, as in Kafka.
//!
//! This task scans the views, which know every producer; the writer, which may know newer writes,
//! does the forgetting. A rebuild of the views restores forgotten producers with the time of their
//! records, and the next scan removes them again.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use log::{debug, warn};
use sedge_core::log::derive;
use sedge_core::log::producers::ProducerEntry;
use sedge_protocol::ids::{PartitionId, ProducerId};
use sedge_storage::{Error, LogStore, View, ViewReader};

use crate::limits::PRODUCERS_EXPIRED_AT_ONCE;
use crate::log::{Log, views};
use crate::writer::{Stopped, Writer};

/// Runs until the task is dropped.
pub async fn run(log: Arc<Log>, writer: Writer) {
    loop {
        let number = |key: &str| log.metadata.load().defaults().number(key);
        let interval = number("producer.id.expiration.check.interval.ms");
        Timer::after(Duration::from_millis(interval.max(1).cast_unsigned())).await;
        let expiration = number("producer.id.expiration.ms");
        let until_ms = log.clock.append_ms().saturating_sub(expiration);
        match expire(&log.store, &writer, until_ms).await {
            Ok(0) => {}
            Ok(count) => debug!(target: "sedge::log", "{count} idle producers have expired"),
            Err(Stopped) => return,
        }
    }
}

/// Forgets the producers that have not written since `until_ms`. Returns their number.
async fn expire(
    store: &Arc<dyn LogStore>,
    writer: &Writer,
    until_ms: i64,
) -> Result<usize, Stopped> {
    let mut count = 0;
    let mut next = Some(Vec::new());
    while let Some(from) = next {
        let looked_at = Arc::clone(store);
        let look = move || silent(&*looked_at, &from, until_ms);
        let page = match blocking::unblock(look).await {
            Ok(page) => page,
            Err(failure) => {
                warn!(target: "sedge::log", "cannot look for idle producers: {failure}");
                return Ok(count);
            }
        };
        next = page.next;
        if let Some(partition) = page.unread {
            views::unreadable(&**store, View::Producers, partition);
        }
        if page.silent.is_empty() {
            continue;
        }
        let forgotten = writer.expire_producers(page.silent, until_ms).await?;
        count += forgotten;
        // They have written since, or the disk is full. The next round is soon enough.
        if forgotten == 0 {
            break;
        }
    }
    Ok(count)
}

/// A page of idle producers.
#[derive(Debug)]
struct Page {
    silent: Vec<(PartitionId, ProducerId)>,
    /// A partition with an entry that cannot be read.
    unread: Option<PartitionId>,
    /// The key at which the scan continues, unless it reached the end.
    next: Option<Vec<u8>>,
}

/// Returns the first idle producers, from the key `from` on.
fn silent(views: &(impl ViewReader + ?Sized), from: &[u8], until_ms: i64) -> Result<Page, Error> {
    let mut silent = Vec::new();
    let (mut unread, mut next) = (None, None);
    views.view_scan_from(View::Producers, &[], from, &mut |key, value| {
        if silent.len() == PRODUCERS_EXPIRED_AT_ONCE {
            next = Some(key.to_vec());
            return false;
        }
        let producer = derive::parse_producer_key(key);
        match ProducerEntry::decode(value) {
            Some(entry) if entry.is_silent_since(until_ms) => silent.extend(producer),
            Some(_) => {}
            None => unread = producer.map(|(partition, _)| partition),
        }
        true
    })?;
    Ok(Page {
        silent,
        unread,
        next,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use futures_lite::future;
    use sedge_core::log::{Producers, SequenceRange};
    use sedge_protocol::ErrorCode;
    use sedge_protocol::ids::{Offset, ProducerEpoch};
    use sedge_protocol::records::{BatchBuilder, Compression, Producer};
    use sedge_storage::{Commit, ViewUpdate};

    use super::*;
    use crate::test_broker::TestBroker;
    use crate::writer::AppendPart;

    /// Produces a record of this sequence as a client would, and returns its offset.
    fn produce(node: &TestBroker, producer: i64, sequence: i32) -> Result<Offset, ErrorCode> {
        let mut builder = BatchBuilder::new(Compression::None).producer(Producer {
            id: ProducerId(producer),
            epoch: ProducerEpoch(0),
            base_sequence: sequence,
        });
        builder.push(1, None, Some(b"x"), &[]);
        let batch = builder.build().unwrap();
        let part = AppendPart {
            partition: node.partition("t"),
            topic: Arc::clone(node.broker.log.metadata.load().topic("t").unwrap()),
            write: SequenceRange::of(&batch.header).into(),
            batch: Ok(Some(batch)),
            elsewhere: Vec::new(),
            awaits: None,
        };
        let reply = future::block_on(node.broker.writer.append(vec![part], Vec::new()));
        let outcome = reply.unwrap().remove(0);
        outcome
            .map(|appended| appended.base_offset)
            .map_err(|error| error.code)
    }

    fn known(node: &TestBroker) -> Vec<i64> {
        let mut known = Vec::new();
        let mut each = |key: &[u8], _: &[u8]| known.extend(derive::parse_producer_key(key));
        let store = &node.broker.log.store;
        store.view_scan(View::Producers, &[], &mut each).unwrap();
        known
            .into_iter()
            .map(|(_, producer)| producer.get())
            .collect()
    }

    fn expire_until(node: &TestBroker, until_ms: i64) -> usize {
        future::block_on(expire(
            &node.broker.log.store,
            &node.broker.writer,
            until_ms,
        ))
        .unwrap()
    }

    /// A producer whose entry could not be read counted as unknown, and its repeats were written
    /// again.
    #[test]
    fn a_producer_that_cannot_be_read_is_refused_until_a_start_has_read_the_log() {
        let mut node = TestBroker::start(&[]);
        node.create_topic("t", &[]);
        for sequence in 0..3 {
            assert_eq!(produce(&node, 7, sequence), Ok(Offset(sequence.into())));
        }
        // The writer reads the view on first use.
        node = node.restart(false);
        let update = ViewUpdate {
            view: View::Producers,
            key: derive::producer_key(node.partition("t"), ProducerId(7)),
            value: Some(b"?".to_vec()),
        };
        let log = &node.broker.log;
        let commit = Commit {
            updates: vec![update],
            append_ms: log.clock.append_ms(),
            ..Commit::default()
        };
        log.store.append(commit).unwrap();
        assert_eq!(expire_until(&node, 0), 0);
        assert_eq!(produce(&node, 7, 2), Err(ErrorCode::KafkaStorageError));
        assert_eq!(produce(&node, 8, 0), Err(ErrorCode::KafkaStorageError));
        node = node.restart(false);
        assert_eq!(produce(&node, 7, 2), Ok(Offset(2)), "a repeat is known");
        assert_eq!(produce(&node, 7, 3), Ok(Offset(3)));
        assert_eq!(produce(&node, 8, 0), Ok(Offset(4)));
    }

    #[test]
    fn silent_producers_are_forgotten_and_others_are_not() {
        let mut node = TestBroker::start(&[]);
        node.create_topic("t", &[]);
        assert_eq!(produce(&node, 7, 0), Ok(Offset(0)));
        let first_ms = node.broker.log.clock.append_ms();
        assert_eq!(expire_until(&node, first_ms - 3_600_000), 0);
        let out_of_order = Err(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(produce(&node, 7, 55), out_of_order);
        // The clock must advance before the other producer writes.
        while node.broker.log.clock.append_ms() <= first_ms {
            std::thread::yield_now();
        }
        assert_eq!(produce(&node, 8, 0), Ok(Offset(1)));
        assert_eq!(expire_until(&node, first_ms), 1);
        assert_eq!(known(&node), [8]);
        assert_eq!(produce(&node, 8, 55), out_of_order);
        assert_eq!(
            produce(&node, 7, 55),
            Ok(Offset(2)),
            "it may begin anywhere"
        );

        // The writer has not loaded the partition yet, and a rebuild of the views knows all
        // producers.
        for without_views in [false, true] {
            node = node.restart(without_views);
            assert_eq!(known(&node), [7, 8], "without views: {without_views}");
            assert_eq!(expire_until(&node, first_ms), 0);
        }
        let now_ms = node.broker.log.clock.append_ms();
        assert_eq!(expire_until(&node, now_ms), 2);
        assert_eq!(known(&node), [0; 0]);
        assert_eq!(produce(&node, 8, 99), Ok(Offset(3)));
    }

    #[test]
    fn what_was_written_meanwhile_counts() {
        let node = TestBroker::start(&[]);
        node.create_topic("t", &[]);
        produce(&node, 7, 0).unwrap();
        let page = silent(&*node.broker.log.store, &[], i64::MAX).unwrap();
        assert_eq!(page.silent, [(node.partition("t"), ProducerId(7))]);
        assert_eq!(page.next, None);
        // As if the producer had written after the scan.
        let forgotten = node.broker.writer.expire_producers(page.silent, 0);
        assert_eq!(future::block_on(forgotten).unwrap(), 0);
        assert_eq!(known(&node), [7]);
    }

    /// Returns the entry of a producer that last wrote at `last_ms`.
    fn entry(producer: i64, last_ms: i64) -> Vec<u8> {
        let range = SequenceRange {
            producer_id: ProducerId(producer),
            epoch: ProducerEpoch(0),
            first: 0,
            last: 0,
            is_filtered: false,
            transaction: None,
        };
        let mut producers = Producers::default();
        producers.apply(&range, Offset::ZERO, 0, last_ms);
        producers.get(range.producer_id).unwrap().encode()
    }

    /// A view of producers that counts the entries that are read.
    struct Counted {
        entries: BTreeMap<Vec<u8>, Vec<u8>>,
        looked_at: Cell<usize>,
    }

    impl ViewReader for Counted {
        fn view_get(&self, _: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            Ok(self.entries.get(key).cloned())
        }

        fn view_scan_from(
            &self,
            _: View,
            prefix: &[u8],
            from: &[u8],
            each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
        ) -> Result<(), Error> {
            for (key, value) in self.entries.range(from.to_vec()..) {
                self.looked_at.set(self.looked_at.get() + 1);
                if !key.starts_with(prefix) || !each(key, value) {
                    break;
                }
            }
            Ok(())
        }
    }

    /// All producers were scanned again for each few that were forgotten.
    #[test]
    fn each_producer_is_looked_at_once() {
        const PRODUCERS: i64 = 10 * PRODUCERS_EXPIRED_AT_ONCE as i64;
        let key = |producer| derive::producer_key(PartitionId(1), ProducerId(producer));
        // Every other producer has written since.
        let entries = (0..PRODUCERS).map(|id| (key(id), entry(id, id % 2)));
        let mut views = Counted {
            entries: entries.collect(),
            looked_at: Cell::new(0),
        };
        let (mut pages, mut forgotten) = (0, 0);
        let mut next = Some(Vec::new());
        while let Some(from) = next {
            let page = silent(&views, &from, 0).unwrap();
            next = page.next;
            pages += 1;
            forgotten += page.silent.len();
            for (partition, producer) in page.silent {
                let key = derive::producer_key(partition, producer);
                assert!(views.entries.remove(&key).is_some(), "{producer} again");
            }
        }
        assert_eq!(forgotten, PRODUCERS as usize / 2);
        let looked_at = views.looked_at.get();
        assert!(
            looked_at <= PRODUCERS as usize + pages,
            "{looked_at} of {PRODUCERS} in {pages} looks"
        );
    }

    #[test]
    fn more_than_one_look_finds_are_forgotten() {
        const PRODUCERS: i64 = 2 * PRODUCERS_EXPIRED_AT_ONCE as i64 + 1;
        let node = TestBroker::start(&[]);
        let id = node.create_topic("t", &[]);
        // The last of every three producers has written since.
        let updates = (0..PRODUCERS * 3).map(|producer| ViewUpdate {
            view: View::Producers,
            key: derive::producer_key(id, ProducerId(producer)),
            value: Some(entry(producer, producer % 3)),
        });
        let commit = Commit {
            entries: Vec::new(),
            updates: updates.collect(),
            append_ms: node.broker.log.clock.append_ms(),
        };
        node.broker.log.store.append(commit).unwrap();
        assert_eq!(expire_until(&node, 1), PRODUCERS as usize * 2);
        let left: Vec<i64> = (0..PRODUCERS).map(|number| number * 3 + 2).collect();
        assert_eq!(known(&node), left);
        assert_eq!(expire_until(&node, 1), 0);
    }
}
