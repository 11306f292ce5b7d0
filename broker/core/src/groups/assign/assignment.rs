//! Partitions of topics, by the ids of the topics.

use alloc::collections::{BTreeMap, BTreeSet};

use sedge_protocol::coordinator::consumer::TopicPartitions;
use sedge_protocol::kafka::KafkaUuid;

/// A topic's id, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u64, u64);

impl From<KafkaUuid> for TopicId {
    fn from(id: KafkaUuid) -> Self {
        Self(id.most_significant_bits(), id.least_significant_bits())
    }
}

impl From<TopicId> for KafkaUuid {
    fn from(id: TopicId) -> Self {
        Self::from_parts(id.0, id.1)
    }
}

/// Partitions of topics. A topic without partitions is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment(BTreeMap<TopicId, BTreeSet<i32>>);

impl Assignment {
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: i32) -> bool {
        let partitions = self.0.get(&topic);
        partitions.is_some_and(|partitions| partitions.contains(&partition))
    }

    pub fn insert(&mut self, topic: TopicId, partition: i32) {
        self.0.entry(topic).or_default().insert(partition);
    }

    pub fn remove(&mut self, topic: TopicId, partition: i32) {
        if let Some(partitions) = self.0.get_mut(&topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.0.remove(&topic);
            }
        }
    }

    /// Returns the topics.
    pub fn topics(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.0.keys().copied()
    }

    /// Returns the partitions of a topic, in their order.
    pub fn of_topic(&self, topic: TopicId) -> impl Iterator<Item = i32> + '_ {
        self.0.get(&topic).into_iter().flatten().copied()
    }

    /// Returns all partitions, in the order of topics and numbers.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        let topics = self.0.iter();
        topics.flat_map(|(id, partitions)| partitions.iter().map(|partition| (*id, *partition)))
    }

    /// Returns the form of records and responses.
    #[must_use]
    pub fn to_wire(&self) -> TopicPartitions {
        let topics = self.0.iter();
        topics
            .map(|(id, partitions)| ((*id).into(), partitions.iter().copied().collect()))
            .collect()
    }

    #[must_use]
    pub fn from_wire(topics: &TopicPartitions) -> Self {
        let topics = topics.iter();
        topics
            .flat_map(|(id, partitions)| {
                partitions
                    .iter()
                    .map(|partition| ((*id).into(), *partition))
            })
            .collect()
    }
}

impl FromIterator<(TopicId, i32)> for Assignment {
    fn from_iter<I: IntoIterator<Item = (TopicId, i32)>>(partitions: I) -> Self {
        let mut all = Self::new();
        for (topic, partition) in partitions {
            all.insert(topic, partition);
        }
        all
    }
}
