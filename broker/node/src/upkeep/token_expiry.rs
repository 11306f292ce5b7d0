//! Removes delegation tokens that have expired.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use log::{info, warn};
use sedge_core::metadata::{Command, TokenCommand};

use crate::log::Log;
use crate::writer::Writer;

/// Looks for them every so often.
pub async fn run(log: Arc<Log>, writer: Writer, every: Duration) {
    loop {
        Timer::after(every).await;
        let now_ms = log.clock.now().wall_ms;
        let image = log.metadata.load();
        let count = image
            .tokens()
            .iter()
            .filter(|of| of.has_expired(now_ms))
            .count();
        if count == 0 {
            continue;
        }
        let removed = writer
            .metadata(Command::Token(TokenCommand::RemoveExpired))
            .await;
        match removed {
            Ok(Ok(_)) => {
                info!(target: "sedge::tokens", "{count} expired delegation tokens are removed");
            }
            Ok(Err(refusal)) => warn!(
                target: "sedge::tokens",
                "expired delegation tokens cannot be removed: {}; retrying", refusal.message
            ),
            // The broker stops.
            Err(_) => return,
        }
    }
}
