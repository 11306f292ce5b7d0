//! The views: what is derived from the log, as keys and values. [`Layers`](layers::Layers) hold
//! what is not yet on disk; a [`Base`] holds the rest: fjall, or a map in memory for tests.
//!
//! Two spaces, so that the log's own entries, which come in order and live long, and the caller's,
//! which are written again and again, do not share tables.

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
    /// The caller's views: keys are a byte for the view and the caller's key.
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
    /// About what it takes in a journal or a table.
    fn bytes(&self) -> u64 {
        const HEAD_BYTES: usize = 32;
        let value = self.value.as_ref().map_or(0, Vec::len);
        (HEAD_BYTES + self.key.len() + value) as u64
    }
}

pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Ordered keys and values that survive the process, or do not: nothing depends on it.
pub trait Base: std::fmt::Debug + Send + Sync {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// The largest key in `low..=high`.
    fn last(&self, space: Space, low: &[u8], high: &[u8]) -> Result<Option<KeyValue>, Error>;
    /// Keys in `low..=high` in order (to the end of the space without `high`), until `each` says
    /// false.
    fn scan(
        &self,
        space: Space,
        low: &[u8],
        high: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;
    /// All or nothing, visible to all that read afterwards.
    fn write(&self, changes: Vec<Change>) -> Result<(), Error>;
    /// Makes what was written outlive a power cut. For what the log is about to lose.
    fn sync(&self) -> Result<(), Error>;
    /// What is set aside of the volume for flushes; `None` for a base that is not on a volume.
    fn reserve(&self) -> Option<&Reserve>;
}

/// Whether a base has no entries at all.
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

/// The caller's key as the base has it.
pub(crate) fn caller_key(view: View, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(view as u8);
    out.extend_from_slice(key);
    out
}
