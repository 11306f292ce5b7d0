//! Every bound of this crate, with its reason.

use std::time::Duration;

/// A run in the index ends when its own batches reach this: what a cold read walks at most to find
/// an offset.
pub const RUN_BYTES_MAX: u64 = 256 << 10;
/// A run may cross this many frames…
pub const RUN_FRAMES_MAX: u32 = 64;
/// …or, if frames are small, this many bytes of the segment.
pub const RUN_SPAN_BYTES_MAX: u64 = 256 << 10;

/// Partitions whose hot state is kept in memory; the others are loaded on their next append.
pub const TAILS_MAX: usize = 2048;
/// The newest commits of such a partition that a read finds without asking the index…
pub const TAIL_MARKS_MAX: usize = 32;
/// …and more while all partitions together have fewer than one, of 40 bytes, for so many bytes of a
/// segment. 16,384 with segments of 64 MiB: of large commits those of hundreds of megabytes.
pub const SEGMENT_BYTES_A_MARK: u64 = 4 << 10;

/// Open segment files.
pub const OPEN_FILES_MAX: usize = 48;

/// Segment files beside those that replies in flight still hold: consumers far apart from each
/// other read different ones.
pub const LENT_FILES: usize = 64;
/// File descriptors that a store needs: with the views, their journals, and what cleaning, the
/// scrub and the start of a segment open.
pub const DESCRIPTORS_MAX: usize = OPEN_FILES_MAX + LENT_FILES + FJALL_FILES_MAX + 32;

/// Files of freed segments that are kept: the next one, and one more if two are filled while
/// readers hold the first. Their space is nobody else's meanwhile.
pub const SPARE_SEGMENTS_MAX: usize = 2;
/// Looks, one a second, at a freed file whose bytes are still being sent, before it is unlinked: a
/// client that reads has them by then, and one that has stalled is not waited for.
pub const SPARE_LOOKS_MAX: u32 = 60;

/// Share of each segment that [`reserve`](crate::LogStore::reserve) leaves to commits that free
/// space, so that a full disk can be emptied: 26,000 rows of a segment of 16 MiB. What nobody took
/// when the segment is full goes back to the volume.
pub const HEADROOM_SHARE: u64 = 16;
/// Log starts that move in one commit, so that many of them fit the headroom of a small segment
/// piece by piece, and segments are freed in between.
pub const FREEING_ROWS_MAX: usize = 512;
/// The largest commit: its parts are counted in u32, and one this large does not fit a device
/// anyway.
pub const COMMIT_BYTES_MAX: u64 = 1 << 30;
/// Parts of a commit. Bounds what a scan of a damaged segment allocates.
pub const COMMIT_ENTRIES_MAX: u32 = 1 << 20;
/// Runs and facts of a footer. Bounds the same.
pub const FOOTER_ENTRIES_MAX: u32 = 1 << 22;

/// Pending view updates beyond this are refused (as a full disk): the views cannot be flushed.
pub const PENDING_BYTES_MAX: usize = 8 << 20;
/// Pending bytes of the views up to which commits that free space go on.
pub const PENDING_BYTES_FREEING_MAX: usize = 2 * PENDING_BYTES_MAX;
/// Bytes that an entry of the log's own views counts for while it waits.
pub const PENDING_ENTRY_BYTES: usize = 160;
/// A flush that is not forced waits for so much log to replay…
pub const FLUSH_LOG_BYTES: u64 = 16 << 20;
/// …or so many pending bytes…
pub const FLUSH_PENDING_BYTES: usize = 128 << 10;
/// …or so many calls (seconds, if the caller calls every second).
pub const FLUSH_CALLS: u32 = 30;

/// Times that what a commit will ask of the views is read before it is applied; each time, a flush
/// came between. Then it is read while it is applied.
pub const READ_AHEAD_TRIES: u32 = 3;

/// Appends do not try again so soon after a flush that failed: fjall is reopened for it.
pub const FLUSH_RETRY: Duration = Duration::from_secs(1);

/// Memtable of a fjall keyspace: there are two, and each may have another one on its way to disk.
pub const MEMTABLE_BYTES: u64 = 512 << 10;
/// Bytes of the volume that are set aside for views that cannot be flushed on a full disk.
///
/// An entry that waits counts `PENDING_ENTRY_BYTES` in memory and takes less than half of that in
/// fjall's journal. Its tables take as much once more, memtable by memtable.
pub const VIEWS_RESERVE_BYTES: u64 = 16 << 20;
const _: () = assert!(VIEWS_RESERVE_BYTES >= PENDING_BYTES_FREEING_MAX as u64);
/// Bytes of the volume that the log leaves to the views, and without which no flush begins: what
/// fjall's workers write of memtables and compactions meanwhile.
pub const VIEWS_FREE_BYTES_MIN: u64 = 4 << 20;
const _: () =
    assert!(VIEWS_FREE_BYTES_MIN >= 2 * (MEMTABLES_WAITING_MAX as u64 + 1) * MEMTABLE_BYTES);
/// fjall's least.
pub const JOURNAL_BYTES: u64 = 64 << 20;
/// fjall's tables are cut at this size.
pub const TABLE_BYTES: u64 = 2 << 20;
/// fjall deadlocks with one.
pub const FJALL_WORKERS: usize = 2;
/// Open tables of fjall.
pub const FJALL_FILES_MAX: usize = 64;
/// fjall stalls the caller at 4 memtables and at 20 tables in level 0: a flush does not go in
/// there.
pub const MEMTABLES_WAITING_MAX: usize = 2;
pub const LEVEL0_TABLES_MAX: usize = 16;
/// After so many flushes in a row that found fjall busy, it is reopened.
pub const BUSY_FLUSHES_MAX: u32 = 8;

/// Segments that one call of `free_segments` frees.
pub const FREE_SEGMENTS_MAX: usize = 16;
/// Rows that outlive freed segments go into commits of so many, so that each fits the room that is
/// left for them.
pub const CARRIED_ROWS_MAX: usize = 256;

/// A segment of which at most this share lives is emptied by the caller's cleaner, as a rule: its
/// space is on its way back.
pub const SPARSE_LIVE_SHARE: u64 = 2;

/// Parts of one frame of a cold segment: its table is walked for each of them.
pub const COLD_FRAME_PARTS_MAX: usize = 64;
/// A cold segment is synced after so many bytes.
pub const COLD_SYNC_BYTES: u64 = 4 << 20;
/// A cold segment gets this share of its batches on top, for heads and footer. What is left of it
/// is given back, and what is missing is allocated as it is written.
pub const COLD_OVERHEAD_SHARE: u64 = 16;

/// Slices that a rebuild of the views orders at once, in 24 bytes each: of more, it goes through
/// the segments once for every so many.
pub const REPLAY_PIECES_MAX: usize = 1 << 19;
/// Slices that are held at once while what is lost is looked for, in some 80 bytes each, where a
/// partition does not have more.
pub const SLICES_AT_ONCE: usize = 1 << 16;
/// A segment with so many slices that live is walked once for all of them; with fewer, along the
/// index, which passes over what does not live.
pub const WIDE_PIECES_MIN: usize = 4;
/// Parts of commits below this size are read with what lies between their heads: a read of its own
/// for each costs more.
pub const WIDE_PART_BYTES: u64 = 8 << 10;

/// Reads of frame heads, one at a time.
pub const HEAD_READ_BYTES: u64 = 512;
/// Rows of the heads that are kept for the next consumer, in each of two generations: together some
/// 256 KiB, and tens of megabytes of log if commits are large.
pub const RECENT_HEAD_ROWS_MAX: usize = 2048;
/// How long a head is kept: what was in the operating system's memory then is there still.
pub const RECENT_HEADS_FOR: Duration = Duration::from_secs(1);
/// Batches of a commit are sent from where they lie from this many bytes on: for fewer, reading
/// many at once is cheaper than sending each.
pub const PLACE_BYTES_MIN: u64 = 4 << 10;
/// The buffer through which bytes that are sent from their place are read into the page cache:
/// large enough for the disk, small enough for the processor's cache.
pub const WARM_READ_BYTES: usize = 128 << 10;
/// Reads of dense stretches and of scans.
pub const SCAN_READ_BYTES: u64 = 256 << 10;
/// A batch's header and what may lie before it is read at once.
pub const BATCH_READ_BYTES: usize = 4 << 10;

/// Places of the list of damage: a disk with more of them is to be replaced, and the list is read
/// at each start.
pub const DAMAGED_PLACES_MAX: usize = 16 << 10;
/// Other segments of which a page is asked for if one cannot be read, to see whether the device
/// gives anything at all.
pub const ANSWERS_ASKED: usize = 4;
/// Runs, from where a read that failed began, in whose segments the scrub looks for why: as much as
/// one fetch reads of a partition by default.
pub const SUSPECTS_AT_ONCE: usize = 8;
/// Findings that a report of the doctor keeps; the others are counted.
pub const FINDINGS_MAX: usize = 10_000;
/// Starts in a row that may end while they open the views, before these are made anew: one may have
/// been killed.
pub const VIEWS_OPENED_MAX: usize = 2;
/// Cache of the views while the doctor looks at them: it goes through them about in order.
pub const DOCTOR_CACHE_BYTES: u64 = 4 << 20;
/// Times that a backup lists the segments anew because one was freed while it was at work.
pub const BACKUP_LISTINGS_MAX: u32 = 100;
/// Bytes that are copied at once.
pub const COPY_BYTES: u64 = 1 << 20;
