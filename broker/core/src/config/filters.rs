//! The filters that a topic has at one stage, when records are produced or when they are read, and
//! what follows if a plugin fails.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::{ConfigType, parts};

/// What happens to a batch when a plugin of its topic fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPluginError {
    /// The batch is written as it came.
    FailOpen,
    /// The batch is refused.
    #[default]
    FailClosed,
    /// A filter of produced batches: the batch is written to the dead-letter topic instead. Other
    /// plugins: the batch is written as it came, and the plugin is not called again until it is
    /// bound anew.
    Quarantine,
}

impl OnPluginError {
    pub(super) fn parse(value: &str) -> Self {
        match value {
            "fail-open" => Self::FailOpen,
            "quarantine" => Self::Quarantine,
            _ => Self::FailClosed,
        }
    }
}

/// The filters of one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters {
    /// The names of the plugins, in the order in which they run.
    pub names: Vec<String>,
    pub on_error: OnPluginError,
    /// Empty for all.
    pub partitions: Vec<RangeInclusive<i32>>,
    /// The principals whose reads are filtered. Empty for all.
    pub principals: Vec<String>,
    /// The topics that records may be routed to.
    pub routes: Vec<String>,
    /// The topic for batches that a filter failed on. Empty for the default.
    pub dead_letter_topic: String,
}

impl Filters {
    pub fn apply_to(&self, partition: i32) -> bool {
        let ranges = &self.partitions;
        let is_named = || ranges.iter().any(|range| range.contains(&partition));
        !self.names.is_empty() && (ranges.is_empty() || is_named())
    }

    pub fn apply_to_reads_of(&self, principal: &str) -> bool {
        let principals = &self.principals;
        principals.is_empty() || principals.iter().any(|named| named == principal)
    }
}

/// Reads partitions such as `0,3-5`. Returns `None` if a part is not a partition or a range.
pub(super) fn partitions(value: &str) -> Option<Vec<RangeInclusive<i32>>> {
    parts(ConfigType::List, value).map(range).collect()
}

fn range(part: &str) -> Option<RangeInclusive<i32>> {
    let number = |text: &str| text.parse().ok().filter(|number: &i32| *number >= 0);
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_numbers_and_ranges() {
        let check = |value: &str, expected: Option<&[i32]>| {
            let ranges = partitions(value);
            let named = ranges.map(|ranges| ranges.into_iter().flatten().collect::<Vec<_>>());
            assert_eq!(named.as_deref(), expected, "{value}");
        };
        check("0,3-5", Some(&[0, 3, 4, 5]));
        check(" 7 , 2-2", Some(&[7, 2]));
        check("", Some(&[]));
        for wrong in ["a", "-1", "1-", "5-3", "1-2-3", "0x1", "2147483648"] {
            check(wrong, None);
        }
    }
}
