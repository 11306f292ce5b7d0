//! The init of a device's image: the first process, which starts the broker and keeps it running.
//!
//! The decisions are pure and tested here: partition tables, DHCP, SNTP, settings, and when the
//! watchdog is fed. `cargo xtask image` writes partition tables with the same code with which the
//! init extends them.
//!
//! - **Invariant:** a broken or missing `sedge.toml`, `device.properties`, network, time server or
//!   watchdog keeps no device from starting its broker. Only the slot and the data partition do.

pub mod clock;
pub mod gpt;
pub mod health;
pub mod network;
pub mod settings;
pub mod sntp;
