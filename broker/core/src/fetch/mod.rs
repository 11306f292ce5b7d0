//! What a Fetch asks for over time: [`session`] remembers what a client wants so that it need not
//! repeat it, [`purgatory`] remembers who waits for data.

pub mod limits;
pub mod purgatory;
pub mod session;
