//! Tests clients that read and write slowly, stall or are cut off, as on a radio link: what is in
//! transit to them arrives complete and unchanged.

#[path = "slow_clients/idle.rs"]
mod idle;
#[path = "slow_clients/lent.rs"]
mod lent;
