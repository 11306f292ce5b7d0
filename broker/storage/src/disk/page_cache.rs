//! Evicts files from the page cache.
//!
//! A page that was given to a pipe or a socket without a copy stays a page of its file: the kernel
//! keeps a reference to it, in the queue of the sender, of the network device or, on one machine,
//! of the receiver, until the peer has read it. A write to the file changes the bytes there. No
//! call reports these references, but eviction does: `posix_fadvise(POSIX_FADV_DONTNEED)` takes a
//! page out of the cache only if nothing but the cache refers to it; otherwise the page stays
//! (Linux, `mapping_evict_folio` and `remove_mapping`, which freeze the reference count).
//! Truncation takes pages out even if they are referred to, but then they are no longer pages of
//! the file. So in both cases:
//!
//! **Invariant:** a write to a place of a file that has no page in the cache gets a new page, and
//! changes no byte that was lent.
//!
//! A file system that ignores the advice (tmpfs) keeps its pages. A kernel that does not disclose
//! what is in its cache reports everything as cached.
#![allow(
    unsafe_code,
    reason = "mmap and mincore; nothing of the mapping is ever read or written"
)]

use std::fs::File;
use std::io;
use std::ptr::null_mut;

use rustix::fs::{Advice, fadvise};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes mapped at once: small enough for the address space of 32-bit boards, and for one byte of
/// memory a page.
const LOOK_BYTES: u64 = 16 << 20;
/// The smallest page of any machine.
const PAGE_BYTES_MIN: usize = 4096;

/// Evicts the file from the page cache as far as the kernel allows. Returns whether no page is
/// left. Pages that are not yet written to the disk stay.
///
/// # Errors
/// The kernel does not report what is cached.
pub(super) fn evict(file: &File) -> io::Result<bool> {
    fadvise(file, 0, None, Advice::DontNeed)?;
    let end = file.metadata()?.len();
    let mut at = 0;
    while at < end {
        let bytes = (end - at).min(LOOK_BYTES);
        if is_any_cached(file, at, bytes as usize)? {
            return Ok(false);
        }
        at += bytes;
    }
    Ok(true)
}

/// Returns whether any page is cached. `from` must be a multiple of every page size.
fn is_any_cached(file: &File, from: u64, bytes: usize) -> io::Result<bool> {
    let mut pages = vec![0_u8; bytes.div_ceil(PAGE_BYTES_MIN)];
    // SAFETY: the kernel chooses a free address range, and the mapping allows no access, so no
    // reference into it can be made.
    let mapping = unsafe {
        mmap(
            null_mut(),
            bytes,
            ProtFlags::empty(),
            MapFlags::SHARED,
            file,
            from,
        )?
    };
    // SAFETY: the mapping is `bytes` long, and `pages` has a byte for each of its pages, as no page
    // is smaller than `PAGE_BYTES_MIN`; the kernel writes no more than those.
    let outcome = unsafe { libc::mincore(mapping, bytes, pages.as_mut_ptr()) };
    let error = io::Error::last_os_error();
    // SAFETY: this is the whole mapping that was made above, and nothing refers to it.
    unsafe { munmap(mapping, bytes)? };
    if outcome != 0 {
        return Err(error);
    }
    // The other bits are undefined.
    Ok(pages.iter().any(|page| page & 1 != 0))
}
