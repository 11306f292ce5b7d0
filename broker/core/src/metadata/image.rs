//! The metadata machine's state, in the form that readers query.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sedge_protocol::ids::{LeaderEpoch, PartitionId};
use sedge_protocol::kafka::KafkaUuid;

use super::{ClientMetrics, Features, GroupConfigs, names};
use crate::config::{BrokerDefaults, Place, TopicConfig};
use crate::quota::Quotas;
use crate::security::{Acls, Tokens, Users};

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: String,
    pub id: KafkaUuid,
    /// Whether the broker keeps its own state in the topic, so that clients may not delete the
    /// topic or its records.
    pub is_internal: bool,
    /// The topic's own settings.
    pub overrides: BTreeMap<String, String>,
    /// The effective configuration: the topic's own settings over the broker's.
    pub config: TopicConfig,
    /// Partition ids, by partition index.
    partitions: Vec<PartitionId>,
}

impl Topic {
    /// Returns the broker's own id of a partition.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<PartitionId> {
        self.partitions.get(usize::try_from(index).ok()?).copied()
    }

    /// Returns the partition ids, in the order of their indices.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.partitions.iter().copied()
    }

    #[must_use]
    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }

    /// Returns whether clients may produce to the topic.
    #[must_use]
    pub fn takes_produce(&self) -> bool {
        names::takes_produce(&self.name)
    }
}

/// All topics, access rules, users, delegation tokens and quotas at one moment. Cloning copies one
/// pointer per topic.
#[derive(Clone, Debug)]
pub struct Image {
    /// The maps share the names, so that cloning the image allocates no strings.
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: BTreeMap<[u8; 16], Arc<str>>,
    by_collision_form: BTreeMap<Arc<str>, Arc<str>>,
    partition_count: usize,
    /// The broker's settings: those of the file, and those that were made while it ran.
    defaults: BrokerDefaults,
    leader_epoch: LeaderEpoch,
    acls: Arc<Acls>,
    tokens: Arc<Tokens>,
    users: Arc<Users>,
    quotas: Arc<Quotas>,
    group_configs: Arc<GroupConfigs>,
    features: Features,
    client_metrics: Arc<ClientMetrics>,
}

impl Image {
    pub(super) fn new(defaults: BrokerDefaults) -> Self {
        Self {
            topics: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_collision_form: BTreeMap::new(),
            partition_count: 0,
            defaults,
            leader_epoch: LeaderEpoch(0),
            acls: Arc::default(),
            tokens: Arc::default(),
            users: Arc::default(),
            quotas: Arc::default(),
            group_configs: Arc::default(),
            features: Features::default(),
            client_metrics: Arc::default(),
        }
    }

    /// The access rules.
    #[must_use]
    pub const fn acls(&self) -> &Arc<Acls> {
        &self.acls
    }

    /// The users with SCRAM credentials.
    #[must_use]
    pub const fn users(&self) -> &Arc<Users> {
        &self.users
    }

    pub(super) fn users_mut(&mut self) -> &mut Users {
        Arc::make_mut(&mut self.users)
    }

    pub(super) fn acls_mut(&mut self) -> &mut Acls {
        Arc::make_mut(&mut self.acls)
    }

    /// The configurations of groups.
    #[must_use]
    pub const fn group_configs(&self) -> &Arc<GroupConfigs> {
        &self.group_configs
    }

    pub(super) fn group_configs_mut(&mut self) -> &mut GroupConfigs {
        Arc::make_mut(&mut self.group_configs)
    }

    /// The subscriptions to clients' metrics.
    #[must_use]
    pub const fn client_metrics(&self) -> &Arc<ClientMetrics> {
        &self.client_metrics
    }

    pub(super) fn client_metrics_mut(&mut self) -> &mut ClientMetrics {
        Arc::make_mut(&mut self.client_metrics)
    }

    /// The levels of the cluster's features.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    pub(super) const fn features_mut(&mut self) -> &mut Features {
        &mut self.features
    }

    /// The quotas of clients.
    #[must_use]
    pub const fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    pub(super) fn quotas_mut(&mut self) -> &mut Quotas {
        Arc::make_mut(&mut self.quotas)
    }

    /// The delegation tokens.
    #[must_use]
    pub const fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    pub(super) fn tokens_mut(&mut self) -> &mut Tokens {
        Arc::make_mut(&mut self.tokens)
    }

    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    #[must_use]
    pub fn topic_by_id(&self, id: KafkaUuid) -> Option<&Arc<Topic>> {
        self.topics.get(self.by_id.get(&id.to_bytes())?)
    }

    /// Returns all topics, in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Returns the epoch of this leader, the same for every partition (KIP-101).
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Returns the broker's settings that were made at a place.
    #[must_use]
    pub const fn broker_configs(&self, place: Place) -> &BTreeMap<String, String> {
        self.defaults.at(place)
    }

    /// Returns the defaults for settings that topics do not have.
    #[must_use]
    pub const fn defaults(&self) -> &BrokerDefaults {
        &self.defaults
    }

    pub(super) fn colliding(&self, name: &str) -> Option<&str> {
        self.by_collision_form
            .get(names::collision_form(name).as_str())
            .map(AsRef::as_ref)
    }

    pub(super) fn add_topic(&mut self, name: &str, id: KafkaUuid) {
        let topic = Topic {
            name: name.into(),
            id,
            is_internal: names::is_internal(name),
            overrides: BTreeMap::new(),
            config: TopicConfig::effective(&BTreeMap::new(), &self.defaults),
            partitions: Vec::new(),
        };
        let shared: Arc<str> = name.into();
        let form = names::collision_form(name);
        let form = if form == name {
            Arc::clone(&shared)
        } else {
            form.into()
        };
        self.by_id.insert(id.to_bytes(), Arc::clone(&shared));
        self.by_collision_form.insert(form, Arc::clone(&shared));
        self.topics.insert(shared, Arc::new(topic));
    }

    pub(super) fn add_partition(&mut self, topic_id: KafkaUuid, partition: PartitionId) {
        if let Some(topic) = self.topic_mut_by_id(topic_id) {
            topic.partitions.push(partition);
            self.partition_count += 1;
        }
    }

    pub(super) fn remove_topic(&mut self, id: KafkaUuid) {
        if let Some(name) = self.by_id.remove(&id.to_bytes()) {
            self.by_collision_form
                .remove(names::collision_form(&name).as_str());
            if let Some(topic) = self.topics.remove(&name) {
                self.partition_count -= topic.partitions.len();
            }
        }
    }

    pub(super) fn set_topic_config(&mut self, topic: &str, name: &str, value: Option<&str>) {
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        let topic = Arc::make_mut(topic);
        set(&mut topic.overrides, name, value);
        topic.config = TopicConfig::effective(&topic.overrides, &self.defaults);
    }

    pub(super) fn set_broker_config(&mut self, place: Place, name: &str, value: Option<&str>) {
        let mut settings = self.defaults.at(place).clone();
        set(&mut settings, name, value);
        self.defaults = self.defaults.with(place, &settings);
        for topic in self.topics.values_mut() {
            let config = TopicConfig::effective(&topic.overrides, &self.defaults);
            if config != topic.config {
                Arc::make_mut(topic).config = config;
            }
        }
    }

    pub(super) const fn set_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.leader_epoch = epoch;
    }

    fn topic_mut_by_id(&mut self, id: KafkaUuid) -> Option<&mut Topic> {
        let name = self.by_id.get(&id.to_bytes())?;
        self.topics.get_mut(name).map(Arc::make_mut)
    }
}

fn set(configs: &mut BTreeMap<String, String>, name: &str, value: Option<&str>) {
    match value {
        Some(value) => configs.insert(name.into(), value.into()),
        None => configs.remove(name),
    };
}
