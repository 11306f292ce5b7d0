//! Parts shared by the three configuration APIs: finding the resource of a request, and making a
//! change.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_core::config::{
    BrokerDefaults, ConfigError, DEAD_LETTER_KEY, FETCH_FILTER_KEY, FILTER_KEY, FILTER_ROUTES_KEY,
    PARTITIONER_KEY, Place, QUOTA_POLICY_KEY, Resource, changed, filter_names,
};
use sedge_core::metadata::{Command, Topic, names};
use sedge_core::mirror::GROUP_PREFIX;
use sedge_core::partitioner::MURMUR2;
use sedge_core::security::{self, Operation};
use sedge_plugin::World;
use sedge_plugin::limits::ROUTES_MAX;
use sedge_protocol::ErrorCode;

use crate::broker::telemetry;
use crate::handlers::request::{Cluster, ConfiguredGroup};
use crate::handlers::{Refusal, Request, Topics};
use crate::limits::CLIENT_METRICS_NAME_BYTES_MAX;

pub mod alter_configs;
pub mod describe_configs;
pub mod incremental_alter_configs;
pub(crate) mod link_state;
pub mod list_config_resources;

/// `ConfigResource.Type` on the wire.
pub const TOPIC: i8 = 2;
/// See [`TOPIC`].
pub const BROKER: i8 = 4;
/// See [`TOPIC`].
pub const CLIENT_METRICS: i8 = 16;
/// See [`TOPIC`]. This broker has one, without configurations.
pub const BROKER_LOGGER: i8 = 8;
/// Types of `ConfigResource.Type` without configurations here: broker loggers, groups of mirror
/// links. They are described as empty, as Kafka describes them if nothing is set.
pub const WITHOUT_CONFIGS: [i8; 2] = [BROKER_LOGGER, 32];

/// The resource that configurations belong to.
pub enum Owner {
    Topic(Topics, Arc<Topic>),
    /// This broker by its number.
    ThisBroker(Cluster),
    /// All brokers: the empty name.
    AllBrokers(Cluster),
    /// A subscription to clients' metrics, by its name.
    ClientMetrics(Cluster, String),
    /// A group.
    Group(ConfiguredGroup),
    /// A mirror link, by its group.
    Link(Cluster, String),
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::new(error.code, error.message)
    }
}

impl Owner {
    /// Returns the resource of a request, for `operation`.
    pub fn find(
        request: &Request,
        operation: Operation,
        resource_type: i8,
        name: &str,
    ) -> Result<Self, Refusal> {
        let refused = |code| Refusal::new(code, "Authorization failed.");
        let cluster = || request.cluster(operation).map_err(refused);
        match resource_type {
            TOPIC => {
                request
                    .check(operation, security::Resource::Topic, name)
                    .map_err(refused)?;
                check_topic_name(operation, name)?;
                let topics = request.topics(operation);
                let found = topics.named(name).map(|topic| Arc::clone(&topic));
                match found {
                    Ok(topic) => Ok(Self::Topic(topics, topic)),
                    Err(code) => Err(Refusal::new(
                        code,
                        format!("The topic '{name}' does not exist."),
                    )),
                }
            }
            BROKER => {
                let cluster = cluster()?;
                let node = request.node_id().to_string();
                match name {
                    "" => Ok(Self::AllBrokers(cluster)),
                    name if name == node => Ok(Self::ThisBroker(cluster)),
                    name => Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        format!("Unexpected broker id '{name}': this is broker {node}."),
                    )),
                }
            }
            CLIENT_METRICS => {
                let cluster = cluster()?;
                if name.is_empty() {
                    return Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        "The name of a subscription to clients' metrics cannot be empty.",
                    ));
                }
                if name.len() > CLIENT_METRICS_NAME_BYTES_MAX {
                    return Err(Refusal::new(
                        ErrorCode::InvalidRequest,
                        format!(
                            "The name of a subscription to clients' metrics has at most \
                             {CLIENT_METRICS_NAME_BYTES_MAX} bytes."
                        ),
                    ));
                }
                Ok(Self::ClientMetrics(cluster, name.to_owned()))
            }
            link_state::GROUP if name.starts_with(GROUP_PREFIX) => {
                request
                    .check(operation, security::Resource::Group, name)
                    .map_err(refused)?;
                // A link makes the broker connect to another one.
                let cluster = request.cluster(Operation::Alter).map_err(refused)?;
                Ok(Self::Link(cluster, name.to_owned()))
            }
            link_state::GROUP if !name.is_empty() => {
                let group = request.configured_group(operation, name);
                group.map(Self::Group).map_err(refused)
            }
            other => {
                check_without_configs(request, operation, other, name)?;
                Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!(
                        "Resource type {other} of this name has no configurations here; topics (2), \
                         brokers (4), client metrics (16) and groups (32) have."
                    ),
                ))
            }
        }
    }

    fn resource(&self) -> Resource {
        match self {
            Self::Topic(..) => Resource::Topic,
            Self::ThisBroker(_) => Resource::ThisBroker,
            Self::AllBrokers(_) => Resource::AllBrokers,
            Self::ClientMetrics(..) => Resource::ClientMetrics,
            Self::Group(_) => Resource::Group,
            Self::Link(..) => Resource::Link,
        }
    }

    fn overrides(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Topic(_, topic) => &topic.overrides,
            Self::ThisBroker(cluster) => cluster.defaults().at(Place::ThisBroker),
            Self::AllBrokers(cluster) => cluster.defaults().at(Place::AllBrokers),
            Self::ClientMetrics(cluster, name) => cluster.client_metrics_of(name),
            Self::Group(group) => group.overrides(),
            Self::Link(cluster, group) => cluster.of_group(group),
        }
    }

    fn defaults(&self) -> &BrokerDefaults {
        match self {
            Self::Topic(topics, _) => topics.defaults(),
            Self::Group(group) => group.defaults(),
            Self::ThisBroker(cluster)
            | Self::AllBrokers(cluster)
            | Self::ClientMetrics(cluster, _)
            | Self::Link(cluster, _) => cluster.defaults(),
        }
    }
}

/// Checks that the client may perform `operation` on a resource type without configurations, so
/// that a denied client gets the same error as for other types.
pub fn check_without_configs(
    request: &Request,
    operation: Operation,
    resource_type: i8,
    name: &str,
) -> Result<(), Refusal> {
    let checked = match resource_type {
        link_state::GROUP => request.check(operation, security::Resource::Group, name),
        _ => request.cluster(operation).map(|_| ()),
    };
    checked.map_err(|code| Refusal::new(code, "Authorization failed."))?;
    let node = request.node_id().to_string();
    if resource_type == BROKER_LOGGER && name != node {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id '{name}': this is broker {node}."),
        ));
    }
    Ok(())
}

/// Checks the name of a topic, in Kafka's order.
fn check_topic_name(operation: Operation, name: &str) -> Result<(), Refusal> {
    if name.is_empty() && operation != Operation::DescribeConfigs {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "There are no configurations of all topics; those of all brokers are their defaults.",
        ));
    }
    names::check(name).map_err(|error| Refusal::new(error.code, error.message))
}

/// Returns the refusal of a resource that a request names twice.
pub fn named_twice() -> Refusal {
    Refusal::new(
        ErrorCode::InvalidRequest,
        "Each resource must appear at most once.",
    )
}

/// Names of configurations with their new values; `None` goes back to the default.
pub type Changes = Vec<(String, Option<String>)>;

/// Returns what the link with this group would do if its keys were changed so, as JSON.
pub async fn plan_link(
    request: &Request,
    group: &str,
    plan: impl FnOnce(Resource, &BTreeMap<String, String>, &BrokerDefaults) -> Result<Changes, Refusal>,
) -> Result<String, Refusal> {
    let owner = Owner::find(request, Operation::AlterConfigs, link_state::GROUP, group)?;
    let Some(link) = group.strip_prefix(GROUP_PREFIX) else {
        let why =
            format!("{group} is not the group of a mirror link; those begin with {GROUP_PREFIX}.");
        return Err(Refusal::new(ErrorCode::InvalidRequest, why));
    };
    let changes = plan(owner.resource(), owner.overrides(), owner.defaults())?;
    let keys = changed(owner.overrides(), &changes);
    request.plan_link(link, keys).await
}

/// Plans the changes of one resource with `plan`, and applies them.
pub async fn alter(
    request: &Request,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    plan: impl FnOnce(Resource, &BTreeMap<String, String>, &BrokerDefaults) -> Result<Changes, Refusal>,
) -> Result<(), Refusal> {
    alter_as(
        request,
        Operation::AlterConfigs,
        resource_type,
        name,
        validate_only,
        plan,
    )
    .await
}

/// The same, for clients that may perform `operation`.
pub async fn alter_as(
    request: &Request,
    operation: Operation,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    plan: impl FnOnce(Resource, &BTreeMap<String, String>, &BrokerDefaults) -> Result<Changes, Refusal>,
) -> Result<(), Refusal> {
    let owner = Owner::find(request, operation, resource_type, name)?;
    let mut changes = plan(owner.resource(), owner.overrides(), owner.defaults())?;
    // As Kafka, which writes no record that changes nothing.
    changes.retain(|(name, value)| owner.overrides().get(name) != value.as_ref());
    let set = changes.iter();
    let set = set.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    check_bindings(request, Operation::AlterConfigs, set, owner.overrides()).await?;
    match &owner {
        Owner::ThisBroker(_) | Owner::AllBrokers(_) => {
            let set = changes.iter();
            let set = set.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
            request.check_connection_limits(set.collect()).await?;
        }
        Owner::ClientMetrics(..) => {
            telemetry::subscription(&changed(owner.overrides(), &changes))
                .map_err(|why| Refusal::new(ErrorCode::InvalidConfig, why))?;
        }
        Owner::Topic(..) | Owner::Group(_) | Owner::Link(..) => {}
    }
    if let Owner::Link(_, group) = &owner
        && let Some(link) = group.strip_prefix(GROUP_PREFIX)
    {
        let keys = changed(owner.overrides(), &changes);
        request.check_link(link, keys).await?;
    }
    if validate_only || changes.is_empty() {
        return Ok(());
    }
    let command = match owner {
        Owner::Topic(_, topic) => Command::AlterTopicConfigs {
            name: topic.name.clone(),
            changes,
        },
        Owner::ThisBroker(_) | Owner::AllBrokers(_) => Command::AlterBrokerConfigs {
            are_for_all: matches!(owner, Owner::AllBrokers(_)),
            changes,
        },
        Owner::ClientMetrics(_, name) => Command::AlterClientMetrics { name, changes },
        Owner::Group(ConfiguredGroup { id: group, .. }) | Owner::Link(_, group) => {
            Command::AlterGroupConfigs { group, changes }
        }
    };
    request.command(command).await.map(|_| ())
}

/// Refuses to bind a plugin that is not deployed, or is of another world: the topic would then
/// refuse every produce, or the broker have no policy. Refuses routes to topics on which the client
/// may not perform `operation`, or that do not exist. Bindings of the settings `before` stay.
pub async fn check_bindings<'a>(
    request: &Request,
    operation: Operation,
    settings: impl Iterator<Item = (&'a str, &'a str)>,
    before: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    for (key, value) in settings {
        if key == FILTER_ROUTES_KEY || key == DEAD_LETTER_KEY {
            let before = before.get(key).map_or("", String::as_str);
            let checked = check_targets(request, operation, key, value, before);
            checked.map_err(|why| invalid(key, value, &why))?;
        }
        let Some(world) = world_of(key) else { continue };
        let bound: Vec<&str> = before
            .get(key)
            .map_or(Vec::new(), |value| plugins(world, value).collect());
        let new = plugins(world, value).filter(|name| !bound.contains(name));
        let new: Vec<String> = new.map(str::to_owned).collect();
        if new.is_empty() {
            continue;
        }
        let is_fetch = key == FETCH_FILTER_KEY;
        let checked = request.check_deployed(world, new, is_fetch).await;
        checked.map_err(|why| invalid(key, value, &why))?;
    }
    Ok(())
}

fn invalid(key: &str, value: &str, why: &str) -> Refusal {
    let message = format!("Invalid value {value} for configuration {key}: {why}");
    Refusal::new(ErrorCode::InvalidConfig, message)
}

/// Checks the topics that the filters of a topic may write to. A client needs the same right on
/// them as on the topic itself, or binding would be a way around the rules of the other topics.
fn check_targets(
    request: &Request,
    operation: Operation,
    key: &str,
    value: &str,
    before: &str,
) -> Result<(), String> {
    let count = filter_names(value).count();
    if count > ROUTES_MAX {
        return Err(format!("{count} topics are more than {ROUTES_MAX}"));
    }
    let topics = request.topics(operation);
    let is_new = |name: &&str| !filter_names(before).any(|before| before == *name);
    for name in filter_names(value).filter(is_new) {
        names::check(name).map_err(|error| error.message)?;
        if names::is_internal(name) {
            return Err(format!("only the broker writes to the topic {name}"));
        }
        match topics.named(name) {
            Ok(_) => {}
            // The dead-letter topic is created with the first dead letter.
            Err(ErrorCode::UnknownTopicOrPartition)
                if key == DEAD_LETTER_KEY || topics.defaults().auto_creates_topics() => {}
            Err(ErrorCode::UnknownTopicOrPartition) => {
                return Err(format!(
                    "the topic {name} does not exist, and auto.create.topics.enable is false; \
                     create it first"
                ));
            }
            Err(_) => {
                return Err(format!(
                    "you need {operation:?} on the topic {name} as well"
                ));
            }
        }
    }
    Ok(())
}

/// Returns the world of the plugins that a key binds.
fn world_of(key: &str) -> Option<World> {
    match key {
        FILTER_KEY | FETCH_FILTER_KEY => Some(World::RecordFilter),
        PARTITIONER_KEY => Some(World::KeyPartitioner),
        QUOTA_POLICY_KEY => Some(World::QuotaPolicy),
        _ => None,
    }
}

/// Returns the names in the value of such a key.
fn plugins(world: World, value: &str) -> impl Iterator<Item = &str> {
    let several = (world == World::RecordFilter).then(|| filter_names(value));
    let is_built_in = |name: &str| world == World::KeyPartitioner && name == MURMUR2;
    let one = Some(value.trim()).filter(|name| !name.is_empty() && !is_built_in(name));
    let one = one.filter(|_| several.is_none());
    several.into_iter().flatten().chain(one)
}
