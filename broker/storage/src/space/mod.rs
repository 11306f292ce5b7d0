//! The space of the log: what is live, and what is freed.

pub(crate) mod free;
pub(crate) mod live;
pub(crate) mod usage;
