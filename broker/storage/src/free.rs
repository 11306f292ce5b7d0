//! Space that comes back: segments in which nothing lives are removed; those in which little lives
//! are emptied first, by moving what lives into the active segment.
//!
//! The order makes a crash at any point harmless: what must outlive the segment is appended, synced
//! and in the views before the file goes.

use std::collections::BTreeSet;

use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Freed, SegmentId, Slice};
use crate::error::Error;
use crate::format::{EntryHead, EntryKind, Fact, FooterRun};
use crate::limits;
use crate::read;
use crate::scan;
use crate::store::Store;
use crate::views::tables::{LogKey, LogValue, Segment};
use crate::write::Part;

struct Candidate {
    id: SegmentId,
    bytes: u64,
    runs: Vec<FooterRun>,
    facts: Vec<Fact>,
}

pub(crate) fn free_segments(store: &Store) -> Result<Freed, Error> {
    store.check_health()?;
    let mut freed = Freed::default();
    let (dead, sparse, more) = candidates(store);
    freed.more = more;
    if !sparse.is_empty() {
        // A part of a commit that outlives a power cut where the rest does not would make half a
        // commit of it.
        store.sync_log()?;
    }
    let mut emptied = Vec::new();
    for (id, segment) in dead.into_iter().chain(sparse) {
        let candidate = load(store, id, segment)?;
        if segment.live_slices > 0 {
            match move_live(store, &candidate) {
                Ok(bytes) => freed.moved_bytes += bytes,
                // Nothing can be moved on a full disk, but what is dead can go.
                Err(Error::Full | Error::ReadOnly) => {
                    freed.more = true;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        emptied.push(candidate);
    }
    if emptied.is_empty() {
        return Ok(freed);
    }
    match carry_facts(store, &emptied) {
        // Those that say nothing can go even so.
        Err(Error::Full) => emptied.retain(|candidate| candidate.facts.is_empty()),
        carried => carried?,
    }
    forget_runs(store, &emptied)?;
    // Syncs what was appended above before the views say that it counts. Views that a power cut
    // took back would need what is freed here: the caller's have not seen what was moved.
    let flushed = store.flush(true);
    let kept = store.catalog.keep_flushed();
    if let Err(error) = flushed.and(kept) {
        // Views may wait for the very space that is freed here. A restart reads from where they
        // were kept and finds there what was appended above, so what lies before is not needed.
        store.check_health()?;
        store.sync_log()?;
        log::warn!("freeing segments while the views are not flushed: {error}");
        let read_from = store.catalog.read().kept.segment;
        emptied.retain(|candidate| candidate.id < read_from);
    }
    for candidate in emptied {
        let lives = store
            .catalog
            .read()
            .segments
            .get(&candidate.id)
            .copied()
            .unwrap_or_default();
        if lives.live_slices > 0 {
            continue;
        }
        store.free_file(candidate.id, candidate.bytes)?;
        store.catalog.write().forget_segment(candidate.id);
        freed.bytes += candidate.bytes;
        freed.segments += 1;
    }
    Ok(freed)
}

type Chosen = Vec<(SegmentId, Segment)>;

/// Dead ones, and sparse ones as far as the bound on moving goes. Never the one with the newest
/// commit: it is what the applied position points at.
fn candidates(store: &Store) -> (Chosen, Chosen, bool) {
    let writer = store.lock_writer();
    let state = store.catalog.read();
    let newest = state.applied.segment.max(SegmentId(0));
    let active = writer.active.as_ref().map(|active| active.id);
    let sealed = state
        .segments
        .iter()
        .filter(|(id, _)| **id != newest && Some(**id) != active);
    let mut dead = Vec::new();
    let mut sparse = Vec::new();
    let mut budget = limits::MOVE_BYTES_MAX;
    let mut more = false;
    for (id, segment) in sealed {
        if dead.len() + sparse.len() >= limits::FREE_SEGMENTS_MAX {
            more = true;
            break;
        }
        if segment.live_slices == 0 {
            dead.push((*id, *segment));
        } else if segment.live_bytes <= store.options.segment_bytes / limits::MOVE_LIVE_SHARE {
            if segment.live_bytes > budget {
                more = true;
                continue;
            }
            budget -= segment.live_bytes;
            sparse.push((*id, *segment));
        }
    }
    (dead, sparse, more)
}

fn load(store: &Store, id: SegmentId, segment: Segment) -> Result<Candidate, Error> {
    let Some(file) = store.files.get(id)? else {
        return Ok(Candidate {
            id,
            bytes: 0,
            runs: Vec::new(),
            facts: Vec::new(),
        });
    };
    let bytes = file
        .bytes()
        .map_err(|source| crate::disk::directory::io_error("look at a segment", source))?;
    let (runs, facts) = scan::contents(&*file, id, segment.generation, bytes)?;
    Ok(Candidate {
        id,
        bytes,
        runs,
        facts,
    })
}

/// Appends the live slices of a segment again, a commit each, so that each keeps its append time.
fn move_live(store: &Store, candidate: &Candidate) -> Result<u64, Error> {
    let partitions: BTreeSet<PartitionId> =
        candidate.runs.iter().map(|run| run.partition).collect();
    let mut moved = 0;
    for partition in partitions {
        for slice in store.catalog.slices(partition)? {
            if slice.segment == candidate.id {
                moved += move_slice(store, partition, &slice)?;
            }
        }
    }
    Ok(moved)
}

fn move_slice(store: &Store, partition: PartitionId, slice: &Slice) -> Result<u64, Error> {
    let log_start = store.catalog.bounds(partition)?.log.log_start;
    let from = slice.first_offset.max(log_start);
    let mut batches = Vec::new();
    let mut head: Option<EntryHead> = None;
    for (_, run) in read::runs_of(store, partition, slice)? {
        read::batches_of_run(store, partition, &run, from, false, &mut |header, bytes| {
            let bytes = bytes.unwrap_or_default();
            let length = bytes.len() as u32;
            let (base, next) = (header.base_offset(), header.next_offset());
            let max_timestamp = header.max_timestamp();
            let leader_epoch = Some(header.leader_epoch()).filter(|epoch| epoch.0 >= 0);
            let kind = EntryKind::Moved;
            let one = EntryHead {
                kind,
                partition,
                base,
                next,
                max_timestamp,
                bytes: length,
                leader_epoch,
            };
            head = Some(match head {
                None => one,
                Some(head) => EntryHead {
                    next,
                    max_timestamp: head.max_timestamp.max(max_timestamp),
                    bytes: head.bytes + length,
                    leader_epoch,
                    ..head
                },
            });
            batches.push(bytes);
        })?;
    }
    let Some(head) = head else { return Ok(0) };
    let bytes = u64::from(head.bytes);
    let part = Part {
        head,
        batches: Vec::new(),
        moved: batches,
    };
    store.append_parts(vec![part], Vec::new(), slice.append_ms)?;
    Ok(bytes)
}

/// What a rebuild of the views must still learn when the segments are gone: where logs start and
/// end, and which partitions were dropped while older data of theirs may be left.
fn carry_facts(store: &Store, emptied: &[Candidate]) -> Result<(), Error> {
    let oldest_kept = {
        let state = store.catalog.read();
        let gone = |id: &SegmentId| emptied.iter().any(|candidate| candidate.id == *id);
        state.segments.keys().find(|id| !gone(id)).copied()
    };
    let mut carried = BTreeSet::new();
    let mut parts = Vec::new();
    for fact in emptied.iter().flat_map(|candidate| &candidate.facts) {
        if !carried.insert((fact.kind as u8, fact.partition)) {
            continue;
        }
        match fact.kind {
            EntryKind::LogStart => {
                let key = LogKey::bounds(fact.partition);
                // Gone where the partition was dropped later.
                if let Some(LogValue::Bounds(bounds)) = store.catalog.merged().get(key)? {
                    let log = bounds.log;
                    let (kind, start) = (EntryKind::LogStart, log.log_start);
                    parts.push(Part::fact(kind, fact.partition, start, log.leader_epoch));
                }
            }
            EntryKind::Drop => {
                let newest_with_data = SegmentId(fact.base.0 as u64);
                if oldest_kept.is_some_and(|oldest| oldest <= newest_with_data) {
                    let base = Offset(fact.base.0);
                    parts.push(Part::fact(EntryKind::Drop, fact.partition, base, None));
                }
            }
            EntryKind::Append | EntryKind::Moved => {}
        }
    }
    if !parts.is_empty() {
        let append_ms = 0;
        store.append_parts(parts, Vec::new(), append_ms)?;
    }
    Ok(())
}

/// Takes the segments' runs out of the index, unless something else is at their place by now.
fn forget_runs(store: &Store, emptied: &[Candidate]) -> Result<(), Error> {
    for candidate in emptied {
        let lives = store
            .catalog
            .read()
            .segments
            .get(&candidate.id)
            .copied()
            .unwrap_or_default();
        if lives.live_slices > 0 {
            continue;
        }
        for of in &candidate.runs {
            let key = LogKey::run(of.partition, of.base);
            if let Some(LogValue::Run(run)) = store.catalog.merged().get(key)?
                && run.segment == candidate.id
            {
                store.catalog.write().layers.remove(key);
            }
        }
    }
    Ok(())
}
