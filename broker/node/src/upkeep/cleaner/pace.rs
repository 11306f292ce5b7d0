//! The cap on what the cleaner reads and writes, and its stop when the broker stops.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sedge_core::cleaner::Throttle;

use super::CleanError;
use super::limits::{PAUSE_MAX, PAUSE_MIN_MS};
use crate::config::{Config, Disk};
use crate::log::Log;
use crate::upkeep::logbook::Logbook;
use crate::writer::Writer;

/// State shared by everything that is cleaned.
pub struct Pace {
    pub log: Arc<Log>,
    pub writer: Writer,
    pub logbook: Arc<Logbook>,
    pub disk: Disk,
    pub segment_bytes: u64,
    throttle: Mutex<Throttle>,
    stops: AtomicBool,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").finish_non_exhaustive()
    }
}

impl Pace {
    pub fn new(log: Arc<Log>, writer: Writer, logbook: Arc<Logbook>, config: &Config) -> Self {
        Self {
            log,
            writer,
            logbook,
            disk: config.disk.clone(),
            segment_bytes: config.storage.segment_bytes,
            throttle: Mutex::new(Throttle::new(f64::INFINITY)),
            stops: AtomicBool::new(false),
        }
    }

    /// Applies the configured cap.
    pub fn begin_round(&self) {
        let image = self.log.metadata.load();
        let cap = image
            .defaults()
            .fraction("log.cleaner.io.max.bytes.per.second");
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.set_rate(cap);
    }

    pub fn is_stopping(&self) -> bool {
        self.stops.load(Ordering::Acquire)
    }

    /// Counts bytes that were read, and blocks as long as the cap requires.
    ///
    /// # Errors
    /// The broker stops.
    pub fn read(&self, bytes: u64) -> Result<(), CleanError> {
        self.log.metrics.cleaner.read_bytes.add(bytes);
        self.spend(bytes)
    }

    /// Counts bytes that were written, and blocks as long as the cap requires.
    ///
    /// # Errors
    /// The broker stops.
    pub fn written(&self, bytes: u64) -> Result<(), CleanError> {
        self.log.metrics.cleaner.written_bytes.add(bytes);
        self.spend(bytes)
    }

    /// Yields to threads that became ready meanwhile: a scheduler that grants a thread its time
    /// slice (Linux' does, whatever the thread's nice value) makes a reader wait for the end of it,
    /// which is milliseconds. If no thread waits, it costs next to nothing.
    pub fn give_way() {
        std::thread::yield_now();
    }

    fn spend(&self, bytes: u64) -> Result<(), CleanError> {
        let now_ms = self.log.clock.now().monotonic_ms;
        let mut wait_ms = {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.take(bytes, now_ms)
        };
        if wait_ms < PAUSE_MIN_MS {
            wait_ms = 0;
        }
        let mut left = Duration::from_millis(wait_ms);
        while !left.is_zero() && !self.is_stopping() {
            let pause = left.min(PAUSE_MAX);
            std::thread::sleep(pause);
            left -= pause;
        }
        if self.is_stopping() {
            return Err(CleanError::Refused);
        }
        Ok(())
    }
}

/// Stops the thread when the task is dropped.
#[derive(Debug)]
pub struct StopOnDrop(pub Arc<Pace>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stops.store(true, Ordering::Release);
    }
}
