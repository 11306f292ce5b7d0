//! The coordinators with their clock, their log and their waiting clients: everything that core's
//! shards leave to their caller.
//!
//! A lock guards each shard's machine, and a step takes microseconds. A step's records go into the
//! outbox, which all shards share. One task ([`Journal::write`]) takes everything in the outbox,
//! writes it to the shards' topics as one append (a large outbox as several), and then sends the
//! replies. While one append is flushed, the next steps collect in the outbox. Another task
//! ([`Journal::keep_time`]) calls the machines at their deadlines, and passes them changed
//! metadata.
//!
//! | module | contents |
//! | --- | --- |
//! | `groups` | the coordinator of groups and their offsets |
//! | `transactions` | the coordinator of transactions, and their ends |
//! | `hosted` | a shard with its lock and its clients |
//! | `outbox` | records of all shards that wait to be written, in one order |
//! | `journal` | the two tasks, and restoring |
//! | `append` | one append to the shards' topics |
//! | `trim` | keeps the topics small |
//! | `log` | a shard's topic and its view |
//! | `disk` | the log and its writer |
//!
//! **Invariant:** records reach the log in the order in which they were put into the outbox, one
//! append at a time.
//! **Invariant:** a reply that depends on records is sent after they, and all before them, are
//! durable.
//! **Invariant:** a unit of the outbox is in one append: its records of several shards are written
//! all or not at all. So are the markers of a transaction that ends with them.
//! **Bound:** the outbox holds the output of open requests and of one tick of each shard; the
//! request pool bounds requests.

mod append;
mod disk;
mod groups;
mod hosted;
mod journal;
mod log;
mod outbox;
#[cfg(test)]
mod tests;
mod transactions;
mod trim;

pub use groups::{Groups, OFFSETS_TOPIC};
pub use journal::Journal;
pub use transactions::Transactions;

use std::sync::Arc;

use sedge_core::groups::{Coordinator, GroupConfig};
use sedge_core::machine::Now;
use sedge_core::metadata::Image;
use sedge_core::transactions::{TransactionConfig, TransactionCoordinator};
use sedge_storage::LogStore;

/// All coordinators, and the journal that they share.
#[derive(Clone, Debug)]
pub struct Coordinators {
    pub journal: Journal,
    pub groups: Arc<Groups>,
    pub transactions: Transactions,
}

/// Restores all coordinators from their topics.
///
/// # Errors
/// The store cannot be read.
pub fn restore(
    store: &dyn LogStore,
    image: &Image,
    now: Now,
) -> Result<Coordinators, sedge_storage::Error> {
    let mut journal = Journal::default();
    let groups = Coordinator::new(GroupConfig::of(image.defaults()), now);
    let groups = journal.restore(store, image, now, groups)?;
    let transactions = TransactionConfig::of(image.defaults());
    let transactions = TransactionCoordinator::new(transactions, now);
    let transactions = journal.restore(store, image, now, transactions)?;
    let transactions = Transactions::new(transactions, Arc::clone(&groups));
    journal.add(Arc::new(transactions.clone()));
    Ok(Coordinators {
        journal,
        groups,
        transactions,
    })
}
