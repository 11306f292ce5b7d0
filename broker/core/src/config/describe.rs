//! What DescribeConfigs says: every key with its value, where that comes from, and what stands
//! behind it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::broker::in_topic_unit;
use super::{BROKER_KEYS, BrokerDefaults, ConfigKey, ConfigType, TOPIC_KEYS, broker_key};

/// Where a value comes from: Kafka's `ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic,
    DynamicBroker,
    /// Set while the cluster runs, for all brokers.
    DynamicDefaultBroker,
    /// From the configuration file.
    StaticBroker,
    Default,
}

impl Source {
    /// The number in a DescribeConfigs response.
    #[must_use]
    pub const fn wire(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
        }
    }
}

/// One of the places that a value could come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    /// `None` where it is not to be shown.
    pub value: Option<String>,
    pub source: Source,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `None` for no value, and where it is not to be shown.
    pub value: Option<String>,
    pub source: Source,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    pub kind: ConfigType,
    pub doc: &'static str,
    /// All places where it is set, the one that holds first.
    pub synonyms: Vec<Synonym>,
}

/// Every key of a topic that sets `overrides` itself.
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
                // Values stay in the broker's own unit here, as Kafka shows them.
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

/// Every key of the broker. `dynamic` is where those set while it runs are said to come from: a
/// request for this broker is answered with its own, one for all brokers with the default.
#[must_use]
pub fn describe_broker(broker: &BrokerDefaults, dynamic: Source) -> Vec<Described> {
    BROKER_KEYS
        .iter()
        .map(|key| {
            let mut synonyms = Vec::new();
            push_broker(&mut synonyms, key.name, broker, dynamic);
            let holding = synonyms.first().and_then(|first| first.value.clone());
            describe(key, holding, synonyms)
        })
        .collect()
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
        doc: "A plugin's own setting",
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
