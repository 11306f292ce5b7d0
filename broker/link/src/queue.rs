//! The readings of a device that are not acknowledged: a ring of bytes.

use crate::limits::VALUE_BYTES_MAX;

/// Alias, length and time of a reading, before its value.
const HEAD_BYTES: usize = 6;

/// A ring of readings with consecutive sequence numbers.
#[derive(Debug)]
pub struct Queue<'a> {
    ring: &'a mut [u8],
    /// Position of the first reading.
    start: usize,
    used: usize,
    /// Sequence number of the first reading.
    first: u32,
    count: u16,
}

/// A reading in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    pub alias: u8,
    pub length: u8,
    /// When the reading was taken.
    pub taken_ms: u32,
    at: usize,
}

const _: () = assert!(VALUE_BYTES_MAX <= u8::MAX as usize);

impl<'a> Queue<'a> {
    pub const fn new(ring: &'a mut [u8], first: u32) -> Self {
        Self {
            ring,
            start: 0,
            used: 0,
            first,
            count: 0,
        }
    }

    pub const fn first(&self) -> u32 {
        self.first
    }

    /// Returns the sequence number of the next reading.
    pub const fn end(&self) -> u32 {
        self.first.wrapping_add(self.count as u32)
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a reading. Returns false if there is no room.
    pub fn push(&mut self, alias: u8, value: &[u8], taken_ms: u32) -> bool {
        let bytes = HEAD_BYTES + value.len();
        if value.len() > VALUE_BYTES_MAX
            || self.ring.len() - self.used < bytes
            || self.count == u16::MAX
        {
            return false;
        }
        let mut at = self.place(self.start + self.used);
        let [a, b, c, d] = taken_ms.to_le_bytes();
        let head = [alias, value.len() as u8, a, b, c, d];
        for byte in head.iter().chain(value) {
            self.ring[at] = *byte;
            at = self.place(at + 1);
        }
        self.used += bytes;
        self.count += 1;
        true
    }

    /// Returns the reading at a position of the ring.
    fn at(&self, at: usize) -> Queued {
        let byte = |of: usize| self.ring[self.place(at + of)];
        Queued {
            alias: byte(0),
            length: byte(1),
            taken_ms: u32::from_le_bytes([byte(2), byte(3), byte(4), byte(5)]),
            at,
        }
    }

    /// Returns the reading with a sequence number.
    pub fn get(&self, sequence: u32) -> Option<Queued> {
        let skipped = sequence.wrapping_sub(self.first);
        if skipped >= u32::from(self.count) {
            return None;
        }
        let mut queued = self.at(self.start);
        for _ in 0..skipped {
            queued = self.after(&queued);
        }
        Some(queued)
    }

    /// Returns what follows a reading, which may be beyond the end.
    pub fn after(&self, queued: &Queued) -> Queued {
        self.at(self.place(queued.at + HEAD_BYTES + usize::from(queued.length)))
    }

    /// Copies the value of a reading into `room`, which has its length.
    pub fn copy(&self, queued: &Queued, room: &mut [u8]) {
        for (of, place) in room.iter_mut().enumerate() {
            *place = self.ring[self.place(queued.at + HEAD_BYTES + of)];
        }
    }

    /// Removes the readings before `next`, which is not beyond the end.
    pub fn acknowledge(&mut self, next: u32) {
        while self.count > 0 && self.first != next {
            let bytes = HEAD_BYTES + usize::from(self.at(self.start).length);
            self.start = self.place(self.start + bytes);
            self.used -= bytes;
            self.first = self.first.wrapping_add(1);
            self.count -= 1;
        }
    }

    /// Numbers the readings from `first` on.
    pub const fn renumber(&mut self, first: u32) {
        self.first = first;
    }

    /// Returns a position inside the ring. `at` is less than two rounds.
    const fn place(&self, at: usize) -> usize {
        let bytes = self.ring.len();
        if at >= bytes { at - bytes } else { at }
    }
}
