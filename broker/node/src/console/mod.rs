//! The console: one HTTP port with a page, the metrics, and two answers for a supervisor of the
//! process.
//!
//! It is read-only, has no sessions and loads nothing from elsewhere. It is not the admin
//! interface: that is the Kafka protocol. On a device with an image of sedge, `/device` passes on
//! what an operator asks the device, which is below the broker (`device.rs`).
//!
//! **Invariant:** with a token set, a request without one learns no more than whether the broker
//! serves (`a_stranger_learns_nothing` in the tests).
//! **Invariant:** what a client can make the console hold is bounded: connections, bytes of a
//! request, time.

mod access;
mod device;
mod disk;
pub(crate) mod limits;
mod page;
mod series;
mod server;
mod status;

pub use disk::DiskStatus;
pub use page::Bytes;
pub use server::{Secure, bind, serve};
pub use status::{FilterStatus, GroupStatus, Source, Status, StorageStatus, TopicStatus};

#[cfg(test)]
mod tests;
