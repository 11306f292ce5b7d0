//! Bounds of this crate, each with its reason.

use std::time::Duration;

/// A run in the index ends when its own batches reach this size: the most that a cold read walks to
/// find an offset.
pub const RUN_BYTES_MAX: u64 = 256 << 10;
/// A run may cross this many frames…
pub const RUN_FRAMES_MAX: u32 = 64;
/// …or, if frames are small, this many bytes of the segment.
pub const RUN_SPAN_BYTES_MAX: u64 = 256 << 10;

/// Partitions whose hot state is kept in memory; the others are loaded on their next append.
pub const TAILS_MAX: usize = 2048;
/// The newest commits of such a partition that a read finds without the index…
pub const TAIL_MARKS_MAX: usize = 32;
/// …and more, while all partitions together have fewer than one mark, of 40 bytes, for this many
/// bytes of a segment: 16,384 with segments of 64 MiB. For large commits they cover hundreds of
/// megabytes.
pub const SEGMENT_BYTES_A_MARK: u64 = 4 << 10;

/// Open segment files.
pub const OPEN_FILES_MAX: usize = 48;

/// Segment files in addition to those that replies in flight still hold: consumers far apart from
/// each other read different files.
pub const LENT_FILES: usize = 64;
/// File descriptors that a store needs, including the views, their journals, and the files that
/// cleaning, the scrub and the start of a segment open.
pub const DESCRIPTORS_MAX: usize = OPEN_FILES_MAX + LENT_FILES + FJALL_FILES_MAX + 32;

/// Freed segment files that are kept: the next one, and one more if two are filled while readers
/// hold the first. Their space stays reserved.
pub const SPARE_SEGMENTS_MAX: usize = 2;
/// Checks, one a second, of a freed file whose bytes are still being sent, before it is unlinked: a
/// client that reads has received them by then, and a stalled one is not waited for.
pub const SPARE_LOOKS_MAX: u32 = 60;

/// Share of each segment that [`reserve`](crate::LogStore::reserve) leaves to commits that free
/// space, so that a full disk can be emptied: 26,000 rows in a segment of 16 MiB. Unused headroom
/// of a full segment is returned to the volume.
pub const HEADROOM_SHARE: u64 = 16;
/// Log starts that move in one commit. Many such commits fit the headroom of a small segment one by
/// one, and segments are freed in between.
pub const FREEING_ROWS_MAX: usize = 512;
/// The largest commit: its parts are counted in u32, and a larger one would not fit a device
/// anyway.
pub const COMMIT_BYTES_MAX: u64 = 1 << 30;
/// Parts of a commit. Bounds the memory for scanning a damaged segment.
pub const COMMIT_ENTRIES_MAX: u32 = 1 << 20;
/// Runs and facts of a footer. Bounds the memory for the same scan.
pub const FOOTER_ENTRIES_MAX: u32 = 1 << 22;

/// Attempts to carry the rows of freed segments on without holding the writer up for a flush: a
/// log start that moves in each of them is rare.
pub const CARRY_TRIES: u32 = 3;

/// Pending view updates above this are refused like on a full disk: the views cannot be flushed.
pub const PENDING_BYTES_MAX: usize = 8 << 20;
/// Pending bytes of the views up to which commits that free space continue.
pub const PENDING_BYTES_FREEING_MAX: usize = 2 * PENDING_BYTES_MAX;
/// Bytes counted for a pending entry of the log's own views.
pub const PENDING_ENTRY_BYTES: usize = 160;
/// An optional flush waits until this much log would have to be replayed…
pub const FLUSH_LOG_BYTES: u64 = 16 << 20;
/// …or this many bytes are pending…
pub const FLUSH_PENDING_BYTES: usize = 128 << 10;
/// …or for this many calls (seconds, if the caller calls every second).
pub const FLUSH_CALLS: u32 = 30;

/// Attempts to read ahead what a commit will need of the views; a flush in between spoils an
/// attempt. After that, it is read while the commit is applied.
pub const READ_AHEAD_TRIES: u32 = 3;

/// Time after a failed flush during which appends do not try another one: fjall has to be reopened
/// for it.
pub const FLUSH_RETRY: Duration = Duration::from_secs(1);

/// Memtable of a fjall keyspace. There are two keyspaces, and each may have another memtable being
/// written to disk.
pub const MEMTABLE_BYTES: u64 = 512 << 10;
/// Bytes of the volume reserved for views that cannot be flushed on a full disk.
///
/// A pending entry counts `PENDING_ENTRY_BYTES` in memory and takes less than half of that in
/// fjall's journal. The tables take as much again, memtable by memtable.
pub const VIEWS_RESERVE_BYTES: u64 = 16 << 20;
const _: () = assert!(VIEWS_RESERVE_BYTES >= PENDING_BYTES_FREEING_MAX as u64);
/// Free bytes of the volume that the log leaves to the views, and without which no flush begins:
/// fjall's workers write memtables and compactions meanwhile.
pub const VIEWS_FREE_BYTES_MIN: u64 = 4 << 20;
const _: () =
    assert!(VIEWS_FREE_BYTES_MIN >= 2 * (MEMTABLES_WAITING_MAX as u64 + 1) * MEMTABLE_BYTES);
/// The smallest journal that fjall accepts.
pub const JOURNAL_BYTES: u64 = 64 << 20;
/// Size at which fjall's tables are cut.
pub const TABLE_BYTES: u64 = 2 << 20;
/// Worker threads of fjall: it deadlocks with one.
pub const FJALL_WORKERS: usize = 2;
/// Open tables of fjall.
pub const FJALL_FILES_MAX: usize = 64;
/// fjall stalls the caller at 4 memtables and at 20 tables in level 0: a flush does not begin in
/// such a state.
pub const MEMTABLES_WAITING_MAX: usize = 2;
pub const LEVEL0_TABLES_MAX: usize = 16;
/// Consecutive flushes that found fjall busy before it is reopened.
pub const BUSY_FLUSHES_MAX: u32 = 8;

/// Segments that one call of `free_segments` frees.
pub const FREE_SEGMENTS_MAX: usize = 16;
/// Rows that outlive freed segments are written in commits of this many, so that each fits the room
/// that is left for them.
pub const CARRIED_ROWS_MAX: usize = 256;

/// The caller's cleaner normally empties a segment of which at most this share is live: its space
/// will be freed soon.
pub const SPARSE_LIVE_SHARE: u64 = 2;

/// Parts of one frame of a cold segment: each read of a part walks the frame's table.
pub const COLD_FRAME_PARTS_MAX: usize = 64;
/// Bytes after which a cold segment is synced.
pub const COLD_SYNC_BYTES: u64 = 4 << 20;
/// Extra room of a cold segment for heads and footer, as a share of its batches. What is left of it
/// is returned, and what is missing is allocated during the write.
pub const COLD_OVERHEAD_SHARE: u64 = 16;

/// Slices that a rebuild of the views orders at once, in 24 bytes each. If there are more, it reads
/// the segments once for each such group.
pub const REPLAY_PIECES_MAX: usize = 1 << 19;
/// Slices held at once while lost data is looked for, in some 80 bytes each, unless one partition
/// has more.
pub const SLICES_AT_ONCE: usize = 1 << 16;
/// A segment with this many live slices is walked once for all of them; with fewer, the index is
/// followed, which skips dead data.
pub const WIDE_PIECES_MIN: usize = 4;
/// Parts of commits below this size are read together with what lies between their heads: separate
/// reads cost more.
pub const WIDE_PART_BYTES: u64 = 8 << 10;

/// Bytes of a read of a frame head, one head at a time.
pub const HEAD_READ_BYTES: u64 = 512;
/// Rows of the heads that are kept for the next consumer, in each of two generations: together some
/// 256 KiB, and tens of megabytes of log if commits are large.
pub const RECENT_HEAD_ROWS_MAX: usize = 2048;
/// How long a head is kept: what was in the page cache then is still there.
pub const RECENT_HEADS_FOR: Duration = Duration::from_secs(1);
/// Size from which batches of a commit are sent from their file: for smaller ones, reading many at
/// once is cheaper than sending each.
pub const PLACE_BYTES_MIN: u64 = 4 << 10;
/// Buffer through which bytes that are sent from their file are read into the page cache: large
/// enough for the disk, small enough for the processor's cache.
pub const WARM_READ_BYTES: usize = 128 << 10;
/// Bytes of a read of dense stretches and of scans.
pub const SCAN_READ_BYTES: u64 = 256 << 10;
/// Bytes read at once for a batch's header and what may lie before it.
pub const BATCH_READ_BYTES: usize = 4 << 10;

/// Places on the list of damage. A disk with more should be replaced, and the list is read at each
/// start.
pub const DAMAGED_PLACES_MAX: usize = 16 << 10;
/// Other segments of which a page is read if one cannot be read, to see whether the device answers
/// at all.
pub const ANSWERS_ASKED: usize = 4;
/// Runs, from the beginning of a failed read, whose segments the scrub checks: as much as one fetch
/// reads of a partition by default.
pub const SUSPECTS_AT_ONCE: usize = 8;
/// Findings that a report of the doctor keeps; the others are counted.
pub const FINDINGS_MAX: usize = 10_000;
/// Consecutive starts that may end while they open the views before the views are rebuilt: one may
/// have been killed.
pub const VIEWS_OPENED_MAX: usize = 2;
/// Cache of the views while the doctor examines them, mostly in order.
pub const DOCTOR_CACHE_BYTES: u64 = 4 << 20;
/// Times that a backup lists the segments again because one was freed meanwhile.
pub const BACKUP_LISTINGS_MAX: u32 = 100;
/// Bytes that are copied at a time.
pub const COPY_BYTES: u64 = 1 << 20;
