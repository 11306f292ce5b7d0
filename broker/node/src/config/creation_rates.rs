//! How many connections are accepted in a second: `max.connection.creation.rate`.

use std::collections::BTreeMap;

use super::listeners::{CREATION_RATE, split_override};
use super::{Setting, Settings, keys};

/// Connections that are accepted in a second; `None` without a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreationRates {
    pub broker: Option<u32>,
    /// By the names of listeners that have a limit of their own.
    pub listeners: BTreeMap<String, u32>,
}

impl CreationRates {
    /// Reads the rates. The broker's has been checked; a listener's own is checked here, and
    /// `refuse` takes those that are wrong.
    pub(super) fn read(
        settings: &Settings,
        refuse: &mut dyn FnMut(&str, &Setting, String),
    ) -> Self {
        let mut rates = Self::default();
        let broker = settings.get(CREATION_RATE);
        let broker = broker.and_then(|setting| setting.value.text().trim().parse().ok());
        rates.broker = broker.filter(|rate| *rate < i32::MAX.unsigned_abs());
        for (key, setting) in settings.iter() {
            let Some((name, CREATION_RATE)) = split_override(key) else {
                continue;
            };
            let checked = keys::find(CREATION_RATE).map(|known| known.check(setting.value.text()));
            match (checked, setting.value.text().trim().parse()) {
                (Some(Err(error)), _) => refuse(key, setting, error.message),
                (_, Ok(rate)) => {
                    rates.listeners.insert(name.to_uppercase(), rate);
                }
                (_, Err(_)) => refuse(key, setting, "not a number".to_owned()),
            }
        }
        rates
    }
}
