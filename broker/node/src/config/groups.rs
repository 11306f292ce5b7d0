//! The consumer groups whose offsets a link keeps in step on both sides.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits;
use super::link_values::{compiled, number};
use super::selection::Patterns;
use crate::client::config::ConfigError;

/// Groups that a link does not take, as MirrorMaker's `groups.exclude`.
const EXCLUDED: &str = "console-consumer-.*, connect-.*, __.*";

/// The groups, and how often their offsets are compared.
#[derive(Clone, Debug)]
pub struct GroupSelection {
    included: Patterns,
    excluded: Patterns,
    pub every: Duration,
}

impl GroupSelection {
    /// Takes the keys about groups out of a link's.
    pub(super) fn take_from(
        properties: &mut BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        const EVERY: &str = "sync.group.offsets.interval.seconds";
        let mut take = |key: &str| properties.remove(key);
        let every_s = number(EVERY, take(EVERY), limits::GROUPS_SYNCED_EVERY.as_secs())?;
        if every_s == 0 {
            return Err(ConfigError::new(EVERY, "0 is out of range; set at least 1"));
        }
        Ok(Self {
            included: compiled("groups", take("groups"), "")?,
            excluded: compiled("groups.exclude", take("groups.exclude"), EXCLUDED)?,
            every: Duration::from_secs(every_s),
        })
    }

    /// Returns whether the link keeps the offsets of no group.
    pub fn is_empty(&self) -> bool {
        self.included.is_empty()
    }

    pub fn takes(&self, group: &str) -> bool {
        self.included.take(group) && !self.excluded.take(group)
    }
}
