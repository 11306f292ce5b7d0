//! The catalog: the log's contents and their places. It holds the log's own views with their
//! layers, and the hot state of active partitions.
//!
//! One lock guards the layers and the hot state together. A commit is applied under the write lock,
//! so a flush takes whole commits only. Readers hold the lock for a look-up and read the base
//! without it.

mod apply;
mod flush;
mod hot;
mod replace;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sedge_protocol::ids::{Offset, PartitionId};

use crate::api::{Slice, View, ViewReader, ViewUpdate};
use crate::error::Error;
use crate::format::{EntryHead, FooterRun, FrameAt, FrameHead, Run};
use crate::ids::SegmentId;
use crate::views::layers::{HasLayers, Layers, Merged};
use crate::views::reserve::Reserve;
use crate::views::tables::{Applied, Bounds, LogKey, LogValue, Segment, Table, ViewsVersion};
use crate::views::{Base, caller_key};

pub(crate) use replace::ColdRuns;

use flush::FlushProgress;
use hot::Tail;

/// A commit's batches of one partition, by which a read near the end of the log finds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub base: Offset,
    pub next: Offset,
    pub segment: SegmentId,
    pub position: u64,
    pub bytes: u32,
}

/// The contents of the active segment, for its footer.
#[derive(Debug, Default)]
pub(crate) struct ActiveContents {
    pub segment: SegmentId,
    pub runs: BTreeMap<LogKey, Run>,
    pub facts: Vec<EntryHead>,
    frames: u32,
    /// Whether the segment was observed from its first frame on; otherwise the footer is made from
    /// a scan.
    pub complete: bool,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    base: Box<dyn Base>,
    version: ViewsVersion,
    state: RwLock<State>,
    flushing: Mutex<FlushProgress>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub layers: Layers,
    tails: HashMap<PartitionId, Tail>,
    /// The marks of all tails, counted again at each flush.
    marks: usize,
    marks_max: usize,
    pub segments: BTreeMap<SegmentId, Segment>,
    pub applied: Applied,
    /// The position that the base has: a restart reads from here.
    flushed: Applied,
    /// The position that survives a power cut.
    pub kept: Applied,
    pub active: ActiveContents,
    /// While views are rebuilt, no position may be stored up to which they are complete.
    pub rebuilding: bool,
    flush_round: u32,
    log_bytes_unflushed: u64,
    /// The largest partition id that a row named since the views were opened.
    newest_partition: Option<PartitionId>,
}

/// Access to the layers through the catalog's lock.
#[derive(Debug)]
pub(crate) struct Locked<'a>(&'a RwLock<State>);

impl HasLayers for Locked<'_> {
    fn with_layers<T>(&self, look: impl FnOnce(&Layers) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner).layers)
    }
}

impl Catalog {
    /// Creates views of `version`, which is stored when they are flushed.
    pub fn new(base: Box<dyn Base>, version: ViewsVersion) -> Self {
        Self {
            base,
            version,
            state: RwLock::default(),
            flushing: Mutex::default(),
        }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bytes reserved on the volume for the views.
    pub fn reserve(&self) -> Option<&Reserve> {
        self.base.reserve()
    }

    pub fn merged(&self) -> Merged<'_, Locked<'_>> {
        Merged {
            layers: Locked(&self.state),
            base: &*self.base,
        }
    }

    /// Makes a frame's entries and the caller's updates visible, atomically. `cold` has the runs
    /// that its rows point at.
    pub fn apply(
        &self,
        at: FrameAt,
        head: &FrameHead,
        cold: &ColdRuns,
        updates: Vec<ViewUpdate>,
    ) -> Result<(), Error> {
        let (mut state, base) = self.write_with_ahead(head)?;
        state.apply_frame(&base, at, head, cold)?;
        for update in updates {
            state.layers.put_caller(update);
        }
        Ok(())
    }

    pub fn put_updates(&self, updates: Vec<ViewUpdate>) {
        let mut state = self.write();
        for update in updates {
            state.layers.put_caller(update);
        }
    }

    /// Adds a run and the facts that a footer lists, while views are rebuilt.
    pub fn apply_footer(
        &self,
        runs: &[FooterRun],
        facts: &[EntryHead],
        cold: &ColdRuns,
    ) -> Result<(), Error> {
        let mut state = self.write();
        for of in runs {
            state.apply_run(&*self.base, of)?;
            state.applied.append_ms = state.applied.append_ms.max(of.run.append_ms);
        }
        for fact in facts {
            state.apply_fact(&*self.base, fact, cold)?;
        }
        Ok(())
    }

    /// Applies the facts known from the heads of damaged frames: log ends, log starts and
    /// replacements.
    pub fn apply_facts(&self, facts: &[EntryHead], cold: &ColdRuns) -> Result<(), Error> {
        let mut state = self.write();
        facts
            .iter()
            .try_for_each(|fact| state.apply_fact(&*self.base, fact, cold))
    }

    pub fn bounds(&self, partition: PartitionId) -> Result<Bounds, Error> {
        if let Some(tail) = self.read().tails.get(&partition) {
            return Ok(tail.bounds);
        }
        match self.merged().get(LogKey::bounds(partition))? {
            Some(LogValue::Bounds(bounds)) => Ok(bounds),
            _ => Ok(Bounds::default()),
        }
    }

    /// Returns marks from the one that holds `from`, up to `bytes_max` of batches but at least one.
    /// Empty if the marks do not reach back to `from`.
    pub fn marks(&self, partition: PartitionId, from: Offset, bytes_max: usize) -> Vec<Mark> {
        let state = self.read();
        let Some(tail) = state.tails.get(&partition) else {
            return Vec::new();
        };
        let first = tail.marks.partition_point(|mark| mark.next <= from);
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        for mark in tail.marks.iter().skip(first) {
            // The index has what lies between the marks.
            if mark.base > next {
                break;
            }
            next = mark.next;
            found.push(*mark);
            bytes += mark.bytes as usize;
            if bytes >= bytes_max {
                break;
            }
        }
        found
    }

    /// Returns the run that holds `offset`, or the first one behind it.
    pub fn run_at(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<(Offset, Run)>, Error> {
        let merged = self.merged();
        let at = LogKey::run(partition, offset);
        let found = merged.last(LogKey::run(partition, Offset::ZERO), at)?;
        if let Some((key, LogValue::Run(run))) = found
            && run.next > offset
        {
            return Ok(Some((key.offset(), run)));
        }
        let behind = LogKey::run(partition, offset.plus(1));
        match merged.first(behind, LogKey::run(partition, Offset(i64::MAX)))? {
            Some((key, LogValue::Run(run))) => Ok(Some((key.offset(), run))),
            _ => Ok(None),
        }
    }

    /// Returns the partition's slices, oldest first.
    pub fn slices(&self, partition: PartitionId) -> Result<Vec<Slice>, Error> {
        slices_between(&self.merged(), partition, Offset::ZERO, Offset(i64::MAX))
    }

    pub fn generation(&self, segment: SegmentId) -> Option<u64> {
        self.read()
            .segments
            .get(&segment)
            .map(|segment| segment.generation)
    }

    /// Returns every partition that has bounds.
    pub fn partitions(&self) -> Result<Vec<PartitionId>, Error> {
        let low = LogKey {
            table: Table::Bounds,
            id: 0,
            offset: 0,
        };
        let high = LogKey {
            table: Table::Bounds,
            id: u64::MAX,
            offset: 0,
        };
        let mut found = Vec::new();
        self.merged().scan(low, high, &mut |key, _| {
            found.push(PartitionId(key.id as u32));
            true
        })?;
        Ok(found)
    }

    /// See [`crate::LogStore::newest_partition`].
    pub fn newest_partition(&self) -> Result<Option<PartitionId>, Error> {
        let (low, high) = (
            LogKey::bounds(PartitionId(0)),
            LogKey::bounds(PartitionId(PartitionId::RESERVED_FROM.get() - 1)),
        );
        let last = self.merged().last(low, high)?;
        let last = last.map(|(key, _)| PartitionId(key.id as u32));
        Ok(last.max(self.read().newest_partition))
    }

    /// Loads segments and the applied position from the base. Returns `None` if the base is empty.
    pub fn load(&self) -> Result<Option<Applied>, Error> {
        let Some(LogValue::Applied(_, applied)) = self.merged().get(LogKey::APPLIED)? else {
            return Ok(None);
        };
        let low = LogKey::segment(SegmentId(0));
        let high = LogKey::segment(SegmentId(u64::MAX));
        let mut segments = BTreeMap::new();
        self.merged().scan(low, high, &mut |key, value| {
            if let LogValue::Segment(segment) = value {
                segments.insert(SegmentId(key.id), segment);
            }
            true
        })?;
        let mut state = self.write();
        state.segments = segments;
        state.applied = applied;
        state.flushed = applied;
        Ok(Some(applied))
    }

    pub fn pending_bytes(&self) -> usize {
        self.read().layers.bytes()
    }
}

impl ViewReader for Catalog {
    fn view_get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.merged().get_caller(&caller_key(view, key))
    }

    fn view_scan_from(
        &self,
        view: View,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let (prefix, from) = (caller_key(view, prefix), caller_key(view, from));
        self.merged()
            .scan_caller(&prefix, &from, &mut |key, value| each(&key[1..], value))
    }
}

impl State {
    /// Ends all open runs: what follows is behind bytes that are no frames, and a run cannot be
    /// walked across them. A footer would not show them.
    pub fn end_runs(&mut self) {
        self.active.complete = false;
        for tail in self.tails.values_mut() {
            tail.run = None;
        }
    }

    /// Makes a segment the active one.
    pub fn start_segment(&mut self, id: SegmentId, generation: u64) {
        self.add_segment(id, generation, false);
        self.active = ActiveContents {
            segment: id,
            complete: true,
            ..ActiveContents::default()
        };
    }

    pub fn add_segment(&mut self, id: SegmentId, generation: u64, is_cold: bool) {
        let segment = Segment {
            generation,
            is_cold,
            ..Segment::default()
        };
        self.segments.insert(id, segment);
        self.layers
            .put(LogKey::segment(id), LogValue::Segment(segment));
    }

    pub fn forget_segment(&mut self, id: SegmentId) {
        self.segments.remove(&id);
        self.layers.remove(LogKey::segment(id));
        for tail in self.tails.values_mut() {
            tail.forget_segment(id);
        }
    }
}

/// Returns the slices whose first offset is in `from..until`.
fn slices_between<L: HasLayers>(
    merged: &Merged<'_, L>,
    partition: PartitionId,
    from: Offset,
    until: Offset,
) -> Result<Vec<Slice>, Error> {
    let mut found = Vec::new();
    let (low, high) = (
        LogKey::slice(partition, from),
        LogKey::slice(partition, until),
    );
    merged.scan(low, high, &mut |key, value| {
        if let LogValue::Slice(slice) = value
            && key.offset() < until
        {
            found.push(slice);
        }
        true
    })?;
    Ok(found)
}
