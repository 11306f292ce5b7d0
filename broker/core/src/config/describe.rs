//! Builds what DescribeConfigs answers: every key with its value, the source of the value, and its
//! synonyms.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::broker::broker_keys;
use super::defaults::in_topic_unit;
use super::{BrokerDefaults, ConfigKey, ConfigType, Place, TOPIC_KEYS, broker_key};

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
    /// The value was set on a subscription to clients' metrics.
    ClientMetrics,
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
            Self::ClientMetrics => 7,
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
                for source in BROKER_SOURCES {
                    synonyms.extend(at(source, name, broker));
                }
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

/// Describes every key of the broker.
#[must_use]
pub fn describe_broker(broker: &BrokerDefaults) -> Vec<Described> {
    let keys = broker_keys().map(|key| {
        let names = || core::iter::once(&key.name).chain(key.synonyms);
        let sources = BROKER_SOURCES.into_iter();
        let synonyms = sources
            .flat_map(|source| names().filter_map(move |name| at(source, name, broker)))
            .collect::<Vec<_>>();
        let own = synonyms.iter().find(|synonym| synonym.name == key.name);
        let holding = own.and_then(|own| own.value.clone());
        describe(key, holding, synonyms)
    });
    let mut described: Vec<_> = keys.collect();
    for place in Place::ALL {
        for entry in plugin_settings(broker.at(place), source_of(place)) {
            if !described.iter().any(|known| known.name == entry.name) {
                described.push(entry);
            }
        }
    }
    described
}

/// Describes what was set for all brokers while they ran, and nothing else, as Kafka does.
#[must_use]
pub fn describe_all_brokers(broker: &BrokerDefaults) -> Vec<Described> {
    let source = Source::DynamicDefaultBroker;
    let keys = broker_keys().filter_map(|key| {
        let set = at(source, key.name, broker)?;
        Some(describe(key, set.value.clone(), [set].into()))
    });
    keys.chain(plugin_settings(broker.at(Place::AllBrokers), source))
        .collect()
}

/// The sources of a broker's value, the first one that has a value first.
const BROKER_SOURCES: [Source; 4] = [
    Source::DynamicBroker,
    Source::DynamicDefaultBroker,
    Source::StaticBroker,
    Source::Default,
];

const fn source_of(place: Place) -> Source {
    match place {
        Place::ThisBroker => Source::DynamicBroker,
        Place::AllBrokers => Source::DynamicDefaultBroker,
        Place::File => Source::StaticBroker,
    }
}

pub(super) fn describe(
    key: &ConfigKey,
    holding: Option<String>,
    synonyms: Vec<Synonym>,
) -> Described {
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

/// Returns the value of a broker's key at one source, if it has one there.
fn at(source: Source, name: &str, broker: &BrokerDefaults) -> Option<Synonym> {
    let key = broker_key(name);
    let mut places = Place::ALL.into_iter();
    let value = match places.find(|place| source_of(*place) == source) {
        Some(place) => broker.value_at(place, name),
        None => key.and_then(|key| key.default),
    }?;
    let mut synonym = synonym(name, value, source);
    if key.is_some_and(ConfigKey::is_sensitive) {
        synonym.value = None;
    }
    Some(synonym)
}

pub(super) fn synonym(name: &str, value: &str, source: Source) -> Synonym {
    Synonym {
        name: name.into(),
        value: Some(value.into()),
        source,
    }
}
