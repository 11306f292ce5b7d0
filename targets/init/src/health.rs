//! Decides when a broker that says nothing is killed, and when the device lets its watchdog bite.

use std::time::Duration;

/// Longest time that a start may take: reading a large log after a power cut is slow, not sick.
pub const START_MAX: Duration = Duration::from_mins(10);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Feed the watchdog.
    Feed,
    /// Feed the watchdog, and kill the broker, which hangs.
    Kill,
    /// Let the device restart.
    Starve,
}

/// What is known of the broker. Times are those of a clock that is never set.
#[derive(Debug)]
pub struct Health {
    /// Longest silence of a broker that is well.
    silence_max: Duration,
    /// When the broker last said that it lives, or the device started.
    last_well: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting {
        since: Duration,
    },
    /// Ready, and heard since.
    Running,
    /// Killed, or ended by itself.
    Down,
}

impl Health {
    pub const fn new(silence_max: Duration, now: Duration) -> Self {
        Self {
            silence_max,
            last_well: now,
            state: State::Down,
        }
    }

    pub fn handle_start(&mut self, now: Duration) {
        self.state = State::Starting { since: now };
    }

    /// Takes a message of the broker: that it is ready, or that it lives.
    pub fn handle_alive(&mut self, now: Duration) {
        self.state = State::Running;
        self.last_well = now;
    }

    pub fn handle_end(&mut self) {
        self.state = State::Down;
    }

    /// Returns what to do at `now`.
    pub fn verdict(&self, now: Duration) -> Verdict {
        let sick = now.saturating_sub(self.last_well);
        match self.state {
            State::Running if sick > self.silence_max => Verdict::Kill,
            State::Starting { since } if now.saturating_sub(since) > START_MAX => Verdict::Starve,
            // One that ends at each start, or hangs again at once.
            _ if sick > self.silence_max + START_MAX => Verdict::Starve,
            _ => Verdict::Feed,
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
    fn a_broker_that_says_nothing_is_killed() {
        let mut health = Health::new(at(60), at(0));
        health.handle_start(at(1));
        health.handle_alive(at(5));
        assert_eq!(health.verdict(at(65)), Verdict::Feed);
        assert_eq!(health.verdict(at(66)), Verdict::Kill);
        health.handle_end();
        assert_eq!(health.verdict(at(67)), Verdict::Feed);
        health.handle_start(at(68));
        health.handle_alive(at(70));
        assert_eq!(health.verdict(at(71)), Verdict::Feed);
    }

    #[test]
    fn a_long_start_is_borne_but_not_for_ever() {
        let mut health = Health::new(at(60), at(0));
        health.handle_start(at(1));
        assert_eq!(health.verdict(at(600)), Verdict::Feed);
        assert_eq!(health.verdict(at(602)), Verdict::Starve);
    }

    #[test]
    fn a_broker_that_ends_again_and_again_restarts_the_device() {
        let mut health = Health::new(at(60), at(0));
        for second in 0..=660 {
            health.handle_start(at(second));
            assert_eq!(health.verdict(at(second)), Verdict::Feed, "{second}");
            health.handle_end();
        }
        assert_eq!(health.verdict(at(661)), Verdict::Starve);
    }
}
