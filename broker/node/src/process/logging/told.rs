//! Remembers the clients that a warning named, so that it is logged once a client and not once a
//! retry.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::limits::{TOLD_NAME_CHARS, TOLD_NAMES_MAX};

/// Names that clients chose for themselves.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeSet<String>>);

impl Told {
    /// Returns the name in a loggable form, if it is new. Returns `None` for a name that was
    /// returned before, and for every new name once [`TOLD_NAMES_MAX`] are known.
    pub fn first(&self, name: &str) -> Option<String> {
        let name: String = name.escape_debug().take(TOLD_NAME_CHARS).collect();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told.len() < TOLD_NAMES_MAX && told.insert(name.clone());
        is_new.then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_told_of_once_and_only_so_many() {
        let told = Told::default();
        assert_eq!(told.first("a"), Some("a".to_owned()));
        assert_eq!(told.first("a"), None);
        assert_eq!(told.first("line\nbreak"), Some("line\\nbreak".to_owned()));
        let long = "n".repeat(10_000);
        let shown = told.first(&long).unwrap();
        assert_eq!(shown.len(), TOLD_NAME_CHARS);
        let more = (0..1_000).filter(|number| told.first(&number.to_string()).is_some());
        assert_eq!(more.count(), TOLD_NAMES_MAX - 3);
        assert_eq!(told.first("a"), None);
    }
}
