//! The configuration keys of consumer groups. Each falls back to the broker's key of that name
//! behind `group.`, and has the bounds that the broker has for it.
//!
//! Source: Kafka's `GroupConfig`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{
    BrokerDefaults, ConfigError, ConfigKey, ConfigType, Described, Source, Synonym, Takes,
};

/// How often the members are to send heartbeats.
pub const HEARTBEAT_INTERVAL_KEY: &str = "consumer.heartbeat.interval.ms";
/// How long a member may be silent.
pub const SESSION_TIMEOUT_KEY: &str = "consumer.session.timeout.ms";

const fn key(name: &'static str, default: &'static str, doc: &'static str) -> ConfigKey {
    ConfigKey {
        name,
        kind: ConfigType::Int,
        default: Some(default),
        takes: Takes::AtLeast(1),
        synonyms: &[],
        is_dynamic: true,
        has_effect: true,
        doc,
    }
}

/// All keys of groups, in the order of their names.
pub const GROUP_KEYS: &[ConfigKey] = &[
    key(
        HEARTBEAT_INTERVAL_KEY,
        "5000",
        "How often members of the group are to send heartbeats; by default \
         group.consumer.heartbeat.interval.ms of the broker, which also has bounds for it",
    ),
    key(
        SESSION_TIMEOUT_KEY,
        "45000",
        "How long a member of the group may be silent before it is removed; by default \
         group.consumer.session.timeout.ms of the broker, which also has bounds for it",
    ),
];

/// Returns the key of groups with this name.
#[must_use]
pub fn group_key(name: &str) -> Option<&'static ConfigKey> {
    GROUP_KEYS.iter().find(|key| key.name == name)
}

/// Returns the broker's key to which a group's key falls back.
fn of_broker(name: &str) -> String {
    format!("group.{name}")
}

/// Checks the values of a group against the broker's bounds, and against each other.
///
/// # Errors
/// INVALID_CONFIG.
pub(super) fn check_group(
    settings: &BTreeMap<String, String>,
    broker: &BrokerDefaults,
) -> Result<(), ConfigError> {
    let value = |name: &str| {
        let own = settings
            .get(name)
            .and_then(|value| value.trim().parse().ok());
        own.unwrap_or_else(|| broker.number(&of_broker(name)))
    };
    for (name, what) in [
        (HEARTBEAT_INTERVAL_KEY, "heartbeat.interval.ms"),
        (SESSION_TIMEOUT_KEY, "session.timeout.ms"),
    ] {
        let own = settings
            .get(name)
            .and_then(|value| value.trim().parse::<i64>().ok());
        let Some(own) = own else { continue };
        let least = format!("group.consumer.min.{what}");
        if own < broker.number(&least) {
            let message = format!("{name} must be greater than or equal to {least}");
            return Err(ConfigError::invalid(message));
        }
        let most = format!("group.consumer.max.{what}");
        if own > broker.number(&most) {
            let message = format!("{name} must be less than or equal to {most}");
            return Err(ConfigError::invalid(message));
        }
    }
    if value(SESSION_TIMEOUT_KEY) <= value(HEARTBEAT_INTERVAL_KEY) {
        let message =
            format!("{SESSION_TIMEOUT_KEY} must be greater than {HEARTBEAT_INTERVAL_KEY}");
        return Err(ConfigError::invalid(message));
    }
    Ok(())
}

/// Describes every key of a group whose own settings are `overrides`.
#[must_use]
pub fn describe_group(
    overrides: &BTreeMap<String, String>,
    broker: &BrokerDefaults,
) -> Vec<Described> {
    let described = GROUP_KEYS.iter().map(|key| {
        let synonym = |name: &str, value: &str, source| Synonym {
            name: name.into(),
            value: Some(value.into()),
            source,
        };
        let mut synonyms = Vec::new();
        if let Some(value) = overrides.get(key.name) {
            synonyms.push(synonym(key.name, value, Source::Group));
        }
        let name = of_broker(key.name);
        if let Some(value) = broker
            .get(&name)
            .filter(|value| Some(*value) != key.default)
        {
            synonyms.push(synonym(&name, value, Source::StaticBroker));
        }
        if let Some(value) = key.default {
            synonyms.push(synonym(&name, value, Source::Default));
        }
        let first = synonyms.first();
        Described {
            name: key.name.into(),
            value: first.and_then(|first| first.value.clone()),
            source: first.map_or(Source::Default, |first| first.source),
            is_read_only: false,
            is_sensitive: false,
            kind: key.kind,
            doc: key.doc,
            synonyms,
        }
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{AlterOp, Resource, plan_alter};
    use super::*;
    use sedge_protocol::ErrorCode;

    fn set(name: &str, value: &str) -> Result<(), ErrorCode> {
        let ops = [(name, AlterOp::Set, Some(value))];
        let broker = BrokerDefaults::default();
        let planned = plan_alter(Resource::Group, &BTreeMap::new(), &broker, ops);
        planned.map(|_| ()).map_err(|error| error.code)
    }

    #[test]
    fn values_keep_to_the_bounds_of_the_broker_and_to_each_other() {
        let refused = Err(ErrorCode::InvalidConfig);
        let table = [
            (HEARTBEAT_INTERVAL_KEY, "6000", Ok(())),
            (HEARTBEAT_INTERVAL_KEY, "4999", refused),
            (HEARTBEAT_INTERVAL_KEY, "15001", refused),
            (HEARTBEAT_INTERVAL_KEY, "often", refused),
            (SESSION_TIMEOUT_KEY, "45000", Ok(())),
            (SESSION_TIMEOUT_KEY, "44999", refused),
            (SESSION_TIMEOUT_KEY, "60001", refused),
            ("share.isolation.level", "read_committed", refused),
        ];
        for (name, value, expected) in table {
            assert_eq!(set(name, value), expected, "{name}={value}");
        }
        let file = [
            ("group.consumer.min.session.timeout.ms", "1000"),
            ("group.consumer.session.timeout.ms", "10000"),
        ];
        let file = file.map(|(name, value)| (name.into(), value.into()));
        let broker = BrokerDefaults::new(&file.into_iter().collect());
        let shorter = [(SESSION_TIMEOUT_KEY, AlterOp::Set, Some("5000"))];
        let planned = plan_alter(Resource::Group, &BTreeMap::new(), &broker, shorter);
        assert_eq!(
            planned.unwrap_err().message,
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"
        );
    }

    #[test]
    fn what_is_described_says_where_it_comes_from() {
        let file = [("group.consumer.session.timeout.ms".into(), "50000".into())];
        let broker = BrokerDefaults::new(&file.into_iter().collect());
        let own = [(HEARTBEAT_INTERVAL_KEY.into(), "6000".into())];
        let described = describe_group(&own.into_iter().collect(), &broker);
        let of = |entry: &Described| (entry.value.clone().unwrap(), entry.source);
        assert_eq!(of(&described[0]), ("6000".into(), Source::Group));
        assert_eq!(of(&described[1]), ("50000".into(), Source::StaticBroker));
        let defaults = describe_group(&BTreeMap::new(), &BrokerDefaults::default());
        assert_eq!(of(&defaults[1]), ("45000".into(), Source::Default));
    }
}
