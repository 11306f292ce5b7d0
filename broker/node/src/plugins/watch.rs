//! Follows `__sedge_plugins`: what is there at the start, then each change.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::warn;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_storage::{Error, LogStore};

use crate::broker::Broker;
use crate::limits::REPLAY_READ_BYTES;
use crate::plugin_topic::{self, TOPIC};

/// Makes ready what is deployed. Blocks while it compiles; called before clients are served, so
/// that no batch passes by a filter. Gives where to go on.
///
/// # Errors
/// The topic cannot be read.
pub fn start(broker: &Broker) -> Result<Offset, Error> {
    let Some(id) = partition(broker) else {
        return Ok(Offset::ZERO);
    };
    // First who is there and where, then only the newest of each: components are large.
    let mut newest: BTreeMap<String, Option<Offset>> = BTreeMap::new();
    let end = each_batch(&*broker.store, id, Offset::ZERO, |batch| {
        let offset = batch.header.base_offset();
        changes(batch, |name, content| {
            newest.insert(name.to_owned(), content.map(|_| offset));
        });
    })?;
    for (name, offset) in newest {
        let Some(offset) = offset else {
            continue;
        };
        for mut bytes in broker.store.read(id, offset, offset.plus(1), 1)? {
            if let Some(batch) = Batch::split_from(&mut bytes) {
                changes(&batch, |changed, content| {
                    if changed == name {
                        broker.plugins.deploy(changed, content);
                    }
                });
            }
        }
    }
    Ok(end)
}

/// Takes changes as they come, until the task is dropped.
pub async fn run(broker: Arc<Broker>, from: Offset) {
    let mut next = from;
    loop {
        let grown = broker.listen_for_growth();
        let is_behind = partition(&broker)
            .and_then(|id| broker.partitions.get(&*broker.store, id).ok())
            .is_some_and(|partition| partition.high_watermark() > next);
        if !is_behind {
            grown.await;
            continue;
        }
        let applying = Arc::clone(&broker);
        next = blocking::unblock(move || apply(&applying, next)).await;
    }
}

fn apply(broker: &Broker, from: Offset) -> Offset {
    let Some(id) = partition(broker) else {
        return from;
    };
    let applied = each_batch(&*broker.store, id, from, |batch| {
        changes(batch, |name, content| broker.plugins.deploy(name, content));
    });
    applied.unwrap_or_else(|error| {
        warn!(target: "sedge::plugin", "{TOPIC} cannot be read: {error}");
        from
    })
}

fn partition(broker: &Broker) -> Option<PartitionId> {
    broker.metadata.load().topic(TOPIC)?.partition(0)
}

fn changes(batch: &Batch, mut each: impl FnMut(&str, Option<&[u8]>)) {
    let read = plugin_topic::each_change(batch, |change| each(change.name, change.content));
    if let Err(error) = read {
        let offset = batch.header.base_offset();
        warn!(target: "sedge::plugin", "{TOPIC} at offset {offset}: {error}; it is passed by");
    }
}

fn each_batch(
    store: &dyn LogStore,
    id: PartitionId,
    from: Offset,
    mut each: impl FnMut(&Batch),
) -> Result<Offset, Error> {
    let bounds = store.bounds(id)?;
    let mut next = from.max(bounds.log_start);
    while next < bounds.next_offset {
        let before = next;
        for mut bytes in store.read(id, next, bounds.next_offset, REPLAY_READ_BYTES)? {
            while let Some(batch) = Batch::split_from(&mut bytes) {
                next = next.max(batch.header.next_offset());
                each(&batch);
            }
        }
        if next == before {
            break;
        }
    }
    Ok(next)
}
