//! The log that the coordinator's records go to.

use std::sync::Arc;

use crate::log::Log;
use crate::writer::Writer;

/// See the module.
#[derive(Debug)]
pub struct Journal {
    pub log: Arc<Log>,
    pub writer: Writer,
}
