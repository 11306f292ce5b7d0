//! Reads for consumers: the partitions ([`plan`]), the records that exist ([`read`]), waiting until
//! there are enough ([`wait`]), and what filters leave of them ([`sift`]). The handler decodes
//! requests and encodes answers.
//!
//! If the page cache does not have the batches, they are read off the executor, and the operating
//! system reads up to 4 MiB of each partition into the page cache. The storage finds recent batches
//! by marks in memory, older ones by runs from the index and along the heads of frames. The heads
//! that one fetch has read serve others for a second, because consumers catch up side by side.

use std::sync::Arc;

use crate::log::Log;
use crate::net::memory::Pool;
use crate::process::disk_work::DiskWork;

mod isolation;
pub mod plan;
pub mod read;
pub mod sift;
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
