//! The transactions of an exactly-once link: takes over the transactional id, reads the cursors
//! that the upstream has, and sends what the plan asks for.
//!
//! The cursors are offsets of the group `sedge-mirror-LINK-CLUSTER` upstream. They are offsets of
//! the log here, and their metadata names the topic here, as in [`super::cursors`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use sedge_core::mirror::{Cursor, Step, StepOutcome, TransactionLimits};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use crate::client::Error;
use crate::client::groups::CommittedOffsets;
use crate::client::records::is_about_leadership;
use crate::client::transactions::{OffsetInTransaction, RefusedPartitions, is_fenced};
use crate::config::Mode;
use crate::log::views::epochs;
use crate::metrics::{AT_LEAST_ONCE, EXACTLY_ONCE};

use super::cursors::{Origin, Other};
use super::link::{Answered, Destination, Link};
use super::session::Session;
use super::{group_of, limits};

impl Link {
    /// Decides once whether the link sends in transactions.
    pub(super) async fn decide_mode(&mut self) -> Result<(), Error> {
        if self.is_decided {
            return Ok(());
        }
        let name = &self.config.name;
        let is_exact = match self.config.mode {
            Some(Mode::AtLeastOnce) => false,
            Some(Mode::ExactlyOnce) if self.client.has_transactions().await? => true,
            Some(Mode::ExactlyOnce) => return Err(Error::NoTransactions),
            None => self.client.has_transactions().await?,
        };
        if is_exact {
            let identity = format!("{}-{}", group_of(name), self.local.cluster_id);
            let transactional_id = self.config.transactional_id.as_deref();
            let transactional_id: Arc<str> = transactional_id.unwrap_or(&identity).into();
            log::info!(
                target: "sedge::mirror",
                "{name}: exactly-once, as transactional id {transactional_id}"
            );
            self.session = Some(Session {
                transactional_id,
                group: identity.into(),
                producer: None,
                opened: None,
                cursors: CommittedOffsets::new(),
            });
            let open_ms_max = limits::TRANSACTION_OPEN_MAX
                .min(self.config.transaction_timeout / limits::OPEN_PER_TIMEOUT);
            let open_ms_max = open_ms_max.as_millis() as u64;
            let gather_ms = self.config.commit_interval.as_millis() as u64;
            let open_ms_min = limits::TRANSACTION_OPEN_MIN.as_millis() as u64;
            self.plan.use_transactions(TransactionLimits {
                gather_ms,
                open_ms_min: open_ms_min.max(gather_ms).min(open_ms_max),
                open_ms_max,
                bytes_max: limits::TRANSACTION_BYTES,
                partitions_max: limits::TRANSACTION_PARTITIONS,
            });
        } else if self.config.mode.is_none() {
            log::warn!(
                target: "sedge::mirror",
                "{name}: at-least-once, because the upstream has no transactions: a crash may send \
                 records of the last second again"
            );
        }
        self.metrics.set_mode(if is_exact {
            EXACTLY_ONCE
        } else {
            AT_LEAST_ONCE
        });
        self.is_decided = true;
        Ok(())
    }

    /// Takes a new epoch of the transactional id, which ends the transaction that was left open,
    /// and reads the cursors.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another producer has taken the transactional id since.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        self.take_over().await.map_err(|error| self.explain(error))
    }

    async fn take_over(&mut self) -> Result<(), Error> {
        self.check_epoch().await?;
        let timeout = self.config.transaction_timeout;
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let begun = self
            .client
            .init_transactions(&session.transactional_id, timeout);
        let producer = match begun.await {
            Ok(producer) => producer,
            Err(error) => {
                // The coordinator may have given out the epoch.
                session.producer = None;
                return Err(error);
            }
        };
        session.producer = Some(producer.clone());
        session.opened = None;
        session.cursors = self.client.stable_offsets(&session.group).await?;
        let cursors: Vec<(PartitionId, Offset)> = self
            .destinations
            .iter()
            .filter_map(|(id, to)| {
                let (offset, origin) = self.cursor_upstream(&to.there, to.index)?;
                origin.is_of(to.topic_id).then_some((*id, offset))
            })
            .collect();
        self.plan
            .handle_begun(producer.id, producer.epoch, &cursors);
        Ok(())
    }

    /// Adds what to do to an error of a coordinator.
    fn explain(&self, error: Error) -> Error {
        let Error::Broker { api, code, .. } = error else {
            return error;
        };
        let Some(session) = &self.session else {
            return error;
        };
        let message = match code {
            ErrorCode::InvalidTransactionTimeout => format!(
                "transaction.timeout.ms of the link ({}) is above the upstream's \
                 transaction.max.timeout.ms; lower the one, or raise the other",
                self.config.transaction_timeout.as_millis()
            ),
            ErrorCode::TransactionalIdAuthorizationFailed => format!(
                "allow the link upstream to write and describe the transactional id {}, or set \
                 mode = at-least-once",
                session.transactional_id
            ),
            ErrorCode::GroupAuthorizationFailed => format!(
                "allow the link upstream to read the group {}, which has its cursors, or set \
                 mode = at-least-once",
                session.group
            ),
            _ => return error,
        };
        let message = Some(message);
        Error::Broker { api, code, message }
    }

    /// Checks that no other producer has taken the transactional id since this one began.
    async fn check_epoch(&mut self) -> Result<(), Error> {
        let timeout = self.config.transaction_timeout;
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let Some(producer) = &session.producer else {
            return Ok(());
        };
        // The upstream ends a transaction that takes too long, and its epoch with that.
        let opened = *session.opened.get_or_insert_with(Instant::now);
        let checked = self.client.add_offsets(producer, &session.group).await;
        match checked {
            Err(error) if error.code().is_none() => Err(error),
            Err(error) if error.code().is_some_and(is_fenced) && opened.elapsed() < timeout => {
                session.producer = None;
                let transactional_id = session.transactional_id.to_string();
                Err(Error::Fenced { transactional_id })
            }
            _ => Ok(()),
        }
    }

    /// Ends the transaction that is open, so that consumers upstream do not wait for it.
    pub(super) async fn end_transaction(&mut self) {
        let Some(session) = &self.session else {
            return;
        };
        if session.opened.is_some() {
            let timeout = self.config.transaction_timeout;
            let ended = self
                .client
                .init_transactions(&session.transactional_id, timeout);
            if let Err(error) = ended.await {
                log::debug!(target: "sedge::mirror", "the last transaction stays open: {error}");
            }
        }
    }

    /// Sends the plan's next request about the transaction.
    pub(super) fn step(&mut self) {
        let Some((round, step)) = self.plan.poll_step(self.now_ms()) else {
            return;
        };
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(producer) = session.producer.clone() else {
            return;
        };
        session.opened.get_or_insert_with(Instant::now);
        // The steps are as urgent as the records that they make visible.
        let (client, group) = (self.urgent.clone(), Arc::clone(&session.group));
        let answers = self.answers.0.clone();
        match step {
            Step::Add {
                partitions,
                is_first,
            } => {
                let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
                for to in partitions.iter().filter_map(|id| self.destinations.get(id)) {
                    let indices = topics.entry(to.there.to_string()).or_default();
                    match to.spread {
                        Some(spread) => *indices = (0..spread.cast_signed()).collect(),
                        None => indices.push(to.index),
                    }
                }
                let adding = async move {
                    let group = is_first.then_some(&*group);
                    let result = client.add_to_transaction(&producer, &topics, group).await;
                    let _ = answers.send(Answered::Step { round, result }).await;
                };
                self.local.runtime.spawn(adding).detach();
            }
            Step::Commit(cursors) => {
                let offsets = self.to_commit(&cursors);
                let committing = async move {
                    let committed = client.commit_in_transaction(&producer, &group, &offsets);
                    let result = match committed.await {
                        Ok(refused) if refused.is_empty() => {
                            client.commit_transaction(&producer).await.map(|()| refused)
                        }
                        result => result,
                    };
                    let _ = answers.send(Answered::Step { round, result }).await;
                };
                self.local.runtime.spawn(committing).detach();
            }
        }
    }

    /// Reports the outcome of a step to the plan.
    pub(super) fn handle_step(
        &mut self,
        round: u32,
        result: Result<RefusedPartitions, Error>,
    ) -> Result<(), Error> {
        let (now_ms, random) = (self.now_ms(), fastrand::u64(..));
        let refused = match result {
            Ok(refused) => refused,
            Err(error) => {
                self.plan
                    .handle_step(round, StepOutcome::Failed, now_ms, random);
                return Err(self.explain(error));
            }
        };
        if refused.is_empty() {
            self.plan
                .handle_step(round, StepOutcome::Done, now_ms, random);
            if !self.plan.is_transaction_open()
                && let Some(session) = &mut self.session
            {
                session.opened = None;
            }
            if self.plan.has_carried() {
                self.commit_at = Instant::now();
            }
            return Ok(());
        }
        for ((topic, _), _) in refused
            .iter()
            .filter(|(_, code)| is_about_leadership(*code))
        {
            self.client.forget(topic);
            self.is_stale = true;
        }
        let id = |(topic, index): &(String, i32)| {
            let mut all = self.destinations.iter();
            let is_of = |to: &Destination| to.spread.is_some() || to.index == *index;
            all.find(|(_, to)| *to.there == **topic && is_of(to))
                .map(|(id, _)| *id)
        };
        let refused = refused
            .iter()
            .filter_map(|(to, code)| Some((id(to)?, *code)));
        let outcome = StepOutcome::Refused(refused.collect());
        self.plan.handle_step(round, outcome, now_ms, random);
        Ok(())
    }

    /// Returns the offsets that have these cursors. The cursor of a partition without a twin is in
    /// the metadata of another one's offset, and all cursors of an offset are written together.
    fn to_commit(&self, cursors: &[Cursor]) -> Vec<OffsetInTransaction> {
        let moved: BTreeMap<PartitionId, &Cursor> =
            cursors.iter().map(|it| (it.partition, it)).collect();
        let current = |id: PartitionId| {
            let moved = moved.get(&id).map(|it| **it);
            moved.or_else(|| self.plan.settled(id))
        };
        let owner = |id: &PartitionId| {
            let to = self.destinations.get(id)?;
            let Some(spread) = to.spread else {
                return Some(*id);
            };
            let index = to.index % spread.cast_signed();
            self.image.as_ref()?.topic(&to.topic)?.partition(index)
        };
        let owners: BTreeSet<PartitionId> = moved.keys().filter_map(owner).collect();
        let offset = |id: PartitionId| {
            let to = self.destinations.get(&id)?;
            let cursor = current(id)?;
            let origin = Origin {
                topic: Some(to.topic_id.to_string()),
                upstream: to.upstream_id.clone(),
                is_created_again: to.is_created_again,
                others: self.others(to, current),
                ..Origin::default()
            };
            Some(OffsetInTransaction {
                topic: to.there.to_string(),
                index: to.index,
                offset: cursor.offset,
                leader_epoch: cursor.leader_epoch,
                metadata: origin.write(),
            })
        };
        owners.into_iter().filter_map(offset).collect()
    }

    /// Returns the cursors that the offset of a partition has beside its own.
    fn others(
        &self,
        to: &Destination,
        current: impl Fn(PartitionId) -> Option<Cursor>,
    ) -> BTreeMap<i32, Other> {
        let image = self.image.as_ref();
        let topic = image.and_then(|image| image.topic(&to.topic));
        let (Some(topic), Some(spread)) = (topic, to.spread) else {
            return BTreeMap::new();
        };
        let indices = (to.index..topic.partition_count()).step_by(spread as usize);
        let others = indices.skip(1).filter_map(|index| {
            let cursor = current(topic.partition(index)?)?;
            let other = Other {
                offset: cursor.offset,
                leader_epoch: cursor.leader_epoch,
            };
            Some((index, other))
        });
        others.collect()
    }

    /// Returns the cursor of a partition that the upstream had when the link began.
    pub(super) fn cursor_upstream(&self, topic: &str, index: i32) -> Option<(Offset, Origin)> {
        let (saved, origin) = self.saved_upstream(topic, index)?;
        Some((saved.offset, origin))
    }

    fn saved_upstream(&self, topic: &str, index: i32) -> Option<(Other, Origin)> {
        let cursors = &self.session.as_ref()?.cursors;
        if let Some(saved) = cursors.get(&(topic.to_owned(), index)) {
            let own = Other {
                offset: saved.offset,
                leader_epoch: saved.leader_epoch,
            };
            return Some((own, Origin::read(&saved.metadata)));
        }
        let of_topic = (topic.to_owned(), 0)..=(topic.to_owned(), i32::MAX);
        let all = cursors.range(of_topic).filter_map(|(_, saved)| {
            let origin = Origin::read(&saved.metadata);
            Some((*origin.others.get(&index)?, origin))
        });
        // The topic upstream may have had fewer partitions, and its cursor another place.
        all.max_by_key(|(other, _)| other.offset)
    }

    /// Returns the cursor with which to continue. If the log here has lost its end (a power cut
    /// before it was flushed), the upstream has records that are not here any more, and the cursor
    /// is where the records that were written since begin (KIP-320).
    pub(super) fn not_truncated(
        &self,
        id: PartitionId,
        offset: Offset,
        topic: &str,
        index: i32,
    ) -> Offset {
        let saved = self.saved_upstream(topic, index).map(|(saved, _)| saved);
        let saved = saved.filter(|saved| saved.offset == offset);
        let Some(epoch) = saved.and_then(|saved| saved.leader_epoch) else {
            return offset;
        };
        let known = match epochs(&*self.local.log.store, id) {
            Ok(known) => known,
            Err(error) => {
                log::error!(target: "sedge::mirror", "epochs of {topic}-{index}: {error}");
                return offset;
            }
        };
        let is_later = |(later, _): &&(LeaderEpoch, Offset)| *later > epoch;
        let end = known
            .iter()
            .find(is_later)
            .map_or(offset, |(_, start)| *start);
        if end < offset {
            let link = &self.config.name;
            log::error!(
                target: "sedge::mirror",
                "{link}: the log of {topic}-{index} has lost records that the upstream has, up to \
                 {offset}; what was written since is copied from {end}"
            );
        }
        end.min(offset)
    }
}
