//! The first minutes of a new version: if it fails too often in them, the broker goes back to the
//! version before.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::{PLUGIN_ROLLBACK_TRIES_MAX, PLUGIN_TRIAL};

/// When a plugin was deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Before the broker started.
    Start,
    /// While it runs.
    Now,
}

/// The failures of one deployment.
#[derive(Debug, Default)]
pub struct Trial {
    failures: AtomicU64,
    /// How often the broker has tried to go back.
    tries: AtomicU32,
    /// `None` if the deployment is not on trial.
    until: Option<Instant>,
}

impl Trial {
    /// Begins the trial of a new version.
    pub fn begin() -> Self {
        Self {
            failures: AtomicU64::new(0),
            tries: AtomicU32::new(0),
            until: Some(Instant::now() + PLUGIN_TRIAL),
        }
    }

    /// Notes that the plugin failed once.
    pub fn note_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the plugin failed for good: it is not called again.
    pub fn note_end(&self) {
        self.failures.store(u64::from(u32::MAX), Ordering::Relaxed);
    }

    /// Returns whether the broker may still try to deploy the version before. The disk may be full
    /// for a moment, but no more is written than this.
    pub fn may_go_back(&self) -> bool {
        self.tries.fetch_add(1, Ordering::Relaxed) < PLUGIN_ROLLBACK_TRIES_MAX
    }

    pub fn is_running(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Returns whether the trial has this many failures; never, if that is 0.
    pub fn has_failed(&self, failures_max: u64) -> bool {
        let failures = self.failures.load(Ordering::Relaxed);
        failures_max > 0 && failures >= failures_max && self.is_running()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_fails_by_its_number_of_failures_or_by_one_that_is_final() {
        let trial = Trial::begin();
        for _ in 0..9 {
            trial.note_failure();
        }
        assert!(trial.is_running() && !trial.has_failed(10));
        trial.note_failure();
        assert!(trial.has_failed(10) && !trial.has_failed(0));
        let trial = Trial::begin();
        trial.note_end();
        assert!(trial.has_failed(10) && !trial.has_failed(0));
    }

    #[test]
    fn a_deployment_that_is_not_on_trial_does_not_fail() {
        let trial = Trial::default();
        trial.note_end();
        assert!(!trial.is_running() && !trial.has_failed(1));
    }
}
