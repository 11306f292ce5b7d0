//! What a link has copied of a topic's configuration, and what to copy after a change.
//!
//! The other side's operator may set keys too, and a link leaves these alone: it copies a key when
//! its value changes here, and resets a key only if it was the link that set it. So a link
//! remembers what it has copied, as hashes: 12 letters for each key.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::partitioner::murmur2;

/// Keys to set (`Some`) and to reset (`None`).
pub type ConfigChanges = Vec<(String, Option<String>)>;

/// The keys and values that a link has copied, as hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedConfigs(BTreeMap<u16, u32>);

impl CopiedConfigs {
    #[must_use]
    pub fn of(configs: &BTreeMap<String, String>) -> Self {
        let hashes = configs
            .iter()
            .map(|(key, value)| (of_key(key), murmur2(value.as_bytes())));
        Self(hashes.collect())
    }

    /// Reads what [`fmt::Display`] wrote. Returns `None` if it is something else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let one = |part: &str| {
            let (key, value) = part.split_at_checked(4)?;
            let key = u16::from_str_radix(key, 16).ok()?;
            Some((key, u32::from_str_radix(value, 16).ok()?))
        };
        let parts = text.split('.').filter(|part| !part.is_empty());
        parts.map(one).collect::<Option<_>>().map(Self)
    }

    /// Returns the changes to the other side's configuration `to` after those on this side, which
    /// is `from` now.
    #[must_use]
    pub fn changes(
        &self,
        from: &BTreeMap<String, String>,
        to: &BTreeMap<String, String>,
    ) -> ConfigChanges {
        let is_new = |(key, value): &(&String, &String)| {
            self.0.get(&of_key(key)) != Some(&murmur2(value.as_bytes()))
                && to.get(*key) != Some(*value)
        };
        let set = from.iter().filter(is_new);
        let set = set.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        let is_gone = |key: &&String| !from.contains_key(*key) && self.0.contains_key(&of_key(key));
        let reset = to.keys().filter(is_gone);
        set.chain(reset.map(|key| (key.to_owned(), None))).collect()
    }
}

impl fmt::Display for CopiedConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.0.iter().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            write!(f, "{dot}{key:04x}{value:08x}")?;
        }
        Ok(())
    }
}

/// Sixteen bits tell the keys of topics apart (a test).
fn of_key(key: &str) -> u16 {
    (murmur2(key.as_bytes()) & 0xFFFF) as u16
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    use super::*;
    use crate::config::TOPIC_KEYS;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn map(pairs: Pairs<'_>) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn only_what_changed_here_is_changed_there() {
        let check = |before: Pairs<'_>,
                     here: Pairs<'_>,
                     there: Pairs<'_>,
                     expected: &[(&str, Option<&str>)]| {
            let copied = CopiedConfigs::of(&map(before));
            let changes = copied.changes(&map(here), &map(there));
            let changes: Vec<_> = changes
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_deref()))
                .collect();
            assert_eq!(changes, expected, "{before:?} {here:?} {there:?}");
        };
        let hour: Pairs<'_> = &[("retention.ms", "3600000")];
        let day: Pairs<'_> = &[("retention.ms", "86400000")];
        let year: Pairs<'_> = &[("retention.ms", "31536000000")];
        check(hour, hour, hour, &[]);
        check(hour, day, hour, &[("retention.ms", Some("86400000"))]);
        // The other side's operator decides otherwise, until the key changes here.
        check(hour, hour, year, &[]);
        check(hour, day, year, &[("retention.ms", Some("86400000"))]);
        check(hour, day, day, &[]);
        check(hour, &[], hour, &[("retention.ms", None)]);
        check(hour, &[], &[], &[]);
        check(&[], &[], year, &[]);
        check(&[], hour, &[], &[("retention.ms", Some("3600000"))]);
    }

    #[test]
    fn what_was_copied_is_read_back() {
        for pairs in [
            &[] as Pairs<'_>,
            &[("retention.ms", "1")],
            &[("retention.ms", ""), ("cleanup.policy", "compact,delete")],
        ] {
            let copied = CopiedConfigs::of(&map(pairs));
            assert_eq!(CopiedConfigs::read(&copied.to_string()), Some(copied));
        }
        for text in ["x", "1234", "zzzz00000000", "00000000000g", "\u{e9}000"] {
            assert_eq!(CopiedConfigs::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_hashes_of_keys_differ() {
        let hashes: BTreeSet<u16> = TOPIC_KEYS.iter().map(|key| of_key(key.name)).collect();
        assert_eq!(hashes.len(), TOPIC_KEYS.len());
    }
}
