//! Configuration under Kafka's names: the keys of topics and of the broker, the values they accept,
//! their defaults, and the checks of a change.
//!
//! A topic's key falls back to the broker's synonym for it (`retention.ms` to `log.retention.ms`
//! and then to `log.retention.hours`), and that to its default. Settings made while the broker runs
//! override those of its file.
//!
//! Keys that Kafka knows and that have no effect here (tiering, index files, throttled replicas)
//! are accepted, checked and shown, so that tools that set them work; [`ConfigKey::has_effect`]
//! tells them apart. Unknown keys are errors.

mod alter;
mod broker;
mod client_metrics;
mod defaults;
mod describe;
mod effective;
mod filters;
mod group;
mod idle;
mod nearest;
mod recompression;
mod topic;

use alloc::format;
use alloc::string::String;

use sedge_protocol::ErrorCode;

use crate::security::Principal;

pub use alter::{AlterOp, Change, Resource, changed, plan_alter, plan_new_topic, plan_replace};
pub use broker::{
    BROKER_KEYS, QUOTA_POLICY_KEY, SASL_MECHANISMS, STANDARD_AUTHORIZER, broker_key,
    check_broker_value,
};
pub use client_metrics::{
    CLIENT_METRICS_KEYS, ClientMetricsConfig, client_metrics_key, describe_client_metrics,
};
pub use defaults::{BrokerDefaults, Place};
pub use describe::{
    Described, Source, Synonym, describe_all_brokers, describe_broker, describe_topic,
};
pub use effective::{Durability, RetentionPriority, TopicConfig};
pub use filters::OnPluginError;
pub use group::{
    GROUP_KEYS, HEARTBEAT_INTERVAL_KEY, SESSION_TIMEOUT_KEY, describe_group, group_key,
};
pub use idle::IDLE_BROKER_KEYS;
pub use nearest::nearest;
pub use topic::{
    DEAD_LETTER_KEY, FETCH_FILTER_KEY, FILTER_KEY, FILTER_ROUTES_KEY, MIRROR_CONFIGS_KEY,
    MIRROR_SOURCE_KEY, ORIGINS_KEY, PARTITIONER_KEY, PLUGIN_PREFIX, TOPIC_KEYS, filter_names,
    is_plugin_key, origins, topic_key,
};

/// Kafka's types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    /// The name of a Java class.
    Class,
    Password,
}

impl ConfigType {
    /// Returns the number in a DescribeConfigs response.
    #[must_use]
    pub const fn wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// Restricts the values that a key accepts, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    Anything,
    AtLeast(i64),
    Between(i64, i64),
    /// The same, or the one value beside the range.
    BetweenOr(i64, i64, i64),
    /// One of these; for a list, each of its parts.
    OneOf(&'static [&'static str]),
    /// Partitions, each a number or a range as in `3-5`.
    Partitions,
    /// Principals, each as `TYPE:NAME`.
    Principals,
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    pub name: &'static str,
    pub kind: ConfigType,
    /// `None` if the key has no default.
    pub default: Option<&'static str>,
    pub takes: Takes,
    /// Broker keys that a topic's key, or another key of brokers, falls back to, in that order.
    pub synonyms: &'static [&'static str],
    /// Whether the key can be set while the broker runs.
    pub is_dynamic: bool,
    /// Whether the key has an effect on this broker.
    pub has_effect: bool,
    pub doc: &'static str,
}

impl ConfigKey {
    /// A key that can be set while the broker runs, and has an effect.
    const fn dynamic(
        name: &'static str,
        kind: ConfigType,
        default: Option<&'static str>,
        takes: Takes,
        doc: &'static str,
    ) -> Self {
        let (is_dynamic, has_effect) = (true, true);
        Self {
            name,
            kind,
            default,
            takes,
            synonyms: &[],
            is_dynamic,
            has_effect,
            doc,
        }
    }

    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// Checks a value as Kafka's `ConfigDef` does: spaces around it are ignored, and so is the case
    /// of a boolean.
    ///
    /// # Errors
    /// INVALID_CONFIG with the values that are accepted.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        let value = value.trim();
        let refused = |why: &str| {
            let name = self.name;
            Err(ConfigError::invalid(format!(
                "Invalid value {value} for configuration {name}: {why}"
            )))
        };
        let not_of_type = || refused(&format!("Not a number of type {}", self.kind.name()));
        match self.kind {
            ConfigType::Boolean if boolean(value).is_none() => {
                return refused("Expected value to be either true or false");
            }
            ConfigType::Int if value.parse::<i32>().is_err() => return not_of_type(),
            ConfigType::Short if value.parse::<i16>().is_err() => return not_of_type(),
            ConfigType::Long if value.parse::<i64>().is_err() => return not_of_type(),
            ConfigType::Double if value.parse::<f64>().is_err() => return not_of_type(),
            _ => {}
        }
        let out_of_range = |low: i64, high: f64| match value.parse::<f64>() {
            Ok(number) => number < low as f64 || number > high,
            Err(_) => true,
        };
        match self.takes {
            Takes::AtLeast(low) if out_of_range(low, f64::INFINITY) => {
                refused(&format!("Value must be at least {low}"))
            }
            Takes::Between(low, high) if out_of_range(low, high as f64) => {
                refused(&format!("Value must be between {low} and {high}"))
            }
            Takes::BetweenOr(low, high, other)
                if out_of_range(low, high as f64) && value.parse() != Ok(other) =>
            {
                refused(&format!(
                    "Value must be between {low} and {high}, or equal to {other}"
                ))
            }
            Takes::OneOf(known)
                if !parts(self.kind, value).all(|part| self.is_one_of(known, part)) =>
            {
                refused(&format!("String must be one of: {}", known.join(", ")))
            }
            Takes::Partitions if filters::partitions(value).is_none() => {
                refused("Each must be a partition or a range, such as 0 or 3-5")
            }
            Takes::Principals
                if !parts(self.kind, value).all(|part| Principal::parse(part).is_some()) =>
            {
                refused("Each must be a principal, such as User:alice")
            }
            _ => Ok(()),
        }
    }

    fn is_one_of(&self, known: &[&str], part: &str) -> bool {
        known.iter().any(|known| match self.kind {
            ConfigType::Boolean => known.eq_ignore_ascii_case(part),
            _ => *known == part,
        })
    }
}

/// Returns a boolean as Kafka's `ConfigDef` reads one: in any case, with spaces around it.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Returns the parts of a list, or the one value of any other type.
fn parts(kind: ConfigType, value: &str) -> impl Iterator<Item = &str> {
    let separator = move |letter| kind == ConfigType::List && letter == ',';
    value
        .split(separator)
        .map(str::trim)
        .filter(move |part| kind != ConfigType::List || !part.is_empty())
}

/// Reason why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub code: ErrorCode,
    pub message: String,
}

impl ConfigError {
    fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::InvalidConfig,
            message: message.into(),
        }
    }

    fn request(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::InvalidRequest,
            message: message.into(),
        }
    }

    fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let mut message = format!("Unknown {what} config name: {name}");
        if let Some(nearest) = nearest(name, known) {
            message = format!("{message}; did you mean {nearest}?");
        }
        Self::invalid(message)
    }
}

#[cfg(test)]
mod tests;
