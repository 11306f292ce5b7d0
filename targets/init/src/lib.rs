//! The init of a device's image: the first process, which starts the broker and keeps it running.
//!
//! The decisions are pure and tested here: partition tables, DHCP, SNTP, settings, when the
//! watchdog is fed, what update is taken, and whether a slot is good. `cargo xtask image` writes
//! partition tables with the same code with which the init extends them.
//!
//! - **Invariant:** an update writes to the other slot alone, and only if the slot that runs is
//!   good (`update.rs`), so the device can always go back.
//! - **Invariant:** a broken or missing `sedge.toml`, `device.properties`, network, time server or
//!   watchdog keeps no device from starting its broker. Only the slot and the data partition do.

pub mod clock;
pub mod entries;
pub mod gpt;
pub mod health;
pub mod keys;
pub mod network;
pub mod settings;
pub mod slot_image;
pub mod sntp;
pub mod trial;
