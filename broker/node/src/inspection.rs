//! What the node knows of a data directory that is looked through: partitions' names, and whether
//! the records of the internal topics can be understood.

use std::collections::{HashMap, HashSet};

use sedge_core::config::BrokerDefaults;
use sedge_core::machine::Machine as _;
use sedge_core::metadata::{METADATA_PARTITION, MetadataMachine};
use sedge_protocol::batch::Batch;
use sedge_protocol::coordinator::CoordinatorRecord;
use sedge_protocol::ids::{NodeId, PartitionId};
use sedge_protocol::metadata_records::MetadataRecord;
use sedge_protocol::records::Records;
use sedge_storage::Error;
use sedge_storage::doctor::{Doctor, Inspect};

use crate::coordinator::OFFSETS_TOPIC;
use crate::plugin_topic;

const METADATA_TOPIC: &str = "__cluster_metadata";

/// See the module.
#[derive(Debug)]
pub struct Inspection {
    places: HashMap<PartitionId, (String, i32)>,
    compacted: HashSet<PartitionId>,
    offsets: HashSet<PartitionId>,
    plugins: HashSet<PartitionId>,
}

impl Inspection {
    /// From the metadata in the directory, as far as it can be read.
    ///
    /// # Errors
    /// The disk's.
    pub fn of(doctor: &Doctor) -> Result<Self, Error> {
        let defaults = BrokerDefaults::new(&std::collections::BTreeMap::new());
        let mut machine = MetadataMachine::new(NodeId(0), defaults);
        for batch in doctor.read_partition(METADATA_PARTITION)? {
            let base = batch.header.base_offset();
            for record in Records::new(&batch.header, &batch.body).map_while(Result::ok) {
                let value = record.value.unwrap_or_default();
                // What cannot be understood is told when the batch is looked at.
                if let Ok(decoded) = MetadataRecord::decode(value) {
                    machine.apply(base.plus(i64::from(record.offset_delta)), &decoded);
                }
            }
        }
        let mut inspection = Self {
            places: HashMap::new(),
            compacted: HashSet::new(),
            offsets: HashSet::new(),
            plugins: HashSet::new(),
        };
        let metadata = (METADATA_TOPIC.to_owned(), 0);
        inspection.places.insert(METADATA_PARTITION, metadata);
        for topic in machine.image().topics() {
            for (index, id) in topic.partitions().enumerate() {
                let place = (topic.name.clone(), index as i32);
                inspection.places.insert(id, place);
                if topic.config.is_compacted() {
                    inspection.compacted.insert(id);
                }
                match &*topic.name {
                    OFFSETS_TOPIC => inspection.offsets.insert(id),
                    plugin_topic::TOPIC => inspection.plugins.insert(id),
                    _ => false,
                };
            }
        }
        Ok(inspection)
    }

    /// Topic and index of a partition that was not deleted.
    pub fn place(&self, id: PartitionId) -> Option<&(String, i32)> {
        self.places.get(&id)
    }

    /// `TOPIC-INDEX`, or what is left where nobody knows it.
    pub fn name(&self, id: PartitionId) -> String {
        match self.place(id) {
            Some((topic, index)) => format!("{topic}-{index}"),
            None => format!("partition {id}"),
        }
    }
}

impl Inspect for Inspection {
    fn batch(&mut self, partition: PartitionId, batch: &Batch) -> Result<(), String> {
        if partition == METADATA_PARTITION {
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
            plugin_topic::each_change(batch, |_| {}).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn is_compacted(&self, partition: PartitionId) -> bool {
        self.compacted.contains(&partition)
    }
}
