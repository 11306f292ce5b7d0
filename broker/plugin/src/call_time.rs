//! The time of a call: its deadline, and the priority of its thread meanwhile.
//!
//! The deadline passes also while the thread waits for a processor: a plugin must not lose its
//! state because the machine was busy. So a call goes on until it has used [`OVERTIME`] of the
//! processor itself beyond the deadline, or was late for [`OVERTIME_TICKS_MAX`].
//!
//! After a call that computed beyond its deadline, the instance's next [`CALLS_BEHIND`] calls run
//! behind all other threads ([`Behind`]). A plugin that never ends, also if only at some batches,
//! then takes no time from the rest of the broker; it still has its deadline. A call that was late
//! because it got no processor says nothing about the plugin, and ends that: if the next one ran
//! behind all others, it would be late as well, for as long as the machine is busy.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

use crate::{
    limits::{CALLS_BEHIND, OVERTIME, OVERTIME_TICKS_MAX, TICK},
    sched::Behind,
};

/// The priority of a call's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As the thread had it.
    Same,
    /// Behind all others.
    Behind,
}

/// Why a call was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It computed beyond its deadline.
    Computing,
    /// It got no processor for too long.
    Starved,
}

/// What a plugin's last calls say about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Calls until one that computed beyond its deadline is forgotten.
    calls_left: u32,
}

impl Past {
    pub const GOOD: Self = Self { calls_left: 0 };

    /// Notes a call, and why it was stopped, if it was.
    pub const fn note(&mut self, stopped: Option<Stopped>) {
        self.calls_left = match stopped {
            Some(Stopped::Computing) => CALLS_BEHIND,
            Some(Stopped::Starved) => 0,
            None => self.calls_left.saturating_sub(1),
        };
    }

    /// Returns whether the next call runs behind all other threads.
    pub const fn is_bad(self) -> bool {
        self.calls_left > 0
    }
}

/// The time of one call. Every tick of the engine's epoch comes to [`Self::judge`].
#[derive(Debug, Default)]
pub struct CallTime {
    /// Ticks until the deadline, and after it.
    ticks_left: u32,
    ticks_late: u32,
    /// The thread's processor time at the deadline.
    at_deadline: Option<Duration>,
    stopped: Option<Stopped>,
    behind: Option<Behind>,
}

impl CallTime {
    /// Begins a call on the calling thread.
    pub fn begin(deadline_ms: u32, priority: Priority) -> Self {
        let is_behind = priority == Priority::Behind;
        Self {
            ticks_left: deadline_ticks(deadline_ms),
            behind: is_behind.then(Behind::others).flatten(),
            ..Self::default()
        }
    }

    /// Ends the call: its thread has its priority again.
    pub fn end(&mut self) {
        self.behind = None;
    }

    /// Returns why the call was stopped, if it was.
    pub const fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Decides whether the call goes on for another tick.
    pub fn judge(&mut self) -> UpdateDeadline {
        self.ticks_left = self.ticks_left.saturating_sub(1);
        if self.ticks_left > 0 {
            return UpdateDeadline::Continue(1);
        }
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::try_from(now).unwrap_or_default();
        let used = now.saturating_sub(*self.at_deadline.get_or_insert(now));
        self.ticks_late += 1;
        self.stopped = if used >= OVERTIME {
            Some(Stopped::Computing)
        } else if self.ticks_late > OVERTIME_TICKS_MAX {
            Some(Stopped::Starved)
        } else {
            None
        };
        match self.stopped {
            Some(_) => UpdateDeadline::Interrupt,
            None => UpdateDeadline::Continue(1),
        }
    }
}

/// Returns the number of ticks that surely exceeds `deadline_ms`: the first tick may come at once.
fn deadline_ticks(deadline_ms: u32) -> u32 {
    deadline_ms.div_ceil(TICK.as_millis() as u32) + 1
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn goes_on(time: &mut CallTime) -> bool {
        matches!(time.judge(), UpdateDeadline::Continue(1))
    }

    fn used() -> Duration {
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it is not negative")
    }

    fn compute(time: Duration) {
        let until = used() + time;
        while used() < until {}
    }

    #[test]
    fn a_call_has_the_ticks_of_its_deadline() {
        for (deadline_ms, ticks) in [(1, 1), (2, 1), (5, 3), (100, 50)] {
            let mut time = CallTime::begin(deadline_ms, Priority::Same);
            for _ in 0..ticks {
                assert!(goes_on(&mut time), "{deadline_ms}");
            }
            assert!(goes_on(&mut time), "{deadline_ms}: the deadline");
            compute(OVERTIME);
            assert!(!goes_on(&mut time), "{deadline_ms}");
        }
    }

    #[test]
    fn a_call_that_waits_for_a_processor_is_not_late() {
        let mut time = CallTime::default();
        assert!(goes_on(&mut time));
        thread::sleep(OVERTIME * 4);
        assert!(goes_on(&mut time), "its thread had no processor");
        compute(OVERTIME);
        assert!(!goes_on(&mut time), "it computed all the time");
        assert_eq!(time.stopped(), Some(Stopped::Computing));
    }

    #[test]
    fn a_call_that_never_gets_a_processor_is_late_in_the_end() {
        let mut time = CallTime {
            at_deadline: Some(Duration::MAX),
            ..CallTime::default()
        };
        for tick in 0..OVERTIME_TICKS_MAX {
            assert!(goes_on(&mut time), "{tick}");
        }
        assert!(!goes_on(&mut time));
        assert_eq!(time.stopped(), Some(Stopped::Starved));
    }

    /// A filter that looped at every other batch had its priority again each time.
    #[test]
    fn a_call_that_computed_on_is_not_forgotten_at_the_next_that_ends_in_time() {
        let mut past = Past::GOOD;
        past.note(None);
        assert!(!past.is_bad());
        for _ in 0..3 {
            past.note(Some(Stopped::Computing));
            past.note(None);
            assert!(past.is_bad());
        }
        for _ in 1..CALLS_BEHIND {
            assert!(past.is_bad());
            past.note(None);
        }
        assert!(!past.is_bad());
        past.note(Some(Stopped::Computing));
        past.note(Some(Stopped::Starved));
        assert!(
            !past.is_bad(),
            "the machine is busy, or no later call would end"
        );
    }

    #[test]
    fn a_thread_is_behind_all_others_only_during_the_call() {
        let is_allowed = Behind::is_allowed();
        let mut time = CallTime::begin(1, Priority::Behind);
        assert_eq!(time.behind.is_some(), is_allowed);
        time.end();
        assert!(time.stopped().is_none() && time.behind.is_none());
        let mut time = CallTime::begin(1, Priority::Same);
        assert!(time.behind.is_none());
        while goes_on(&mut time) {
            compute(OVERTIME);
        }
        assert_eq!(time.stopped(), Some(Stopped::Computing));
    }
}
