//! What administrators see of transactions: ListTransactions, DescribeTransactions.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sedge_protocol::ids::{ProducerEpoch, ProducerId};
use sedge_protocol::transaction_records::TransactionStatus;

use super::{Entry, TransactionCoordinator};
use crate::machine::Now;

/// A transactional id, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub status: TransactionStatus,
    pub timeout_ms: i32,
    /// When the transaction began, by the wall clock, or -1.
    pub started_ms: i64,
    /// The partitions, by topic.
    pub partitions: Vec<(String, Vec<i32>)>,
}

/// The ids that ListTransactions asks for. An empty list selects all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub statuses: Vec<String>,
    pub producers: Vec<i64>,
    /// Ongoing transactions that run for longer, if not negative.
    pub longer_than_ms: i64,
}

impl Selection {
    fn takes(&self, entry: &Entry, now: Now) -> bool {
        let is_one_of = |status: &String| status == entry.status.name();
        let runs_ms = now.wall_ms.saturating_sub(entry.started_ms);
        let is_ongoing = entry.status == TransactionStatus::Ongoing;
        (self.statuses.is_empty() || self.statuses.iter().any(is_one_of))
            && (self.producers.is_empty() || self.producers.contains(&entry.producer_id.get()))
            && (self.longer_than_ms < 0 || (is_ongoing && runs_ms > self.longer_than_ms))
    }
}

impl TransactionCoordinator {
    /// Returns the selected transactional ids.
    #[must_use]
    pub fn list(&self, now: Now, selection: &Selection) -> Vec<Listing> {
        let ids = self.ids.iter();
        let taken = ids.filter(|(_, entry)| selection.takes(entry, now));
        taken.map(|(id, entry)| listing(id, entry)).collect()
    }

    /// Returns a transactional id as it is; `None` if it is unknown.
    #[must_use]
    pub fn describe(&self, transactional_id: &str) -> Option<Listing> {
        let (id, entry) = self.ids.get_key_value(transactional_id)?;
        Some(listing(id, entry))
    }

    /// Returns the transactional id of a producer.
    #[must_use]
    pub fn id_of(&self, producer: ProducerId) -> Option<&str> {
        self.producers.get(&producer.get()).map(|id| &**id)
    }
}

fn listing(id: &str, entry: &Entry) -> Listing {
    Listing {
        transactional_id: id.to_string(),
        producer_id: entry.producer_id,
        epoch: entry.epoch,
        status: entry.status,
        timeout_ms: entry.timeout_ms,
        started_ms: entry.started_ms,
        partitions: entry.value(Now::default()).partitions,
    }
}
