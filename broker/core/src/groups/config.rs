//! The configuration of groups, under Kafka's names and with Kafka's defaults.

use alloc::vec::Vec;

use super::assign::Assignor;
use super::limits;
use crate::config::{BrokerDefaults, HEARTBEAT_INTERVAL_KEY, SESSION_TIMEOUT_KEY};
use crate::metadata::Image;

#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.max.size`, at most [`limits::GROUP_MEMBERS_MAX`].
    pub max_size: usize,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: u64,
    /// Whether `group.coordinator.rebalance.protocols` names `consumer`.
    pub has_consumer_protocol: bool,
    /// `group.consumer.assignors`; the first is for groups that ask for none.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.max.size`, at most [`limits::GROUP_MEMBERS_MAX`].
    pub consumer_max_size: usize,
    /// `group.consumer.session.timeout.ms` and `group.consumer.heartbeat.interval.ms`
    pub consumer_timeouts: Timeouts,
    /// `group.consumer.regex.refresh.interval.ms`
    pub regex_refresh_interval_ms: u64,
    /// `group.consumer.migration.policy`
    pub migration_policy: MigrationPolicy,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
}

/// How long a member of the consumer protocol may be silent, and how often it is to send
/// heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub session_ms: u32,
    pub heartbeat_ms: u32,
}

/// Whether a group may change its protocol while it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// From the classic to the consumer protocol.
    pub upgrades: bool,
    /// From the consumer to the classic protocol.
    pub downgrades: bool,
}

impl MigrationPolicy {
    fn named(name: &str) -> Self {
        let is = |known: &str| name.trim().eq_ignore_ascii_case(known);
        let is_both = is("bidirectional");
        Self {
            upgrades: is_both || is("upgrade"),
            downgrades: is_both || is("downgrade"),
        }
    }
}

impl GroupConfig {
    /// Returns the timeouts of a group: its own configurations, or the broker's.
    #[must_use]
    pub fn timeouts(&self, image: &Image, group_id: &str) -> Timeouts {
        let own = image.group_configs().get(group_id);
        let own = |key: &str| own?.get(key)?.trim().parse().ok();
        let default = self.consumer_timeouts;
        Timeouts {
            session_ms: own(SESSION_TIMEOUT_KEY).unwrap_or(default.session_ms),
            heartbeat_ms: own(HEARTBEAT_INTERVAL_KEY).unwrap_or(default.heartbeat_ms),
        }
    }

    /// Reads the configuration from the broker's settings.
    #[must_use]
    pub fn of(settings: &BrokerDefaults) -> Self {
        let number = |name| settings.number(name).max(0);
        let small = |name| i32::try_from(number(name)).unwrap_or(i32::MAX);
        let size = |name| usize::try_from(number(name)).unwrap_or(usize::MAX);
        let time = |name| u32::try_from(number(name)).unwrap_or(u32::MAX);
        let list = |name| {
            settings
                .get(name)
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
        };
        // Kafka's classes have the names of the assignors: `…UniformAssignor`.
        let assignor = |name: &str| {
            let class = name.rsplit('.').next().unwrap_or(name);
            let known = Assignor::ALL.into_iter();
            let mut known = known.filter(|known| known.name() == name || known.class() == class);
            known.next()
        };
        Self {
            min_session_timeout_ms: small("group.min.session.timeout.ms"),
            max_session_timeout_ms: small("group.max.session.timeout.ms"),
            max_size: size("group.max.size").min(limits::GROUP_MEMBERS_MAX),
            initial_rebalance_delay_ms: number("group.initial.rebalance.delay.ms") as u64,
            has_consumer_protocol: list("group.coordinator.rebalance.protocols")
                .any(|name| name.eq_ignore_ascii_case("consumer")),
            consumer_assignors: list("group.consumer.assignors")
                .filter_map(assignor)
                .collect(),
            consumer_max_size: size("group.consumer.max.size").min(limits::GROUP_MEMBERS_MAX),
            consumer_timeouts: Timeouts {
                session_ms: time("group.consumer.session.timeout.ms"),
                heartbeat_ms: time("group.consumer.heartbeat.interval.ms"),
            },
            regex_refresh_interval_ms: number("group.consumer.regex.refresh.interval.ms") as u64,
            migration_policy: MigrationPolicy::named(
                settings
                    .get("group.consumer.migration.policy")
                    .unwrap_or_default(),
            ),
            offset_metadata_bytes_max: size("offset.metadata.max.bytes")
                .min(limits::OFFSET_METADATA_BYTES_MAX),
            offsets_retention_ms: number("offsets.retention.minutes").saturating_mul(60_000),
            retention_check_interval_ms: number("offsets.retention.check.interval.ms") as u64,
        }
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 30 * 60 * 1_000,
            max_size: limits::GROUP_MEMBERS_MAX,
            initial_rebalance_delay_ms: 3_000,
            has_consumer_protocol: true,
            consumer_assignors: Assignor::ALL.to_vec(),
            consumer_max_size: limits::GROUP_MEMBERS_MAX,
            consumer_timeouts: Timeouts {
                session_ms: 45_000,
                heartbeat_ms: 5_000,
            },
            regex_refresh_interval_ms: 600_000,
            migration_policy: MigrationPolicy {
                upgrades: true,
                downgrades: true,
            },
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            retention_check_interval_ms: 600_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_settings_have_kafkas_defaults() {
        let settings = BrokerDefaults::default();
        assert_eq!(
            format!("{:?}", GroupConfig::of(&settings)),
            format!("{:?}", GroupConfig::default())
        );
    }
}
