//! The requests to a disk, in order, and the disks that a power cut may leave.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::soak::Random;

const SECTOR_BYTES: usize = 512;

/// A request to the disk.
#[derive(Debug)]
pub enum Event {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    /// Earlier writes are on the disk when this is answered.
    Flush,
}

/// All requests so far. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub fn push(&self, event: Event) {
        self.lock().push(event);
    }

    /// Returns the number of events, which identifies a moment.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    pub fn flushes(&self) -> usize {
        let is_flush = |event: &&Event| matches!(event, Event::Flush);
        self.lock().iter().filter(is_flush).count()
    }

    /// Returns the position of the last flush before `moment`, as the number of events including
    /// it.
    pub fn flushed(&self, moment: usize) -> usize {
        let events = self.lock();
        let is_flush = |event: &Event| matches!(event, Event::Flush);
        events[..moment]
            .iter()
            .rposition(is_flush)
            .map_or(0, |at| at + 1)
    }

    /// Applies all writes of a range of events.
    pub fn apply(&self, from: usize, to: usize, disk: &File) {
        for event in &self.lock()[from..to] {
            if let Event::Write { at, bytes } = event {
                disk.write_all_at(bytes, *at)
                    .expect("the image takes writes");
            }
        }
    }

    /// Applies the writes of a range of events, each of them whole, not at all, or torn.
    pub fn apply_in_doubt(&self, from: usize, to: usize, disk: &File, random: &mut Random) {
        for event in &self.lock()[from..to] {
            let Event::Write { at, bytes } = event else {
                continue;
            };
            let fate = random.below(20);
            for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                let is_there = match fate {
                    0..=8 => true,
                    9..=15 => false,
                    _ => random.below(2) == 0,
                };
                if is_there {
                    let at = at + (sector * SECTOR_BYTES) as u64;
                    disk.write_all_at(bytes, at)
                        .expect("the image takes writes");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
