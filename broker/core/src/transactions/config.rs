//! The configuration of transactions, under Kafka's names and with Kafka's defaults.

use crate::config::BrokerDefaults;

#[derive(Clone, Debug)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expiration_interval_ms: u64,
}

impl TransactionConfig {
    /// Reads the configuration from the broker's settings.
    #[must_use]
    pub fn of(settings: &BrokerDefaults) -> Self {
        let number = |name| settings.number(name).max(0);
        let interval = number("transaction.remove.expired.transaction.cleanup.interval.ms");
        Self {
            max_timeout_ms: i32::try_from(number("transaction.max.timeout.ms")).unwrap_or(i32::MAX),
            id_expiration_ms: number("transactional.id.expiration.ms"),
            expiration_interval_ms: interval as u64,
        }
    }
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            max_timeout_ms: 15 * 60 * 1_000,
            id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            expiration_interval_ms: 60 * 60 * 1_000,
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
            format!("{:?}", TransactionConfig::of(&settings)),
            format!("{:?}", TransactionConfig::default())
        );
    }
}
