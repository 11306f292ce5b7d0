//! Buffers of requests that are done, for the next ones: they need no zeroing and no search for
//! memory.
//!
//! Small requests have no such buffers, so those with passwords leave nothing behind here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::{REQUEST_PIECE_BYTES, SPARE_BUFFERS_BYTES, SPARE_STEP_BYTES};

/// The buffers of one pool.
#[derive(Debug, Default)]
pub struct Spares {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The newest is the last.
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Spares {
    /// Returns the size of a buffer for this many bytes, or `None` if spares are smaller.
    pub fn size(bytes: usize) -> Option<usize> {
        let size = bytes.next_multiple_of(SPARE_STEP_BYTES);
        (size <= REQUEST_PIECE_BYTES).then_some(size)
    }

    /// Returns a buffer of this [`Self::size`], with any content.
    pub fn take(&self, size: usize) -> Vec<u8> {
        let mut kept = self.lock();
        let newest = kept.buffers.iter().rposition(|spare| spare.len() == size);
        match newest.and_then(|at| kept.buffers.remove(at)) {
            Some(spare) => {
                kept.bytes -= size;
                spare
            }
            None => vec![0; size],
        }
    }

    /// Keeps a buffer that [`Self::take`] returned, instead of the oldest ones if there are many.
    pub fn put(&self, buffer: Vec<u8>) {
        let mut kept = self.lock();
        kept.bytes += buffer.len();
        kept.buffers.push_back(buffer);
        while kept.bytes > SPARE_BUFFERS_BYTES {
            let oldest = kept.buffers.pop_front();
            kept.bytes -= oldest.map_or(0, |oldest| oldest.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const _: () = assert!(
    REQUEST_PIECE_BYTES.is_multiple_of(SPARE_STEP_BYTES)
        && REQUEST_PIECE_BYTES <= SPARE_BUFFERS_BYTES
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_for_a_request_of_about_its_size() {
        let spares = Spares::default();
        let size = Spares::size(SPARE_STEP_BYTES + 1).unwrap();
        let mut buffer = spares.take(size);
        assert_eq!((size, buffer.len()), (2 * SPARE_STEP_BYTES, size));
        buffer[7] = 7;
        spares.put(buffer);
        assert_eq!(spares.take(size + SPARE_STEP_BYTES)[7], 0);
        assert_eq!(spares.take(size)[7], 7);
        assert_eq!(spares.take(size)[7], 0);
    }

    #[test]
    fn the_bytes_that_are_kept_are_bounded_and_are_the_newest() {
        let spares = Spares::default();
        let large = REQUEST_PIECE_BYTES;
        assert_eq!(Spares::size(large), Some(large));
        assert_eq!(Spares::size(large + 1), None);
        for number in 0..100 {
            let mut buffer = vec![0; large];
            buffer[0] = number;
            spares.put(buffer);
            let kept = spares.lock();
            assert!(kept.bytes <= SPARE_BUFFERS_BYTES);
            assert_eq!(kept.bytes, kept.buffers.iter().map(Vec::len).sum::<usize>());
            drop(kept);
        }
        assert_eq!(spares.take(large)[0], 99);
    }
}
