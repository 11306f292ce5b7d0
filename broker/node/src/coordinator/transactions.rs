//! The coordinator of transactions, and the ends of transactions, which concern the coordinator of
//! groups as well: its records, the offsets, and the markers are one unit of the outbox.
//!
//! **Invariant:** who locks both shards locks that of transactions first.

use std::fmt;
use std::sync::Arc;

use async_channel::Receiver;
use sedge_core::machine::Now;
use sedge_core::metadata::Image;
use sedge_core::shard::{Planned, Shard as _};
use sedge_core::transactions::{Ending, TransactionCoordinator, TransactionPlanned};
use sedge_protocol::ErrorCode;

use super::groups::Groups;
use super::hosted::{Hosted, Member};
use super::outbox::{Release, Unit};
use crate::log::published::Published;

/// Bytes of a marker in an append: a batch of one small record, and its row.
const MARKER_BYTES: usize = 128;

/// The coordinator of transactions, as handlers use it. Clones share the same coordinator.
#[derive(Clone)]
pub struct Transactions {
    hosted: Arc<Hosted<TransactionCoordinator>>,
    groups: Arc<Groups>,
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions").finish_non_exhaustive()
    }
}

impl Transactions {
    pub(super) fn new(hosted: Arc<Hosted<TransactionCoordinator>>, groups: Arc<Groups>) -> Self {
        Self { hosted, groups }
    }

    /// Calls the machine for a step that writes nothing.
    pub fn with<R>(&self, step: impl FnOnce(&mut TransactionCoordinator) -> R) -> R {
        self.hosted.with(step)
    }

    /// Takes a step. Its answer is valid when the receiver reports that the records are durable.
    pub fn plan<R>(
        &self,
        step: impl FnOnce(&mut TransactionCoordinator) -> TransactionPlanned<R>,
    ) -> (R, Receiver<Result<(), ErrorCode>>) {
        self.hosted.plan(step)
    }

    /// Takes a step of the groups' machine, if `check` allows it. The transaction cannot end in
    /// between.
    ///
    /// # Errors
    /// That of `check`.
    pub fn checked<R>(
        &self,
        check: impl FnOnce(&mut TransactionCoordinator) -> Result<(), ErrorCode>,
        step: impl FnOnce(&Groups) -> R,
    ) -> Result<R, ErrorCode> {
        let mut inner = self.hosted.lock();
        check(&mut inner.machine)?;
        Ok(step(&self.groups))
    }

    /// Takes a step that may end a transaction, as `ending` finds in its answer: its record, the
    /// offsets and the markers are in one append.
    pub fn end<R>(
        &self,
        step: impl FnOnce(&mut TransactionCoordinator) -> TransactionPlanned<R>,
        ending: impl FnOnce(&R) -> Option<Ending>,
    ) -> (R, Receiver<Result<(), ErrorCode>>) {
        let (done, written) = async_channel::bounded(1);
        let mut inner = self.hosted.lock();
        let Planned { reply, actions } = step(&mut inner.machine);
        // A client that gave up has dropped its receiver.
        let release: Release = Box::new(move |written| {
            let _ = done.try_send(written);
        });
        let Some(ending) = ending(&reply) else {
            self.hosted.take(&mut inner, actions, Some(release));
            return (reply, written);
        };
        let mut groups = self.groups.lock();
        let producer = ending.marker.producer_id;
        let offsets = groups
            .machine
            .handle_txn_end(producer, ending.is_committed());
        let bytes_of = TransactionCoordinator::bytes_of;
        let markers: usize = ending.partitions.iter().map(|(_, at)| at.len()).sum();
        let mut bytes = actions.persist.iter().map(bytes_of).sum::<usize>();
        bytes += markers * MARKER_BYTES;
        let mut records = vec![self.hosted.records(actions.persist)];
        if !offsets.persist.is_empty() {
            let bytes_of = sedge_core::groups::Coordinator::bytes_of;
            bytes += offsets.persist.iter().map(bytes_of).sum::<usize>();
            records.push(self.groups.records(offsets.persist));
        }
        let unit = Unit {
            records,
            endings: vec![ending],
            bytes,
        };
        self.hosted.outbox.put([unit], vec![release]);
        (reply, written)
    }

    /// Aborts the transactions whose time is over.
    fn end_overdue(&self, now: Now) {
        loop {
            let step = |machine: &mut TransactionCoordinator| match machine.end_overdue(now) {
                Some(Planned { reply, actions }) => Planned {
                    reply: Some(reply),
                    actions,
                },
                None => Planned::only(None),
            };
            let (ended, _) = self.end(step, Clone::clone);
            let Some(Ending { marker, .. }) = ended else {
                return;
            };
            ::log::info!(
                target: "sedge::transactions",
                "the transaction of producer {} took longer than its transaction.timeout.ms and is \
                 aborted",
                marker.producer_id
            );
        }
    }
}

impl Member for Transactions {
    fn tick(&self, now: Now, _: &Published<Image>) -> u64 {
        self.end_overdue(now);
        self.hosted.with(|machine| machine.next_deadline())
    }
}
