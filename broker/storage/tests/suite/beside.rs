//! Runs a writer concurrently with the tested code.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The position of the writer.
pub struct Written(AtomicI64);

impl Written {
    /// Waits until the position is at least `least`. Returns the position.
    pub fn wait_for(&self, least: i64) -> i64 {
        loop {
            let written = self.0.load(Ordering::Acquire);
            if written >= least {
                return written;
            }
            std::thread::yield_now();
        }
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `write` repeatedly on a thread of its own, each time from the position that it returned,
/// while `look` runs.
pub fn write_beside(write: impl Fn(i64) -> i64 + Sync, look: impl FnOnce(&Written)) {
    let (written, done) = (Written(AtomicI64::new(0)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Stops the writer even if `look` fails.
        let _stop = Stop(&done);
        scope.spawn(|| {
            let mut from = 0;
            while !done.load(Ordering::Acquire) {
                from = write(from);
                written.0.store(from, Ordering::Release);
            }
        });
        look(&written);
    });
}
