//! The coordinator's way into the log: one append at a time, everything that has gathered in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sedge_core::groups::Actions;
use sedge_core::metadata::Topic;
use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::ids::PartitionId;
use sedge_storage::ViewUpdate;

use super::log::{OFFSETS_TOPIC, batches, follows, partition_of};
use super::trim::Trim;
use crate::broker::Broker;
use crate::writer::AppendPart;

/// Writes what the outbox holds, for ever. `owed` are changes of the view that a crash has held up.
pub async fn write(broker: Arc<Broker>, mut owed: Vec<ViewUpdate>) {
    let groups = &broker.groups;
    forget_deleted_topics(&broker);
    let mut trim = Trim::default();
    loop {
        let filled = groups.filled.listen();
        let Some(outbox) = groups.take_outbox() else {
            filled.await;
            continue;
        };
        let written = append(&broker, &outbox.records, &mut owed, &mut trim).await;
        let has_grown = written.is_ok() && !outbox.records.is_empty();
        groups.finish(broker.clock.now(), outbox, written);
        if has_grown {
            trim.run(&broker).await;
        }
    }
}

/// A crash may have come between the deletion of a topic and that of its offsets.
fn forget_deleted_topics(broker: &Broker) {
    let image = broker.metadata.load();
    let now = broker.clock.now();
    broker.groups.act(|machine| {
        let offsets = machine.offsets();
        let topics = offsets
            .group_ids()
            .flat_map(|group_id| offsets.topics_of_group(group_id));
        let deleted: BTreeSet<String> = topics
            .filter(|topic| image.topic(topic).is_none())
            .map(ToOwned::to_owned)
            .collect();
        let mut actions = Actions::default();
        for topic in deleted {
            actions.append(machine.handle_topic_deleted(now, &topic));
        }
        actions
    });
}

/// # Errors
/// What those are told whose request these records are part of. `NOT_COORDINATOR` lets clients look
/// for the coordinator and ask again: it is what Kafka says when its disk fails it.
async fn append(
    broker: &Broker,
    records: &[CoordinatorRecord],
    owed: &mut Vec<ViewUpdate>,
    trim: &mut Trim,
) -> Result<(), ErrorCode> {
    if records.is_empty() {
        return Ok(());
    }
    let topic = offsets_topic(broker).await?;
    let mut by_partition: BTreeMap<PartitionId, Vec<&CoordinatorRecord>> = BTreeMap::new();
    for record in records {
        let id =
            partition_of(&topic, group_of(record)).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        by_partition.entry(id).or_default().push(record);
    }
    let mut parts = Vec::new();
    let mut sizes = Vec::new();
    let mut updates = owed.clone();
    let now_ms = broker.clock.now().wall_ms;
    for (id, records) in by_partition {
        let built = batches(id, records.into_iter(), now_ms, &mut updates).map_err(|error| {
            log::error!(target: "sedge::groups", "a group cannot be written: {error}");
            ErrorCode::UnknownServerError
        })?;
        // Only this task appends there, so the end is where these batches begin.
        let end = broker.partitions.get(&*broker.store, id).map_err(|error| {
            log::error!(target: "sedge::groups", "{OFFSETS_TOPIC} cannot be read: {error}");
            ErrorCode::NotCoordinator
        })?;
        let count: i64 = built
            .iter()
            .map(|batch| i64::from(batch.header.record_count()))
            .sum();
        sizes.push((id, built.iter().map(|batch| batch.bytes() as u64).sum()));
        updates.push(follows(id, end.high_watermark().plus(count)));
        parts.extend(built.into_iter().map(|batch| AppendPart {
            partition: id,
            topic: Arc::clone(&topic),
            sequence: None,
            batch: Some(batch),
        }));
    }
    let outcomes = broker.writer.append(parts, updates).await;
    let outcomes = outcomes.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
    for outcome in outcomes {
        if let Err(error) = outcome {
            log::warn!(target: "sedge::groups", "groups and offsets are not written: {error:?}");
            return Err(ErrorCode::NotCoordinator);
        }
    }
    owed.clear();
    for (id, bytes) in sizes {
        trim.grew(broker, id, bytes);
    }
    Ok(())
}

fn group_of(record: &CoordinatorRecord) -> &str {
    match record {
        CoordinatorRecord::Offset { key, .. } => &key.group,
        CoordinatorRecord::Group { group, .. } => group,
    }
}

/// The topic, made when it is first needed.
async fn offsets_topic(broker: &Broker) -> Result<Arc<Topic>, ErrorCode> {
    let image = broker.metadata.load();
    if let Some(topic) = image.topic(OFFSETS_TOPIC) {
        return Ok(Arc::clone(topic));
    }
    let partitions = image.defaults().number("offsets.topic.num.partitions");
    let partitions = i32::try_from(partitions).unwrap_or(1).max(1);
    let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    broker
        .create_topic(OFFSETS_TOPIC, partitions, configs)
        .await
        .map_err(|refusal| {
            log::warn!(
                target: "sedge::groups",
                "{OFFSETS_TOPIC} cannot be created: {}", refusal.message
            );
            ErrorCode::CoordinatorNotAvailable
        })?;
    let image = broker.metadata.load();
    image
        .topic(OFFSETS_TOPIC)
        .cloned()
        .ok_or(ErrorCode::CoordinatorNotAvailable)
}
