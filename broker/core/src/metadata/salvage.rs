//! Reconstructs topics when records of `__cluster_metadata` are lost.
//!
//! Replay takes each record as the next of an unbroken sequence: a partition gets the index after
//! the one before it, and the next id is one above the last. Behind a hole neither holds. Here each
//! partition keeps the index that its record names, and what the log itself says of partitions
//! decides wherever records are missing.
//!
//! **Invariant:** a partition is given to a topic only if a record says so, or if no other id can
//! be at its index. A partition with data and without a topic gets a topic with an unused name.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ids::{LeaderEpoch, NodeId, PartitionId, ProducerId};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::metadata_records::{
    AccessControlEntryRecord, ConfigRecord, DelegationTokenRecord, FeatureLevelRecord,
    MetadataRecord, ResourceType, UserScramCredentialRecord,
};

use super::{
    ClientMetrics, FIRST_PARTITION_ID, GroupConfigs, LEADER_EPOCH_KEY, METADATA_PARTITION,
    MetadataMachine, NEXT_PARTITION_KEY, broker_config, config, quotas, topic_config, topic_record,
};
use crate::config::BrokerDefaults;
use crate::limits::SALVAGED_PRODUCER_IDS_SKIPPED;
use crate::machine::Machine as _;
use crate::quota::Quotas;

/// Settings of a recovered topic: its own ones are unknown, so nothing is deleted from it before an
/// operator has looked.
const RECOVERED_CONFIGS: [(&str, &str); 3] = [
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("sedge.retention.priority", "keep"),
];

/// Facts about partitions from the log, independent of the metadata.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Partitions that a row of the log deletes.
    pub dropped: BTreeSet<PartitionId>,
    /// Partitions with records.
    pub held: BTreeSet<PartitionId>,
    /// The largest partition id in any row.
    pub newest: Option<PartitionId>,
    /// The largest leader epoch of all batches.
    pub leader_epoch: LeaderEpoch,
    /// The largest producer id of all batches.
    pub producer: Option<ProducerId>,
}

/// A difference from the state before the loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The partition's records exist, but the topic that it belonged to is not known.
    Recovered {
        topic: String,
        partition: PartitionId,
    },
    /// The topic's name is lost; this is its new name.
    Renamed { topic: String, id: KafkaUuid },
    /// The record of the topic's deletion is lost, but the log shows that its partitions were
    /// deleted.
    Deleted { topic: String },
    /// Another topic of that name was created later.
    Superseded { topic: String },
    /// The topic's partition at this index is not known: it is a new one, without records.
    NewPartition { topic: String, index: i32 },
}

/// The reconstructed state.
#[derive(Debug)]
pub struct Salvaged {
    pub machine: MetadataMachine,
    pub changes: Vec<Change>,
}

/// Collects the records that still exist.
#[derive(Debug)]
pub struct Salvage {
    node: NodeId,
    topics: BTreeMap<[u8; 16], Known>,
    /// By resource name and key.
    broker: BTreeMap<(String, String), String>,
    client_metrics: ClientMetrics,
    features: BTreeMap<String, i16>,
    acls: BTreeMap<[u8; 16], AccessControlEntryRecord>,
    tokens: BTreeMap<String, DelegationTokenRecord>,
    credentials: BTreeMap<(String, i8), UserScramCredentialRecord>,
    quotas: Quotas,
    groups: GroupConfigs,
    leader_epoch: LeaderEpoch,
    next_partition: u32,
    next_producer: i64,
    records: u64,
}

#[derive(Debug)]
struct Known {
    id: KafkaUuid,
    name: Option<String>,
    /// Number of the record that created the topic: of two topics with one name the later one
    /// counts.
    order: u64,
    partitions: BTreeMap<i32, PartitionId>,
    configs: BTreeMap<String, String>,
}

impl Salvage {
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            topics: BTreeMap::new(),
            broker: BTreeMap::new(),
            client_metrics: ClientMetrics::default(),
            features: BTreeMap::new(),
            acls: BTreeMap::new(),
            tokens: BTreeMap::new(),
            credentials: BTreeMap::new(),
            quotas: Quotas::default(),
            groups: GroupConfigs::default(),
            leader_epoch: LeaderEpoch(0),
            next_partition: FIRST_PARTITION_ID,
            next_producer: 0,
            records: 0,
        }
    }

    /// Takes the next undamaged record.
    pub fn take(&mut self, record: &MetadataRecord) {
        self.records += 1;
        match record {
            MetadataRecord::Topic(topic) => {
                let order = self.records;
                let known = self.topic(topic.topic_id);
                (known.name, known.order) = (Some(topic.name.clone()), order);
            }
            MetadataRecord::Partition(partition) => {
                if let Some(id) = partition.storage_id {
                    let known = self.topic(partition.topic_id);
                    known.partitions.insert(partition.partition.0, id);
                    self.see_id(id);
                }
            }
            MetadataRecord::Config(config) => self.configure(config),
            MetadataRecord::RemoveTopic(topic) => {
                self.topics.remove(&topic.topic_id.to_bytes());
            }
            MetadataRecord::ProducerIds(ids) => {
                self.next_producer = self.next_producer.max(ids.next.get());
            }
            MetadataRecord::FeatureLevel(feature) => {
                self.features.insert(feature.name.clone(), feature.level);
            }
            MetadataRecord::AccessControlEntry(rule) => {
                self.acls.insert(rule.id.to_bytes(), rule.clone());
            }
            MetadataRecord::RemoveAccessControlEntry(rule) => {
                self.acls.remove(&rule.id.to_bytes());
            }
            MetadataRecord::UserScramCredential(of) => {
                let key = (of.name.clone(), of.mechanism);
                self.credentials.insert(key, of.clone());
            }
            MetadataRecord::RemoveUserScramCredential(of) => {
                self.credentials.remove(&(of.name.clone(), of.mechanism));
            }
            MetadataRecord::ClientQuota(quota) => {
                if let Some((entity, key)) = quotas::target(quota) {
                    self.quotas.set(&entity, key, quota.value);
                }
            }
            MetadataRecord::DelegationToken(token) => {
                self.tokens.insert(token.token_id.clone(), token.clone());
            }
            MetadataRecord::RemoveDelegationToken(token) => {
                self.tokens.remove(&token.token_id);
            }
            MetadataRecord::PartitionChange(_) | MetadataRecord::NoOp => {}
        }
    }

    fn topic(&mut self, id: KafkaUuid) -> &mut Known {
        let order = self.records;
        self.topics.entry(id.to_bytes()).or_insert_with(|| Known {
            id,
            name: None,
            order,
            partitions: BTreeMap::new(),
            configs: BTreeMap::new(),
        })
    }

    fn see_id(&mut self, id: PartitionId) {
        if id.is_reserved() {
            return;
        }
        self.next_partition = self.next_partition.max(id.get().saturating_add(1));
    }

    fn configure(&mut self, config: &ConfigRecord) {
        let number = config.value.as_deref().and_then(|value| value.parse().ok());
        match (config.resource_type, config.name.as_str()) {
            (ResourceType::Topic, name) => {
                let of_name = |known: &&mut Known| {
                    known.name.as_deref() == Some(config.resource_name.as_str())
                };
                // Of two topics with that name, the later one is meant.
                let named = self.topics.values_mut().filter(of_name);
                if let Some(known) = named.max_by_key(|known| known.order) {
                    set(&mut known.configs, name, config.value.as_deref());
                }
            }
            (ResourceType::Broker, LEADER_EPOCH_KEY) => {
                let epoch = LeaderEpoch(number.unwrap_or(0));
                self.leader_epoch = self.leader_epoch.max(epoch);
            }
            (ResourceType::Broker, NEXT_PARTITION_KEY) => {
                let next = number.and_then(|number| u32::try_from(number).ok());
                self.next_partition = self.next_partition.max(next.unwrap_or(0));
            }
            (ResourceType::Broker, name) => {
                let key = (config.resource_name.clone(), name.into());
                match &config.value {
                    Some(value) => self.broker.insert(key, value.clone()),
                    None => self.broker.remove(&key),
                };
            }
            (ResourceType::ClientMetrics, key) => {
                let value = config.value.as_deref();
                self.client_metrics.set(&config.resource_name, key, value);
            }
            (ResourceType::Group, name) => {
                let value = config.value.as_deref();
                self.groups.set(&config.resource_name, name, value);
            }
            (ResourceType::Other(_), _) => {}
        }
    }

    /// Reconstructs the state from the records and the log. `new_id` returns ids for topics.
    #[must_use]
    pub fn finish(
        mut self,
        facts: &Facts,
        defaults: BrokerDefaults,
        mut new_id: impl FnMut() -> KafkaUuid,
    ) -> Salvaged {
        let mut changes = Vec::new();
        let ids = facts.newest.into_iter().chain(facts.held.iter().copied());
        ids.for_each(|id| self.see_id(id));
        self.forget_deleted(facts, &mut changes);
        self.forget_superseded(&mut changes);
        self.fill_partitions(&mut changes);
        self.name_topics(&mut changes);
        self.recover(facts, &mut new_id, &mut changes);
        Salvaged {
            machine: self.into_machine(facts, defaults),
            changes,
        }
    }

    /// A partition is dropped only together with its topic.
    fn forget_deleted(&mut self, facts: &Facts, changes: &mut Vec<Change>) {
        self.topics.retain(|_, known| {
            let mut ids = known.partitions.values();
            let is_deleted = ids.any(|id| facts.dropped.contains(id));
            if is_deleted && let Some(topic) = known.name.clone() {
                changes.push(Change::Deleted { topic });
            }
            !is_deleted
        });
    }

    /// A name is reused only after the topic that had it was deleted.
    fn forget_superseded(&mut self, changes: &mut Vec<Change>) {
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for known in self.topics.values() {
            if let Some(name) = &known.name {
                let order = newest.entry(name.clone()).or_default();
                *order = known.order.max(*order);
            }
        }
        self.topics.retain(|_, known| {
            let Some(topic) = &known.name else {
                return true;
            };
            let holds = newest.get(topic) == Some(&known.order);
            if !holds {
                let topic = topic.clone();
                changes.push(Change::Superseded { topic });
            }
            holds
        });
    }

    /// An index without a partition gets the only id that can be there, or a new one.
    fn fill_partitions(&mut self, changes: &mut Vec<Change>) {
        let mut next = self.next_partition;
        for known in self.topics.values_mut() {
            let mut before: Option<(i32, PartitionId)> = None;
            let mut filled = Vec::new();
            for (index, id) in &known.partitions {
                let first = before.map_or(0, |(before, _)| before + 1);
                // Ids are handed out in the order of the indices. If there are only as many ids
                // between two partitions as indices, each index has its id.
                let is_certain = before.is_some_and(|(before_index, before_id)| {
                    i64::from(id.get()) - i64::from(before_id.get())
                        == i64::from(index - before_index)
                });
                for missing in first..*index {
                    let certain = id.get().saturating_sub((index - missing) as u32);
                    if is_certain {
                        filled.push((missing, PartitionId(certain)));
                    } else {
                        filled.push((missing, PartitionId(next)));
                        next = next.saturating_add(1);
                        let topic = known.name.clone().unwrap_or_default();
                        let index = missing;
                        changes.push(Change::NewPartition { topic, index });
                    }
                }
                before = Some((*index, *id));
            }
            known.partitions.extend(filled);
        }
        self.next_partition = next;
        // Nothing is known of these topics except that they existed.
        self.topics.retain(|_, known| !known.partitions.is_empty());
    }

    fn name_topics(&mut self, changes: &mut Vec<Change>) {
        let mut taken = self.names();
        for known in self.topics.values_mut() {
            if known.name.is_none()
                && let Some(first) = known.partitions.values().min()
            {
                let topic = free_name(*first, &mut taken);
                known.name = Some(topic.clone());
                let id = known.id;
                changes.push(Change::Renamed { topic, id });
                known.configs = recovered_configs();
            }
        }
    }

    fn recover(
        &mut self,
        facts: &Facts,
        new_id: &mut dyn FnMut() -> KafkaUuid,
        changes: &mut Vec<Change>,
    ) {
        let known = self.topics.values().flat_map(|of| of.partitions.values());
        let known: BTreeSet<PartitionId> = known.copied().collect();
        let mut taken = self.names();
        for partition in facts.held.difference(&known).copied() {
            let is_own = partition == METADATA_PARTITION || partition.is_reserved();
            if is_own || facts.dropped.contains(&partition) {
                continue;
            }
            let name = free_name(partition, &mut taken);
            let id = new_id();
            self.records += 1;
            let topic = Known {
                id,
                name: Some(name.clone()),
                order: self.records,
                partitions: BTreeMap::from([(0, partition)]),
                configs: recovered_configs(),
            };
            self.topics.insert(id.to_bytes(), topic);
            changes.push(Change::Recovered {
                topic: name,
                partition,
            });
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let topics = self.topics.values();
        topics.filter_map(|known| known.name.clone()).collect()
    }

    fn into_machine(self, facts: &Facts, defaults: BrokerDefaults) -> MetadataMachine {
        let mut machine = MetadataMachine::new(self.node, defaults);
        let mut records = Vec::new();
        for ((resource, name), value) in &self.broker {
            records.push(config(ResourceType::Broker, resource, name, Some(value)));
        }
        records.extend(self.client_metrics.records(ResourceType::ClientMetrics));
        for (name, level) in self.features {
            records.push(MetadataRecord::FeatureLevel(FeatureLevelRecord {
                name,
                level,
            }));
        }
        // Records from now on can be told from those that were lost.
        let epoch = self.leader_epoch.max(facts.leader_epoch).get() + 1;
        records.push(broker_config(LEADER_EPOCH_KEY, Some(&format!("{epoch}"))));
        let next = format!("{}", self.next_partition);
        records.push(broker_config(NEXT_PARTITION_KEY, Some(&next)));
        let seen = facts.producer.map_or(0, |id| id.get().saturating_add(1));
        let next = self.next_producer.max(seen);
        let next = next.saturating_add(SALVAGED_PRODUCER_IDS_SKIPPED);
        records.push(machine.producer_ids_record(next));
        let credentials = self.credentials.into_values();
        records.extend(credentials.map(MetadataRecord::UserScramCredential));
        let acls = self.acls.into_values();
        records.extend(acls.map(MetadataRecord::AccessControlEntry));
        records.extend(quotas::records(&self.quotas));
        records.extend(self.groups.records(ResourceType::Group));
        let tokens = self.tokens.into_values();
        records.extend(tokens.map(MetadataRecord::DelegationToken));
        for known in self.topics.values() {
            let name = known.name.as_deref().unwrap_or_default();
            records.push(topic_record(name, known.id));
            for (index, id) in &known.partitions {
                records.push(machine.partition_record(known.id, *index, *id));
            }
            for (key, value) in &known.configs {
                records.push(topic_config(name, key, Some(value)));
            }
        }
        for (offset, record) in (0..).zip(&records) {
            machine.apply(sedge_protocol::ids::Offset(offset), record);
        }
        machine
    }
}

fn recovered_configs() -> BTreeMap<String, String> {
    let configs = RECOVERED_CONFIGS.into_iter();
    configs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn free_name(partition: PartitionId, taken: &mut BTreeSet<String>) -> String {
    let mut name = format!("recovered-{partition}");
    while !taken.insert(name.clone()) {
        name.push('x');
    }
    name
}

fn set(configs: &mut BTreeMap<String, String>, name: &str, value: Option<&str>) {
    match value {
        Some(value) => configs.insert(name.into(), value.into()),
        None => configs.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::machine::Now;
    use crate::metadata::{Command, TopicName};

    fn id(number: u64) -> KafkaUuid {
        KafkaUuid::from_parts(7, number)
    }

    /// Returns the records of each command as a list.
    fn records(commands: Vec<Command>) -> Vec<Vec<MetadataRecord>> {
        let mut machine = MetadataMachine::new(NodeId(1), BrokerDefaults::default());
        let planned = commands.into_iter().map(|command| {
            let records = machine.plan(Now::default(), command).unwrap().records;
            for record in &records {
                machine.apply(sedge_protocol::ids::Offset(0), record);
            }
            records
        });
        planned.collect()
    }

    fn create(name: &str, number: u64, partitions: i32) -> Command {
        Command::CreateTopic {
            name: name.into(),
            id: id(number),
            partitions,
            configs: Vec::new(),
            validate_only: false,
        }
    }

    fn held(ids: &[u32]) -> Facts {
        let held: BTreeSet<PartitionId> = ids.iter().copied().map(PartitionId).collect();
        Facts {
            newest: held.last().copied(),
            held,
            ..Facts::default()
        }
    }

    fn salvage<'a>(
        records: impl IntoIterator<Item = &'a MetadataRecord>,
        facts: &Facts,
    ) -> Salvaged {
        let mut salvage = Salvage::new(NodeId(1));
        for record in records {
            salvage.take(record);
        }
        let mut number = 100;
        salvage.finish(facts, BrokerDefaults::default(), || {
            number += 1;
            id(number)
        })
    }

    fn topics(salvaged: &Salvaged) -> Vec<(String, Vec<u32>)> {
        let topics = salvaged.machine.image().topics();
        topics
            .map(|topic| {
                let ids = topic.partitions().map(PartitionId::get).collect();
                (topic.name.clone(), ids)
            })
            .collect()
    }

    fn next_id(salvaged: &Salvaged) -> u32 {
        let mut machine = salvaged.machine.clone();
        let records = machine
            .plan(Now::default(), create("next", 999, 1))
            .unwrap()
            .records;
        for record in &records {
            machine.apply(sedge_protocol::ids::Offset(0), record);
        }
        let next = machine.image().topic("next").unwrap();
        next.partition(0).unwrap().get()
    }

    #[test]
    fn a_topic_whose_creation_is_lost_is_recovered_and_its_id_is_not_used_again() {
        let log = records(vec![
            create("a", 1, 1),
            create("b", 2, 1),
            create("c", 3, 1),
        ]);
        for lost in 0..3 {
            let left = log.iter().enumerate().filter(|(at, _)| *at != lost);
            let salvaged = salvage(left.flat_map(|(_, records)| records), &held(&[0, 1, 2, 3]));
            let orphan = lost as u32 + 1;
            let mut expected: Vec<(String, Vec<u32>)> = vec![("a", 1), ("b", 2), ("c", 3)]
                .into_iter()
                .filter(|(_, id)| *id != orphan)
                .map(|(name, id)| (name.into(), vec![id]))
                .collect();
            expected.push((format!("recovered-{orphan}"), vec![orphan]));
            assert_eq!(topics(&salvaged), expected, "without record {lost}");
            assert_eq!(next_id(&salvaged), 4);
            let topic = salvaged
                .machine
                .image()
                .topic(&format!("recovered-{orphan}"));
            assert_eq!(topic.unwrap().overrides["retention.ms"], "-1");
        }
        // No record of the metadata is left.
        let salvaged = salvage(&[], &held(&[1, 3]));
        assert_eq!(salvaged.changes.len(), 2);
        assert_eq!(next_id(&salvaged), 4);
    }

    #[test]
    fn partitions_keep_their_index_behind_a_hole() {
        let more = |total| Command::CreatePartitions {
            name: "t".into(),
            total,
            assigned: None,
            validate_only: false,
        };
        let log = records(vec![create("t", 1, 2), more(4), more(6)]);
        let left = || log[0].iter().chain(&log[2]);
        let salvaged = salvage(left(), &held(&[1, 3, 6]));
        assert_eq!(
            topics(&salvaged),
            [("t".into(), vec![1, 2, 3, 4, 5, 6])],
            "no other ids fit between"
        );
        assert_eq!(salvaged.changes, []);

        // Another topic was created in between, so the partitions cannot be told apart.
        let log = records(vec![create("t", 1, 1), more(2), create("u", 2, 1), more(3)]);
        let left = log[0].iter().chain(&log[3]);
        let salvaged = salvage(left, &held(&[1, 2, 3, 4]));
        assert_eq!(
            topics(&salvaged),
            [
                ("recovered-2".into(), vec![2]),
                ("recovered-3".into(), vec![3]),
                ("t".into(), vec![1, 5, 4])
            ]
        );
        assert_eq!(next_id(&salvaged), 6);
    }

    #[test]
    fn what_was_deleted_in_a_hole_stays_deleted_where_the_log_says_so() {
        let delete = |name: &str| Command::DeleteTopic {
            topic: TopicName::Name(name.into()),
        };
        let log = records(vec![create("t", 1, 1), delete("t"), create("t", 2, 1)]);
        let left = || log[0].iter().chain(&log[2]);
        let facts = Facts {
            dropped: BTreeSet::from([PartitionId(1)]),
            ..held(&[2])
        };
        assert_eq!(topics(&salvage(left(), &facts)), [("t".into(), vec![2])]);
        assert_eq!(
            topics(&salvage(&log[0], &facts)),
            [("recovered-2".into(), vec![2])]
        );
        // The log's row is lost with the record: the name belongs to the later topic.
        assert_eq!(
            topics(&salvage(left(), &held(&[1, 2]))),
            [("recovered-1".into(), vec![1]), ("t".into(), vec![2])]
        );
    }

    #[test]
    fn epochs_and_producer_ids_go_on_above_all_that_were_seen() {
        let facts = Facts {
            leader_epoch: LeaderEpoch(8),
            producer: Some(ProducerId(5_000)),
            ..held(&[1])
        };
        let salvaged = salvage(&[], &facts);
        assert_eq!(salvaged.machine.image().leader_epoch(), LeaderEpoch(9));
        let allocate = Command::AllocateProducerIds { count: 1 };
        let reply = salvaged
            .machine
            .plan(Now::default(), allocate)
            .unwrap()
            .reply;
        assert!(
            matches!(reply, crate::metadata::CommandReply::ProducerIds { first }
                if first.get() > 5_000 + SALVAGED_PRODUCER_IDS_SKIPPED),
            "{reply:?}"
        );
    }
}
