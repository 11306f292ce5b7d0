//! The link: how a microcontroller talks to the broker over a serial line, or any other stream of
//! bytes. `FORMAT.md` has the frames and the rules, with test vectors.
//!
//! [`Device`] is the microcontroller's end, [`Port`] the broker's. Both are state machines without
//! clock, wire or heap: `handle_byte` takes what arrived, `poll_transmit` returns the next frame to
//! write, and the time is an argument, in milliseconds that may wrap. [`Driver`] runs a device over
//! the traits of embedded-io, blocking or not.
//!
//! **Invariant:** over byte errors, cut and repeated frames and resets of both ends, a reading that
//! was acknowledged is committed once, and in order (`tests/simulation.rs`).
//! **Invariant:** every length off the wire is checked against the frame that has it, and no
//! message is larger than [`limits::MESSAGE_BYTES_MAX`].
#![no_std]
#![forbid(unsafe_code)]

mod clock;
mod device;
mod driver;
mod event;
mod frame;
pub mod limits;
pub mod message;
mod port;
mod queue;
mod readings;

pub use device::{Buffers, Device, Full};
pub use driver::Driver;
pub use event::{Config, Delivered, Event, Topic};
pub use frame::{Frame, Receiver, Seen};
pub use port::{Delivery, Greeting, Port, PortEvent, Publication, Subscription, Welcomed};
pub use readings::{Reading, Readings};
