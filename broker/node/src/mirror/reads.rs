//! Reads what a link sends: the stored batches without aborted transactions, and what the link's
//! filters leave of them.

use std::sync::Arc;

use sedge_core::log::{AbortedBatches, AppendError};
use sedge_core::metadata::Topic;
use sedge_core::mirror::{self as plan, Prepared, Trouble};
use sedge_protocol::Bytes;
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::PartitionId;
use sedge_storage::{Chunk, LogStore, ReadLimits, Wait};

use crate::log::transactions::aborted_among;

use super::limits;
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
        let log = &self.local.log;
        let partition = log.partition(read.partition).map_err(unread)?;
        let aborted = aborted_among(&*log.store, &partition, read.from, read.until);
        let mut aborted = AbortedBatches::new(aborted.map_err(unread)?);
        let mut chunks = stored(&log.store, read).await.map_err(unread)?;
        if let Some((topic, index)) = self.filtered(read.partition) {
            let plugins = Arc::clone(&self.local.plugins);
            let left = plugins
                .sift_for_link(&mut self.filters, &topic, index, chunks)
                .await;
            let unfiltered = |error: AppendError| error.message.unwrap_or_default();
            let left = left.map_err(|error| (Trouble::Unfiltered, unfiltered(error)))?;
            self.metrics.filtered.add(left.1 as u64);
            chunks = left.0;
        }
        let batches = chunks
            .into_iter()
            .flat_map(|mut chunk| std::iter::from_fn(move || Batch::split_from(&mut chunk)));
        let batches: Vec<Batch> = batches.map(|batch| aborted.left_out(batch)).collect();
        let is_packed = |batch: &&Batch| !plan::stays(&read, batch);
        let packed_bytes: usize = batches.iter().filter(is_packed).map(Batch::bytes).sum();
        let keeps_offsets = self.config.keeps_offsets;
        let pack = move || {
            let mut spans = Vec::new();
            for batch in batches.iter().filter(|_| keeps_offsets) {
                add_spans(batch, &mut spans);
            }
            let mut packed = plan::pack(&read, batches);
            if let Some(spread) = read.spread {
                for prepared in &mut packed {
                    prepared.spread(|record| spread.murmur2(record));
                }
            }
            (packed, spans)
        };
        let (batches, spans) = if packed_bytes <= limits::PACKED_AT_ONCE_BYTES {
            pack()
        } else {
            blocking::unblock(pack).await
        };
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

/// Reads batches: on this thread if the page cache has them, else off the executor.
async fn stored(
    store: &Arc<dyn LogStore>,
    read: plan::Read,
) -> Result<Vec<Bytes>, sedge_storage::Error> {
    let (partition, from, until) = (read.partition, read.from, read.until);
    let wanted = ReadLimits::of(read.bytes_max);
    match store.locate(partition, from, until, wanted, Wait::Never) {
        Err(sedge_storage::Error::NotCached) => {}
        Ok(located) => return located.chunks.into_iter().map(Chunk::read).collect(),
        Err(error) => return Err(error),
    }
    let store = Arc::clone(store);
    blocking::unblock(move || {
        let ahead = ReadLimits {
            memory_max: read.bytes_max,
            ..ReadLimits::of(limits::READ_AHEAD_BYTES)
        };
        // What keeps it from being read is found by the read itself.
        drop(store.locate(partition, from, until, ahead, Wait::ForDisk));
        store.read(partition, from, until, read.bytes_max)
    })
    .await
}
