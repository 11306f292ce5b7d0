//! The clock of a device that may have none: no earlier than what the device knew before.

use std::time::Duration;

/// Difference below which the clock is left alone.
const TOLERATED: Duration = Duration::from_millis(500);

/// Returns the time to set at the start: the latest of the clock, the time that the device last
/// saved, and the time at which the image was built. `None` if the clock is right already.
pub fn at_start(
    now: Duration,
    saved: Option<Duration>,
    built: Option<Duration>,
) -> Option<Duration> {
    saved.max(built).filter(|known| *known > now)
}

/// Returns whether a server's time should be set.
pub fn is_off(now: Duration, server: Duration) -> bool {
    now.abs_diff(server) >= TOLERATED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_1970_starts_where_the_device_was_last() {
        let at = Duration::from_secs;
        assert_eq!(at_start(at(3), Some(at(900)), Some(at(500))), Some(at(900)));
        assert_eq!(at_start(at(3), None, Some(at(500))), Some(at(500)));
        assert_eq!(at_start(at(3), None, None), None);
        assert_eq!(at_start(at(1_000), Some(at(900)), Some(at(500))), None);
    }

    #[test]
    fn a_small_difference_is_left_alone() {
        let at = Duration::from_millis;
        assert!(!is_off(at(10_000), at(10_499)));
        assert!(is_off(at(10_000), at(10_500)));
        assert!(is_off(at(10_000), at(0)));
    }
}
