//! `sedge serve`, also the default command of `sedge`.

use clap::Args;

use super::flags::ConfigFlags;
use crate::process::failure::Failure;
use crate::process::{core_dumps, logging};

/// Run the broker.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    config: ConfigFlags,
    /// Format of log lines
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: logging::Format,
}

impl Serve {
    /// Runs the broker until it is told to stop.
    ///
    /// # Errors
    /// The broker cannot start.
    pub fn run(&self) -> Result<(), Failure> {
        logging::start(self.log_format);
        let config = self.config.load()?;
        if config.core_dumps_allowed {
            core_dumps::allow();
        }
        for warning in &config.settings.warnings {
            log::warn!(target: "sedge::config", "{warning}");
        }
        crate::serve::run(config)
    }
}
