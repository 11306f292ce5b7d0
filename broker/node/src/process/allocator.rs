//! What the C library's allocator does with large blocks.
#![allow(
    unsafe_code,
    reason = "the allocator's settings are made by a function of C"
)]

/// Gives each block of at least this many bytes pages of its own, which are not in memory before
/// they are written to, and are given back when the block is freed.
///
/// By itself, glibc raises this bound to the size of the blocks that are freed, up to 32 MiB. Then
/// a request of which little has come would have the whole of its buffer in memory, in pages of an
/// earlier one, and `sedge.memory.max.bytes` would not hold (`tests/memory/large_requests.rs`).
#[cfg(target_env = "gnu")]
pub fn map_blocks_from(bytes: i32) {
    // SAFETY: `mallopt` takes two numbers, and the allocator that it sets takes a lock.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) };
    if is_set == 0 {
        log::warn!(target: "sedge", "large blocks of memory may be kept after they are freed");
    }
}

/// Other libraries map large blocks anyway.
#[cfg(not(target_env = "gnu"))]
pub fn map_blocks_from(_bytes: i32) {}
