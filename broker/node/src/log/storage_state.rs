//! The state of the disk: full and read-only are ordinary states, in which produce is answered with
//! KAFKA_STORAGE_ERROR and reads continue.
//!
//! A refused write enters the state, and an accepted one leaves it. So that it also ends if no
//! client tries any more, the writer is asked every second whether the write would succeed now.

use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::Event;
use log::{info, warn};
use sedge_storage::{Error, Room, Urgency};

/// The state of the disk; see the module.
#[derive(Debug, Default)]
pub struct StorageState {
    refused: Mutex<Option<Refused>>,
    /// Notified when a request found no room or a segment was begun: more room may be needed soon.
    pub wanted: Event,
    /// Notified when segments may have lost their last live data: they are to be freed.
    pub dead: Event,
    /// Notified when many updates of the views are pending: they are to be flushed.
    pub unflushed_views: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    what: &'static str,
    /// The room that was refused.
    room: Room,
}

impl StorageState {
    /// Returns the reason why the disk refuses writes, while it does.
    pub fn refusing(&self) -> Option<&'static str> {
        self.lock().map(|refused| refused.what)
    }

    /// Returns the room to ask for again; `None` if writes are accepted.
    pub fn probe_room(&self) -> Option<Room> {
        self.lock().map(|refused| refused.room)
    }

    /// Records that the disk refused `room`.
    pub fn refuses(&self, refusal: &Error, room: Room) {
        let what = match refusal {
            Error::ReadOnly => "the disk is read-only",
            Error::Full => "the disk is full",
            // No disk accepts a commit of this size: smaller ones may succeed.
            Error::Refused { .. } => return,
            _ => "the process has no file descriptors or memory left",
        };
        let mut state = self.lock();
        if state.is_none_or(|before| before.what != what) {
            warn!(target: "sedge::log", "produce is refused with KAFKA_STORAGE_ERROR: {refusal}");
        }
        // A disk that refuses commits that free space refuses everything.
        let room = Room::ordinary(room.batch_bytes.max(1), room.rows.max(1));
        *state = Some(Refused { what, room });
    }

    /// Records that the disk accepted `room`. A commit that frees space is accepted on a full disk
    /// too, so it does not count.
    pub fn accepts(&self, room: Room) {
        let is_ordinary = room.urgency == Urgency::Ordinary && !room.is_empty();
        if is_ordinary && self.lock().take().is_some() {
            info!(target: "sedge::log", "produce is accepted again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeing(rows: u64) -> Room {
        Room {
            batch_bytes: 0,
            rows,
            urgency: Urgency::Upkeep,
        }
    }

    #[test]
    fn the_state_is_entered_by_a_refusal_and_left_by_room_for_as_much() {
        let state = StorageState::default();
        assert_eq!((state.refusing(), state.probe_room()), (None, None));
        state.accepts(Room::ordinary(10, 1));
        let refused = Room::ordinary(500, 2);
        state.refuses(&Error::Full, refused);
        assert_eq!(state.refusing(), Some("the disk is full"));
        assert_eq!(state.probe_room(), Some(refused));
        // Retention is accepted on a full disk.
        state.accepts(freeing(100));
        assert_eq!(state.probe_room(), Some(refused));
        state.refuses(&Error::ReadOnly, freeing(0));
        assert_eq!(state.refusing(), Some("the disk is read-only"));
        assert_eq!(state.probe_room(), Some(Room::ordinary(1, 1)));
        state.accepts(Room::ordinary(1, 1));
        assert_eq!(state.refusing(), None);
    }

    #[test]
    fn what_no_disk_takes_at_once_is_no_state_of_the_disk() {
        let state = StorageState::default();
        let why = "it is larger than a commit can be";
        state.refuses(&Error::Refused { why }, Room::ordinary(u64::MAX, 1));
        assert_eq!(state.refusing(), None);
    }
}
