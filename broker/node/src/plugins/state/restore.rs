//! Reading the state of all filters from the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use log::{error, info};
use sedge_core::metadata::STATE_TOPIC;
use sedge_plugin::{StateBudget, StateTable};
use sedge_protocol::ids::{Offset, PartitionId};
use sedge_protocol::state_records::{StateChange, each_change};
use sedge_storage::Error;

use super::Place;
use super::lane::{Lane, Tables};
use crate::log::Log;
use crate::metadata::log::for_each_batch;
use crate::metrics::Metrics;

/// Reads the topic's partition, from its start to its end. Blocks.
///
/// # Errors
/// The log cannot be read.
pub fn read(
    log: &Log,
    partition: PartitionId,
    budget: &Arc<StateBudget>,
    metrics: &Metrics,
) -> Result<HashMap<Place, Arc<Lane>>, Error> {
    let began = Instant::now();
    let mut tables: HashMap<Place, Tables> = HashMap::new();
    let mut apply = |change: &StateChange<'_>| {
        let owner = &change.owner;
        let place = Place {
            topic: owner.topic,
            index: owner.partition,
        };
        let table = tables.entry(place).or_default();
        let table = table.of(owner.plugin, budget, metrics);
        if let Some(content) = table.content() {
            content.restore(change.key, change.value);
        }
    };
    for_each_batch::<Error>(&*log.store, partition, Offset::ZERO, |batch| {
        if let Err(why) = each_change(batch, &mut apply) {
            let offset = batch.header.base_offset();
            error!(
                target: "sedge::plugin",
                "{STATE_TOPIC} at offset {offset}: {why}; what filters wrote there is forgotten"
            );
        }
        Ok(())
    })?;
    let mut keys = 0;
    let lanes = tables.into_iter().filter_map(|(place, mut tables)| {
        tables.trim();
        if tables.0.is_empty() {
            return None;
        }
        for table in tables.0.values_mut() {
            keys += table.get().map_or(0, StateTable::len);
            // Counts the bytes.
            table.end(true);
        }
        let lane = Lane {
            tables: Arc::new(async_lock::Mutex::new(tables)),
            ..Lane::default()
        };
        Some((place, Arc::new(lane)))
    });
    let lanes: HashMap<_, _> = lanes.collect();
    info!(
        target: "sedge::plugin",
        "the state of filters is read: {keys} keys of {} partitions, {} bytes of memory, in {} ms",
        lanes.len(),
        budget.bytes(),
        began.elapsed().as_millis()
    );
    Ok(lanes)
}
