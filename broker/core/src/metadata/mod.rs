//! The metadata machine: topics, their partitions and configurations, access rules, users,
//! delegation tokens, quotas, producer ids, the leader epoch. It is the controller of the one-node
//! cluster; its records are `__cluster_metadata`.
//!
//! The machine decides and remembers. It does not write records or create ids: the caller of a
//! command brings the topic id.
//!
//! **Invariant:** a [`PartitionId`] is handed out once, in the order of the records, and never
//! reused.

mod acls;
mod client_metrics;
mod command;
mod delta;
pub mod features;
mod groups;
mod image;
pub mod names;
mod quotas;
mod resource_configs;
mod salvage;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod tokens;
mod users;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ProducerId};
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::metadata_records::{
    ConfigRecord, MetadataRecord, PartitionRecord, ProducerIdsRecord, RemoveTopicRecord,
    ResourceType, TopicRecord,
};

pub use client_metrics::ClientMetrics;
pub use command::{
    Command, CommandError, CommandReply, CredentialChange, FeatureUpdate, QuotaAlteration,
    QuotaEntity, TokenCommand, TopicName, UpgradeType,
};
pub use delta::Delta;
pub use features::Features;
pub use groups::{GroupConfig, GroupConfigs};
pub use image::{Image, Topic};
pub use names::{GATEWAY_TOPIC, OFFSETS_TOPIC, PLUGINS_TOPIC, STATE_TOPIC};
pub use salvage::{Change, Facts, Salvage, Salvaged};

use crate::config::{BrokerDefaults, Place};
use crate::limits::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, TOPICS_MAX};
use crate::machine::{Machine, Now, Plan};
use crate::security::scram::Mechanism;

/// The broker setting that stores the leader epoch. Never shown, and never set by a client.
const LEADER_EPOCH_KEY: &str = "sedge.leader.epoch";

/// The setting in which a snapshot stores the next partition id: the topic with the largest id may
/// have been deleted. Never shown or set by a client either.
const NEXT_PARTITION_KEY: &str = "sedge.partition.next";

/// The first partition id that a topic gets; 0 is `__cluster_metadata`.
const FIRST_PARTITION_ID: u32 = 1;

/// The partition id of `__cluster_metadata`, which is in the log like every partition.
pub const METADATA_PARTITION: PartitionId = PartitionId(0);

/// The machine. Readers get clones of its [`Image`].
#[derive(Clone, Debug)]
pub struct MetadataMachine {
    node: NodeId,
    image: Image,
    next_partition_id: u32,
    next_producer_id: i64,
}

impl MetadataMachine {
    /// Creates the state of a one-node cluster without topics. `defaults` are the settings of
    /// topics that do not set their own.
    #[must_use]
    pub fn new(node: NodeId, defaults: BrokerDefaults) -> Self {
        Self {
            node,
            image: Image::new(defaults),
            next_partition_id: FIRST_PARTITION_ID,
            next_producer_id: 0,
        }
    }

    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// Returns whether the log has a partition id that the machine has never handed out: then
    /// records of the metadata are lost.
    #[must_use]
    pub const fn has_missed(&self, newest: PartitionId) -> bool {
        newest.get() >= self.next_partition_id
    }

    /// Returns records that rebuild this state from nothing.
    pub fn snapshot(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        let of_all = self.image.broker_configs(Place::AllBrokers).iter();
        let of_all = of_all.map(|(name, value)| broker_config(name, Some(value)));
        let own = self.image.broker_configs(Place::ThisBroker).iter();
        let own = own.map(|(name, value)| self.own_config(name, Some(value)));
        let epoch = Some(self.image.leader_epoch()).filter(|epoch| *epoch > LeaderEpoch(0));
        let epoch = epoch.map(|epoch| broker_config(LEADER_EPOCH_KEY, Some(&format!("{epoch}"))));
        let topics = self.image.topics().flat_map(|topic| {
            let partitions = (0..).zip(topic.partitions());
            let partitions =
                partitions.map(|(index, id)| self.partition_record(topic.id, index, id));
            let overrides = topic.overrides.iter();
            let overrides =
                overrides.map(|(key, value)| topic_config(&topic.name, key, Some(value)));
            core::iter::once(topic_record(&topic.name, topic.id))
                .chain(partitions)
                .chain(overrides)
        });
        let next_partition = format!("{}", self.next_partition_id);
        let ids = [
            broker_config(NEXT_PARTITION_KEY, Some(&next_partition)),
            self.producer_ids_record(self.next_producer_id),
        ];
        // The ids come first, so that even a partial snapshot has them.
        ids.into_iter()
            .chain(epoch)
            .chain(users::records(self.image.users()))
            .chain(acls::records(self.image.acls()))
            .chain(quotas::records(self.image.quotas()))
            .chain(tokens::records(self.image.tokens()))
            .chain(self.image.features().records())
            .chain(of_all)
            .chain(own)
            .chain(
                self.image
                    .client_metrics()
                    .records(ResourceType::ClientMetrics),
            )
            .chain(self.image.group_configs().records(ResourceType::Group))
            .chain(topics)
    }

    fn plan_create(
        &self,
        name: &str,
        id: KafkaUuid,
        partitions: i32,
        configs: Vec<(String, String)>,
        validate_only: bool,
    ) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
        names::check(name)?;
        names::check_not_the_log_of_metadata(name)?;
        if self.image.topic(name).is_some() {
            return Err(CommandError::new(
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ));
        }
        if let Some(other) = self.image.colliding(name) {
            return Err(CommandError::new(
                ErrorCode::InvalidTopicException,
                format!(
                    "Topic '{name}' collides with the existing topic '{other}': '.' and '_' count \
                     as the same character."
                ),
            ));
        }
        if self.image.topic_count() >= TOPICS_MAX {
            return Err(CommandError::new(
                ErrorCode::PolicyViolation,
                format!("There are already {TOPICS_MAX} topics, which is the limit."),
            ));
        }
        self.check_partition_count(partitions, partitions)?;
        let reply = CommandReply::Created { partitions };
        if validate_only {
            return Ok(Plan {
                records: Vec::new(),
                reply,
            });
        }
        let mut records = Vec::with_capacity(1 + partitions as usize + configs.len());
        records.push(topic_record(name, id));
        self.push_partitions(&mut records, id, 0, partitions);
        for (key, value) in configs {
            records.push(topic_config(name, &key, Some(&value)));
        }
        Ok(Plan { records, reply })
    }

    /// Checks a topic's count of `total` partitions, of which `new` are to be created.
    fn check_partition_count(&self, total: i32, new: i32) -> Result<(), CommandError> {
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&total) {
            return Err(CommandError::new(
                ErrorCode::InvalidPartitions,
                format!(
                    "The number of partitions must be between 1 and {PARTITIONS_PER_TOPIC_MAX}, \
                     not {total}."
                ),
            ));
        }
        let all = self.image.partition_count() + new as usize;
        let next = self.next_partition_id.checked_add(new as u32);
        let are_ids_left = next.is_some_and(|next| next <= PartitionId::RESERVED_FROM.get());
        if all > PARTITIONS_MAX || !are_ids_left {
            return Err(CommandError::new(
                ErrorCode::PolicyViolation,
                format!("The cluster would have {all} partitions; the limit is {PARTITIONS_MAX}."),
            ));
        }
        Ok(())
    }

    fn push_partitions(
        &self,
        records: &mut Vec<MetadataRecord>,
        topic_id: KafkaUuid,
        from: i32,
        to: i32,
    ) {
        for index in from..to {
            let id = PartitionId(self.next_partition_id + (index - from) as u32);
            records.push(self.partition_record(topic_id, index, id));
        }
    }

    /// This node is the leader and the only in-sync replica.
    fn partition_record(
        &self,
        topic_id: KafkaUuid,
        index: i32,
        storage_id: PartitionId,
    ) -> MetadataRecord {
        MetadataRecord::Partition(PartitionRecord {
            partition: PartitionIndex(index),
            topic_id,
            replicas: alloc::vec![self.node],
            isr: alloc::vec![self.node],
            leader: Some(self.node),
            leader_epoch: self.image.leader_epoch(),
            partition_epoch: 0,
            storage_id: Some(storage_id),
        })
    }

    fn producer_ids_record(&self, next: i64) -> MetadataRecord {
        MetadataRecord::ProducerIds(ProducerIdsRecord {
            broker: self.node,
            broker_epoch: 0,
            next: ProducerId(next),
        })
    }

    /// Returns the record of a setting of this broker alone.
    fn own_config(&self, name: &str, value: Option<&str>) -> MetadataRecord {
        config(ResourceType::Broker, &format!("{}", self.node), name, value)
    }

    fn apply_config(&mut self, config: &ConfigRecord) {
        let value = config.value.as_deref();
        match (config.resource_type, config.name.as_str()) {
            (ResourceType::Topic, name) => {
                self.image
                    .set_topic_config(&config.resource_name, name, value);
            }
            (ResourceType::Broker, LEADER_EPOCH_KEY) => {
                let epoch = value.and_then(|value| value.parse().ok());
                self.image.set_leader_epoch(LeaderEpoch(epoch.unwrap_or(0)));
            }
            (ResourceType::Broker, NEXT_PARTITION_KEY) => {
                let next = value.and_then(|value| value.parse().ok());
                self.next_partition_id = self.next_partition_id.max(next.unwrap_or(0));
            }
            (ResourceType::Broker, name) if config.resource_name.is_empty() => {
                self.image.set_broker_config(Place::AllBrokers, name, value);
            }
            (ResourceType::Broker, name) => {
                // Nothing of another broker is in force here.
                if config.resource_name.parse() == Ok(self.node.get()) {
                    self.image.set_broker_config(Place::ThisBroker, name, value);
                }
            }
            (ResourceType::ClientMetrics, key) => {
                let all = self.image.client_metrics_mut();
                all.set(&config.resource_name, key, value);
            }
            (ResourceType::Group, name) => {
                let groups = self.image.group_configs_mut();
                groups.set(&config.resource_name, name, value);
            }
            (ResourceType::Other(_), _) => {}
        }
    }

    fn plan_delete(
        &self,
        topic: &TopicName,
    ) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
        let found = match topic {
            TopicName::Name(name) => self.image.topic(name).ok_or_else(|| unknown_topic(name))?,
            TopicName::Id(id) => self.image.topic_by_id(*id).ok_or_else(|| {
                CommandError::new(
                    ErrorCode::UnknownTopicId,
                    "This server does not host this topic ID.",
                )
            })?,
        };
        check_not_internal(found, "it cannot be deleted")?;
        Ok(Plan {
            records: alloc::vec![MetadataRecord::RemoveTopic(RemoveTopicRecord {
                topic_id: found.id,
            })],
            reply: CommandReply::Deleted {
                name: found.name.clone(),
                id: found.id,
            },
        })
    }

    fn plan_create_partitions(
        &self,
        name: &str,
        total: i32,
        assigned: Option<usize>,
        validate_only: bool,
    ) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
        let topic = self.image.topic(name).ok_or_else(|| unknown_topic(name))?;
        check_not_internal(topic, "its partitions cannot be changed")?;
        let present = topic.partition_count();
        if total <= present {
            return Err(CommandError::new(
                ErrorCode::InvalidPartitions,
                format!(
                    "The topic {name} currently has {present} partition(s); {total} would not be \
                     an increase."
                ),
            ));
        }
        let new = total - present;
        if let Some(assigned) = assigned
            && assigned != new as usize
        {
            return Err(CommandError::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "The number of partitions grows by {new}, but {assigned} assignment(s) are \
                     given."
                ),
            ));
        }
        self.check_partition_count(total, new)?;
        let reply = CommandReply::Created { partitions: total };
        if validate_only {
            return Ok(Plan {
                records: Vec::new(),
                reply,
            });
        }
        let mut records = Vec::with_capacity(new as usize);
        self.push_partitions(&mut records, topic.id, present, total);
        Ok(Plan { records, reply })
    }
}

impl Machine for MetadataMachine {
    type Command = Command;
    type Record = MetadataRecord;
    type Reply = CommandReply;
    type Refusal = CommandError;

    fn plan(
        &self,
        now: Now,
        command: Command,
    ) -> Result<Plan<MetadataRecord, CommandReply>, CommandError> {
        match command {
            Command::CreateTopic {
                name,
                id,
                partitions,
                configs,
                validate_only,
            } => self.plan_create(&name, id, partitions, configs, validate_only),
            Command::DeleteTopic { topic } => self.plan_delete(&topic),
            Command::CreatePartitions {
                name,
                total,
                assigned,
                validate_only,
            } => self.plan_create_partitions(&name, total, assigned, validate_only),
            Command::AlterTopicConfigs { name, changes } => {
                if self.image.topic(&name).is_none() {
                    return Err(unknown_topic(&name));
                }
                let records = changes
                    .iter()
                    .map(|(key, value)| topic_config(&name, key, value.as_deref()))
                    .collect();
                Ok(Plan {
                    records,
                    reply: CommandReply::Done,
                })
            }
            Command::AlterBrokerConfigs {
                are_for_all,
                changes,
            } => {
                let record = |(key, value): &(String, Option<String>)| {
                    if are_for_all {
                        broker_config(key, value.as_deref())
                    } else {
                        self.own_config(key, value.as_deref())
                    }
                };
                let records = changes.iter().map(record).collect();
                Ok(Plan {
                    records,
                    reply: CommandReply::Done,
                })
            }
            Command::AlterGroupConfigs { group, changes } => {
                groups::plan_alter(self.image.group_configs(), &group, &changes)
            }
            Command::AlterClientMetrics { name, changes } => {
                client_metrics::plan_alter(self.image.client_metrics(), &name, &changes)
            }
            Command::AllocateProducerIds { count } => {
                let next = self.next_producer_id.checked_add(count).ok_or_else(|| {
                    CommandError::new(
                        ErrorCode::UnknownServerError,
                        "There are no producer ids left.",
                    )
                })?;
                Ok(Plan {
                    records: alloc::vec![self.producer_ids_record(next)],
                    reply: CommandReply::ProducerIds {
                        first: ProducerId(self.next_producer_id),
                    },
                })
            }
            Command::BumpLeaderEpoch => {
                let next = format!("{}", self.image.leader_epoch().get() + 1);
                let records = alloc::vec![broker_config(LEADER_EPOCH_KEY, Some(&next))];
                Ok(Plan {
                    records,
                    reply: CommandReply::Done,
                })
            }
            Command::CreateAcls { rules } => acls::plan_create(self.image.acls(), rules),
            Command::DeleteAcls { filters } => acls::plan_delete(self.image.acls(), &filters),
            Command::Token(command) => tokens::plan(self.image.tokens(), now.wall_ms, command),
            Command::AlterUserScramCredentials { changes } => {
                Ok(users::plan_alter(self.image.users(), changes))
            }
            Command::AlterQuotas {
                alterations,
                validate_only,
            } => quotas::plan_alter(self.image.quotas(), alterations, validate_only),
            Command::UpdateFeatures {
                updates,
                validate_only,
            } => features::plan_update(self.image.features(), &updates, validate_only),
        }
    }

    fn apply(&mut self, _: Offset, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic(topic) => self.image.add_topic(&topic.name, topic.topic_id),
            MetadataRecord::Partition(partition) => {
                if let Some(id) = partition.storage_id {
                    self.image.add_partition(partition.topic_id, id);
                    self.next_partition_id = self.next_partition_id.max(id.get().saturating_add(1));
                }
            }
            MetadataRecord::Config(config) => self.apply_config(config),
            MetadataRecord::RemoveTopic(topic) => self.image.remove_topic(topic.topic_id),
            MetadataRecord::ProducerIds(ids) => {
                self.next_producer_id = self.next_producer_id.max(ids.next.get());
            }
            MetadataRecord::FeatureLevel(feature) => self.image.features_mut().set(feature),
            MetadataRecord::AccessControlEntry(rule) => {
                if let Some(binding) = acls::binding(rule) {
                    self.image.acls_mut().add(rule.id, binding);
                }
            }
            MetadataRecord::RemoveAccessControlEntry(rule) => self.image.acls_mut().remove(rule.id),
            MetadataRecord::UserScramCredential(record) => {
                if let Some(credential) = users::credential(record) {
                    self.image.users_mut().set(&record.name, credential);
                }
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                if let Some(mechanism) = Mechanism::from_number(record.mechanism) {
                    self.image.users_mut().remove(&record.name, mechanism);
                }
            }
            MetadataRecord::ClientQuota(quota) => {
                if let Some((entity, key)) = quotas::target(quota) {
                    self.image.quotas_mut().set(&entity, key, quota.value);
                }
            }
            MetadataRecord::DelegationToken(record) => {
                if let Some(token) = tokens::token(record) {
                    self.image.tokens_mut().set(token);
                }
            }
            MetadataRecord::RemoveDelegationToken(record) => {
                self.image.tokens_mut().remove(&record.token_id);
            }
            MetadataRecord::PartitionChange(_) | MetadataRecord::NoOp => {}
        }
    }
}

/// The broker's own state in internal topics must not be deleted or move to another partition.
fn check_not_internal(topic: &Topic, what: &str) -> Result<(), CommandError> {
    if topic.is_internal {
        return Err(CommandError::new(
            ErrorCode::InvalidRequest,
            format!(
                "The topic {} is internal to the broker: {what}.",
                topic.name
            ),
        ));
    }
    Ok(())
}

fn unknown_topic(name: &str) -> CommandError {
    CommandError::new(
        ErrorCode::UnknownTopicOrPartition,
        format!("The topic '{name}' does not exist."),
    )
}

fn topic_record(name: &str, topic_id: KafkaUuid) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord {
        name: name.into(),
        topic_id,
    })
}

fn topic_config(topic: &str, name: &str, value: Option<&str>) -> MetadataRecord {
    config(ResourceType::Topic, topic, name, value)
}

fn broker_config(name: &str, value: Option<&str>) -> MetadataRecord {
    config(ResourceType::Broker, "", name, value)
}

fn config(
    resource_type: ResourceType,
    resource: &str,
    name: &str,
    value: Option<&str>,
) -> MetadataRecord {
    MetadataRecord::Config(ConfigRecord {
        resource_type,
        resource_name: resource.into(),
        name: name.into(),
        value: value.map(Into::into),
    })
}
