//! Sockets: the listener, the connections and how many there may be, the order of replies, and the
//! gate that bounds request memory.

mod activity;
pub mod connection;
pub mod gate;
pub mod listener;
pub mod open_connections;
pub mod pipes;
pub mod reply;
mod when_woken;
