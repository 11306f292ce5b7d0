//! The log of the coordinators' records, and the writer that appends to it.

use std::sync::Arc;

use sedge_core::log::{AppendError, Write};
use sedge_core::metadata::Topic;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_storage::{Error, ViewUpdate};

use super::log::follows;
use crate::log::Log;
use crate::writer::{AppendPart, Writer};

/// The log and its writer; see the module.
#[derive(Clone, Debug)]
pub struct Disk {
    pub log: Arc<Log>,
    pub writer: Writer,
}

impl Disk {
    /// Returns batches behind a partition's end as parts of an append, and adds to `updates` the
    /// offset up to which the view then follows. Only the journal appends to the partition, so its
    /// end does not move.
    ///
    /// # Errors
    /// The store cannot read the partition's bounds.
    pub fn parts(
        &self,
        topic: &Arc<Topic>,
        id: PartitionId,
        batches: Vec<Batch>,
        updates: &mut Vec<ViewUpdate>,
    ) -> Result<impl Iterator<Item = AppendPart> + use<>, Error> {
        let end = self.log.partition(id)?.high_watermark();
        let records = batches.iter().map(|batch| batch.header.record_count());
        updates.push(follows(id, end.plus(records.map(i64::from).sum())));
        let topic = Arc::clone(topic);
        Ok(batches.into_iter().map(move |batch| AppendPart {
            partition: id,
            topic: Arc::clone(&topic),
            write: Write::Plain,
            batch: Ok(Some(batch)),
            elsewhere: Vec::new(),
            awaits: None,
        }))
    }
}

/// Describes why the writer refuses.
pub fn reason(refusal: &AppendError) -> String {
    let AppendError { code, message, .. } = refusal;
    message.clone().unwrap_or_else(|| code.to_string())
}
