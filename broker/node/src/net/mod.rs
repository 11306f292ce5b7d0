//! Sockets: the listener, the connections, the order of replies, and the gate that bounds request
//! memory.

mod activity;
pub mod connection;
pub mod gate;
pub mod listener;
pub mod pipes;
pub mod reply;
mod when_woken;
