//! Turns SIGTERM and SIGINT into a controlled shutdown; a second SIGINT ends the process at once.

use std::fmt;
use std::future::Future;
use std::io;

use async_signal::Signal;
use futures_lite::{StreamExt, future};

/// The exit code that a shell shows for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// The cause of a controlled shutdown, as a word for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, from the service manager.
    Terminated,
    /// SIGINT, from Ctrl-C.
    Interrupted,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
        })
    }
}

/// The signals that this process handles. Install them before anything slow, so that none is
/// missed.
#[derive(Debug)]
pub struct Signals {
    signals: async_signal::Signals,
}

impl Signals {
    /// Replaces the signals' default actions.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn install() -> io::Result<Self> {
        let signals = async_signal::Signals::new([Signal::Term, Signal::Int, Signal::Hup])?;
        Ok(Self { signals })
    }

    /// Waits for a signal that stops the process. Calls `reload` for each SIGHUP.
    pub async fn stop(&mut self, reload: impl Fn()) -> Stop {
        loop {
            match self.signals.next().await {
                Some(Ok(Signal::Term)) => return Stop::Terminated,
                Some(Ok(Signal::Int)) | None => return Stop::Interrupted,
                Some(Ok(_)) => {
                    log::info!(
                        target: "sedge",
                        "SIGHUP: loading the certificates again; restart the broker to apply a new \
                         configuration"
                    );
                    reload();
                }
                Some(Err(error)) => log::warn!(target: "sedge", "cannot read a signal: {error}"),
            }
        }
    }

    /// Runs the shutdown's work; another SIGINT ends the process in the middle of it. Acknowledged
    /// writes are on disk already, so that is as safe as a kill.
    pub async fn finish<T>(&mut self, work: impl Future<Output = T>) -> T {
        let impatient = async {
            while self.stop(|| {}).await != Stop::Interrupted {}
            log::warn!(target: "sedge", "second SIGINT: exiting at once");
            std::process::exit(INTERRUPTED);
        };
        future::or(work, impatient).await
    }
}
