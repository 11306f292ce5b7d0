//! `producer.id.expiration.ms`: what a producer wrote last is forgotten when it has been silent for
//! so long, by the append clock. One that comes back after that may go on with any sequence, as in
//! Kafka.
//!
//! The views are looked through, as they know every producer; the writer, which may know better,
//! does it. A rebuild of the views brings forgotten producers back with the time of their records,
//! and the next look takes them again.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use log::{debug, warn};
use sedge_core::log::producers::{self, ProducerEntry};
use sedge_protocol::ids::{PartitionId, ProducerId};
use sedge_storage::{Error, View};

use crate::broker::Broker;
use crate::limits::PRODUCERS_EXPIRED_AT_ONCE;
use crate::writer::Stopped;

/// Runs until the task is dropped.
pub async fn run(broker: Arc<Broker>) {
    loop {
        let number = |key: &str| broker.metadata.load().defaults().number(key);
        let interval = number("producer.id.expiration.check.interval.ms");
        Timer::after(Duration::from_millis(interval.max(1).cast_unsigned())).await;
        let expiration = number("producer.id.expiration.ms");
        let until_ms = broker.clock.append_ms().saturating_sub(expiration);
        match expire(&broker, until_ms).await {
            Ok(0) => {}
            Ok(count) => debug!(target: "sedge::log", "{count} silent producers are forgotten"),
            Err(Stopped) => return,
        }
    }
}

/// Forgets who has not written since `until_ms`, and says how many that were.
async fn expire(broker: &Arc<Broker>, until_ms: i64) -> Result<usize, Stopped> {
    let mut count = 0;
    loop {
        let looking = Arc::clone(broker);
        let found = match blocking::unblock(move || silent(&looking, until_ms)).await {
            Ok(found) => found,
            Err(failure) => {
                warn!(target: "sedge::log", "producers cannot be looked through: {failure}");
                return Ok(count);
            }
        };
        let is_all = found.len() < PRODUCERS_EXPIRED_AT_ONCE;
        if found.is_empty() {
            return Ok(count);
        }
        let forgotten = broker.writer.expire_producers(found, until_ms).await?;
        count += forgotten;
        // None: they have written since, or the disk is full. The next look is soon enough.
        if is_all || forgotten == 0 {
            return Ok(count);
        }
    }
}

/// Some of those who have been silent.
fn silent(broker: &Broker, until_ms: i64) -> Result<Vec<(PartitionId, ProducerId)>, Error> {
    let mut found = Vec::new();
    let store = &broker.store;
    store.view_scan(View::Producers, &[], &mut |key, value| {
        let is_silent = |entry: ProducerEntry| entry.last_ms() <= until_ms;
        if found.len() < PRODUCERS_EXPIRED_AT_ONCE
            && ProducerEntry::decode(value).is_some_and(is_silent)
        {
            found.extend(producers::parse_view_key(key));
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use futures_lite::future;
    use sedge_core::log::SequenceRange;
    use sedge_protocol::ErrorCode;
    use sedge_protocol::ids::{Offset, ProducerEpoch};
    use sedge_protocol::records::{BatchBuilder, Compression, Producer};

    use super::*;
    use crate::test_broker::TestBroker;
    use crate::writer::AppendPart;

    /// The offset that a record of this sequence got, as a client's would.
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
            topic: Arc::clone(node.broker.metadata.load().topic("t").unwrap()),
            sequence: SequenceRange::of(&batch.header),
            batch: Some(batch),
        };
        let reply = future::block_on(node.broker.writer.append(vec![part], Vec::new()));
        let outcome = reply.unwrap().remove(0);
        outcome
            .map(|appended| appended.base_offset)
            .map_err(|error| error.code)
    }

    fn known(node: &TestBroker) -> Vec<i64> {
        let mut known = Vec::new();
        let mut each = |key: &[u8], _: &[u8]| known.extend(producers::parse_view_key(key));
        let store = &node.broker.store;
        store.view_scan(View::Producers, &[], &mut each).unwrap();
        known
            .into_iter()
            .map(|(_, producer)| producer.get())
            .collect()
    }

    fn expire_until(node: &TestBroker, until_ms: i64) -> usize {
        future::block_on(expire(&node.broker, until_ms)).unwrap()
    }

    #[test]
    fn silent_producers_are_forgotten_and_others_are_not() {
        let mut node = TestBroker::start(&[]);
        node.create_topic("t", &[]);
        assert_eq!(produce(&node, 7, 0), Ok(Offset(0)));
        let first_ms = node.broker.clock.append_ms();
        assert_eq!(expire_until(&node, first_ms - 3_600_000), 0);
        let out_of_order = Err(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(produce(&node, 7, 55), out_of_order);
        // The clock goes on before the other one writes.
        while node.broker.clock.append_ms() <= first_ms {
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

        // The partition is not in the writer's memory yet, and a rebuild knows all of them.
        for without_views in [false, true] {
            node = node.restart(without_views);
            assert_eq!(known(&node), [7, 8], "without views: {without_views}");
            assert_eq!(expire_until(&node, first_ms), 0);
        }
        let now_ms = node.broker.clock.append_ms();
        assert_eq!(expire_until(&node, now_ms), 2);
        assert_eq!(known(&node), [0; 0]);
        assert_eq!(produce(&node, 8, 99), Ok(Offset(3)));
    }

    #[test]
    fn what_was_written_meanwhile_counts() {
        let node = TestBroker::start(&[]);
        node.create_topic("t", &[]);
        produce(&node, 7, 0).unwrap();
        let found = silent(&node.broker, i64::MAX).unwrap();
        assert_eq!(found, [(node.partition("t"), ProducerId(7))]);
        // As if it had written behind the look.
        let forgotten = node.broker.writer.expire_producers(found, 0);
        assert_eq!(future::block_on(forgotten).unwrap(), 0);
        assert_eq!(known(&node), [7]);
    }
}
