//! The configuration keys of client metrics: subscriptions to what clients push (KIP-714).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::ConfigType::{Int, List};
use super::Takes::Anything;
use super::describe::{Described, Source, describe, synonym};
use super::{ConfigError, ConfigKey, ConfigType, parts};
use crate::telemetry::Attribute;

const fn key(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    doc: &'static str,
) -> ConfigKey {
    ConfigKey {
        name,
        kind,
        default: Some(default),
        takes: Anything,
        synonyms: &[],
        is_dynamic: true,
        has_effect: true,
        doc,
    }
}

const INTERVAL: &str = "interval.ms";
const MATCH: &str = "match";
const METRICS: &str = "metrics";

/// Kafka's range of the interval.
const INTERVAL_MS_MIN: i32 = 100;
const INTERVAL_MS_MAX: i32 = 3_600_000;

/// All keys of client metrics, in the order of their names.
pub const CLIENT_METRICS_KEYS: &[ConfigKey] = &[
    key(
        INTERVAL,
        Int,
        "300000",
        "Time between two pushes of a client",
    ),
    key(
        MATCH,
        List,
        "",
        "Clients that are asked to push, each part as NAME=PATTERN, and all must match the whole \
         text of client_instance_id, client_id, client_software_name, client_software_version, \
         client_source_address or client_source_port; empty: all clients",
    ),
    key(
        METRICS,
        List,
        "",
        "Prefixes of the names of the metrics that clients push; *: all metrics",
    ),
];

/// Returns the key of that name.
#[must_use]
pub fn client_metrics_key(name: &str) -> Option<&'static ConfigKey> {
    CLIENT_METRICS_KEYS.iter().find(|key| key.name == name)
}

/// One subscription as configured. The patterns are not compiled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMetricsConfig<'a> {
    pub interval_ms: i32,
    pub metrics: Vec<&'a str>,
    pub matches: Vec<(Attribute, &'a str)>,
}

impl<'a> ClientMetricsConfig<'a> {
    /// Reads a subscription, with the checks of Kafka's `ClientMetricsConfigs`.
    ///
    /// # Errors
    /// INVALID_REQUEST for an unknown key, or an interval out of range; INVALID_CONFIG for an
    /// interval that is no number, or a `match` that names no attribute of clients.
    pub fn read(settings: &'a BTreeMap<String, String>) -> Result<Self, ConfigError> {
        for name in settings.keys() {
            if client_metrics_key(name).is_none() {
                let known = CLIENT_METRICS_KEYS.iter().map(|key| key.name);
                let error = ConfigError::unknown("client metrics", name, known);
                return Err(ConfigError::request(error.message));
            }
        }
        let text = |key: &ConfigKey| {
            let set = settings.get(key.name).map(String::as_str);
            set.or(key.default).unwrap_or_default().trim()
        };
        for key in CLIENT_METRICS_KEYS {
            key.check(text(key))?;
        }
        let [interval, matches, metrics] = CLIENT_METRICS_KEYS else {
            return Err(ConfigError::invalid("There are three keys"));
        };
        let interval_ms = text(interval).parse().unwrap_or(0);
        if !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&interval_ms) {
            return Err(ConfigError::request(format!(
                "Invalid value {interval_ms} for {INTERVAL}: the interval must be between \
                 {INTERVAL_MS_MIN} and {INTERVAL_MS_MAX}"
            )));
        }
        let pattern = |part: &'a str| {
            let (name, pattern) = part.split_once('=')?;
            Some((Attribute::parse(name.trim())?, pattern.trim()))
        };
        let matches = parts(List, text(matches)).map(|part| {
            pattern(part).ok_or_else(|| {
                ConfigError::invalid(format!("Illegal client matching pattern: {part}"))
            })
        });
        Ok(Self {
            interval_ms,
            matches: matches.collect::<Result<_, _>>()?,
            metrics: parts(List, text(metrics)).collect(),
        })
    }
}

/// Describes every key of the subscription whose own settings are `overrides`.
#[must_use]
pub fn describe_client_metrics(overrides: &BTreeMap<String, String>) -> Vec<Described> {
    let described = CLIENT_METRICS_KEYS.iter().map(|key| {
        let own = overrides.get(key.name);
        let own = own.map(|value| synonym(key.name, value, Source::ClientMetrics));
        let holding = own.as_ref().and_then(|own| own.value.clone());
        describe(key, holding, own.into_iter().collect())
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    use sedge_protocol::ErrorCode;

    #[test]
    fn subscriptions_are_read_or_refused_with_kafka_s_codes() {
        let check = |key: &str, value: &str, expected: Option<ErrorCode>| {
            let settings = BTreeMap::from([(key.to_string(), value.to_string())]);
            let refused = ClientMetricsConfig::read(&settings).err();
            assert_eq!(refused.map(|error| error.code), expected, "{key}={value}");
        };
        let request = Some(ErrorCode::InvalidRequest);
        let invalid = Some(ErrorCode::InvalidConfig);
        check("interval.ms", "100", None);
        check("interval.ms", "3600000", None);
        check("interval.ms", "99", request);
        check("interval.ms", "3600001", request);
        check("interval.ms", "soon", invalid);
        check("interval.seconds", "1", request);
        check("match", "client_id=a.*, client_source_port=1", None);
        check("match", "", None);
        check("match", "client_id", invalid);
        check("match", "client_name=a", invalid);
        check("metrics", "*", None);
    }

    #[test]
    fn a_subscription_has_defaults() {
        let none = BTreeMap::new();
        let read = ClientMetricsConfig::read(&none).unwrap();
        assert_eq!((read.interval_ms, read.metrics.len()), (300_000, 0));
        let all = describe_client_metrics(&none);
        assert!(all.iter().all(|entry| entry.source == Source::Default));
        let own = BTreeMap::from([("metrics".into(), "a, b".into())]);
        let read = ClientMetricsConfig::read(&own).unwrap();
        assert_eq!(read.metrics, ["a", "b"]);
        let all = describe_client_metrics(&own);
        let entry = all.iter().find(|entry| entry.name == "metrics").unwrap();
        assert_eq!(entry.source, Source::ClientMetrics);
        assert_eq!(entry.synonyms.len(), 1);
    }
}
