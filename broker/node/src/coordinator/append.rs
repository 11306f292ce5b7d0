//! Appends units to the log: one append at a time, with as many units as fit.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::{error, warn};
use sedge_core::log::Write;
use sedge_core::metadata::{CommandError, Image, Topic};
use sedge_core::shard::StateTopic;
use sedge_core::transactions::Ending;
use sedge_protocol::ErrorCode;
use sedge_protocol::error::Error;
use sedge_protocol::ids::PartitionId;
use sedge_storage::ViewUpdate;

use super::disk::{Disk, reason};
use super::log::{Behind, Gathered, followed, missed, partition_of, update};
use super::outbox::Unit;
use super::trim::Trim;
use crate::limits::COORDINATOR_APPEND_BYTES;
use crate::writer::{AppendPart, Stopped};

/// Appends the journal's records to the log.
pub struct Appender {
    disk: Disk,
    /// Partitions whose view lags behind the log.
    behind: Vec<Behind>,
    trim: Trim,
}

/// One append under construction.
#[derive(Default)]
struct Append {
    topics: BTreeMap<&'static str, Arc<Topic>>,
    partitions: BTreeMap<PartitionId, (Arc<Topic>, Gathered)>,
    markers: Vec<AppendPart>,
    updates: Vec<ViewUpdate>,
}

/// How often an append begins again because a topic of a marker was deleted while it waited.
const TOPICS_DELETED_MEANWHILE_MAX: u32 = 16;

/// Returns how many of the units go into the next append, at least one.
pub fn of_one_append(units: &[Unit]) -> usize {
    let mut bytes = 0;
    let fits = |unit: &&Unit| {
        let is_first = bytes == 0;
        bytes += unit.bytes;
        is_first || bytes <= COORDINATOR_APPEND_BYTES
    };
    units.iter().take_while(fits).count()
}

impl Appender {
    pub fn new(disk: Disk, behind: Vec<Behind>) -> Self {
        Self {
            disk,
            behind,
            trim: Trim::default(),
        }
    }

    /// Writes the units as one append.
    ///
    /// # Errors
    /// The error code for the requests of these units. `NOT_COORDINATOR` makes clients look for the
    /// coordinator and retry: Kafka answers it when its disk fails.
    pub async fn append(&mut self, units: &[Unit]) -> Result<(), ErrorCode> {
        self.catch_up().await?;
        for _ in 0..TOPICS_DELETED_MEANWHILE_MAX {
            let append = self.gather(units).await?;
            match self.write(append).await {
                // The markers of a topic that was deleted meanwhile are left out.
                Err(ErrorCode::UnknownTopicOrPartition) => {}
                outcome => return outcome,
            }
        }
        Err(ErrorCode::NotCoordinator)
    }

    async fn gather(&self, units: &[Unit]) -> Result<Append, ErrorCode> {
        let mut append = Append::default();
        let now_ms = self.disk.log.clock.now().wall_ms;
        for records in units.iter().flat_map(|unit| &unit.records) {
            let topic = self.topic(records.topic(), &mut append.topics).await?;
            let mut pushed = Ok(());
            let encoded = records.encode(&mut |key, encoded| {
                if pushed.is_ok() {
                    pushed = append.push(&topic, key, encoded, now_ms);
                }
            });
            encoded.map_err(|failure| not_encoded(&failure))?;
            pushed?;
        }
        for ending in units.iter().flat_map(|unit| &unit.endings) {
            let markers = markers(&self.disk.log.metadata.load(), ending, now_ms);
            append
                .markers
                .extend(markers.map_err(|failure| not_encoded(&failure))?);
        }
        Ok(append)
    }

    /// Writes an append.
    ///
    /// # Errors
    /// As for [`Self::append`]; `UNKNOWN_TOPIC_OR_PARTITION` if a topic of a marker is gone.
    async fn write(&mut self, append: Append) -> Result<(), ErrorCode> {
        let mut parts = append.markers;
        let has_markers = !parts.is_empty();
        let mut sizes = Vec::new();
        let mut updates = append.updates;
        for (id, (topic, gathered)) in append.partitions {
            let batches = gathered.finish().map_err(|failure| not_encoded(&failure))?;
            let bytes = batches.iter().map(|batch| batch.bytes() as u64).sum();
            sizes.push((Arc::clone(&topic), id, bytes));
            let of_partition = self.disk.parts(&topic, id, batches, &mut updates);
            parts.extend(of_partition.map_err(|failure| {
                error!(target: "sedge::groups", "{} cannot be read: {failure}", topic.name);
                ErrorCode::NotCoordinator
            })?);
        }
        let outcomes = self.disk.writer.append(parts, updates).await;
        let outcomes = outcomes.map_err(|Stopped| ErrorCode::CoordinatorNotAvailable)?;
        // The parts are one unit of the writer, which refuses all of them or none.
        if let Some(refusal) = outcomes.into_iter().find_map(Result::err) {
            if has_markers && refusal.code == ErrorCode::UnknownTopicOrPartition {
                return Err(refusal.code);
            }
            let why = reason(&refusal);
            warn!(
                target: "sedge::groups",
                "groups, offsets and transactions cannot be written: {why}"
            );
            return Err(ErrorCode::NotCoordinator);
        }
        for (topic, id, bytes) in sizes {
            self.trim.grew(&self.disk, &topic, id, bytes);
        }
        Ok(())
    }

    /// Trims what has grown too large.
    pub async fn trim(&mut self) {
        self.trim.run(&self.disk).await;
    }

    /// Adds to the views what they lack of the log. Nothing may be appended before, since the
    /// append would mark a view as following the log.
    ///
    /// # Errors
    /// The log cannot be read, or the disk refuses writes now.
    pub async fn catch_up(&mut self) -> Result<(), ErrorCode> {
        while let Some(Behind { topic, id, from }) = self.behind.last_mut() {
            let failed = |failure: sedge_storage::Error| {
                error!(target: "sedge::groups", "{topic} cannot be read: {failure}");
                ErrorCode::NotCoordinator
            };
            let store = &self.disk.log.store;
            if *from >= store.bounds(*id).map_err(failed)?.next_offset {
                self.behind.pop();
                continue;
            }
            let (at, of_task) = ((*id, *from), Arc::clone(store));
            let missed = blocking::unblock(move || missed(&*of_task, at.0, at.1)).await;
            let (updates, next) = missed.map_err(failed)?;
            let told = self.disk.writer.append(Vec::new(), updates).await;
            told.map_err(|Stopped| ErrorCode::CoordinatorNotAvailable)?;
            if followed(&**store, *id).map_err(failed)? != Some(next) {
                // The disk refuses writes now.
                return Err(ErrorCode::NotCoordinator);
            }
            *from = next;
        }
        Ok(())
    }

    /// Returns the topic, and creates it when it is first needed.
    async fn topic(
        &self,
        wanted: StateTopic,
        known: &mut BTreeMap<&'static str, Arc<Topic>>,
    ) -> Result<Arc<Topic>, ErrorCode> {
        if let Some(topic) = known.get(wanted.name) {
            return Ok(Arc::clone(topic));
        }
        let found = self.disk.log.metadata.load().topic(wanted.name).cloned();
        let topic = match found {
            Some(topic) => topic,
            None => self.create(wanted).await?,
        };
        known.insert(wanted.name, Arc::clone(&topic));
        Ok(topic)
    }

    async fn create(&self, wanted: StateTopic) -> Result<Arc<Topic>, ErrorCode> {
        let StateTopic {
            name,
            partitions_key,
        } = wanted;
        let partitions = self
            .disk
            .log
            .metadata
            .load()
            .defaults()
            .number(partitions_key);
        let partitions = i32::try_from(partitions).unwrap_or(1).max(1);
        let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
        let created = self
            .disk
            .writer
            .create_topic(name, partitions, configs)
            .await;
        if let Err(CommandError { message: why, .. }) =
            created.map_err(|Stopped| ErrorCode::CoordinatorNotAvailable)?
        {
            warn!(target: "sedge::groups", "{name} cannot be created: {why}");
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let found = self.disk.log.metadata.load().topic(name).cloned();
        found.ok_or(ErrorCode::CoordinatorNotAvailable)
    }
}

impl Append {
    /// Adds a record.
    ///
    /// # Errors
    /// The topic has no partition for the record, or a text is too long.
    fn push(
        &mut self,
        topic: &Arc<Topic>,
        partition_key: &str,
        (key, value): (Vec<u8>, Option<Vec<u8>>),
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        let id = partition_of(topic, partition_key).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let new = || (Arc::clone(topic), Gathered::default());
        let (_, gathered) = self.partitions.entry(id).or_insert_with(new);
        let pushed = gathered.push(now_ms, &key, value.as_deref());
        pushed.map_err(|failure| not_encoded(&failure))?;
        self.updates.push(update(id, &key, value));
        Ok(())
    }
}

/// Returns the markers of a transaction, in the partitions that exist. The broker's own topics get
/// none: what a transaction writes to `__consumer_offsets` is in its records.
fn markers(image: &Image, ending: &Ending, now_ms: i64) -> Result<Vec<AppendPart>, Error> {
    let marker = ending.marker;
    let mut parts = Vec::new();
    for (topic, indexes) in &ending.partitions {
        let topic = image.topic(topic).filter(|topic| !topic.is_internal);
        for (topic, id) in topic.iter().flat_map(|topic| {
            let ids = indexes.iter().filter_map(|index| topic.partition(*index));
            ids.map(move |id| (topic, id))
        }) {
            let batch = marker.end.batch(marker.producer_id, marker.epoch, now_ms)?;
            parts.push(AppendPart {
                partition: id,
                topic: Arc::clone(topic),
                write: Write::OwnMarker(marker),
                batch: Ok(Some(batch)),
                elsewhere: Vec::new(),
                awaits: None,
            });
        }
    }
    Ok(parts)
}

fn not_encoded(failure: &Error) -> ErrorCode {
    error!(target: "sedge::groups", "a group cannot be encoded: {failure}");
    ErrorCode::UnknownServerError
}
