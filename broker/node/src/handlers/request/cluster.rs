//! The cluster: the controller, the broker's own settings, the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_core::config::{BrokerDefaults, ORIGINS_KEY};
use sedge_core::metadata::{
    ClientMetrics, Command, CommandReply, Features, Image, METADATA_PARTITION, TokenCommand,
    TopicName,
};
use sedge_core::mirror::GROUP_PREFIX;
use sedge_core::quota::Quotas;
use sedge_core::security::acl::CLUSTER_NAME;
use sedge_core::security::{Acls, Operation, Resource, Users};
use sedge_plugin::World;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset, ProducerId};
use sedge_storage::Usage;

use super::access::Access;
use super::{Request, Topics};
use crate::broker::{Broker, Refusal};
use crate::config::connection_limits;

impl Request {
    /// Returns the cluster, for one operation.
    ///
    /// # Errors
    /// CLUSTER_AUTHORIZATION_FAILED.
    pub fn cluster(&self, operation: Operation) -> Result<Cluster, ErrorCode> {
        self.access
            .check(operation, Resource::Cluster, CLUSTER_NAME)?;
        Ok(Cluster {
            access: self.access.clone(),
            image: self.access.broker.log.metadata.load(),
        })
    }

    /// Returns the levels of the cluster's features, which every client may know, and their epoch:
    /// it is larger after each change.
    pub fn features(&self) -> (Features, i64) {
        let broker = &self.access.broker;
        // Read first: a client must not hold old levels for those of a newer epoch.
        let epoch = metadata_end(broker).map_or(0, Offset::get);
        (broker.log.metadata.load().features().clone(), epoch)
    }

    /// Sends a command to the controller. The command determines the client's required permission.
    ///
    /// # Errors
    /// The client lacks the permission, the controller refuses, or the broker stops.
    pub async fn command(&self, command: Command) -> Result<CommandReply, Refusal> {
        self.check_command(&command)?;
        let broker = &self.access.broker;
        let is_of_brokers = matches!(command, Command::AlterBrokerConfigs { .. });
        match broker.writer.metadata(command).await {
            Ok(Ok(reply)) => {
                if is_of_brokers {
                    self.set_connection_limits().await;
                }
                if let CommandReply::QuotasAltered(_) = &reply {
                    broker.quotas.set(broker.log.metadata.load().quotas());
                }
                Ok(reply)
            }
            Ok(Err(error)) => Err(Refusal::new(error.code, error.message)),
            Err(_) => Err(Refusal::stopping()),
        }
    }

    /// Checks limits of connections that are to be set while the broker runs.
    ///
    /// # Errors
    /// INVALID_REQUEST for a limit that the broker cannot have now.
    pub async fn check_connection_limits(
        &self,
        changes: BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        if !changes
            .keys()
            .any(|key| connection_limits::KEYS.contains(&&**key))
        {
            return Ok(());
        }
        let broker = Arc::clone(&self.access.broker);
        // Off the executor: names of hosts are resolved.
        let check = move || connection_limits::check(&changes, &broker.config);
        let checked = blocking::unblock(check).await;
        checked.map_err(|why| Refusal::new(ErrorCode::InvalidRequest, why))
    }

    /// Applies the limits of connections that the metadata have.
    async fn set_connection_limits(&self) {
        let broker = Arc::clone(&self.access.broker);
        blocking::unblock(move || broker.set_connection_limits()).await;
    }

    fn check_command(&self, command: &Command) -> Result<(), Refusal> {
        let of_topic = |operation, name: &str| self.access.check(operation, Resource::Topic, name);
        let of_cluster = |operation| {
            self.access
                .check(operation, Resource::Cluster, CLUSTER_NAME)
        };
        let checked = match command {
            Command::CreateTopic { name, .. } => of_topic(Operation::Create, name),
            Command::CreatePartitions { name, .. } => of_topic(Operation::Alter, name),
            Command::AlterTopicConfigs { name, changes } => {
                let is_mark =
                    |(key, value): &(String, Option<String>)| key == ORIGINS_KEY && value.is_some();
                let operation = if changes.iter().all(is_mark) {
                    Operation::Write
                } else {
                    Operation::AlterConfigs
                };
                of_topic(operation, name)
            }
            Command::DeleteTopic { topic } => self.check_delete(topic),
            Command::AlterBrokerConfigs { .. }
            | Command::AlterClientMetrics { .. }
            | Command::AlterQuotas { .. } => of_cluster(Operation::AlterConfigs),
            Command::AlterGroupConfigs { group, .. } => {
                let named = self
                    .access
                    .check(Operation::AlterConfigs, Resource::Group, group);
                // A link makes the broker connect to another one, with all that its topics have.
                let is_link = group.starts_with(GROUP_PREFIX);
                named.and_then(|()| {
                    if is_link {
                        of_cluster(Operation::Alter)
                    } else {
                        Ok(())
                    }
                })
            }
            Command::AllocateProducerIds { .. } => of_cluster(Operation::IdempotentWrite),
            Command::BumpLeaderEpoch
            | Command::CreateAcls { .. }
            | Command::DeleteAcls { .. }
            | Command::UpdateFeatures { .. }
            | Command::AlterUserScramCredentials { .. } => of_cluster(Operation::Alter),
            Command::Token(command) => self.check_token(command),
        };
        checked.map_err(|code| Refusal::new(code, "Authorization failed."))
    }

    /// Checks that the client may create the delegation token, if its owner is another principal.
    /// The controller checks who may change a token.
    fn check_token(&self, command: &TokenCommand) -> Result<(), ErrorCode> {
        match command {
            TokenCommand::Create {
                owner, requester, ..
            } if owner != requester => {
                self.access
                    .check(Operation::CreateTokens, Resource::User, owner.as_str())
            }
            TokenCommand::Create { .. }
            | TokenCommand::Renew { .. }
            | TokenCommand::Expire { .. }
            | TokenCommand::RemoveExpired => Ok(()),
        }
    }

    /// Checks that the client may delete a topic. A client that may describe the topic, but not
    /// delete it, learns whether it exists.
    fn check_delete(&self, topic: &TopicName) -> Result<(), ErrorCode> {
        let image = self.access.broker.log.metadata.load();
        let check = |operation, name: &str| self.access.check(operation, Resource::Topic, name);
        match topic {
            TopicName::Name(name) => {
                check(Operation::Describe, name)?;
                match image.topic(name) {
                    Some(_) => check(Operation::Delete, name),
                    None => Ok(()),
                }
            }
            // A client that knows the id may learn that the topic exists.
            TopicName::Id(id) => match image.topic_by_id(*id) {
                Some(topic) => check(Operation::Delete, &topic.name),
                None => Ok(()),
            },
        }
    }

    /// Creates a topic that the client named, with the broker's defaults.
    ///
    /// # Errors
    /// The client lacks the permission, the name is invalid, or the disk is full.
    pub async fn auto_create(&self, name: &str) -> Result<(), ErrorCode> {
        self.access
            .check(Operation::Create, Resource::Topic, name)?;
        let partitions = self
            .access
            .broker
            .log
            .metadata
            .load()
            .defaults()
            .num_partitions();
        self.charge_mutation(partitions);
        let created = self.access.broker.auto_create(name).await;
        created.map_err(|refusal| refusal.code)
    }

    /// Checks that plugins of these names and this world are deployed, or about to be, and for what
    /// consumers read, that none has a state.
    ///
    /// # Errors
    /// A message that names the plugin that is not.
    pub async fn check_deployed(
        &self,
        world: World,
        plugins: Vec<String>,
        is_fetch: bool,
    ) -> Result<(), String> {
        let broker = Arc::clone(&self.access.broker);
        blocking::unblock(move || {
            let names = plugins.iter().map(String::as_str);
            let checked = broker
                .plugins
                .check_bound(&broker.log, world, names.clone());
            match checked {
                Ok(()) if is_fetch => broker.plugins.check_stateless(names),
                other => other,
            }
        })
        .await
    }
}

fn metadata_end(broker: &Broker) -> Result<Offset, sedge_storage::Error> {
    let partition = broker.log.partition(METADATA_PARTITION)?;
    Ok(partition.high_watermark())
}

/// The configurations of a resource that has none.
static NONE: BTreeMap<String, String> = BTreeMap::new();

/// The cluster, for an operation that the client is allowed to perform.
pub struct Cluster {
    access: Access,
    image: Arc<Image>,
}

impl Cluster {
    /// Returns all topics: an operation that is allowed on the cluster is allowed on each of them.
    pub fn topics(&self) -> Topics {
        Topics::new(&self.access, None)
    }

    pub fn defaults(&self) -> &BrokerDefaults {
        self.image.defaults()
    }

    /// Returns the users that have a password.
    pub fn users(&self) -> &Users {
        self.image.users()
    }

    /// Returns the access rules.
    pub fn acls(&self) -> &Acls {
        self.image.acls()
    }

    /// Returns the quotas of clients.
    pub fn quotas(&self) -> &Quotas {
        self.image.quotas()
    }

    /// Returns the configurations of a group.
    pub fn of_group(&self, group: &str) -> &BTreeMap<String, String> {
        self.image.group_configs().get(group).unwrap_or(&NONE)
    }

    /// Returns the groups that have configurations.
    pub fn configured_groups(&self) -> impl Iterator<Item = &str> {
        self.image.group_configs().iter().map(|(group, _)| group)
    }

    /// Returns the subscriptions to clients' metrics.
    pub fn client_metrics(&self) -> &ClientMetrics {
        self.image.client_metrics()
    }

    /// Returns the configurations of a subscription to clients' metrics.
    pub fn client_metrics_of(&self, name: &str) -> &BTreeMap<String, String> {
        self.image.client_metrics().get(name).unwrap_or(&NONE)
    }

    /// Returns a producer id that was never handed out before.
    ///
    /// # Errors
    /// The controller refuses, or the broker stops.
    pub async fn next_producer_id(&self) -> Result<ProducerId, ErrorCode> {
        let broker = &self.access.broker;
        broker.producer_ids.next(&broker.writer).await
    }

    /// Returns the epoch of the controller, which leads every partition as well.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.image.leader_epoch()
    }

    /// Returns the end of `__cluster_metadata`.
    ///
    /// # Errors
    /// The store cannot read it.
    pub fn metadata_end(&self) -> Result<Offset, sedge_storage::Error> {
        metadata_end(&self.access.broker)
    }

    /// Returns the last lines that a plugin logged; `None` if it is not deployed.
    pub fn plugin_log(&self, plugin: &str) -> Option<String> {
        self.access.broker.plugins.logged(plugin)
    }

    pub fn log_dir(&self) -> String {
        self.access.broker.config.data.display().to_string()
    }

    /// Measures the disk. Blocks.
    pub fn usage(&self) -> Usage {
        self.access.broker.log.store.usage()
    }
}
