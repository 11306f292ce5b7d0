//! The space that the log takes: what of it lives, and what is given back.

pub(crate) mod free;
pub(crate) mod live;
pub(crate) mod usage;
