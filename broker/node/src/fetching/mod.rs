//! Reads for consumers: the partitions ([`plan`]), the records that exist ([`read`]), and waiting
//! until there are enough ([`wait`]). The handler decodes requests and encodes answers.

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

/// The source of records, and the memory that reading may use.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub log: &'a Log,
    pub disk_work: &'a DiskWork,
    /// The pool for small batches that an answer holds in memory.
    pub memory: &'a Arc<Pool>,
}
