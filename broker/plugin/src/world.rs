//! The worlds of plugins.

use std::fmt;

const LOG: &str = "sedge:plugin/log@0.1";
const METRICS: &str = "sedge:plugin/metrics@0.1";
pub(crate) const STATE: &str = "sedge:plugin/state@0.1";

/// A world of `wit/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    RecordFilter,
    KeyPartitioner,
    QuotaPolicy,
}

impl World {
    pub(crate) const ALL: [Self; 3] = [Self::RecordFilter, Self::KeyPartitioner, Self::QuotaPolicy];

    /// Returns the interfaces that a plugin of some world may import.
    pub(crate) const fn imports_of_any() -> &'static [&'static str] {
        Self::RecordFilter.imports()
    }

    /// Returns the interfaces that a plugin of this world may import. A partitioner is pure: what
    /// it chooses may depend on nothing but its arguments, and the broker may ask again.
    pub(crate) const fn imports(self) -> &'static [&'static str] {
        match self {
            Self::RecordFilter => &[LOG, METRICS, STATE],
            Self::QuotaPolicy => &[LOG, METRICS],
            Self::KeyPartitioner => &[LOG],
        }
    }

    /// The interface that only components of this world export.
    pub(crate) const fn export(self) -> &'static str {
        match self {
            Self::RecordFilter => "sedge:plugin/filter@0.1",
            Self::KeyPartitioner => "sedge:plugin/partitioner@0.1",
            Self::QuotaPolicy => "sedge:plugin/quota@0.1",
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RecordFilter => "record-filter",
            Self::KeyPartitioner => "key-partitioner",
            Self::QuotaPolicy => "quota-policy",
        })
    }
}
