//! Sockets: the listener, the connections and how many there may be, the order of replies, and the
//! bounds of their memory.

mod activity;
pub mod connection;
pub mod listener;
pub mod memory;
pub mod open_connections;
pub mod pipes;
pub mod reply;
pub mod unsupported;
mod when_woken;
