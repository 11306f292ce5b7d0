//! The memory that all plugins share: the linear memories of all instances together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the linear memories of instances, up to a limit.
#[derive(Debug)]
pub struct MemoryPool {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl MemoryPool {
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Returns the bytes that instances have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes bytes for an instance. Returns whether there is room.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let take = |taken: usize| {
            let taken = taken.checked_add(bytes)?;
            (taken <= self.bytes_max).then_some(taken)
        };
        let order = Ordering::Relaxed;
        self.bytes.fetch_update(order, order, take).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let pool = MemoryPool::new(10);
        assert!(pool.take(6) && pool.take(4));
        assert!(!pool.take(1) && !pool.take(usize::MAX));
        pool.give_back(6);
        assert_eq!(pool.bytes(), 4);
        assert!(!pool.take(7) && pool.take(6));
    }
}
