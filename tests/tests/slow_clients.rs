//! Clients that read and write slowly, stall or are cut, as on a radio line: what is on its way to
//! them arrives whole and as it was written.

#[path = "slow_clients/idle.rs"]
mod idle;
#[path = "slow_clients/lent.rs"]
mod lent;
