//! Bytes on their way out of a session: written at the end, taken from the front.

/// A queue of bytes. An empty queue may keep its memory until [`Queue::free`].
#[derive(Debug, Default)]
pub struct Queue {
    /// Memory that was zeroed once; the queued bytes are those from `start` to `end`.
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Removes bytes from the front.
    pub fn take(&mut self, bytes: usize) {
        self.start += bytes;
        assert!(self.start <= self.end, "no more is taken than is queued");
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.pushed(bytes.len());
    }

    /// Returns memory behind the last byte. What is written there is queued by [`Queue::pushed`].
    pub fn room(&mut self, bytes: usize) -> &mut [u8] {
        let needed = self.end + bytes;
        if needed > self.memory.len() {
            self.memory.reserve_exact(needed - self.memory.len());
            self.memory.resize(needed, 0);
        }
        &mut self.memory[self.end..needed]
    }

    /// Queues bytes that were written to the memory behind the last byte.
    pub fn pushed(&mut self, bytes: usize) {
        self.end += bytes;
        assert!(self.end <= self.memory.len(), "the bytes are in the room");
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Gives the memory back if the queue is empty.
    pub fn free(&mut self) {
        if self.is_empty() {
            self.memory = Vec::new();
        }
    }
}
