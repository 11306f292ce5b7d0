//! A record of a batch.

use core::ops::Deref;

use crate::bindings::exports::sedge::plugin::filter::BatchInfo;
pub use crate::bindings::exports::sedge::plugin::filter::{Client, Origin, Stage};
use crate::records::Fields;

/// Facts shared by a batch's records.
#[derive(Debug)]
pub struct Batch(pub(crate) BatchInfo);

impl Batch {
    /// Returns the topic of the batch.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Returns the partition of the batch.
    pub fn partition(&self) -> u32 {
        self.0.partition
    }

    /// Returns the point on the batch's way at which the filter runs.
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// Returns who sent the batch, or on a fetch gets it. `None` if the filter's `NEEDS` do not
    /// name the origin.
    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }
}

/// One record: its [`Fields`], its timestamp and its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) fields: Fields<'a>,
}

impl<'a> Record<'a> {
    /// Returns the facts shared by the records of its batch.
    pub fn batch(&self) -> &'a Batch {
        self.batch
    }

    /// Returns the timestamp in milliseconds since 1970.
    pub fn timestamp_ms(&self) -> i64 {
        let delta_ms = self.fields.timestamp_delta_ms();
        self.batch.0.base_timestamp_ms.saturating_add(delta_ms)
    }
}

impl<'a> Deref for Record<'a> {
    type Target = Fields<'a>;

    fn deref(&self) -> &Fields<'a> {
        &self.fields
    }
}
