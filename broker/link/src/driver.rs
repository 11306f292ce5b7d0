//! Runs a [`Device`] over the traits of embedded-io: without blocking ([`Driver::poll`]), or with
//! ([`Driver::wait`]). An executor of tasks calls `poll` each time that the wire has bytes or
//! [`Device::due_ms`] has come.

use embedded_io::{Read, ReadReady, Write};

use crate::device::Device;
use crate::event::Event;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16;

/// A device and its wire.
#[derive(Debug)]
pub struct Driver<'a, W> {
    pub device: Device<'a>,
    pub wire: W,
}

impl<'a, W: Read + ReadReady + Write> Driver<'a, W> {
    pub const fn new(device: Device<'a>, wire: W) -> Self {
        Self { device, wire }
    }

    /// Handles what has arrived, then sends what is due. Does not wait for the wire to have bytes,
    /// but for the wire to take them.
    ///
    /// # Errors
    /// The wire fails. What is queued stays queued: mend the wire and go on.
    pub fn poll(
        &mut self,
        now_ms: u32,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<(), W::Error> {
        let mut chunk = [0; CHUNK_BYTES];
        while self.wire.read_ready()? {
            let length = self.wire.read(&mut chunk)?;
            if length == 0 {
                break;
            }
            for byte in &chunk[..length] {
                if let Some(event) = self.device.handle_byte(*byte, now_ms) {
                    on_event(event);
                }
            }
        }
        while let Some(frame) = self.device.poll_transmit(now_ms) {
            self.wire.write_all(frame)?;
        }
        Ok(())
    }

    /// Polls until `on_event` returns true. `now_ms` reads the clock, and may sleep until a byte
    /// arrives or [`Device::due_ms`] has come.
    ///
    /// # Errors
    /// The wire fails.
    pub fn wait(
        &mut self,
        mut now_ms: impl FnMut() -> u32,
        mut on_event: impl FnMut(Event<'_>) -> bool,
    ) -> Result<(), W::Error> {
        let mut is_done = false;
        while !is_done {
            self.poll(now_ms(), |event| is_done |= on_event(event))?;
        }
        Ok(())
    }
}
