//! The settings of the broker by the place where they are made, and the defaults that topics take
//! from them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::broker::QUOTA_POLICY_KEY;
use super::{TOPIC_KEYS, TopicConfig, boolean, broker_key, is_plugin_key, topic_key};

/// Where a setting of the broker is made. An earlier place overrides the later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// While it runs, for this broker.
    ThisBroker,
    /// While it runs, for all brokers.
    AllBrokers,
    File,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::ThisBroker, Self::AllBrokers, Self::File];
}

/// The broker's settings: those of the file, overridden by those set while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerDefaults {
    file: BTreeMap<String, String>,
    all_brokers: BTreeMap<String, String>,
    this_broker: BTreeMap<String, String>,
    /// The configuration of a topic without settings of its own, computed once.
    topic: TopicConfig,
}

impl Default for BrokerDefaults {
    fn default() -> Self {
        Self::new(&BTreeMap::new())
    }
}

impl BrokerDefaults {
    /// Creates the defaults from the configuration file's settings, which [`check_broker_value`]
    /// has checked.
    #[must_use]
    pub fn new(file: &BTreeMap<String, String>) -> Self {
        Self::of(file.clone(), BTreeMap::new(), BTreeMap::new())
    }

    /// Returns the same settings, with those of one place replaced.
    #[must_use]
    pub fn with(&self, place: Place, settings: &BTreeMap<String, String>) -> Self {
        let at = |of: Place| {
            let settings = if of == place { settings } else { self.at(of) };
            settings.clone()
        };
        Self::of(
            at(Place::File),
            at(Place::AllBrokers),
            at(Place::ThisBroker),
        )
    }

    fn of(
        file: BTreeMap<String, String>,
        all_brokers: BTreeMap<String, String>,
        this_broker: BTreeMap<String, String>,
    ) -> Self {
        let mut defaults = Self {
            file,
            all_brokers,
            this_broker,
            topic: TopicConfig::blank(),
        };
        let mut topic = TopicConfig::blank();
        for key in TOPIC_KEYS {
            if let Some(value) = defaults.topic_default(key.name) {
                topic.set(key.name, &value);
            }
        }
        let plugins = Place::ALL.iter().rev();
        let plugins = plugins.flat_map(|place| defaults.at(*place));
        for (name, value) in plugins.filter(|(name, _)| is_plugin_key(name)) {
            topic.set(name, value);
        }
        defaults.topic = topic;
        defaults
    }

    pub(super) const fn topic(&self) -> &TopicConfig {
        &self.topic
    }

    /// Returns the settings that are made at a place.
    #[must_use]
    pub const fn at(&self, place: Place) -> &BTreeMap<String, String> {
        match place {
            Place::ThisBroker => &self.this_broker,
            Place::AllBrokers => &self.all_brokers,
            Place::File => &self.file,
        }
    }

    pub(super) fn value_at(&self, place: Place, name: &str) -> Option<&str> {
        self.at(place).get(name).map(String::as_str)
    }

    /// Returns the value that is in force, if one is set.
    fn set_value(&self, name: &str) -> Option<&str> {
        let mut places = Place::ALL.iter();
        places.find_map(|place| self.value_at(*place, name))
    }

    /// Returns a key's value in the file, or its default.
    pub(super) fn fixed_value(&self, name: &str) -> Option<&str> {
        let set = self.value_at(Place::File, name);
        set.or_else(|| broker_key(name)?.default)
    }

    /// Returns a key's value, or its default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.set_value(name).or_else(|| broker_key(name)?.default)
    }

    /// Returns a numeric key's value, or its default; 0 if there is neither.
    #[must_use]
    pub fn number(&self, name: &str) -> i64 {
        let default = || broker_key(name)?.default?.parse().ok();
        self.get(name)
            .and_then(|value| value.trim().parse().ok())
            .or_else(default)
            .unwrap_or(0)
    }

    /// Returns the value or default of a key of type Double; infinite if there is neither.
    #[must_use]
    pub fn fraction(&self, name: &str) -> f64 {
        let value = self.get(name).and_then(|value| value.trim().parse().ok());
        value
            .filter(|value| *value < f64::MAX)
            .unwrap_or(f64::INFINITY)
    }

    /// Returns whether a boolean key is true.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).and_then(boolean) == Some(true)
    }

    /// Returns the name of the plugin that is asked about requests.
    #[must_use]
    pub fn quota_policy(&self) -> Option<&str> {
        let name = self.get(QUOTA_POLICY_KEY).map(str::trim);
        name.filter(|name| !name.is_empty())
    }

    /// Returns the settings of one plugin, from `sedge.plugin.NAME.KEY`, as key and value.
    pub fn plugin_settings<'a>(
        &'a self,
        plugin: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.topic.plugin_settings(plugin)
    }

    #[must_use]
    pub fn auto_creates_topics(&self) -> bool {
        self.is_on("auto.create.topics.enable")
    }

    #[must_use]
    pub fn deletes_topics(&self) -> bool {
        self.is_on("delete.topic.enable")
    }

    #[must_use]
    pub fn retention_check_interval_ms(&self) -> u64 {
        self.number("log.retention.check.interval.ms").max(1) as u64
    }

    #[must_use]
    pub fn num_partitions(&self) -> i32 {
        self.number("num.partitions") as i32
    }

    /// Returns a topic key's value for topics that do not set it.
    #[must_use]
    pub fn topic_default(&self, name: &str) -> Option<String> {
        let key = topic_key(name)?;
        let set = key
            .synonyms
            .iter()
            .find_map(|synonym| in_topic_unit(synonym, self.set_value(synonym)?));
        set.or_else(|| key.default.map(Into::into))
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        BrokerDefaults::default().topic().clone()
    }
}

impl TopicConfig {
    /// Returns the effective configuration of a topic: `overrides`, its own settings, over the
    /// broker's.
    #[must_use]
    pub fn effective(overrides: &BTreeMap<String, String>, defaults: &BrokerDefaults) -> Self {
        let mut config = defaults.topic().clone();
        for (name, value) in overrides {
            config.set(name, value);
        }
        config
    }
}

/// Converts a broker's value to the unit of the topic's key: hours and minutes become ms.
pub(super) fn in_topic_unit(synonym: &str, value: &str) -> Option<String> {
    let unit_ms = match synonym.rsplit('.').next() {
        Some("hours") => 3_600_000,
        Some("minutes") => 60_000,
        _ => return Some(value.into()),
    };
    let count: i64 = value.trim().parse().ok()?;
    Some(if count < 0 {
        "-1".into()
    } else {
        format!("{}", count.saturating_mul(unit_ms))
    })
}
