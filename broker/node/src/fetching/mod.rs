//! Reading for consumers: which partitions ([`plan`]), what is there ([`read`]), and waiting until
//! there is enough ([`wait`]). How a request says what it wants, and how an answer is encoded, is
//! the handler's business.

use std::sync::Arc;

use sedge_storage::LogStore;

use crate::disk_work::DiskWork;
use crate::log::purgatory::Parking;
use crate::net::memory::Pool;

pub mod plan;
pub mod read;
pub mod wait;

#[cfg(test)]
mod tests;

/// Where records are read from, and what reading them may take.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub store: &'a Arc<dyn LogStore>,
    pub disk_work: &'a DiskWork,
    pub parking: &'a Arc<Parking>,
    /// Of the small batches that an answer holds in memory.
    pub memory: &'a Arc<Pool>,
}
