//! The names that topics get upstream.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a topic's name, by Kafka's rule.
const NAME_BYTES_MAX: usize = 249;

/// The rename of a link's topics: some by name, all others by a prefix and a suffix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rename {
    prefix: String,
    suffix: String,
    by_name: BTreeMap<String, String>,
}

impl Rename {
    /// Checks the values of `topics.prefix`, `topics.suffix` and `topics.rename`, whose entries are
    /// `HERE:THERE`.
    ///
    /// # Errors
    /// The key that cannot be used, and the reason.
    pub fn new(
        prefix: &str,
        suffix: &str,
        by_name: &[String],
    ) -> Result<Self, (&'static str, String)> {
        for (key, part) in [("topics.prefix", prefix), ("topics.suffix", suffix)] {
            if !part.chars().all(is_of_a_name) || part.len() >= NAME_BYTES_MAX {
                let why = format!("{part:?} has letters that no topic's name can have");
                return Err((key, why));
            }
        }
        let refused = |why: String| ("topics.rename", why);
        let mut renames = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for entry in by_name {
            let Some((here, there)) = entry.split_once(':') else {
                return Err(refused(format!("{entry:?} is not HERE:THERE")));
            };
            let (here, there) = (here.trim(), there.trim());
            if let Some(name) = [here, there].into_iter().find(|name| !is_name(name)) {
                return Err(refused(format!("{name:?} is not the name of a topic")));
            }
            if !taken.insert(there) {
                return Err(refused(format!("two topics would be {there} upstream")));
            }
            if renames.insert(here.to_owned(), there.to_owned()).is_some() {
                return Err(refused(format!("{here} has two names upstream")));
            }
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            by_name: renames,
        })
    }

    /// Returns the name upstream of a topic here.
    pub fn there(&self, here: &str) -> String {
        let by_name = self.by_name.get(here).cloned();
        by_name.unwrap_or_else(|| format!("{}{here}{}", self.prefix, self.suffix))
    }
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}

pub(super) fn is_name(name: &str) -> bool {
    let is_reserved = matches!(name, "" | "." | "..");
    !is_reserved && name.len() <= NAME_BYTES_MAX && name.chars().all(is_of_a_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(
        prefix: &str,
        suffix: &str,
        by_name: &[&str],
    ) -> Result<Rename, (&'static str, String)> {
        let by_name: Vec<String> = by_name.iter().map(|one| (*one).to_owned()).collect();
        Rename::new(prefix, suffix, &by_name)
    }

    #[test]
    fn a_name_of_its_own_goes_before_prefix_and_suffix() {
        let rename = rename("site7.", "-raw", &["sensors: all.sensors"]).unwrap();
        assert_eq!(rename.there("alarms"), "site7.alarms-raw");
        assert_eq!(rename.there("sensors"), "all.sensors");
        assert_eq!(Rename::default().there("alarms"), "alarms");
    }

    #[test]
    fn what_gives_no_name_or_one_name_twice_is_refused() {
        let check = |prefix: &str, suffix: &str, by_name: &[&str], expected: &str| {
            let (key, why) = rename(prefix, suffix, by_name).unwrap_err();
            assert_eq!(key, expected, "{why}");
        };
        check("site 7", "", &[], "topics.prefix");
        check("", "/raw", &[], "topics.suffix");
        check("", "", &["sensors"], "topics.rename");
        check("", "", &["sensors:"], "topics.rename");
        check("", "", &["sensors:.."], "topics.rename");
        check("", "", &["a:all", "b:all"], "topics.rename");
        check("", "", &["a:b", "a:c"], "topics.rename");
    }
}
