//! The configurations of resources that have nothing else in the metadata: groups, and
//! subscriptions to clients' metrics.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

use sedge_protocol::metadata_records::{MetadataRecord, ResourceType};

use super::config;

/// The keys of one resource, with their values.
pub type Keys = BTreeMap<String, String>;

/// All resources of a type with configurations. Values may be passwords, so that `Debug` shows only
/// names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ResourceConfigs {
    by_name: BTreeMap<String, Keys>,
}

impl ResourceConfigs {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Keys> {
        self.by_name.get(name)
    }

    /// Returns all resources with configurations, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Keys)> {
        let all = self.by_name.iter();
        all.map(|(name, keys)| (name.as_str(), keys))
    }

    pub(super) fn set(&mut self, name: &str, key: &str, value: Option<&str>) {
        let keys = self.by_name.entry(name.into()).or_default();
        match value {
            Some(value) => keys.insert(key.into(), value.into()),
            None => keys.remove(key),
        };
        if keys.is_empty() {
            self.by_name.remove(name);
        }
    }

    pub(super) fn records(&self, of: ResourceType) -> impl Iterator<Item = MetadataRecord> + '_ {
        self.by_name.iter().flat_map(move |(name, keys)| {
            keys.iter()
                .map(move |(key, value)| config(of, name, key, Some(value)))
        })
    }
}

impl fmt::Debug for ResourceConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}
