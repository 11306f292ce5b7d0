//! Rate limit of the audit log: the same denial once in a time window, and at most
//! [`AUDIT_LINES_MAX`] denials.

use alloc::collections::BTreeSet;

use super::limits::{AUDIT_LINES_MAX, AUDIT_WINDOW_MS};

/// The denials that were logged in the current window.
#[derive(Clone, Debug, Default)]
pub struct Denials {
    window: u64,
    said: BTreeSet<u64>,
    held_back: u64,
}

/// Whether a denial is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Log it. `held_back` is the number of denials that were suppressed in the previous window.
    Now { held_back: u64 },
    /// Suppress it.
    HeldBack,
}

impl Denials {
    /// Records a denial. `key` is a hash of the principal, host, operation and resource.
    pub fn take(&mut self, key: u64, now_ms: u64) -> Told {
        let window = now_ms / AUDIT_WINDOW_MS;
        let mut before = 0;
        if window != self.window {
            self.window = window;
            self.said.clear();
            before = core::mem::take(&mut self.held_back);
        }
        if self.said.len() < AUDIT_LINES_MAX && self.said.insert(key) {
            Told::Now { held_back: before }
        } else {
            self.held_back += 1;
            Told::HeldBack
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_said_once_in_a_window_and_a_flood_is_counted() {
        let mut denials = Denials::default();
        let said = |held_back| Told::Now { held_back };
        assert_eq!(denials.take(1, 0), said(0));
        assert_eq!(denials.take(1, 1), Told::HeldBack);
        assert_eq!(denials.take(2, 2), said(0));
        let flood = (3..10_000).filter(|key| denials.take(*key, 3) != Told::HeldBack);
        assert_eq!(flood.count(), AUDIT_LINES_MAX - 2);
        let held_back = 1 + (10_000 - 3) - (AUDIT_LINES_MAX as u64 - 2);
        assert_eq!(denials.take(1, AUDIT_WINDOW_MS), said(held_back));
        assert_eq!(denials.take(2, AUDIT_WINDOW_MS), said(0));
    }
}
