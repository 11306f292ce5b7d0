//! Keeps the offsets of consumer groups in step on both sides, so that consumers can move from one
//! to the other.
//!
//! A group's offset is translated ([`sedge_core::mirror::offsets`]; the copies of a pull link have
//! the offsets of the upstream), and committed on the other side if it is further on than the
//! group is there. So a group has on both sides the furthest of its two offsets, and neither side
//! moves a group back. A broker refuses a commit from outside for a group that has members: then
//! the consumers there decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_executor::Task;
use sedge_core::mirror::GROUP_PREFIX;
use sedge_core::mirror::offsets::OffsetMap;
use sedge_core::offsets::OffsetToCommit;
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{Offset, PartitionIndex};
use sedge_protocol::kafka::KafkaUuid;

use crate::client::groups::{CommittedOffset, CommittedOffsets};
use crate::client::{Client, Error};
use crate::config::{Direction, GroupSelection, LinkConfig};
use crate::metrics::LinkMetrics;

use super::cursors::write;
use super::offset_log::{OffsetMaps, read_maps};
use super::{BUDGET_PREFIX, Local, limits};

/// A partition on both sides.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub here: Arc<str>,
    pub topic_id: KafkaUuid,
    pub there: Arc<str>,
    pub index: i32,
    /// The end of the log here.
    pub end: Offset,
}

/// What a link knows of its comparisons of groups.
#[derive(Default)]
pub(super) struct Groups {
    task: Option<Task<Result<(), SyncError>>>,
    next: Option<Instant>,
    /// Why the last one failed, as logged.
    told: Option<String>,
}

impl Groups {
    /// Returns whether the groups are to be compared. Logs why the last comparison failed, once.
    pub async fn is_due(&mut self, link: &str) -> bool {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return false;
        }
        if let Some(task) = self.task.take() {
            let told = task.await.err().map(|error| error.to_string());
            if let Some(why) = told.as_ref().filter(|_| told != self.told) {
                log::warn!(
                    target: "sedge::mirror",
                    "{link}: offsets of groups cannot be kept in step: {why}; the link needs READ \
                     and DESCRIBE on the groups upstream"
                );
            }
            self.told = told;
        }
        self.next.is_none_or(|next| next <= Instant::now())
    }

    /// Begins a comparison of all groups.
    pub fn begin(
        &mut self,
        config: &LinkConfig,
        local: &Local,
        client: &Client,
        metrics: &Arc<LinkMetrics>,
        pairs: Vec<Pair>,
    ) {
        let sync = GroupSync {
            local: local.clone(),
            link: config.name.clone(),
            client: client.clone(),
            groups: config.groups.clone(),
            metrics: Arc::clone(metrics),
            pairs,
            is_copy: config.direction == Direction::Pull,
        };
        self.next = Some(Instant::now() + config.groups.every);
        self.task = Some(local.runtime.spawn(sync.run()));
    }
}

/// One comparison of all groups.
struct GroupSync {
    local: Local,
    link: String,
    client: Client,
    groups: GroupSelection,
    metrics: Arc<LinkMetrics>,
    pairs: Vec<Pair>,
    /// Whether offsets are the same on both sides.
    is_copy: bool,
}

/// Why groups cannot be kept in step.
#[derive(Debug)]
pub(super) enum SyncError {
    Upstream(Error),
    Storage(sedge_storage::Error),
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl From<Error> for SyncError {
    fn from(error: Error) -> Self {
        Self::Upstream(error)
    }
}

impl From<sedge_storage::Error> for SyncError {
    fn from(error: sedge_storage::Error) -> Self {
        Self::Storage(error)
    }
}

/// Offsets of a group to commit here.
type Here = Vec<OffsetToCommit>;

impl GroupSync {
    /// Compares the groups, and commits on the side that is behind.
    async fn run(self) -> Result<(), SyncError> {
        let there = self.client.list_groups().await?;
        let there = there.into_iter().map(|group| group.name);
        let here: Vec<String> = self.local.groups.with(|groups| {
            let all = groups.offsets().group_ids();
            all.map(str::to_owned).collect()
        });
        let is_own = |name: &str| name.starts_with(GROUP_PREFIX) || name.starts_with(BUDGET_PREFIX);
        let is_selected = |name: &String| !is_own(name) && self.groups.takes(name);
        let all: BTreeSet<String> = here.into_iter().chain(there).filter(is_selected).collect();
        if all.is_empty() {
            return Ok(());
        }
        let (log, link) = (Arc::clone(&self.local.log), self.link.clone());
        let maps = if self.is_copy {
            OffsetMaps::new()
        } else {
            blocking::unblock(move || read_maps(&log, &link)).await?
        };
        let mut failure = None;
        for group in all.iter().take(limits::GROUPS_SYNCED_MAX) {
            let there = match self.client.committed_offsets(group).await {
                Ok(there) => there,
                // A group without a right of the link's, or none that has this kind of offsets.
                Err(error) if error.code().is_some() && !error.is_retriable() => {
                    failure = Some(error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (up, down) = self.behind(group, &there, &maps);
            if let Err(error) = self.commit_there(group, up).await {
                failure = Some(error);
            }
            self.commit_here(group, down).await;
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Returns the offsets to commit upstream, and those to commit here.
    fn behind(
        &self,
        group: &str,
        there: &CommittedOffsets,
        maps: &OffsetMaps,
    ) -> (CommittedOffsets, Here) {
        let here: BTreeMap<(String, i32), (Offset, Option<KafkaUuid>)> =
            self.local.groups.with(|groups| {
                let all = groups.offsets().of_group(group);
                all.map(|(topic, index, saved)| {
                    (
                        (topic.to_owned(), index.get()),
                        (saved.offset, saved.topic_id),
                    )
                })
                .collect()
            });
        let (mut up, mut down) = (CommittedOffsets::new(), Here::new());
        for pair in &self.pairs {
            let map = maps.get(&(pair.topic_id, pair.index));
            if map.is_none() && !self.is_copy {
                continue;
            }
            let at_here = here.get(&(pair.here.to_string(), pair.index));
            let at_here = at_here.filter(|(_, id)| id.is_none_or(|id| id == pair.topic_id));
            let at_here = at_here.map(|(offset, _)| *offset);
            let there_key = (pair.there.to_string(), pair.index);
            let at_there = there.get(&there_key).map(|saved| saved.offset);
            let (to_there, to_here) = (
                at_here.and_then(|at| upstream(map, at)),
                at_there.and_then(|at| back(map, at)),
            );
            if let Some(offset) = to_there.filter(|to| at_there.is_none_or(|at| at < *to)) {
                let committed = CommittedOffset {
                    offset,
                    leader_epoch: None,
                    metadata: String::new(),
                };
                up.insert(there_key, committed);
            }
            let is_ahead = |to: &Offset| at_here.is_none_or(|at| at < *to) && *to <= pair.end;
            if let Some(offset) = to_here.filter(is_ahead) {
                down.push(OffsetToCommit {
                    topic: pair.here.to_string(),
                    topic_id: pair.topic_id,
                    partition: PartitionIndex(pair.index),
                    offset,
                    leader_epoch: None,
                    metadata: String::new(),
                    retention_ms: None,
                });
            }
        }
        (up, down)
    }

    async fn commit_there(&self, group: &str, offsets: CommittedOffsets) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let count = offsets.len() as u64;
        match self.client.commit_offsets(group, &offsets).await {
            Ok(()) => {
                log::debug!(
                    target: "sedge::mirror",
                    "{}: {count} offsets of the group {group} are committed upstream", self.link
                );
                self.metrics.group_offsets.add(count);
                Ok(())
            }
            Err(error) if error.code().is_some_and(has_members) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn commit_here(&self, group: &str, offsets: Here) {
        let Ok(results) = write(&self.local, group, offsets).await else {
            return;
        };
        let count = results.iter().filter(|result| result.is_ok()).count() as u64;
        if count > 0 {
            let link = &self.link;
            log::debug!(
                target: "sedge::mirror",
                "{link}: {count} offsets of the group {group} are committed here"
            );
            self.metrics.group_offsets.add(count);
        }
        let refused = results.into_iter().filter_map(Result::err);
        if let Some(code) = refused.into_iter().find(|code| !has_members(*code)) {
            let link = &self.link;
            log::debug!(target: "sedge::mirror", "{link}: offsets of {group} are refused: {code}");
        }
    }
}

/// Returns whether a commit from outside is refused because the group has members.
fn has_members(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::RebalanceInProgress
            | ErrorCode::StaleMemberEpoch
    )
}

fn upstream(map: Option<&OffsetMap>, here: Offset) -> Option<Offset> {
    map.map_or(Some(here), |map| Some(map.upstream(here)?.offset))
}

fn back(map: Option<&OffsetMap>, there: Offset) -> Option<Offset> {
    map.map_or(Some(there), |map| Some(map.here(there)?.offset))
}
