//! The versions of a plugin. A content that is replaced is kept in `__sedge_plugins` as
//! `NAME@OFFSET`, so that `sedge plugin rollback` and the broker itself can go back to it.

use std::collections::{BTreeMap, BTreeSet};

use sedge_protocol::ids::Offset;
use sedge_protocol::plugin_records::{Change, Subject};

use crate::limits::PLUGIN_VERSIONS_KEPT;

/// What the topic has of one name.
#[derive(Debug, Default)]
pub struct Versions {
    /// What is deployed. A content's version is the offset at which it was deployed.
    pub newest: Option<Offset>,
    /// What was deployed before and is not kept yet.
    replaced: BTreeSet<Offset>,
    /// The versions that are kept, with the offsets of their records.
    kept: BTreeMap<Offset, Offset>,
    /// No version is called.
    pub is_paused: bool,
}

/// What has to be written to the topic for one name.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// The content at this offset is to be kept.
    Keep(Offset),
    /// This version is no longer kept.
    Forget(Offset),
    /// The pause of a plugin that was deleted ends.
    Resume,
}

impl Versions {
    /// Notes a record at this offset.
    pub fn note(&mut self, offset: Offset, change: &Change<'_>) {
        match (change.subject, change.content) {
            (Subject::Deployed, Some(_)) => self.replaced.extend(self.newest.replace(offset)),
            (Subject::Deployed, None) => {
                self.newest = None;
                self.replaced.clear();
            }
            (Subject::Version(version), Some(_)) => {
                self.kept.insert(version, offset);
                self.replaced.remove(&version);
            }
            (Subject::Version(version), None) => {
                self.kept.remove(&version);
            }
            (Subject::Pause, content) => self.is_paused = content.is_some(),
        }
    }

    /// Notes that this is being written: it is due no longer, whatever comes of it.
    pub fn tried(&mut self, due: &Due) {
        match due {
            Due::Keep(version) => self.replaced.remove(version),
            Due::Forget(version) => self.kept.remove(version).is_some(),
            Due::Resume => std::mem::take(&mut self.is_paused),
        };
    }

    /// Returns whether the topic has nothing of this name.
    pub fn is_nothing(&self) -> bool {
        self.newest.is_none() && self.kept.is_empty() && !self.is_paused
    }

    /// Returns what has to be written next.
    pub fn due(&self) -> Option<Due> {
        let oldest = self.kept.keys().next().copied().map(Due::Forget);
        if self.newest.is_none() {
            return oldest.or(self.is_paused.then_some(Due::Resume));
        }
        match self.replaced.first() {
            Some(version) => Some(Due::Keep(*version)),
            None if self.kept.len() > PLUGIN_VERSIONS_KEPT => oldest,
            None => None,
        }
    }

    /// Returns the newest version that is kept, and the offset of its record.
    pub fn before(&self) -> Option<(Offset, Offset)> {
        self.kept
            .last_key_value()
            .map(|(version, at)| (*version, *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(versions: &mut Versions, offset: i64, version: Option<i64>, content: Option<&[u8]>) {
        let change = Change {
            subject: version.map_or(Subject::Deployed, |version| {
                Subject::Version(Offset(version))
            }),
            ..Change::of("range", content, 0)
        };
        versions.note(Offset(offset), &change);
    }

    #[test]
    fn what_is_replaced_is_kept_once_and_the_oldest_go() {
        let mut versions = Versions::default();
        note(&mut versions, 0, None, Some(b"0"));
        assert_eq!(versions.due(), None);
        let mut end = 1;
        let mut before = 0;
        for _ in 0..PLUGIN_VERSIONS_KEPT + 2 {
            note(&mut versions, end, None, Some(b"another"));
            assert_eq!(versions.due(), Some(Due::Keep(Offset(before))));
            note(&mut versions, end + 1, Some(before), Some(b"kept"));
            assert_eq!(versions.before(), Some((Offset(before), Offset(end + 1))));
            before = end;
            end += 2;
            if let Some(due) = versions.due() {
                let oldest = *versions.kept.keys().next().unwrap();
                assert_eq!(due, Due::Forget(oldest));
                note(&mut versions, end, Some(oldest.get()), None);
                end += 1;
            }
            assert_eq!(versions.due(), None);
            assert!(versions.kept.len() <= PLUGIN_VERSIONS_KEPT);
        }
        assert_eq!(versions.kept.len(), PLUGIN_VERSIONS_KEPT);
    }

    #[test]
    fn nothing_is_kept_of_a_plugin_that_is_deleted() {
        let mut versions = Versions::default();
        note(&mut versions, 0, None, Some(b"0"));
        note(&mut versions, 1, None, Some(b"1"));
        note(&mut versions, 2, Some(0), Some(b"0"));
        note(&mut versions, 3, None, None);
        assert!(!versions.is_nothing());
        assert_eq!(versions.due(), Some(Due::Forget(Offset(0))));
        note(&mut versions, 4, Some(0), None);
        assert!(versions.is_nothing());
        assert_eq!(versions.due(), None);
        versions.is_paused = true;
        assert!(!versions.is_nothing());
        assert_eq!(versions.due(), Some(Due::Resume));
    }

    #[test]
    fn what_was_tried_is_not_due_again_though_it_was_not_written() {
        let mut versions = Versions::default();
        note(&mut versions, 0, None, Some(b"0"));
        note(&mut versions, 1, None, Some(b"1"));
        note(&mut versions, 2, None, Some(b"2"));
        for offset in [0, 1] {
            let due = versions.due().unwrap();
            assert_eq!(due, Due::Keep(Offset(offset)));
            versions.tried(&due);
        }
        assert_eq!(versions.due(), None);
        note(&mut versions, 3, Some(0), Some(b"0"));
        note(&mut versions, 4, None, None);
        let due = versions.due().unwrap();
        versions.tried(&due);
        assert_eq!((versions.due(), versions.is_nothing()), (None, true));
    }
}
