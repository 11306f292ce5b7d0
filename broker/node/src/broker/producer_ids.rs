//! Producer ids for clients: blocks of them from the controller, handed out one by one (KIP-730).

use sedge_core::metadata::{Command, CommandReply};
use sedge_protocol::ErrorCode;
use sedge_protocol::ids::ProducerId;

use crate::limits::PRODUCER_ID_BLOCK;
use crate::writer::Writer;

/// The rest of the last block.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: async_lock::Mutex<(i64, i64)>,
}

impl ProducerIds {
    /// Returns an id that was never handed out before, not even before a restart.
    ///
    /// # Errors
    /// The controller cannot persist the next block.
    pub async fn next(&self, writer: &Writer) -> Result<ProducerId, ErrorCode> {
        let mut block = self.block.lock().await;
        if block.0 == block.1 {
            let command = Command::AllocateProducerIds {
                count: PRODUCER_ID_BLOCK,
            };
            let reply = writer
                .metadata(command)
                .await
                .map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
            let CommandReply::ProducerIds { first } = reply.map_err(|error| error.code)? else {
                return Err(ErrorCode::UnknownServerError);
            };
            *block = (first.get(), first.get() + PRODUCER_ID_BLOCK);
        }
        let id = block.0;
        block.0 += 1;
        Ok(ProducerId(id))
    }
}
