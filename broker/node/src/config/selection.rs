//! Selects the topics that a link copies.

use std::collections::BTreeMap;

use regex_lite::Regex;

/// Regular expressions over whole names.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Regex>);

impl Patterns {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The pattern that is not a regular expression, and the reason.
    pub fn new(patterns: &[String]) -> Result<Self, (String, String)> {
        let compile = |pattern: &String| {
            Regex::new(&format!("^(?:{pattern})$"))
                .map_err(|error| (pattern.clone(), error.to_string()))
        };
        let compiled: Result<_, _> = patterns.iter().map(compile).collect();
        compiled.map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether one of the patterns matches.
    pub fn take(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(name))
    }
}

/// The topics to copy, as in MirrorMaker's `topics`. Patterns select no internal topics.
#[derive(Clone, Debug)]
pub struct Selection {
    included: Patterns,
    excluded: Patterns,
}

impl Selection {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The pattern that is not a regular expression, and the reason.
    pub fn new(included: &[String], excluded: &[String]) -> Result<Self, (String, String)> {
        Ok(Self {
            included: Patterns::new(included)?,
            excluded: Patterns::new(excluded)?,
        })
    }

    /// Reads the keys of a link. Returns `None` if they cannot be used.
    pub fn of(keys: &BTreeMap<String, String>) -> Option<Self> {
        let list = |key: &str| {
            let parts = keys.get(key).map_or("", String::as_str).split(',');
            let parts = parts.map(str::trim).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect::<Vec<_>>()
        };
        Self::new(&list("topics"), &list("topics.exclude")).ok()
    }

    /// Returns the patterns of topics to copy that match none of `names`.
    pub fn unmatched(&self, names: &[&str]) -> Vec<String> {
        let is_unmatched = |pattern: &&Regex| !names.iter().any(|name| pattern.is_match(name));
        let unmatched = self.included.0.iter().filter(is_unmatched);
        let text = |pattern: &Regex| {
            let whole = pattern.as_str();
            let inner = whole
                .strip_prefix("^(?:")
                .and_then(|of| of.strip_suffix(")$"));
            inner.unwrap_or(whole).to_owned()
        };
        unmatched.map(text).collect()
    }

    /// Returns whether the topic is selected by its very name.
    pub fn names(&self, topic: &str) -> bool {
        let name = format!("^(?:{topic})$");
        let mut named = self.included.0.iter();
        named.any(|pattern| pattern.as_str() == name) && !self.excluded.take(topic)
    }

    pub fn takes(&self, topic: &str) -> bool {
        !topic.starts_with("__") && self.included.take(topic) && !self.excluded.take(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_about_whole_names() {
        let check = |patterns: &[&str], excluded: &[&str], topic: &str, expected: bool| {
            let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
            let selection = Selection::new(&owned(patterns), &owned(excluded)).unwrap();
            assert_eq!(
                selection.takes(topic),
                expected,
                "{patterns:?} {excluded:?} {topic}"
            );
        };
        check(&["sensors.*"], &[], "sensors.temperature", true);
        check(&["sensors.*"], &[], "old.sensors.temperature", false);
        check(&["sensors"], &[], "sensors.temperature", false);
        check(&["a", "b-[0-9]+"], &[], "b-17", true);
        check(&["a|b"], &[], "ab", false);
        check(&[".*"], &[], "__consumer_offsets", false);
        check(&["__consumer_offsets"], &[], "__consumer_offsets", false);
        check(&[".*"], &["private.*"], "private.x", false);
        check(&[".*"], &["private.*"], "public", true);
    }

    #[test]
    fn an_internal_topic_is_selected_by_its_name_alone() {
        let check = |included: &str, excluded: &[String], expected: bool| {
            let selection = Selection::new(&[included.to_owned()], excluded).unwrap();
            assert_eq!(selection.names("__sedge_plugins"), expected, "{included}");
            assert!(!selection.takes("__sedge_plugins"));
        };
        check("__sedge_plugins", &[], true);
        check(".*", &[], false);
        check("__sedge_.*", &[], false);
        check("__sedge_plugins", &["__.*".to_owned()], false);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let (pattern, _) = Selection::new(&["a(".to_owned()], &[]).unwrap_err();
        assert_eq!(pattern, "a(");
    }
}
