//! State of Fetch requests: [`session`] remembers which partitions a client wants, so that the
//! client need not repeat them; [`purgatory`] remembers which fetches wait for data.

pub mod limits;
pub mod purgatory;
pub mod session;
