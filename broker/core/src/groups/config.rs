//! The configuration of groups, under Kafka's names and with Kafka's defaults.

use super::limits;
use crate::config::BrokerDefaults;

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
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
}

impl GroupConfig {
    /// Reads the configuration from the broker's settings.
    #[must_use]
    pub fn of(settings: &BrokerDefaults) -> Self {
        let number = |name| settings.number(name).max(0);
        let small = |name| i32::try_from(number(name)).unwrap_or(i32::MAX);
        let size = |name| usize::try_from(number(name)).unwrap_or(usize::MAX);
        Self {
            min_session_timeout_ms: small("group.min.session.timeout.ms"),
            max_session_timeout_ms: small("group.max.session.timeout.ms"),
            max_size: size("group.max.size").min(limits::GROUP_MEMBERS_MAX),
            initial_rebalance_delay_ms: number("group.initial.rebalance.delay.ms") as u64,
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
