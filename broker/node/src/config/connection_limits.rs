//! The limits of connections that can change while the broker runs. Those of single listeners are
//! fixed.

use std::collections::BTreeMap;

use sedge_core::config::BrokerDefaults;

use super::Config;
use super::address_limits::{AddressLimits, parse_overrides};
use super::listeners::{CREATION_RATE, MAX_CONNECTIONS};
use super::values::parse_number;

const PER_IP: &str = "max.connections.per.ip";
const PER_IP_OVERRIDES: &str = "max.connections.per.ip.overrides";

/// The keys of the limits.
pub const KEYS: [&str; 4] = [MAX_CONNECTIONS, CREATION_RATE, PER_IP, PER_IP_OVERRIDES];

/// The limits; see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub max: usize,
    pub of_address: AddressLimits,
    /// Connections that are accepted in a second; `None` without a limit.
    pub creation_rate: Option<u32>,
}

impl ConnectionLimits {
    /// Returns the limits of the configuration file.
    pub fn of_file(config: &Config) -> Self {
        Self {
            max: config.max_connections,
            of_address: config.address_limits.clone(),
            creation_rate: config.creation_rates.broker,
        }
    }

    /// Returns the limits in force. Blocks while names of hosts are resolved.
    ///
    /// # Errors
    /// The reason why the overrides of addresses cannot be used.
    pub fn of(defaults: &BrokerDefaults, config: &Config) -> Result<Self, String> {
        let number = |key| usize::try_from(defaults.number(key)).unwrap_or(0);
        let overrides = parse_overrides(defaults.get(PER_IP_OVERRIDES).unwrap_or_default())?;
        let rate = u32::try_from(number(CREATION_RATE)).unwrap_or(u32::MAX);
        Ok(Self {
            // Memory and file descriptors are shared out at the start.
            max: number(MAX_CONNECTIONS).min(config.max_connections),
            of_address: AddressLimits::new(number(PER_IP), overrides),
            creation_rate: Some(rate).filter(|rate| *rate < i32::MAX.unsigned_abs()),
        })
    }
}

/// Checks limits that are to be set. Blocks while names of hosts are resolved.
///
/// # Errors
/// The reason why one cannot be used.
pub fn check(changes: &BTreeMap<String, String>, config: &Config) -> Result<(), String> {
    let max = changes.get(MAX_CONNECTIONS);
    let max = max.map(|value| parse_number::<usize>(value)).transpose()?;
    if let Some(max) = max.filter(|max| *max > config.max_connections) {
        let started_with = config.max_connections;
        return Err(format!(
            "{MAX_CONNECTIONS}={max} is more than the {started_with} for which the broker reserved \
             memory and file descriptors at its start; set it in the configuration file and \
             restart the broker"
        ));
    }
    let overrides = changes.get(PER_IP_OVERRIDES);
    if let Some(Err(why)) = overrides.map(|value| parse_overrides(value)) {
        return Err(format!("{PER_IP_OVERRIDES}: {why}"));
    }
    let of_each = changes.get(PER_IP).map(|value| value.trim());
    if of_each == Some("0") && overrides.is_none_or(|value| value.trim().is_empty()) {
        return Err(format!(
            "{PER_IP}=0 lets nobody connect; set {PER_IP_OVERRIDES} with it"
        ));
    }
    Ok(())
}
