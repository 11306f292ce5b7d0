//! Decides whether a slot that was updated is good.

use std::time::Duration;

/// Longest trial, from the start of the device: a start that reads a large log is slow, not broken.
pub const TRIAL_MAX: Duration = Duration::from_mins(12);
/// Time for which the broker has to be well.
const WELL_MIN: Duration = Duration::from_secs(10);
/// Ends of the broker after which the slot has failed.
const ENDS_MAX: u32 = 3;

/// What is known of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Open,
    Good,
    /// The device has to go back to the other slot.
    Failed,
}

/// A trial. Times are those of a clock that is never set.
#[derive(Debug, Default)]
pub struct Trial {
    well_since: Option<Duration>,
    ends: u32,
}

impl Trial {
    /// Takes a message of the broker: that it is ready, or that it lives.
    pub fn handle_alive(&mut self, now: Duration) {
        self.well_since.get_or_insert(now);
    }

    pub fn handle_end(&mut self) {
        self.well_since = None;
        self.ends += 1;
    }

    /// Decides at `now`. A slot is not good if the device has no address: nobody could update it
    /// again.
    pub fn outcome(&self, now: Duration, has_address: bool) -> Outcome {
        let is_well = self.well_since.is_some_and(|since| now >= since + WELL_MIN);
        if self.ends >= ENDS_MAX || now >= TRIAL_MAX {
            Outcome::Failed
        } else if is_well && has_address {
            Outcome::Good
        } else {
            Outcome::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_broker_that_stays_well_makes_its_slot_good() {
        let mut trial = Trial::default();
        assert_eq!(trial.outcome(at(60), true), Outcome::Open);
        trial.handle_alive(at(60));
        trial.handle_alive(at(65));
        assert_eq!(trial.outcome(at(69), true), Outcome::Open);
        assert_eq!(trial.outcome(at(70), true), Outcome::Good);
    }

    #[test]
    fn a_broker_that_ends_again_and_again_fails_its_slot() {
        let mut trial = Trial::default();
        for end in 0..3 {
            assert_eq!(trial.outcome(at(end), true), Outcome::Open);
            trial.handle_alive(at(end));
            trial.handle_end();
        }
        assert_eq!(trial.outcome(at(3), true), Outcome::Failed);
    }

    #[test]
    fn a_slot_without_an_address_is_not_good_and_fails_at_last() {
        let mut trial = Trial::default();
        trial.handle_alive(at(5));
        assert_eq!(trial.outcome(at(60), false), Outcome::Open);
        assert_eq!(trial.outcome(at(719), false), Outcome::Open);
        assert_eq!(trial.outcome(at(720), false), Outcome::Failed);
    }
}
