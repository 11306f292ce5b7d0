//! Shared by the fuzz targets: an allocator that checks what a decoder allocates.
//!
//! **Invariant:** decoding `n` bytes never holds more than [`PER_BYTE`] times `n` and
//! [`BASE_BYTES`] at once. A length or a count that a peer invents must not become memory.

#[cfg(feature = "plugins")]
pub mod hostile;
pub mod messages;
pub mod round_trip;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Bytes in memory for each byte of input: an empty entry of an array takes one byte on the wire
/// and about a hundred as a struct.
const PER_BYTE: usize = 512;
/// Bytes that a decoder may need for any input.
const BASE_BYTES: usize = 1 << 20;

static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);
static LIMIT_BYTES: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Counts allocations, and ends the process above the limit; libFuzzer then reports the input.
#[derive(Debug)]
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: passes each call on to the system's allocator, unchanged.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD_BYTES
            .fetch_add(layout.size(), Ordering::Relaxed)
            .wrapping_add(layout.size());
        if held > LIMIT_BYTES.load(Ordering::Relaxed) && held < usize::MAX / 2 {
            LIMIT_BYTES.store(usize::MAX, Ordering::Relaxed);
            eprintln!(
                "decoder holds {held} bytes, asked for {} at once",
                layout.size()
            );
            std::process::abort();
        }
        // SAFETY: the caller keeps to GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `decode` on `input` and checks the invariant; `factor` relaxes it for a decoder that makes
/// several copies.
pub fn bounded<T>(input: &[u8], factor: usize, decode: impl FnOnce(&[u8]) -> T) -> T {
    held_within(BASE_BYTES + input.len() * PER_BYTE * factor, || {
        decode(input)
    })
}

/// Runs `work`, which must not hold more than `bytes_max` of memory at once.
pub fn held_within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    HELD_BYTES.store(0, Ordering::Relaxed);
    LIMIT_BYTES.store(bytes_max, Ordering::Relaxed);
    let done = work();
    LIMIT_BYTES.store(usize::MAX, Ordering::Relaxed);
    done
}
