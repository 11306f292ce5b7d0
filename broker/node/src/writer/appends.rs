//! Appends: a unit is judged whole, and then applied or refused whole.

use sedge_core::log::{AppendError, Planned};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_storage::Entry;

use super::room::of_parts;
use super::round::Round;
use super::{AppendPart, AppendReply, Appended, Unit, partition};

impl Round<'_> {
    pub(super) fn plan_unit(&mut self, unit: Unit) -> AppendReply {
        let Unit { parts, updates } = unit;
        let planned = match self.judge(&parts) {
            Ok(planned) => planned,
            Err(error) => {
                self.refuse(&parts);
                return parts.iter().map(|_| Err(error.clone())).collect();
            }
        };
        let with_verdicts = parts.into_iter().zip(planned);
        let outcomes = with_verdicts.map(|(part, planned)| self.apply(part, &planned));
        let outcomes = outcomes.map(Ok).collect();
        self.commit.updates.extend(updates);
        outcomes
    }

    /// What to do with each part, for which there is room; or why nothing is done with any.
    fn judge(&mut self, parts: &[AppendPart]) -> Result<Vec<Planned>, AppendError> {
        let planned = parts.iter().map(|part| self.judge_part(part));
        let planned: Vec<Planned> = planned.collect::<Result<_, _>>()?;
        // What is in the log already needs no room.
        let new = parts.iter().zip(&planned);
        let new = new.filter(|(_, planned)| matches!(planned, Planned::Append { .. }));
        let room = of_parts(new.map(|(part, _)| part));
        room.map_or(Ok(()), |room| self.take(room))
            .map_err(|refusal| partition::storage_error(&refusal))?;
        Ok(planned)
    }

    fn judge_part(&mut self, part: &AppendPart) -> Result<Planned, AppendError> {
        let image = self.state.controller.image();
        if image.topic_by_id(part.topic.id).is_none() {
            // Deleted while the batch was on its way.
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let partition = self.state.partitions.get(self.log, part.partition);
        let partition = partition.map_err(|error| partition::storage_error(&error))?;
        match &part.batch {
            Ok(_) => partition.plan(part.sequence.as_ref()),
            Err(refused) => Err(refused.clone()),
        }
    }

    /// What their producers sent behind them may not come before them.
    fn refuse(&mut self, parts: &[AppendPart]) {
        for part in parts {
            let partition = self.state.partitions.find(part.partition);
            if let Some((partition, range)) = partition.zip(part.sequence.as_ref()) {
                partition.log.producers.refuse(range);
            }
        }
    }

    fn apply(&mut self, part: AppendPart, planned: &Planned) -> Appended {
        let AppendPart {
            partition: id,
            topic,
            sequence,
            batch,
        } = part;
        let epoch = self.state.controller.image().leader_epoch();
        let partition = self.state.partitions.known(id);
        let log_start = partition.log.log_start();
        let is_log_append_time = topic.config.is_log_append_time();
        if let Planned::Duplicate(written) = planned {
            // Acknowledged once more: it is as durable as the topic asks for by now.
            self.must_sync |= self.log.is_sync(&topic.config);
            return Appended {
                base_offset: written.base_offset,
                log_append_time_ms: is_log_append_time.then_some(written.timestamp_ms),
                log_start,
            };
        }
        let base_offset = partition.log.next_offset();
        let mut log_append_time_ms = None;
        // One that was refused is not planned.
        let batch = batch.ok().flatten().map(|mut batch| {
            batch.header.set_base_offset(base_offset);
            batch.header.set_leader_epoch(epoch);
            if is_log_append_time {
                batch
                    .header
                    .set_log_append_time(self.now.wall_ms, &batch.body);
                log_append_time_ms = Some(self.now.wall_ms);
            }
            batch
        });
        let header = batch.as_ref().map(|batch| &batch.header);
        partition.apply(
            id,
            sequence.as_ref(),
            header,
            (self.now, self.commit.append_ms),
            &mut self.commit.updates,
        );
        if let Some(batch) = batch {
            self.must_sync |= self.log.is_sync(&topic.config);
            self.push_batch(id, batch);
        }
        Appended {
            base_offset,
            log_append_time_ms,
            log_start,
        }
    }

    pub(super) fn push_batch(&mut self, id: PartitionId, batch: Batch) {
        self.grown.push((id, batch.bytes()));
        match self.commit.entries.last_mut() {
            Some(Entry::Append { partition, batches }) if *partition == id => batches.push(batch),
            _ => self.commit.entries.push(Entry::Append {
                partition: id,
                batches: vec![batch],
            }),
        }
    }
}
