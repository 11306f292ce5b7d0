//! The node's knowledge about a data directory under examination: names of partitions, and whether
//! the records of internal topics can be decoded.

use std::collections::{HashMap, HashSet};

use sedge_core::config::BrokerDefaults;
use sedge_core::metadata::snapshot::SNAPSHOT_PARTITIONS;
use sedge_core::metadata::{
    Facts, METADATA_PARTITION, MetadataMachine, PLUGINS_TOPIC, STATE_TOPIC, Salvage,
};
use sedge_protocol::batch::Batch;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::ids::{NodeId, PartitionId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::plugin_records;
use sedge_protocol::records::Records;
use sedge_protocol::snapshot_records::SnapshotRecord;
use sedge_protocol::state_records;
use sedge_storage::doctor::{Doctor, Finding, Held, Inspect, Kind};
use sedge_storage::{Error, LostRange};

use super::metadata_repair::{Seen, Starts};
use crate::coordinator::OFFSETS_TOPIC;
use crate::log::views::ends_at_whole_frames;
use crate::process::random::random_uuid;

const METADATA_TOPIC: &str = "__cluster_metadata";

/// Name under which reports mention the copies of the metadata's snapshots.
const SNAPSHOT_TOPIC: &str = "__cluster_metadata.snapshot";

/// Names and checks that the node adds to the examination by the store.
#[derive(Debug)]
pub struct Inspection {
    places: HashMap<PartitionId, (String, i32)>,
    compacted: HashSet<PartitionId>,
    offsets: HashSet<PartitionId>,
    plugins: HashSet<PartitionId>,
    state: HashSet<PartitionId>,
    seen: Seen,
}

impl Inspection {
    /// Reads the metadata in the directory as far as possible.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn of(doctor: &Doctor) -> Result<Self, Error> {
        let mut seen = Seen::default();
        for id in SNAPSHOT_PARTITIONS.into_iter().chain([METADATA_PARTITION]) {
            for batch in doctor.read_partition(id)? {
                seen.batch(id, &batch);
            }
        }
        let salvage = seen.salvage(NodeId(0), &Starts::default());
        let mut inspection = Self {
            places: HashMap::new(),
            compacted: HashSet::new(),
            offsets: HashSet::new(),
            plugins: HashSet::new(),
            state: HashSet::new(),
            seen: Seen::default(),
        };
        inspection.name_all(salvage);
        Ok(inspection)
    }

    /// Names all partitions and returns the machine rebuilt from the metadata.
    fn name_all(&mut self, salvage: Salvage) -> MetadataMachine {
        let inspection = self;
        inspection.places.clear();
        let metadata = (METADATA_TOPIC.to_owned(), 0);
        inspection.places.insert(METADATA_PARTITION, metadata);
        for (copy, id) in (0..).zip(SNAPSHOT_PARTITIONS) {
            let place = (SNAPSHOT_TOPIC.to_owned(), copy);
            inspection.places.insert(id, place);
        }
        let defaults = BrokerDefaults::new(&std::collections::BTreeMap::new());
        let salvaged = salvage.finish(&Facts::default(), defaults, random_uuid);
        for topic in salvaged.machine.image().topics() {
            for (index, id) in topic.partitions().enumerate() {
                let place = (topic.name.clone(), index as i32);
                inspection.places.insert(id, place);
                if topic.config.is_compacted() {
                    inspection.compacted.insert(id);
                }
                match &*topic.name {
                    OFFSETS_TOPIC => inspection.offsets.insert(id),
                    PLUGINS_TOPIC => inspection.plugins.insert(id),
                    STATE_TOPIC => inspection.state.insert(id),
                    _ => false,
                };
            }
        }
        salvaged.machine
    }

    /// Returns the batches that a repair of the metadata needs.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Returns topic and index of a partition that was not deleted.
    pub fn place(&self, id: PartitionId) -> Option<&(String, i32)> {
        self.places.get(&id)
    }

    /// Returns `TOPIC-INDEX`, or the partition's number if its topic is unknown.
    pub fn name(&self, id: PartitionId) -> String {
        match self.place(id) {
            Some((topic, index)) => format!("{topic}-{index}"),
            None => format!("partition {id}"),
        }
    }
}

impl Inspect for Inspection {
    fn batch(&mut self, partition: PartitionId, batch: &Batch) -> Result<(), String> {
        self.seen.batch(partition, batch);
        if SNAPSHOT_PARTITIONS.contains(&partition) && batch.header.is_control() {
            for record in Records::new(&batch.header, &batch.body) {
                let record = record.map_err(|error| error.to_string())?;
                let (key, value) = (record.key, record.value);
                SnapshotRecord::decode(key.unwrap_or_default(), value.unwrap_or_default())
                    .map_err(|error| error.to_string())?;
            }
        } else if partition == METADATA_PARTITION || SNAPSHOT_PARTITIONS.contains(&partition) {
            for record in Records::new(&batch.header, &batch.body) {
                let record = record.map_err(|error| error.to_string())?;
                let value = record.value.unwrap_or_default();
                MetadataRecord::decode(value).map_err(|error| error.to_string())?;
            }
        } else if self.offsets.contains(&partition) && !batch.header.is_control() {
            for record in Records::new(&batch.header, &batch.body) {
                let record = record.map_err(|error| error.to_string())?;
                let key = record.key.unwrap_or_default();
                CoordinatorRecord::decode(key, record.value).map_err(|error| error.to_string())?;
            }
        } else if self.plugins.contains(&partition) {
            plugin_records::each_change(batch, |_| {}).map_err(|error| error.to_string())?;
        } else if self.state.contains(&partition) {
            state_records::each_change(batch, |_| {}).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn is_compacted(&self, partition: PartitionId) -> bool {
        self.compacted.contains(&partition)
    }

    fn ends_at_whole_frames(&self, partition: PartitionId) -> bool {
        ends_at_whole_frames(partition)
    }

    fn end(&mut self, partitions: &[Held], newest: Option<PartitionId>) -> Vec<Finding> {
        let bounds = |id: PartitionId| {
            let held = partitions.iter().find(|of| of.partition == id);
            held.map_or_else(Default::default, |of| (of.log_start, of.end))
        };
        let (log, end) = bounds(METADATA_PARTITION);
        let copies = SNAPSHOT_PARTITIONS.map(|id| bounds(id).0);
        let starts = Starts { log, copies };
        let machine = self.name_all(self.seen.salvage(NodeId(0), &starts));
        let mut found = Vec::new();
        if self.seen.lacks_snapshot(&starts) {
            let what = "neither copy of the snapshot before the log is whole: no broker can start";
            found.push(Finding::new(Kind::Metadata, what));
        }
        let lost = self.seen.missing(&starts, end).into_iter();
        let lost: Vec<LostRange> = lost
            .map(|(base_offset, next_offset)| LostRange {
                partition: METADATA_PARTITION,
                base_offset,
                next_offset,
            })
            .collect();
        if !lost.is_empty() || newest.is_some_and(|newest| machine.has_missed(newest)) {
            let what = "records that define the topics are lost: no broker can start";
            let finding = Finding::new(Kind::Metadata, what);
            found.push(Finding { lost, ..finding });
        }
        for of in partitions {
            if of.log_start < of.end && !self.places.contains_key(&of.partition) {
                let what = "these records belong to no topic";
                let lost = vec![LostRange {
                    partition: of.partition,
                    base_offset: of.log_start,
                    next_offset: of.end,
                }];
                let finding = Finding::new(Kind::Orphan, what);
                found.push(Finding { lost, ..finding });
            }
        }
        found
    }
}
