//! The coordinators with their clock, their log and the clients that wait: what core's shards leave
//! to their caller.
//!
//! A shard's machine is behind a lock, and a step of it takes microseconds. What a step wants
//! written is put into the outbox, which all shards share; one task ([`Journal::write`]) takes
//! everything that is in there, writes it to the shards' topics as one append (a large outbox as
//! several), and then lets the replies go. While one append is flushed, the next steps gather.
//! Another task ([`Journal::keep_time`]) calls the machines at their deadlines, and tells them of
//! changed metadata.
//!
//! | module | what |
//! | --- | --- |
//! | `groups` | the coordinator of groups and their offsets |
//! | `hosted` | a shard with its lock and its clients |
//! | `outbox` | what waits to be written, of all shards in one order |
//! | `journal` | the two tasks, and restoring |
//! | `append` | one append to the shards' topics |
//! | `trim` | keeps the topics small |
//! | `log` | a shard's topic and its view |
//! | `disk` | the log and its writer |
//!
//! **Invariant:** records reach the log in the order in which the outbox got them, one append at a
//! time.
//! **Invariant:** a reply that depends on records leaves after they, and all before them, are
//! durable.
//! **Invariant:** a unit of the outbox is in one append: what it has of several shards is written
//! all or not at all.
//! **Bound:** the outbox holds what open requests and one tick of each shard produced; requests are
//! bounded by the pool of requests.

mod append;
mod disk;
mod groups;
mod hosted;
mod journal;
mod log;
mod outbox;
#[cfg(test)]
mod tests;
mod trim;

pub use groups::{Groups, OFFSETS_TOPIC};
pub use journal::Journal;

use std::sync::Arc;

use sedge_core::groups::{Coordinator, GroupConfig};
use sedge_core::machine::Now;
use sedge_core::metadata::Image;
use sedge_storage::LogStore;

/// All coordinators, and the journal that they share.
#[derive(Clone, Debug)]
pub struct Coordinators {
    pub journal: Journal,
    pub groups: Arc<Groups>,
}

/// Restores all coordinators as their topics have them.
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
    Ok(Coordinators { journal, groups })
}
