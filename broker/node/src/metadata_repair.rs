//! `__cluster_metadata` written anew from what is left of it, while no broker runs.

use std::collections::BTreeMap;

use sedge_core::config::BrokerDefaults;
use sedge_core::metadata::{Change, Facts, METADATA_PARTITION, Salvage};
use sedge_protocol::batch::Batch;
use sedge_protocol::ids::{LeaderEpoch, NodeId, Offset, ProducerId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::records::Records;
use sedge_storage::doctor::Report;
use sedge_storage::{Commit, Entry, Error, LogStore, Room, Store, Urgency};

use crate::config::Config;
use crate::log::clock::Clock;
use crate::log::views::HeaderReplay;
use crate::metadata_log;
use crate::random::random_uuid;
use crate::start;

/// What whole batches say that is of use here.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of `__cluster_metadata`, by offset.
    metadata: BTreeMap<Offset, Batch>,
    leader_epoch: LeaderEpoch,
    producer: Option<ProducerId>,
}

impl Seen {
    /// A batch of any partition.
    pub fn batch(&mut self, header: &sedge_protocol::batch::BatchHeader) {
        self.leader_epoch = self.leader_epoch.max(header.leader_epoch());
        self.producer = self.producer.max(header.producer_id());
    }

    /// A batch of `__cluster_metadata`.
    pub fn metadata(&mut self, batch: &Batch) {
        let base = batch.header.base_offset();
        self.metadata.insert(base, batch.clone());
    }

    /// The stretches of `from..to` that no batch of `__cluster_metadata` has.
    pub fn missing(&self, from: Offset, to: Offset) -> Vec<(Offset, Offset)> {
        let mut missing = Vec::new();
        let mut next = from;
        for batch in self.metadata.values() {
            let base = batch.header.base_offset().min(to);
            if base > next {
                missing.push((next, base));
            }
            next = next.max(batch.header.next_offset());
        }
        if to > next {
            missing.push((next, to));
        }
        missing
    }

    /// The records from `log_start` on, as far as they are there.
    pub fn salvage(&self, node: NodeId, log_start: Offset) -> Salvage {
        salvage(node, self.metadata.values(), log_start)
    }
}

/// What batches of `__cluster_metadata` say from `log_start` on.
pub fn salvage<'a>(
    node: NodeId,
    batches: impl Iterator<Item = &'a Batch>,
    log_start: Offset,
) -> Salvage {
    let mut salvage = Salvage::new(node);
    for batch in batches.filter(|of| of.header.next_offset() > log_start) {
        for record in Records::new(&batch.header, &batch.body).map_while(Result::ok) {
            // What cannot be understood is told when the batch is looked at.
            if let Ok(record) = MetadataRecord::decode(record.value.unwrap_or_default()) {
                salvage.take(&record);
            }
        }
    }
    salvage
}

/// Writes the topics as `seen` and the log have them, as one commit, and moves the log start of
/// `__cluster_metadata` to it. Gives what is not as it was.
///
/// # Errors
/// The store cannot be opened or written.
pub fn repair(config: &Config, seen: &Seen, report: &Report) -> Result<Vec<Change>, Error> {
    let mut replay = HeaderReplay::default();
    let (store, opened) = sedge_storage::open(&config.data, start::options(config), &mut replay)?;
    let bounds = store.bounds(METADATA_PARTITION)?;
    let facts = Facts {
        dropped: report.dropped.clone(),
        held: held(&store)?,
        newest: store.newest_partition()?.max(report.newest_partition),
        leader_epoch: seen.leader_epoch,
        producer: seen.producer,
    };
    let salvage = seen.salvage(NodeId(config.node_id), bounds.log_start);
    let defaults = BrokerDefaults::new(&config.broker);
    let salvaged = salvage.finish(&facts, defaults, random_uuid);
    let records: Vec<MetadataRecord> = salvaged.machine.snapshot().collect();
    let clock = Clock::start(None, opened.newest_append_ms);
    let mut next = bounds.next_offset;
    let mut batches = Vec::new();
    for mut batch in metadata_log::batches(&records, clock.now().wall_ms) {
        batch.header.set_base_offset(next);
        let epoch = salvaged.machine.image().leader_epoch();
        batch.header.set_leader_epoch(epoch);
        next = batch.header.next_offset();
        batches.push(batch);
    }
    let bytes: usize = batches.iter().map(Batch::bytes).sum();
    // Without it there is no start, so it may take what is kept for what frees space.
    store.reserve(Room {
        batch_bytes: bytes as u64,
        rows: 2,
        urgency: Urgency::Command,
    })?;
    let (partition, offset) = (METADATA_PARTITION, bounds.next_offset);
    store.append(Commit {
        entries: vec![
            Entry::LogStart { partition, offset },
            Entry::Append { partition, batches },
        ],
        updates: Vec::new(),
        append_ms: opened.newest_append_ms.unwrap_or_default(),
    })?;
    store.sync()?;
    store.close()?;
    Ok(salvaged.changes)
}

fn held(
    store: &Store,
) -> Result<std::collections::BTreeSet<sedge_protocol::ids::PartitionId>, Error> {
    let mut held = std::collections::BTreeSet::new();
    for partition in store.partitions()? {
        if store.partition_bytes(partition)? > 0 {
            held.insert(partition);
        }
    }
    Ok(held)
}

/// A change as it is told.
pub fn told(change: &Change) -> String {
    match change {
        Change::Recovered { topic, partition } => format!(
            "{topic}: the records of partition {partition}, of which the topic is not known; \
             nothing of it goes by retention, and `sedge topic delete {topic}` frees its space"
        ),
        Change::Renamed { topic, .. } => {
            format!("{topic}: a topic of which the name and the settings are not known")
        }
        Change::Deleted { topic } => {
            format!("{topic}: deleted; the record of that was lost, and its data is gone")
        }
        Change::Superseded { topic } => {
            format!(
                "{topic}: an older topic of this name is gone, as another one was created later"
            )
        }
        Change::NewPartition { topic, index } => format!(
            "{topic}-{index}: empty, as what this partition had is not known; it may be a \
             recovered topic"
        ),
    }
}
