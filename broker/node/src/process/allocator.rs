//! The setting of the C library's allocator for large blocks.
#![allow(
    unsafe_code,
    reason = "the allocator's settings are made by a function of C"
)]

/// Blocks of at least this many bytes have pages of their own. Such pages are resident only after
/// the first write to them, and the system gets them back when the block is freed.
///
/// Without this setting, glibc raises the bound to the size of freed blocks, up to 32 MiB. The
/// buffer of a request would then reuse resident pages of an earlier one: all of it would be in
/// memory although few bytes have arrived, and `sedge.memory.max.bytes` would not hold
/// (`tests/memory/large_requests.rs`).
///
/// A fixed bound also fixes the bound from which free memory at the top of the heap is given back:
/// at 128 KiB, so that each buffer of that size would be a system call and new pages every time. It
/// becomes twice the bound of blocks, as glibc keeps it when it moves both.
#[cfg(target_env = "gnu")]
pub fn map_blocks_from(bytes: i32) {
    // SAFETY: `mallopt` takes two numbers and no pointer, and locks the allocator itself.
    let set = |what, bytes| unsafe { libc::mallopt(what, bytes) } != 0;
    let is_set =
        set(libc::M_MMAP_THRESHOLD, bytes) && set(libc::M_TRIM_THRESHOLD, bytes.saturating_mul(2));
    if !is_set {
        log::warn!(target: "sedge", "mallopt failed: large requests may keep memory when freed");
    }
}

/// Other C libraries map large blocks without being told.
#[cfg(not(target_env = "gnu"))]
pub fn map_blocks_from(_bytes: i32) {}
