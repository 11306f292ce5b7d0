//! Partitions with records that belong to no topic. They are not served, and retention does not
//! free them, so each start reports them once.

use std::collections::HashSet;
use std::sync::Arc;

use log::{error, warn};
use sedge_core::metadata::METADATA_PARTITION;
use sedge_protocol::ids::PartitionId;
use sedge_storage::Error;

use crate::limits::ORPHANS_TOLD;
use crate::log::Log;

/// Finds and reports them.
pub async fn tell(log: Arc<Log>) {
    match blocking::unblock(move || find(&log)).await {
        Ok(orphans) if orphans.is_empty() => {}
        Ok(orphans) => {
            let bytes: u64 = orphans.iter().map(|(_, bytes)| bytes).sum();
            let first = orphans.iter().take(ORPHANS_TOLD);
            let first: Vec<String> = first.map(|(id, _)| id.to_string()).collect();
            warn!(
                target: "sedge::log",
                "{} partitions with {bytes} bytes belong to no topic ({}{}): stop the broker and \
                 run `sedge doctor --repair metadata`, which makes topics of them to read or to \
                 delete",
                orphans.len(),
                first.join(", "),
                if orphans.len() > ORPHANS_TOLD { ", …" } else { "" }
            );
        }
        Err(failure) => {
            error!(target: "sedge::log", "cannot look for partitions without a topic: {failure}");
        }
    }
}

/// Returns each with its bytes.
fn find(log: &Log) -> Result<Vec<(PartitionId, u64)>, Error> {
    let partitions = log.store.partitions()?;
    // Loaded after them: a partition created meanwhile has its topic.
    let image = log.metadata.load();
    let known: HashSet<PartitionId> = image
        .topics()
        .flat_map(|topic| topic.partitions().collect::<Vec<_>>())
        .collect();
    let mut orphans = Vec::new();
    for id in partitions {
        if id == METADATA_PARTITION || id.is_reserved() || known.contains(&id) {
            continue;
        }
        // 0 if the topic was deleted meanwhile.
        let bytes = log.store.partition_bytes(id)?;
        if bytes > 0 {
            orphans.push((id, bytes));
        }
    }
    Ok(orphans)
}
