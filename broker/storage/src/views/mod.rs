//! The views: keys and values derived from the log. [`Layers`](layers::Layers) hold the changes
//! that are not yet on disk; a [`Base`] holds the rest: fjall, or a map in memory for tests.
//!
//! There are two spaces, so that the log's own entries, which come in order and live long, do not
//! share tables with the caller's, which are rewritten often.

pub(crate) mod ahead;
pub mod fjall_base;
pub mod layers;
pub mod memory_base;
pub(crate) mod opening;
pub mod reserve;
pub mod tables;

use crate::api::View;
use crate::error::Error;
use reserve::Reserve;

/// One of the two spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Runs, slices, bounds, segments, applied: keys are [`tables::LogKey`]s.
    Log,
    /// The caller's views: a key is a byte for the view, then the caller's key.
    Caller,
}

/// One change of a base.
#[derive(Clone, Debug)]
pub struct Change {
    pub space: Space,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// Returns about the bytes that the change takes in a journal or a table.
    fn bytes(&self) -> u64 {
        const HEAD_BYTES: usize = 32;
        let value = self.value.as_ref().map_or(0, Vec::len);
        (HEAD_BYTES + self.key.len() + value) as u64
    }
}

pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Ordered keys and values. They need not survive the process: correctness does not depend on it.
pub trait Base: std::fmt::Debug + Send + Sync {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Returns the largest key in `low..=high`.
    fn last(&self, space: Space, low: &[u8], high: &[u8]) -> Result<Option<KeyValue>, Error>;
    /// Calls `each` with the keys in `low..=high` in order (to the end of the space without
    /// `high`), until it returns false.
    fn scan(
        &self,
        space: Space,
        low: &[u8],
        high: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;
    /// Writes all changes or none; visible to all reads afterwards.
    fn write(&self, changes: Vec<Change>) -> Result<(), Error>;
    /// Makes earlier writes durable, before the log drops the data that they stand for.
    fn sync(&self) -> Result<(), Error>;
    /// Returns the bytes reserved on the volume for flushes; `None` for a base without a volume.
    fn reserve(&self) -> Option<&Reserve>;
}

/// Returns whether a base has no entries at all.
pub(crate) fn is_empty(base: &dyn Base) -> Result<bool, Error> {
    let mut is_empty = true;
    for space in [Space::Log, Space::Caller] {
        base.scan(space, &[], None, &mut |_, _| {
            is_empty = false;
            false
        })?;
    }
    Ok(is_empty)
}

/// Returns the caller's key in the base's form.
pub(crate) fn caller_key(view: View, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(view as u8);
    out.extend_from_slice(key);
    out
}
