//! The state of a filter: a small map for each partition of its topic, which survives a restart.
//!
//! What a filter changes while it runs over a batch is written together with what the filters
//! leave of the batch: after a crash, both are there or neither. If the batch is refused, or the
//! filter fails, the changes are undone. A batch that an idempotent producer sends again does not
//! reach the filter again.
//!
//! A key has at most 1,024 bytes, a value at most 65,536. The operator bounds the whole by
//! `plugin.state.partition.bytes`.

use alloc::vec::Vec;

use crate::bindings::sedge::plugin::state;

/// Reason why [`put`] changes nothing.
pub use crate::bindings::sedge::plugin::state::Refusal;

/// Returns the value of a key.
#[must_use]
pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    state::get(key)
}

/// Sets the value of a key.
///
/// # Errors
/// The key or the value is too large, or there is no room for it.
pub fn put(key: &[u8], value: &[u8]) -> Result<(), Refusal> {
    state::put(key, value)
}

/// Removes a key, if it is there.
pub fn delete(key: &[u8]) {
    state::delete(key);
}
