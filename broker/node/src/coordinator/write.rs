//! The coordinator's way into the log: one append at a time, everything that has gathered in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_core::metadata::{CommandError, Image, Topic};
use sedge_protocol::ErrorCode;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::kafka::KafkaUuid;

use super::journal::Journal;
use super::log::{
    OFFSETS_TOPIC, Unwritten, batches, bytes_of, followed, follows, missed, partition_of,
};
use super::trim::Trim;
use super::{Groups, Outbox};
use crate::limits::COORDINATOR_APPEND_BYTES;
use crate::log::Log;
use crate::writer::{AppendPart, Stopped};

/// Writes what the outbox holds, for ever, and first what a start found unwritten.
pub async fn write(groups: Arc<Groups>, journal: Journal, unwritten: Unwritten) {
    let Unwritten {
        adopted,
        mut behind,
    } = unwritten;
    // Where it cannot be told now, it is before the first append.
    let _ = catch_up(&journal, &mut behind).await;
    groups.act(|_| adopted);
    forget_deleted_topics(&groups, &journal.log);
    let mut trim = Trim::default();
    loop {
        let filled = groups.filled.listen();
        let Some(outbox) = groups.take_outbox() else {
            filled.await;
            continue;
        };
        let Outbox { records, releases } = outbox;
        let mut rest = &records[..];
        let mut written = Ok(());
        while !rest.is_empty() && written.is_ok() {
            let (part, later) = rest.split_at(of_one_append(rest));
            written = append(&journal, part, &mut behind, &mut trim).await;
            if written.is_ok() {
                groups.apply(journal.log.clock.now(), part);
                rest = later;
            }
        }
        let has_grown = rest.len() < records.len();
        groups.finish(journal.log.clock.now(), rest, releases, written);
        if has_grown {
            // A topic that went while its commits were on their way: whoever deleted it did not see
            // them.
            let image = journal.log.metadata.load();
            if records.iter().any(|record| is_of_no_topic(record, &image)) {
                forget_deleted_topics(&groups, &journal.log);
            }
            trim.run(&journal).await;
        }
    }
}

/// Removes what groups have committed of topics that are not there any more. Their successors of
/// the same name have other ids, so nobody is misled until then.
pub fn forget_deleted_topics(groups: &Groups, log: &Log) {
    let now = log.clock.now();
    groups.act(|machine| {
        // Loaded behind the lock, so it has every topic of which an offset was taken.
        let image = log.metadata.load();
        machine.handle_deleted_topics(now, |topic, id| is_there(&image, topic, id))
    });
}

fn is_of_no_topic(record: &CoordinatorRecord, image: &Image) -> bool {
    match record {
        CoordinatorRecord::Offset {
            key,
            value: Some(value),
        } => !is_there(image, &key.topic, value.topic_id),
        _ => false,
    }
}

fn is_there(image: &Image, topic: &str, id: Option<KafkaUuid>) -> bool {
    image.topic(topic).is_some_and(|topic| Some(topic.id) == id)
}

/// How many of the records go into the next append: one at least.
fn of_one_append(records: &[CoordinatorRecord]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&CoordinatorRecord| {
        let is_first = bytes == 0;
        bytes += bytes_of(record);
        is_first || bytes <= COORDINATOR_APPEND_BYTES
    };
    records.iter().take_while(fits).count()
}

/// Tells the view what it misses of the log: until then nothing may be appended, since the view
/// would say that it follows up to there.
async fn catch_up(
    journal: &Journal,
    behind: &mut Vec<(PartitionId, Offset)>,
) -> Result<(), ErrorCode> {
    while let Some((id, from)) = behind.last_mut() {
        let failed = |error: sedge_storage::Error| {
            log::error!(target: "sedge::groups", "{OFFSETS_TOPIC} cannot be read: {error}");
            ErrorCode::NotCoordinator
        };
        if *from >= journal.log.store.bounds(*id).map_err(failed)?.next_offset {
            behind.pop();
            continue;
        }
        let (store, at) = (Arc::clone(&journal.log.store), (*id, *from));
        let missed = blocking::unblock(move || missed(&*store, at.0, at.1)).await;
        let (updates, next) = missed.map_err(failed)?;
        let told = journal.writer.append(Vec::new(), updates).await;
        told.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        if followed(&*journal.log.store, *id).map_err(failed)? != Some(next) {
            // The disk takes nothing now.
            return Err(ErrorCode::NotCoordinator);
        }
        *from = next;
    }
    Ok(())
}

/// # Errors
/// What those are told whose request these records are part of. `NOT_COORDINATOR` lets clients look
/// for the coordinator and ask again: it is what Kafka says when its disk fails it.
async fn append(
    journal: &Journal,
    records: &[CoordinatorRecord],
    behind: &mut Vec<(PartitionId, Offset)>,
    trim: &mut Trim,
) -> Result<(), ErrorCode> {
    catch_up(journal, behind).await?;
    let topic = offsets_topic(journal).await?;
    let mut by_partition: BTreeMap<PartitionId, Vec<&CoordinatorRecord>> = BTreeMap::new();
    for record in records {
        let id =
            partition_of(&topic, group_of(record)).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        by_partition.entry(id).or_default().push(record);
    }
    let mut parts = Vec::new();
    let mut sizes = Vec::new();
    let mut updates = Vec::new();
    let now_ms = journal.log.clock.now().wall_ms;
    for (id, records) in by_partition {
        let built = batches(id, records.into_iter(), now_ms, &mut updates).map_err(|error| {
            log::error!(target: "sedge::groups", "a group cannot be encoded: {error}");
            ErrorCode::UnknownServerError
        })?;
        // Only this task appends there, so the end is where these batches begin.
        let end = journal.log.partition(id).map_err(|error| {
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
            batch: Ok(Some(batch)),
        }));
    }
    let outcomes = journal.writer.append(parts, updates).await;
    let outcomes = outcomes.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
    for outcome in outcomes {
        if let Err(error) = outcome {
            log::warn!(target: "sedge::groups", "groups and offsets cannot be written: {error:?}");
            return Err(ErrorCode::NotCoordinator);
        }
    }
    for (id, bytes) in sizes {
        trim.grew(&journal.log, id, bytes);
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
async fn offsets_topic(journal: &Journal) -> Result<Arc<Topic>, ErrorCode> {
    let image = journal.log.metadata.load();
    if let Some(topic) = image.topic(OFFSETS_TOPIC) {
        return Ok(Arc::clone(topic));
    }
    let partitions = image.defaults().number("offsets.topic.num.partitions");
    let partitions = i32::try_from(partitions).unwrap_or(1).max(1);
    let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let created = journal
        .writer
        .create_topic(OFFSETS_TOPIC, partitions, configs)
        .await;
    match created {
        Ok(Ok(())) => {}
        Ok(Err(CommandError { message: why, .. })) => {
            log::warn!(target: "sedge::groups", "{OFFSETS_TOPIC} cannot be created: {why}");
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        Err(Stopped) => return Err(ErrorCode::CoordinatorNotAvailable),
    }
    let image = journal.log.metadata.load();
    image
        .topic(OFFSETS_TOPIC)
        .cloned()
        .ok_or(ErrorCode::CoordinatorNotAvailable)
}
