//! Builds what DescribeConfigs answers: every key with its value, the source of the value, and its
//! synonyms.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::broker::in_topic_unit;
use super::{BROKER_KEYS, BrokerDefaults, ConfigKey, ConfigType, TOPIC_KEYS, broker_key};

/// The source of a value: Kafka's `ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic,
    DynamicBroker,
    /// The value was set for all brokers while the cluster ran.
    DynamicDefaultBroker,
    /// The value is from the configuration file.
    StaticBroker,
    Default,
    /// The value was set on a group.
    Group,
}

impl Source {
    /// Returns the number in a DescribeConfigs response.
    #[must_use]
    pub const fn wire(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::Group => 8,
        }
    }
}

/// A key and place from which the value could come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    /// `None` if the value must not be shown.
    pub value: Option<String>,
    pub source: Source,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `None` if there is no value or it must not be shown.
    pub value: Option<String>,
    pub source: Source,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    pub kind: ConfigType,
    pub doc: &'static str,
    /// All places at which the key is set; the first one is in effect.
    pub synonyms: Vec<Synonym>,
}

/// Describes every key of a topic whose own settings are `overrides`.
#[must_use]
pub fn describe_topic(
    overrides: &BTreeMap<String, String>,
    broker: &BrokerDefaults,
) -> Vec<Described> {
    let mut described: Vec<_> = TOPIC_KEYS
        .iter()
        .map(|key| {
            let mut synonyms = Vec::new();
            if let Some(value) = overrides.get(key.name) {
                synonyms.push(synonym(key.name, value, Source::Topic));
            }
            for name in key.synonyms {
                // Values stay in the unit of the broker's key here, as in Kafka.
                push_broker(&mut synonyms, name, broker, Source::DynamicDefaultBroker);
            }
            let holding = synonyms
                .first()
                .and_then(|first| in_topic_unit(&first.name, first.value.as_deref()?));
            describe(key, holding, synonyms)
        })
        .collect();
    described.extend(plugin_settings(overrides, Source::Topic));
    described
}

/// Describes every key of the broker. `dynamic` is the source reported for keys that were set while
/// it runs: a request for this broker gets its own source, a request for all brokers the default's.
#[must_use]
pub fn describe_broker(broker: &BrokerDefaults, dynamic: Source) -> Vec<Described> {
    let mut described: Vec<_> = BROKER_KEYS
        .iter()
        .map(|key| {
            let mut synonyms = Vec::new();
            push_broker(&mut synonyms, key.name, broker, dynamic);
            let holding = synonyms.first().and_then(|first| first.value.clone());
            describe(key, holding, synonyms)
        })
        .collect();
    let in_file = plugin_settings(broker.file(), Source::StaticBroker);
    let in_file = in_file.filter(|entry| broker.dynamic_value(&entry.name).is_none());
    described.extend(plugin_settings(broker.dynamic(), dynamic));
    described.extend(in_file);
    described
}

fn describe(key: &ConfigKey, holding: Option<String>, synonyms: Vec<Synonym>) -> Described {
    let source = synonyms
        .first()
        .map_or(Source::Default, |first| first.source);
    let value = holding.or_else(|| key.default.map(Into::into));
    Described {
        name: key.name.into(),
        value: value.filter(|_| !key.is_sensitive()),
        source,
        is_read_only: !key.is_dynamic,
        is_sensitive: key.is_sensitive(),
        kind: key.kind,
        doc: key.doc,
        synonyms,
    }
}

fn plugin_settings(
    overrides: &BTreeMap<String, String>,
    source: Source,
) -> impl Iterator<Item = Described> {
    let own = overrides
        .iter()
        .filter(|(name, _)| super::is_plugin_key(name));
    own.map(move |(name, value)| Described {
        name: name.clone(),
        value: Some(value.clone()),
        source,
        is_read_only: false,
        is_sensitive: false,
        kind: ConfigType::String,
        doc: "Setting of a plugin",
        synonyms: alloc::vec![synonym(name, value, source)],
    })
}

fn push_broker(synonyms: &mut Vec<Synonym>, name: &str, broker: &BrokerDefaults, dynamic: Source) {
    let key = broker_key(name);
    let is_sensitive = key.is_some_and(ConfigKey::is_sensitive);
    let places = [
        (broker.dynamic_value(name), dynamic),
        (broker.file_value(name), Source::StaticBroker),
        (key.and_then(|key| key.default), Source::Default),
    ];
    for (value, source) in places {
        if let Some(value) = value {
            let value = (!is_sensitive).then(|| value.into());
            synonyms.push(Synonym {
                name: name.into(),
                value,
                source,
            });
        }
    }
}

fn synonym(name: &str, value: &str, source: Source) -> Synonym {
    Synonym {
        name: name.into(),
        value: Some(value.into()),
        source,
    }
}
