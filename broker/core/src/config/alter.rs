//! Checks changes of configurations and turns them into the changes to record.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::group::check_group;
use super::{
    BROKER_KEYS, BrokerDefaults, ClientMetricsConfig, ConfigError, ConfigKey, ConfigType,
    GROUP_KEYS, Place, TOPIC_KEYS, TopicConfig, broker_key, client_metrics_key, group_key,
    is_plugin_key, parts, topic_key,
};

/// Bytes of one value: enough for a list of plugins or a plugin's setting, while a record of the
/// metadata stays small.
const VALUE_BYTES_MAX: usize = 32 << 10;

/// The keys of a link whose values are lists.
const LISTS_OF_LINKS: &[&str] = &[
    "bootstrap.servers",
    "filter",
    "topics",
    "topics.create",
    "topics.exclude",
    "topics.rename",
];

/// An operation of IncrementalAlterConfigs on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp {
    Set,
    Delete,
    /// Adds parts to a list.
    Append,
    /// Removes parts from a list.
    Subtract,
}

impl AlterOp {
    #[must_use]
    pub const fn from_wire(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// A key with its new value, or `None` to go back to the default.
pub type Change = (String, Option<String>);

/// The kind of resource that is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic,
    /// All brokers: what they have if they do not set their own.
    AllBrokers,
    ThisBroker,
    /// A subscription to clients' metrics. The caller compiles the patterns of its `match`.
    ClientMetrics,
    /// A consumer group.
    Group,
    /// A mirror link, by its group. The caller checks names and values, for which this crate has no
    /// table.
    Link,
}

impl Resource {
    const fn place(self) -> Option<Place> {
        match self {
            Self::AllBrokers => Some(Place::AllBrokers),
            Self::ThisBroker => Some(Place::ThisBroker),
            Self::Topic | Self::ClientMetrics | Self::Group | Self::Link => None,
        }
    }

    /// Checks the values of `settings` against each other, as Kafka's `LogConfig` does.
    fn check_together(
        self,
        settings: &BTreeMap<String, String>,
        broker: &BrokerDefaults,
    ) -> Result<(), ConfigError> {
        let config = match self {
            Self::Topic => TopicConfig::effective(settings, broker),
            Self::AllBrokers => broker.with(Place::AllBrokers, settings).topic().clone(),
            Self::ThisBroker => broker.with(Place::ThisBroker, settings).topic().clone(),
            Self::ClientMetrics => return ClientMetricsConfig::read(settings).map(|_| ()),
            Self::Group => return check_group(settings, broker),
            Self::Link => return Ok(()),
        };
        let (min, max) = (
            config.min_compaction_lag_ms(),
            config.max_compaction_lag_ms(),
        );
        if min > max {
            let message = format!(
                "min.compaction.lag.ms ({min}) is larger than max.compaction.lag.ms ({max})"
            );
            return Err(self.refused(ConfigError::invalid(message)));
        }
        Ok(())
    }

    /// Returns the error with the code that Kafka has for a refused value of this resource.
    fn refused(self, error: ConfigError) -> ConfigError {
        match self.place() {
            Some(_) => ConfigError::request(error.message),
            None => error,
        }
    }

    fn key(self, name: &str) -> Result<Option<&'static ConfigKey>, ConfigError> {
        let (key, table, what) = match self {
            Self::Topic => (topic_key(name), TOPIC_KEYS, "topic"),
            Self::AllBrokers | Self::ThisBroker if name.starts_with(OF_LISTENER) => {
                return Err(fixed(name));
            }
            Self::AllBrokers | Self::ThisBroker => (broker_key(name), BROKER_KEYS, "broker"),
            Self::Group => (group_key(name), GROUP_KEYS, "group"),
            // Checked together, in the order of Kafka's checks.
            Self::ClientMetrics => return Ok(client_metrics_key(name)),
            Self::Link => return Ok(None),
        };
        match key {
            None if is_plugin_key(name) && self != Self::Group => Ok(None),
            None => Err(ConfigError::unknown(
                what,
                name,
                table.iter().map(|key| key.name),
            )),
            Some(key) if !key.is_dynamic => Err(fixed(name)),
            some => Ok(some),
        }
    }

    fn check(self, name: &str, value: &str) -> Result<(), ConfigError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(ConfigError::invalid(format!(
                "The value of {name} has {} bytes, more than {VALUE_BYTES_MAX}",
                value.len()
            )));
        }
        match self.key(name)? {
            Some(key) => key.check(value).map_err(|error| self.refused(error)),
            None => Ok(()),
        }
    }

    fn is_list(self, name: &str, key: Option<&ConfigKey>) -> bool {
        match self {
            Self::Topic | Self::AllBrokers | Self::ThisBroker | Self::Group => {
                key.is_some_and(|key| key.kind == ConfigType::List)
            }
            // As in Kafka, though two of the keys are lists.
            Self::ClientMetrics => false,
            Self::Link => LISTS_OF_LINKS.contains(&name),
        }
    }

    fn default(self, name: &str, broker: &BrokerDefaults) -> Option<String> {
        match self {
            Self::Topic => broker.topic_default(name),
            // As in Kafka: not what is set at the other place while the brokers run.
            Self::AllBrokers | Self::ThisBroker => broker.fixed_value(name).map(Into::into),
            Self::ClientMetrics | Self::Group | Self::Link => None,
        }
    }
}

/// Prefix of the keys of single listeners, which are read from the file.
const OF_LISTENER: &str = "listener.name.";

fn fixed(name: &str) -> ConfigError {
    ConfigError::request(format!(
        "Cannot update these configs dynamically: {name}; set it in the configuration file and \
         restart the broker"
    ))
}

/// Checks the configurations of a new topic and returns them.
///
/// # Errors
/// INVALID_CONFIG for an unknown key (naming the nearest one), a null value, a value that the key
/// does not accept, or values that contradict each other.
pub fn plan_new_topic<'a>(
    broker: &BrokerDefaults,
    configs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut settings = BTreeMap::new();
    for (name, value) in configs {
        let value = value.ok_or_else(|| {
            ConfigError::invalid(format!(
                "Null value not supported for topic configs: {name}"
            ))
        })?;
        Resource::Topic.check(name, value)?;
        settings.insert(name.into(), value.into());
    }
    Resource::Topic.check_together(&settings, broker)?;
    Ok(settings)
}

/// Plans an IncrementalAlterConfigs of one resource whose own settings are `current`. Each change
/// has a key, an operation and a value.
///
/// # Errors
/// INVALID_CONFIG for setting an unknown key, a value that is not accepted, values that contradict
/// each other, or appending to a key that is not a list; INVALID_REQUEST for a key named twice, a
/// missing value, or a key that only the configuration file can set.
pub fn plan_alter<'a>(
    resource: Resource,
    current: &BTreeMap<String, String>,
    broker: &BrokerDefaults,
    ops: impl IntoIterator<Item = (&'a str, AlterOp, Option<&'a str>)>,
) -> Result<Vec<Change>, ConfigError> {
    let mut seen = BTreeSet::new();
    let mut changes = Vec::new();
    for (name, op, value) in ops {
        if !seen.insert(name) {
            return Err(ConfigError::request(format!(
                "Duplicate config key: {name}"
            )));
        }
        // Any name may be removed: another version may have set it.
        if op == AlterOp::Delete {
            changes.push((name.into(), None));
            continue;
        }
        let key = resource.key(name)?;
        let value = value
            .ok_or_else(|| ConfigError::request(format!("Null value not supported for: {name}")))?;
        let value = if op == AlterOp::Set {
            String::from(value)
        } else {
            if !resource.is_list(name, key) {
                return Err(ConfigError::invalid(format!(
                    "Can't {op:?} to key {name} because its type is not LIST"
                )));
            }
            let before = current
                .get(name)
                .cloned()
                .or_else(|| resource.default(name, broker));
            alter_list(&before.unwrap_or_default(), op, value)
        };
        resource.check(name, &value)?;
        changes.push((name.into(), Some(value)));
    }
    resource.check_together(&changed(current, &changes), broker)?;
    Ok(changes)
}

/// Returns `current` after `changes`.
#[must_use]
pub fn changed(current: &BTreeMap<String, String>, changes: &[Change]) -> BTreeMap<String, String> {
    let mut settings = current.clone();
    for (name, value) in changes {
        match value {
            Some(value) => settings.insert(name.clone(), value.clone()),
            None => settings.remove(name),
        };
    }
    settings
}

/// Plans an AlterConfigs of one resource: keys that are not named go back to their defaults.
///
/// # Errors
/// As for [`plan_alter`].
pub fn plan_replace<'a>(
    resource: Resource,
    current: &BTreeMap<String, String>,
    broker: &BrokerDefaults,
    configs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<Vec<Change>, ConfigError> {
    let mut named = BTreeMap::new();
    for (name, value) in configs {
        let value = value
            .ok_or_else(|| ConfigError::request(format!("Null value not supported for: {name}")))?;
        resource.check(name, value)?;
        if named.insert(name, value).is_some() {
            return Err(ConfigError::request(format!(
                "Duplicate config key: {name}"
            )));
        }
    }
    let gone = current
        .keys()
        .filter(|name| !named.contains_key(name.as_str()));
    let mut changes: Vec<Change> = gone.map(|name| (name.clone(), None)).collect();
    changes.extend(
        named
            .iter()
            .map(|(name, value)| ((*name).into(), Some((*value).into()))),
    );
    resource.check_together(&changed(current, &changes), broker)?;
    Ok(changes)
}

fn alter_list(before: &str, op: AlterOp, value: &str) -> String {
    let kind = ConfigType::List;
    let mut list: Vec<&str> = parts(kind, before).collect();
    for part in parts(kind, value) {
        if op == AlterOp::Subtract {
            list.retain(|other| *other != part);
        } else if !list.contains(&part) {
            list.push(part);
        }
    }
    list.join(",")
}
