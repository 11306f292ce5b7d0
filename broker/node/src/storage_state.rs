//! Whether the disk takes writes: a full and a read-only one are ordinary states, in which produce
//! is answered with KAFKA_STORAGE_ERROR and reads go on.
//!
//! A refused write enters the state and an accepted one leaves it. So that it ends also where no
//! client tries any more, the writer is asked every second whether it would go now.

use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{info, warn};
use sedge_storage::Error;

/// See the module.
#[derive(Debug, Default)]
pub struct StorageState(Mutex<Option<Refused>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    what: &'static str,
    /// What there was no room for.
    bytes: usize,
}

impl StorageState {
    /// What is wrong with the disk, while it takes nothing.
    pub fn refusing(&self) -> Option<&'static str> {
        self.lock().map(|refused| refused.what)
    }

    /// How much to ask room for again; `None` where writes are taken.
    pub fn probe_bytes(&self) -> Option<usize> {
        self.lock().map(|refused| refused.bytes)
    }

    /// There was no room for `bytes`.
    pub fn refuses(&self, refusal: &Error, bytes: usize) {
        let what = match refusal {
            Error::ReadOnly => "the disk is read-only",
            _ => "the disk is full",
        };
        let mut state = self.lock();
        if state.is_none_or(|before| before.what != what) {
            warn!(target: "sedge::log", "produce is refused with KAFKA_STORAGE_ERROR: {refusal}");
        }
        // Log starts take no room, so that a disk which refuses them refuses everything.
        let bytes = bytes.max(1);
        *state = Some(Refused { what, bytes });
    }

    /// There was room for `bytes`. A commit without batches finds some on a full disk too, so it
    /// says nothing.
    pub fn accepts(&self, bytes: usize) {
        if bytes > 0 && self.lock().take().is_some() {
            info!(target: "sedge::log", "produce is accepted again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_entered_by_a_refusal_and_left_by_room_for_as_much() {
        let state = StorageState::default();
        assert_eq!((state.refusing(), state.probe_bytes()), (None, None));
        state.accepts(10);
        state.refuses(&Error::Full, 500);
        assert_eq!(state.refusing(), Some("the disk is full"));
        assert_eq!(state.probe_bytes(), Some(500));
        // Retention on a full disk.
        state.accepts(0);
        assert_eq!(state.probe_bytes(), Some(500));
        state.refuses(&Error::ReadOnly, 0);
        assert_eq!(state.refusing(), Some("the disk is read-only"));
        assert_eq!(state.probe_bytes(), Some(1));
        state.accepts(1);
        assert_eq!(state.refusing(), None);
    }
}
