//! Batches that a pull link copies: they keep the offsets that they have upstream.

use sedge_core::log::{AppendError, Write};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::Offset;

use super::room::of_batches;
use super::round::Round;
use super::{Copied, partition};

impl Round<'_> {
    /// Writes the batches, or returns the reason why none of them is written. The result is the end
    /// of the log.
    pub(super) fn plan_copy(&mut self, copy: Copied) -> Result<Offset, AppendError> {
        let id = copy.partition;
        let image = self.state.controller.image();
        if image.topic_by_id(copy.topic.id).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let failed = |error| partition::storage_error(&error);
        let here = self.state.partitions.get(self.log, id).map_err(failed)?;
        let end = here.log.next_offset();
        let in_order = |end: Offset, batch: &Batch| {
            (batch.header.base_offset() >= end).then(|| batch.header.next_offset())
        };
        if copy.batches.iter().try_fold(end, in_order).is_none() {
            let why = format!("the log ends at {end} by now");
            return Err(AppendError::new(ErrorCode::OffsetOutOfRange, why));
        }
        self.take(of_batches(copy.batches.iter())).map_err(failed)?;
        self.must_sync |= self.log.is_sync(&copy.topic.config);
        for batch in copy.batches {
            self.write_at_its_offset(id, &Write::default(), Some(batch));
        }
        Ok(self.state.partitions.known(id).log.next_offset())
    }
}
