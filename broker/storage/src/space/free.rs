//! Space that comes back: segments in which nothing lives are removed.
//!
//! The order makes a crash at any point harmless: what must outlive the segment is appended, synced
//! and in the views before the file goes.

use std::collections::{BTreeSet, HashMap};

use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};

use crate::api::Freed;
use crate::catalog::ColdRuns;
use crate::error::{Error, io_error, is_unreadable};
use crate::format::{ENTRY_BYTES, EntryHead, EntryKind, FRAME_HEAD_BYTES, FooterRun};
use crate::ids::SegmentId;
use crate::limits;
use crate::segment::listing;
use crate::store::Store;
use crate::views::tables::{LogKey, LogValue, Segment};
use crate::write::part::Part;

/// A segment that is to be removed, and what it says.
pub(crate) struct Contents {
    id: SegmentId,
    is_cold: bool,
    bytes: u64,
    pub runs: Vec<FooterRun>,
    facts: Vec<EntryHead>,
}

pub(crate) fn free_segments(store: &Store) -> Result<Freed, Error> {
    store.check_health()?;
    let (dead, more) = candidates(store);
    let mut freed = Freed {
        more,
        ..Freed::default()
    };
    let mut emptied = Vec::new();
    for (id, segment) in dead {
        let of = match contents(store, id, segment.generation) {
            // Nothing in it lives, but what it says must outlive it. The scrub finds what of it
            // cannot be read, and then it goes without that.
            Err(Error::Io { doing, source }) if is_unreadable(&source) => {
                log::error!("segment {} is not freed: cannot {doing}: {source}", id.0);
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
    // Those that say little first: on a full disk they make room for what the others say.
    emptied.sort_by_key(|candidate| candidate.facts.len());
    while let Err(refusal) = carry_facts(store, &emptied) {
        emptied.pop();
        if !refusal.is_refusal() || emptied.is_empty() {
            return Err(refusal);
        }
        freed.more = true;
    }
    forget_runs(store, &emptied)?;
    // Syncs what was appended above before the views say that it counts. Views that a power cut
    // took back would need what is freed here: the caller's have not seen what was moved.
    let flushed = store.flush_to_free();
    let kept = store.catalog.keep_flushed();
    if let Err(error) = flushed.and(kept) {
        // Views may wait for the very space that is freed here. A restart reads from where they
        // were kept and finds there what was appended above, so what lies before is not needed. A
        // cold segment is needed by the commit that adopted it, wherever that is.
        store.check_health()?;
        store.sync_log()?;
        log::warn!("freeing segments while the views are not flushed: {error}");
        let read_from = store.catalog.read().kept.segment;
        emptied.retain(|candidate| !candidate.is_cold && candidate.id < read_from);
    }
    for candidate in emptied {
        if lives(store, candidate.id) {
            continue;
        }
        store.free_file(candidate.id, candidate.bytes)?;
        store.catalog.write().forget_segment(candidate.id);
        freed.bytes += candidate.bytes;
        freed.segments += 1;
    }
    // Before others take what has come back.
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

/// The segment that is written to, and the one with the newest commit: it is what the applied
/// position points at.
pub(crate) fn in_use(store: &Store) -> BTreeSet<SegmentId> {
    let writer = store.lock_writer();
    let active = writer.active.as_ref().map(|active| active.id);
    let newest = store.catalog.read().applied.segment;
    active.into_iter().chain([newest]).collect()
}

fn candidates(store: &Store) -> (Vec<(SegmentId, Segment)>, bool) {
    let in_use = in_use(store);
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

/// Appends what a rebuild of the views must still learn when the segments are gone: where logs
/// start and end, which partitions were dropped while older data of theirs may be left, and what of
/// cold segments counts. All of it or nothing, which leaves room for fewer.
fn carry_facts(store: &Store, emptied: &[Contents]) -> Result<(), Error> {
    let (oldest_kept, said) = {
        let state = store.catalog.read();
        let gone = |id: &SegmentId| emptied.iter().any(|candidate| candidate.id == *id);
        let oldest_kept = state.segments.keys().find(|id| !gone(id)).copied();
        (oldest_kept, said_again(&state.active.facts))
    };
    let mut carried = BTreeSet::new();
    let mut parts = Vec::new();
    let mut cold = ColdRuns::default();
    for fact in emptied.iter().flat_map(|candidate| &candidate.facts) {
        match fact.kind {
            EntryKind::LogStart if carried.insert((fact.kind as u8, fact.partition)) => {
                let key = LogKey::bounds(fact.partition);
                // Gone where the partition was dropped later.
                if let Some(LogValue::Bounds(bounds)) = store.catalog.merged().get(key)? {
                    let log = bounds.log;
                    let (kind, start) = (EntryKind::LogStart, log.log_start);
                    if said.get(&fact.partition) != Some(&(start, log.leader_epoch)) {
                        parts.push(Part::fact(kind, fact.partition, start, log.leader_epoch));
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
                carry_replaced(store, fact, &mut cold, &mut parts)?;
            }
            EntryKind::LogStart | EntryKind::Drop | EntryKind::Append | EntryKind::Moved => {}
        }
    }
    if !parts.is_empty() {
        // Where logs start now may be what a commit says that a power cut takes, and that must not
        // take effect without the rest of it.
        store.sync_log()?;
    }
    let rows = parts.len() as u64;
    let heads = rows.div_ceil(limits::CARRIED_ROWS_MAX as u64);
    let bytes = rows * ENTRY_BYTES + heads * FRAME_HEAD_BYTES;
    store.make_room_to_free(&mut store.lock_writer(), bytes)?;
    for rows in parts.chunks(limits::CARRIED_ROWS_MAX) {
        let rows = rows.iter().map(|part| Part::row(part.head)).collect();
        let append_ms = 0;
        store.append_parts(rows, &cold, Vec::new(), append_ms)?;
    }
    Ok(())
}

/// Returns where logs start by what the segment says that is written to and stays: on a full disk,
/// what was just moved.
fn said_again(facts: &[EntryHead]) -> HashMap<PartitionId, (Offset, Option<LeaderEpoch>)> {
    let starts = facts.iter().filter(|of| of.kind == EntryKind::LogStart);
    starts
        .map(|of| (of.partition, (of.base, of.leader_epoch)))
        .collect()
}

/// The slices are what of the row still holds.
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

/// Takes the segments' runs out of the index, unless something else is at their place by now.
fn forget_runs(store: &Store, emptied: &[Contents]) -> Result<(), Error> {
    for candidate in emptied.iter().filter(|of| !lives(store, of.id)) {
        for of in &candidate.runs {
            // One of which the front was replaced is further behind.
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
