//! Why a link, in either direction, stops copying.

use crate::client::Error;
use crate::writer::Stopped;

/// Reason why the copying stopped.
pub(super) enum Pause {
    /// Topics have changed, or leaders are not known: prepare again.
    Prepare,
    /// The upstream fails.
    Failed(Error),
    /// The process ends.
    Stop,
}

impl From<Error> for Pause {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Stopped> for Pause {
    fn from(_: Stopped) -> Self {
        Self::Stop
    }
}
