//! Limits the lines that one place in the code may repeat.

/// Places that are tracked at once; two places with the same hash share a count.
const PLACES: usize = 64;

/// Lines of one place per window.
const LINES_MAX: u32 = 10;

/// Length of the window, in seconds.
const WINDOW_SECONDS: u64 = 10;

#[derive(Debug)]
pub struct Repeats {
    slots: [Slot; PLACES],
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    window: u64,
    lines: u32,
    held_back: u64,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            slots: [Slot::default(); PLACES],
        }
    }
}

impl Repeats {
    /// Returns whether a line of this place may pass now, and how many before it were held back.
    pub fn pass(&mut self, place: (&str, u32), now_seconds: u64) -> Option<u64> {
        let (file, line) = place;
        let hash = file.bytes().fold(line as usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        let slot = self.slots.get_mut(hash % PLACES)?;
        let window = now_seconds / WINDOW_SECONDS;
        if slot.window != window {
            slot.window = window;
            slot.lines = 0;
        }
        if slot.lines >= LINES_MAX {
            slot.held_back += 1;
            return None;
        }
        slot.lines += 1;
        Some(std::mem::take(&mut slot.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_a_few_in_a_window_and_counts_the_rest() {
        let mut repeats = Repeats::default();
        let passed = (0..25)
            .filter(|_| repeats.pass(("a.rs", 1), 3).is_some())
            .count();
        assert_eq!(passed, 10);
        assert_eq!(repeats.pass(("a.rs", 2), 3), Some(0));
        assert_eq!(repeats.pass(("a.rs", 1), 10), Some(15));
        assert_eq!(repeats.pass(("a.rs", 1), 11), Some(0));
    }
}
