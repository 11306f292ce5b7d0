//! The memory gate: bytes of requests that may be in the process at once
//! (`queued.max.request.bytes`). A connection takes the bytes of a frame before it allocates them
//! and gives them back with the reply.

use std::sync::{Arc, Mutex, PoisonError};

use event_listener::Event;

/// Bytes that are still free, and who waits for them.
#[derive(Debug)]
pub struct MemoryGate {
    free: Mutex<usize>,
    total: usize,
    freed: Event,
}

/// Bytes taken from the gate; dropping gives them back.
#[derive(Debug)]
pub struct Admission {
    gate: Arc<MemoryGate>,
    bytes: usize,
}

impl MemoryGate {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new(bytes),
            total: bytes,
            freed: Event::new(),
        })
    }

    /// Waits until `bytes` are free. A frame larger than the whole gate is let in alone.
    pub async fn admit(self: &Arc<Self>, bytes: usize) -> Admission {
        let bytes = bytes.min(self.total);
        loop {
            if self.take(bytes) {
                return Admission {
                    gate: Arc::clone(self),
                    bytes,
                };
            }
            let listener = self.freed.listen();
            if self.take(bytes) {
                return Admission {
                    gate: Arc::clone(self),
                    bytes,
                };
            }
            listener.await;
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if *free >= bytes {
            *free -= bytes;
            return true;
        }
        false
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        *self
            .gate
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.gate.freed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_frame_waits_until_there_is_room() {
        block_on(async {
            let gate = MemoryGate::new(10);
            let first = gate.admit(8).await;
            let mut second = Box::pin(gate.admit(3));
            assert!(poll_once(&mut second).await.is_none());
            drop(first);
            assert!(poll_once(&mut second).await.is_some());
        });
    }

    #[test]
    fn a_frame_larger_than_the_gate_is_let_in_alone() {
        block_on(async {
            let gate = MemoryGate::new(10);
            let large = gate.admit(100).await;
            assert!(poll_once(Box::pin(gate.admit(1))).await.is_none());
            drop(large);
            assert!(poll_once(Box::pin(gate.admit(10))).await.is_some());
        });
    }
}
