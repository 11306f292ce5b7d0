//! The composition of the process: what starts in which order, and how it ends.

use crate::cli::Failure;
use crate::config::Config;
use crate::signals::Signals;

/// Runs the broker until it is told to stop.
///
/// # Errors
/// It cannot start.
pub fn run(_config: Config) -> Result<(), Failure> {
    let mut signals = Signals::install().map_err(|error| Failure::io("take signals", &error))?;
    async_io::block_on(async {
        let stop = signals.stop().await;
        log::info!(target: "sedge", "{stop:?}: shutting down");
    });
    Ok(())
}
