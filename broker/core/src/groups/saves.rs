//! Records of groups that could not be written: what they are about is written again, as it is
//! then, with the next records of the group or after a while.
//!
//! **Invariant:** the records of a group that are durable are those of one of its states: no step
//! of a consumer group is written without what was not written before (`consumer/simulation.rs`).
//! **Bound:** one entry for each part of a group; failed records come from steps, and each step is
//! that of one group.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::coordinator::CoordinatorRecord;

use super::consumer::Part;
use super::group::Group;
use super::{Coordinator, limits};
use crate::machine::Now;

/// What is not written, and when to try again.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Group ids, each with a part of a consumer group; `None` for the record of a classic group
    /// that is one no longer.
    parts: BTreeSet<(String, Option<Part>)>,
    at: u64,
}

impl Unsaved {
    /// Returns when to try again.
    pub fn due(&self) -> u64 {
        if self.parts.is_empty() {
            u64::MAX
        } else {
            self.at
        }
    }
}

impl Coordinator {
    /// Notes what a record is about that could not be written.
    pub(super) fn mark_unsaved(&mut self, now: Now, record: &CoordinatorRecord) {
        let at = now.monotonic_ms.saturating_add(limits::SAVE_RETRY_MS);
        match record {
            CoordinatorRecord::Group {
                group: group_id, ..
            } => {
                let entry = self.groups.get_mut(group_id.as_str());
                if let Some(Group::Classic(group)) = entry.map(|entry| &mut entry.group) {
                    group.save_at = Some(at);
                    self.settle_group(group_id);
                    return;
                }
                self.unsaved.parts.insert((group_id.clone(), None));
            }
            CoordinatorRecord::Consumer(record) => {
                let part = Part::of(&record.state);
                self.unsaved
                    .parts
                    .insert((record.group.clone(), Some(part)));
            }
            CoordinatorRecord::Offset { .. } | CoordinatorRecord::Pending { .. } => return,
        }
        self.unsaved.at = at;
    }

    /// Returns all records that are to be written again, if it is time.
    pub(super) fn save_again(&mut self, now: Now) -> Vec<CoordinatorRecord> {
        if self.unsaved.due() > now.monotonic_ms {
            return Vec::new();
        }
        let parts = core::mem::take(&mut self.unsaved.parts).into_iter();
        let records = parts.filter_map(|(group_id, part)| self.save(&group_id, part));
        records.collect()
    }

    /// Returns those of one group.
    pub(super) fn save_again_of(&mut self, group_id: &str) -> Vec<CoordinatorRecord> {
        if self.unsaved.parts.is_empty() {
            return Vec::new();
        }
        let parts = core::mem::take(&mut self.unsaved.parts);
        let (parts, others) = parts.into_iter().partition(|(of, _)| of == group_id);
        self.unsaved.parts = others;
        let parts: BTreeSet<_> = parts;
        let records = parts.into_iter();
        let records = records.filter_map(|(group_id, part)| self.save(&group_id, part));
        records.collect()
    }

    /// Returns the record of a part as it is now.
    fn save(&self, group_id: &str, part: Option<Part>) -> Option<CoordinatorRecord> {
        match (part, self.group(group_id)) {
            (Some(part), Some(Group::Consumer(group))) => Some(group.record(part)),
            (Some(part), _) => Some(part.removal(group_id)),
            (None, Some(Group::Classic(_))) => None,
            (None, _) => Some(CoordinatorRecord::Group {
                group: group_id.to_owned(),
                value: None,
            }),
        }
    }
}
