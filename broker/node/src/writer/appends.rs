//! Appends: a unit is judged as a whole, and then applied or refused as a whole.

use std::sync::Arc;

use sedge_core::log::derive::Derived;
use sedge_core::log::{AppendError, Planned, Write};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_storage::Entry;

use super::room::of_parts;
use super::round::Round;
use super::settlement::{Ended, Grown};
use super::{AppendPart, AppendReply, Appended, Unit, partition};
use crate::log::views;

impl Round<'_> {
    /// Plans a unit, and adds an outcome for each of its parts.
    pub(super) fn plan_unit(&mut self, unit: Unit, outcomes: &mut AppendReply) {
        let Unit { parts, updates } = unit;
        let planned = match self.judge(&parts) {
            Ok(planned) => planned,
            Err(error) => {
                self.refuse(&parts);
                outcomes.extend(parts.iter().map(|_| Err(error.clone())));
                return;
            }
        };
        let with_verdicts = parts.into_iter().zip(planned);
        let applied = with_verdicts.map(|(part, planned)| Ok(self.apply(part, &planned)));
        outcomes.extend(applied);
        self.commit.updates.extend(updates);
    }

    /// Decides on each part and reserves room for all; or returns the reason why none is applied.
    fn judge(&mut self, parts: &[AppendPart]) -> Result<Vec<Planned>, AppendError> {
        let planned = parts.iter().map(|part| self.judge_part(part));
        let planned: Vec<Planned> = planned.collect::<Result<_, _>>()?;
        // Batches that are already in the log need no room.
        let new = parts.iter().zip(&planned);
        let new = new.filter(|(_, planned)| matches!(planned, Planned::Append));
        let room = of_parts(new.map(|(part, _)| part));
        room.map_or(Ok(()), |room| self.take(room))
            .map_err(|refusal| partition::storage_error(&refusal))?;
        Ok(planned)
    }

    fn judge_part(&mut self, part: &AppendPart) -> Result<Planned, AppendError> {
        let image = self.state.controller.image();
        let mut topics = part.topics();
        if topics.any(|topic| image.topic_by_id(topic.id).is_none()) {
            // The topic was deleted while the batch was queued.
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        for elsewhere in &part.elsewhere {
            let partition = self.state.partitions.get(self.log, elsewhere.partition);
            partition.map_err(|error| partition::storage_error(&error))?;
        }
        let partition = self.state.partitions.get(self.log, part.partition);
        let partition = partition.map_err(|error| partition::storage_error(&error))?;
        match &part.batch {
            Ok(_) => partition.log.plan(&part.write),
            Err(refused) => Err(refused.clone()),
        }
    }

    /// Records refused batches, so that later ones of their producers do not overtake them.
    fn refuse(&mut self, parts: &[AppendPart]) {
        for part in parts {
            if let Some(partition) = self.state.partitions.find(part.partition) {
                partition.log.refuse(&part.write);
            }
        }
    }

    fn apply(&mut self, part: AppendPart, planned: &Planned) -> Appended {
        let (id, write) = (part.partition, part.write);
        let config = &part.topic.config;
        let log = &self.state.partitions.known(id).log;
        let log_start = log.log_start();
        let is_log_append_time = config.is_log_append_time();
        // A repeat is acknowledged again, so it must now be as durable as the topic requires.
        let must_sync = part.topics().any(|topic| self.log.is_sync(&topic.config));
        if let Planned::Duplicate(written) = planned {
            self.must_sync |= must_sync;
            return Appended {
                base_offset: written.base_offset,
                log_append_time_ms: is_log_append_time.then_some(written.timestamp_ms),
                log_start,
            };
        }
        let base_offset = log.next_offset();
        self.must_sync |= must_sync && part.batches().next().is_some();
        let now_ms = self.now.wall_ms;
        let stamp = |batch: &mut Batch| {
            batch.header.set_log_append_time(now_ms, &batch.body);
            now_ms
        };
        // A refused batch is not planned.
        let mut batch = part.batch.ok().flatten();
        let stamped = batch.as_mut().filter(|_| is_log_append_time);
        let log_append_time_ms = stamped.map(stamp);
        self.write(id, &write, batch);
        for elsewhere in part.elsewhere {
            let topic = elsewhere.topic.as_ref().unwrap_or(&part.topic);
            let mut batch = elsewhere.batch;
            if topic.config.is_log_append_time() {
                stamp(&mut batch);
            }
            self.write(elsewhere.partition, &Write::default(), Some(batch));
        }
        if let Some(awaits) = part.awaits {
            awaits.applied();
            self.settlement.awaiting.push(awaits);
        }
        Appended {
            base_offset,
            log_append_time_ms,
            log_start,
        }
    }

    /// Writes a planned batch at the end of a partition: adds it to the commit, with its view
    /// updates.
    pub(super) fn write(&mut self, id: PartitionId, write: &Write, mut batch: Option<Batch>) {
        if let Some(batch) = &mut batch {
            let end = self.state.partitions.known(id).log.next_offset();
            batch.header.set_base_offset(end);
        }
        self.write_at_its_offset(id, write, batch);
    }

    /// Like [`Self::write`]; the batch has an offset, which is not below the end of the partition.
    pub(super) fn write_at_its_offset(
        &mut self,
        id: PartitionId,
        write: &Write,
        mut batch: Option<Batch>,
    ) {
        let epoch = self.state.controller.image().leader_epoch();
        let log = &mut self.state.partitions.known(id).log;
        if let Some(batch) = &mut batch {
            batch.header.set_leader_epoch(epoch);
        }
        let updates = &mut self.commit.updates;
        let header = batch.as_ref().map(|batch| &batch.header);
        let mut is_aborted = false;
        log.apply(id, write, header, self.now, |change| {
            is_aborted |= change.view == Derived::Aborted;
            updates.push(views::update(change));
        });
        if let (Write::Marker(_) | Write::OwnMarker(_), Some(batch)) = (write, &batch) {
            let at = batch.header.base_offset();
            self.settlement.ended.push(Ended {
                partition: Arc::clone(&self.state.partitions.known(id).published),
                aborted_at: is_aborted.then_some(at),
            });
        }
        if let Some(batch) = batch {
            self.push_batch(id, batch);
        }
    }

    fn push_batch(&mut self, id: PartitionId, batch: Batch) {
        let grown = self.state.partitions.known(id);
        self.settlement.grown.push(Grown {
            partition: Arc::clone(&grown.published),
            bytes: batch.bytes(),
            high_watermark: grown.log.next_offset(),
            last_stable_offset: grown.log.last_stable_offset(),
        });
        match self.commit.entries.last_mut() {
            Some(Entry::Append { partition, batches }) if *partition == id => batches.push(batch),
            _ => self.commit.entries.push(Entry::Append {
                partition: id,
                batches: vec![batch],
            }),
        }
    }
}
