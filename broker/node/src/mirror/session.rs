//! What an exactly-once link knows of its transactional producer.

use std::sync::Arc;
use std::time::Instant;

use crate::client::groups::CommittedOffsets;
use crate::client::transactions::Producer;

/// A link's transactional producer, and the cursors that the upstream has.
#[derive(Debug)]
pub(super) struct Session {
    pub transactional_id: Arc<str>,
    pub group: Arc<str>,
    /// `None` if the upstream may have given out a later epoch to this link.
    pub producer: Option<Producer>,
    /// When the transaction was opened that is not known to be over.
    pub opened: Option<Instant>,
    /// The cursors, as read when the producer began.
    pub cursors: CommittedOffsets,
}
