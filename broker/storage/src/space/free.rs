//! Frees space: removes segments without live data.
//!
//! The order makes a crash at any point harmless: the rows that must outlive a segment are
//! appended, synced and in the views before its file is removed.
//!
//! The writer goes on meanwhile: its lock is held while something is decided that a commit could
//! change, and not while flushes run.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Freed, LogBounds};
use crate::catalog::ColdRuns;
use crate::error::{Error, io_error, is_unreadable};
use crate::format::{ENTRY_BYTES, EntryHead, EntryKind, FRAME_HEAD_BYTES, FooterRun, PAGE_BYTES};
use crate::ids::SegmentId;
use crate::limits;
use crate::segment::listing;
use crate::store::Store;
use crate::store::writer::Writer;
use crate::views::tables::{LogKey, LogValue, Segment};
use crate::write::part::Part;

/// A segment to be removed, and its rows.
pub(crate) struct Contents {
    id: SegmentId,
    is_cold: bool,
    bytes: u64,
    pub runs: Vec<FooterRun>,
    facts: Vec<EntryHead>,
}

impl Contents {
    /// Returns the facts of the segment, and the log ends that its runs state. For frames that were
    /// damaged when they were replayed, only the footer has them. The list of damage does not tell
    /// whether there are such frames, because the list may have been lost.
    fn says(&self, store: &Store) -> Result<Vec<EntryHead>, Error> {
        let mut says = self.facts.clone();
        for of in &self.runs {
            if store.catalog.bounds(of.partition)?.log.next_offset == of.run.next {
                says.push(EntryHead::end(
                    of.partition,
                    of.run.next,
                    of.run.leader_epoch,
                ));
            }
        }
        Ok(says)
    }
}

pub(crate) fn free_segments(store: &Store) -> Result<Freed, Error> {
    let freeing = store.freeing.lock();
    let _one = freeing.unwrap_or_else(PoisonError::into_inner);
    store.check_health()?;
    let (dead, more) = candidates(store);
    let mut freed = Freed {
        more,
        ..Freed::default()
    };
    let mut emptied = Vec::new();
    for (id, segment) in dead {
        let of = match contents(store, id, segment.generation) {
            // The segment has no live data, but its rows must outlive it. The scrub finds the
            // unreadable ones, and then the segment is freed without them.
            Err(Error::Io { doing, source }) if is_unreadable(&source) => {
                log::error!("segment {} cannot be freed: cannot {doing}: {source}", id.0);
                store.suspect(id);
                continue;
            }
            of => of?,
        };
        emptied.push(Contents {
            is_cold: segment.is_cold,
            ..of
        });
    }
    if emptied.is_empty() {
        return Ok(freed);
    }
    // Segments with few rows come first: on a full disk they make room for the rows of the others.
    emptied.sort_by_key(|candidate| candidate.facts.len());
    while let Err(refusal) = carry_facts(store, &emptied) {
        emptied.pop();
        if !refusal.is_refusal() || emptied.is_empty() {
            return Err(refusal);
        }
        freed.more = true;
    }
    forget_runs(store, &emptied)?;
    // Syncs the rows appended above before the views count them. If a power cut reverted the views,
    // they would need what is freed here: the caller's views have not seen what was moved.
    let flushed = store.flush_to_free();
    let kept = store.catalog.keep_flushed();
    if let Err(error) = flushed.and(kept) {
        // Flushing the views may need the very space that is freed here. A restart reads from their
        // durable position and finds the rows appended above, so nothing before is needed. A cold
        // segment is needed by the commit that adopted it, wherever that is.
        store.check_health()?;
        store.sync_log()?;
        log::warn!("segments are freed although the views cannot be flushed: {error}");
        let read_from = store.catalog.read().kept.segment;
        emptied.retain(|candidate| !candidate.is_cold && candidate.id < read_from);
    }
    // A power cut may bring the files back that were removed last. A drop must not be gone while
    // older segments still have what it dropped.
    emptied.sort_by_key(|candidate| candidate.id);
    for candidate in emptied {
        // A commit that was written meanwhile may refer to a cold segment again. The others stay
        // without live data.
        let _writer = candidate.is_cold.then(|| store.lock_writer());
        if lives(store, candidate.id) {
            continue;
        }
        store.free_file(candidate.id, candidate.bytes)?;
        store.catalog.write().forget_segment(candidate.id);
        freed.bytes += candidate.bytes;
        freed.segments += 1;
    }
    // Taken before others use the space that was freed.
    if let Some(reserve) = store.catalog.reserve() {
        reserve.keep();
    }
    Ok(freed)
}

fn lives(store: &Store, id: SegmentId) -> bool {
    let state = store.catalog.read();
    state
        .segments
        .get(&id)
        .is_some_and(|segment| segment.live_slices > 0)
}

/// Returns the active segment, and the one with the newest commit, which the applied position
/// points at.
pub(crate) fn in_use(store: &Store, writer: &Writer) -> BTreeSet<SegmentId> {
    let active = writer.active.as_ref().map(|active| active.id);
    let newest = store.catalog.read().applied.segment;
    active.into_iter().chain([newest]).collect()
}

fn candidates(store: &Store) -> (Vec<(SegmentId, Segment)>, bool) {
    // Locked, so that no segment begins in between.
    let writer = store.lock_writer();
    let in_use = in_use(store, &writer);
    let state = store.catalog.read();
    let dead = |of: &(&SegmentId, &Segment)| of.1.live_slices == 0 && !in_use.contains(of.0);
    let mut dead = state.segments.iter().filter(dead);
    let taken = dead.by_ref().take(limits::FREE_SEGMENTS_MAX);
    let taken = taken.map(|(id, segment)| (*id, *segment)).collect();
    (taken, dead.next().is_some())
}

pub(crate) fn contents(store: &Store, id: SegmentId, generation: u64) -> Result<Contents, Error> {
    let mut contents = Contents {
        id,
        is_cold: false,
        bytes: 0,
        runs: Vec::new(),
        facts: Vec::new(),
    };
    if let Some(file) = store.files.get(id)? {
        contents.bytes = file
            .bytes()
            .map_err(|source| io_error("look at a segment", source))?;
        (contents.runs, contents.facts) =
            listing::contents(&*file, id, generation, contents.bytes)?;
    }
    Ok(contents)
}

/// Appends the rows that a rebuild of the views still needs after the segments are gone: log starts
/// and ends, dropped partitions whose older data may be left, and the ranges of cold segments that
/// count. Appends all or none; with none, fewer segments are freed.
///
/// A current log start may come from a commit that a power cut would lose, and must not take effect
/// without the rest of that commit. So rows are appended if they were the same before a sync.
fn carry_facts(store: &Store, emptied: &[Contents]) -> Result<(), Error> {
    let mut synced: Option<Vec<EntryHead>> = None;
    for tries_left in (0..limits::CARRY_TRIES).rev() {
        let mut writer = store.lock_writer();
        let (parts, cold) = facts_to_carry(store, emptied)?;
        if parts.is_empty() {
            return Ok(());
        }
        let heads: Vec<EntryHead> = parts.iter().map(|part| part.head).collect();
        if synced.as_ref() != Some(&heads) {
            if tries_left > 0 {
                drop(writer);
                store.sync_log()?;
                synced = Some(heads);
                continue;
            }
            // Commits change the rows as fast as they are synced: these have to wait.
            store.sync_log()?;
        }
        return append_facts(store, &mut writer, &parts, &cold);
    }
    Ok(())
}

/// Appends rows. Leaves the room of the commit that the writer has reserved and not yet written.
fn append_facts(
    store: &Store,
    writer: &mut Writer,
    parts: &[Part],
    cold: &ColdRuns,
) -> Result<(), Error> {
    let rows = parts.len() as u64;
    let heads = rows.div_ceil(limits::CARRIED_ROWS_MAX as u64);
    let bytes = rows * ENTRY_BYTES + heads * FRAME_HEAD_BYTES;
    let left = match writer.reserved {
        0 => 0,
        // A frame may begin on a new page.
        reserved => reserved + (heads + 1) * PAGE_BYTES,
    };
    store.make_room_to_free(writer, bytes + left)?;
    for rows in parts.chunks(limits::CARRIED_ROWS_MAX) {
        let rows = rows.iter().map(|part| Part::row(part.head)).collect();
        let append_ms = 0;
        store.append_parts(writer, rows, cold, Vec::new(), append_ms)?;
    }
    Ok(())
}

/// Returns the rows, and the runs of the cold segments that they point at. The caller holds the
/// writer's lock.
fn facts_to_carry(store: &Store, emptied: &[Contents]) -> Result<(Vec<Part>, ColdRuns), Error> {
    let (oldest_kept, said) = {
        let state = store.catalog.read();
        let gone = |id: &SegmentId| emptied.iter().any(|candidate| candidate.id == *id);
        let oldest_kept = state.segments.keys().find(|id| !gone(id)).copied();
        (oldest_kept, said_again(&state.active.facts))
    };
    let mut carried = BTreeSet::new();
    let mut parts = Vec::new();
    let mut cold = ColdRuns::default();
    let mut said_by_emptied = Vec::new();
    for of in emptied {
        said_by_emptied.extend(of.says(store)?);
    }
    for fact in said_by_emptied {
        match fact.kind {
            EntryKind::LogStart if !carried.contains(&(fact.kind as u8, fact.partition)) => {
                let key = LogKey::bounds(fact.partition);
                // Absent if the partition was dropped later.
                if let Some(LogValue::Bounds(bounds)) = store.catalog.merged().get(key)? {
                    let log = bounds.log;
                    let (kind, start) = (EntryKind::LogStart, log.log_start);
                    let mut part = Part::fact(kind, fact.partition, start, log.leader_epoch);
                    part.head.next = end_to_say(store, fact.partition, &log)?;
                    if fact.base == Offset::ZERO && part.head.next == Offset::ZERO {
                        continue;
                    }
                    carried.insert((fact.kind as u8, fact.partition));
                    if said.get(&fact.partition) != Some(&part.head) {
                        parts.push(part);
                    }
                }
            }
            EntryKind::Drop if carried.insert((fact.kind as u8, fact.partition)) => {
                let newest_with_data = SegmentId(fact.base.0 as u64);
                if oldest_kept.is_some_and(|oldest| oldest <= newest_with_data) {
                    let base = Offset(fact.base.0);
                    parts.push(Part::fact(EntryKind::Drop, fact.partition, base, None));
                }
            }
            EntryKind::Replaced | EntryKind::Compacted => {
                carry_replaced(store, &fact, &mut cold, &mut parts)?;
            }
            EntryKind::LogStart | EntryKind::Drop | EntryKind::Append | EntryKind::Moved => {}
        }
    }
    Ok((parts, cold))
}

/// Returns the log starts in the active segment, which stays: on a full disk, those that were just
/// moved.
fn said_again(facts: &[EntryHead]) -> HashMap<PartitionId, EntryHead> {
    let starts = facts.iter().filter(|of| of.kind == EntryKind::LogStart);
    starts.map(|of| (of.partition, *of)).collect()
}

/// Returns the log end of a partition if no remaining batch implies it, because the last batches
/// are lost and only this segment recorded them. Returns zero otherwise.
fn end_to_say(store: &Store, partition: PartitionId, log: &LogBounds) -> Result<Offset, Error> {
    let key = |offset| LogKey::slice(partition, offset);
    let last = store
        .catalog
        .merged()
        .last(key(Offset::ZERO), key(Offset(i64::MAX)))?;
    let is_said = match last {
        Some((_, LogValue::Slice(last))) => log.next_offset <= last.next_offset,
        _ => log.next_offset <= log.log_start,
    };
    Ok(if is_said {
        Offset::ZERO
    } else {
        log.next_offset
    })
}

/// Carries the slices that the row still holds.
fn carry_replaced(
    store: &Store,
    fact: &EntryHead,
    cold: &mut ColdRuns,
    parts: &mut Vec<Part>,
) -> Result<(), Error> {
    let id = fact.cold_segment().unwrap_or_default();
    for slice in store.catalog.slices(fact.partition)? {
        let (base, next) = (slice.first_offset, slice.next_offset);
        if slice.segment != id || base < fact.base || next > fact.next {
            continue;
        }
        if !cold.has(id)
            && let Some(generation) = store.catalog.generation(id)
        {
            cold.insert(id, contents(store, id, generation)?.runs);
        }
        parts.push(Part::row(EntryHead {
            base,
            next,
            ..*fact
        }));
    }
    Ok(())
}

/// Removes the segments' runs from the index, unless something else has taken their place.
fn forget_runs(store: &Store, emptied: &[Contents]) -> Result<(), Error> {
    for candidate in emptied {
        for of in &candidate.runs {
            // Locked, so that no commit puts something in the run's place in between.
            let _writer = store.lock_writer();
            if lives(store, candidate.id) {
                break;
            }
            // A run whose front was replaced has moved to a higher offset.
            let low = LogKey::run(of.partition, of.base);
            let high = LogKey::run(of.partition, of.run.next.plus(-1));
            let mut stale = Vec::new();
            store.catalog.merged().scan(low, high, &mut |key, value| {
                if let LogValue::Run(run) = value
                    && run.segment == candidate.id
                {
                    stale.push(key);
                }
                true
            })?;
            let mut state = store.catalog.write();
            for key in stale {
                state.layers.remove(key);
            }
        }
    }
    Ok(())
}
