//! Reads what a link sends: the stored batches without aborted transactions, and what the link's
//! filters leave of them.

use std::sync::Arc;

use sedge_core::log::{AbortedBatches, AppendError};
use sedge_core::metadata::Topic;
use sedge_core::mirror::{self as plan, Prepared, Trouble};
use sedge_protocol::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;

use crate::log::transactions::aborted_among;

use super::link::Link;
use super::offset_log::add_spans;

impl Link {
    /// Reads batches, and prepares what the link's filters leave of them.
    ///
    /// # Errors
    /// The log cannot be read, or a filter fails. The text is for the log.
    pub(super) async fn batches(
        &mut self,
        read: plan::Read,
    ) -> Result<Vec<Prepared>, (Trouble, String)> {
        let unread = |error: sedge_storage::Error| (Trouble::Unread, error.to_string());
        let store = Arc::clone(&self.local.log.store);
        let log = &self.local.log;
        let partition = log.partition(read.partition).map_err(unread)?;
        let aborted = aborted_among(&*log.store, &partition, read.from, read.until);
        let mut aborted = AbortedBatches::new(aborted.map_err(unread)?);
        let keeps_offsets = self.config.keeps_offsets;
        let mut prepare = move |chunks: Vec<Bytes>| {
            let mut spans = Vec::new();
            let batches = chunks
                .into_iter()
                .flat_map(|mut chunk| std::iter::from_fn(move || Batch::split_from(&mut chunk)));
            let batches = batches.map(|batch| {
                let batch = aborted.left_out(batch);
                if keeps_offsets {
                    add_spans(&batch, &mut spans);
                }
                batch
            });
            (plan::pack(&read, batches), spans)
        };
        let stored = move || store.read(read.partition, read.from, read.until, read.bytes_max);
        let topic = self.filtered(read.partition);
        let Some((topic, index)) = topic else {
            let batches = blocking::unblock(move || stored().map(prepare)).await;
            let (batches, spans) = batches.map_err(unread)?;
            self.offsets.see(read.partition, read.from, spans);
            return Ok(batches);
        };
        let chunks = blocking::unblock(stored).await;
        let chunks = chunks.map_err(unread)?;
        let plugins = Arc::clone(&self.local.plugins);
        let left = plugins
            .sift_for_link(&mut self.filters, &topic, index, chunks)
            .await;
        let unfiltered = |error: AppendError| error.message.unwrap_or_default();
        let left = left.map_err(|error| (Trouble::Unfiltered, unfiltered(error)));
        let (left, left_out) = left?;
        self.metrics.filtered.add(left_out as u64);
        let (batches, spans) = blocking::unblock(move || prepare(left)).await;
        self.offsets.see(read.partition, read.from, spans);
        Ok(batches)
    }

    /// Returns the topic and the index of a partition, if the link has filters.
    fn filtered(&self, partition: PartitionId) -> Option<(Arc<Topic>, i32)> {
        if self.filters.is_empty() {
            return None;
        }
        let to = self.destinations.get(&partition)?;
        let topic = self.image.as_ref()?.topic(&to.topic)?;
        Some((Arc::clone(topic), to.index))
    }
}
