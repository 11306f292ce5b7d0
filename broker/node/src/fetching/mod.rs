//! Reading for consumers: which partitions ([`plan`]), what is there ([`read`]), and waiting until
//! there is enough ([`wait`]). How a request says what it wants, and how an answer is encoded, is
//! the handler's business.

use std::sync::Arc;

use crate::log::Log;
use crate::net::memory::Pool;
use crate::process::disk_work::DiskWork;

mod isolation;
pub mod plan;
pub mod read;
pub mod wait;

#[cfg(test)]
mod tests;

/// Where records are read from, and what reading them may take.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub log: &'a Log,
    pub disk_work: &'a DiskWork,
    /// Of the small batches that an answer holds in memory.
    pub memory: &'a Arc<Pool>,
}
