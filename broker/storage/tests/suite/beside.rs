//! A writer beside whatever is tested.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How far the writer is.
pub struct Written(AtomicI64);

impl Written {
    /// Waits until it is at `least`, and says where it is.
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

/// Has `write` go on from where it says that it came, on a thread of its own, while `look` runs.
pub fn write_beside(write: impl Fn(i64) -> i64 + Sync, look: impl FnOnce(&Written)) {
    let (written, done) = (Written(AtomicI64::new(0)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Also where `look` fails: the writer would go on for ever.
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
