//! Which offset upstream each record of a partition has.
//!
//! A link's records get other offsets upstream: transactions end in records of their own, other
//! producers write too, and what was compacted or filtered is missing. The plan knows the offset of
//! each batch that was acknowledged ([`Placed`]), and a [`Tracker`] makes blocks of them, which the
//! link writes. An [`OffsetMap`] is read from the blocks, and translates.
//!
//! **Invariant:** a translation is exact or says that it is not: an offset is exact if it is in a
//! block, and a block has all offsets between its ends. What a crash left out is in no block; it
//! translates to an offset that is lower, so that a consumer gets records twice and loses none.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use sedge_protocol::ids::Offset;
pub use sedge_protocol::offset_map_records::{Block, Run};

/// Runs of one block: some 16 KiB of its record.
pub const BLOCK_RUNS_MAX: usize = 4096;
/// Places of batches that a stream keeps until they are taken, which is every second. Those beyond
/// it are forgotten, and their offsets are not exact.
pub const PLACED_MAX: usize = 1 << 14;
/// Spans of records that are remembered until the batches with them are upstream. Beyond it the
/// oldest are forgotten, and their offsets are not exact.
const SPANS_MAX: usize = 1 << 16;

/// An acknowledged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The offsets here that the batch stands for.
    pub base: Offset,
    pub next: Offset,
    /// The number of records that were sent.
    pub count: i64,
    /// The offset upstream of the first one; `None` if the upstream did not tell.
    pub there: Option<Offset>,
}

impl Placed {
    fn is_whole(&self) -> bool {
        self.next.get() - self.base.get() == self.count
    }

    /// Adds the batch behind this one. Returns false if that leaves a hole.
    pub(super) fn extend(&mut self, by: &Self) -> bool {
        let there = self.there.map(|there| there.get() + self.count);
        let follows = self.is_whole()
            && by.is_whole()
            && self.next == by.base
            && there.is_some()
            && there == by.there.map(Offset::get);
        if follows {
            self.next = by.next;
            self.count += by.count;
        }
        follows
    }
}

/// Collects the offsets of one partition, and makes blocks of them.
#[derive(Debug)]
pub struct Tracker {
    /// The records that were read and are not settled: first offsets and numbers.
    spans: BTreeMap<Offset, i64>,
    open: Block,
    full: Vec<Block>,
}

impl Tracker {
    /// Begins at a cursor.
    #[must_use]
    pub fn new(cursor: Offset) -> Self {
        Self {
            spans: BTreeMap::new(),
            open: Block {
                from: cursor,
                until: cursor,
                ..Block::default()
            },
            full: Vec::new(),
        }
    }

    /// Takes note of the records that were read: first offsets and numbers, rising. They take the
    /// place of what was read before from there on.
    pub fn handle_read(&mut self, spans: impl Iterator<Item = (Offset, i64)>) {
        let mut last: Option<(Offset, i64)> = None;
        for (first, count) in spans {
            match &mut last {
                Some((from, all)) if from.get() + *all == first.get() => *all += count,
                Some(_) => self.spans.extend(last.replace((first, count))),
                None => {
                    self.forget_from(first);
                    last = Some((first, count));
                }
            }
        }
        self.spans.extend(last);
        while self.spans.len() > SPANS_MAX {
            self.spans.pop_first();
        }
    }

    fn forget_from(&mut self, at: Offset) {
        self.spans.split_off(&at);
        if let Some((first, count)) = self.spans.iter_mut().next_back() {
            *count = (*count).min(at.get() - first.get());
        }
    }

    /// Records that a batch is upstream for good, in the order of offsets. What is between two such
    /// batches is not upstream.
    pub fn handle_placed(&mut self, placed: &Placed) {
        if placed.base < self.open.until {
            // The cursor was moved back.
            self.restart(placed.base);
        }
        let Some(runs) = self.runs(placed) else {
            self.close(placed.base);
            self.restart(placed.next);
            return;
        };
        for run in runs {
            self.add(run);
        }
        self.open.until = placed.next;
    }

    /// Records that all before `cursor` is settled: what was not placed is not upstream.
    pub fn handle_cursor(&mut self, cursor: Offset) {
        if cursor < self.open.until {
            self.restart(cursor);
        }
        self.open.until = cursor;
        let behind = self.spans.split_off(&cursor);
        let before = core::mem::replace(&mut self.spans, behind);
        // One that goes beyond the cursor.
        if let Some((first, count)) = before.last_key_value() {
            let left = first.get() + count - cursor.get();
            if left > 0 {
                self.spans.insert(cursor, left);
            }
        }
    }

    /// Begins again at `cursor` with another topic upstream.
    pub fn begin_again(&mut self, cursor: Offset) {
        *self = Self::new(cursor);
    }

    /// Returns the blocks to write.
    pub fn take(&mut self) -> Vec<Block> {
        self.close(self.open.until);
        core::mem::take(&mut self.full)
    }

    /// Returns whether there is something to write.
    #[must_use]
    pub fn has_blocks(&self) -> bool {
        !self.full.is_empty() || self.open.until > self.open.from
    }

    fn runs(&self, placed: &Placed) -> Option<Vec<Run>> {
        let there = placed.there?;
        if placed.is_whole() {
            let here = placed.base;
            return Some(alloc::vec![Run {
                here,
                there,
                count: placed.count
            }]);
        }
        let mut next = there;
        let mut runs = Vec::new();
        let first = self.spans.range(..placed.base).next_back();
        let spans = first
            .into_iter()
            .chain(self.spans.range(placed.base..placed.next));
        for (from, count) in spans {
            let here = (*from).max(placed.base);
            let count = placed.next.get().min(from.get() + count) - here.get();
            if count > 0 {
                runs.push(Run {
                    here,
                    there: next,
                    count,
                });
                next = Offset(next.get() + count);
            }
        }
        (next.get() - there.get() == placed.count).then_some(runs)
    }

    fn add(&mut self, run: Run) {
        if let Some(last) = self.open.runs.last_mut() {
            if (last.next_here(), last.next_there()) == (run.here, run.there) {
                last.count += run.count;
                return;
            }
            if run.there < last.next_there() || self.open.runs.len() >= BLOCK_RUNS_MAX {
                self.close(run.here);
            }
        }
        self.open.runs.push(run);
    }

    /// Ends the open block at `until`, where the next begins.
    fn close(&mut self, until: Offset) {
        self.open.until = until;
        self.restart(until);
    }

    /// Ends the open block, and begins one at `from`.
    fn restart(&mut self, from: Offset) {
        let new = Block {
            from,
            until: from,
            ..Block::default()
        };
        let done = core::mem::replace(&mut self.open, new);
        if done.until > done.from {
            self.full.push(done);
        }
    }
}

/// A translated offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    pub offset: Offset,
    /// False if the offset is lower than the exact one may be.
    pub is_exact: bool,
}

/// The offsets of one partition on both sides.
#[derive(Clone, Debug, Default)]
pub struct OffsetMap {
    upstream: u32,
    /// Rising on both sides.
    runs: Vec<Run>,
    /// Ranges of offsets here that blocks have, joined; the end of each by its beginning.
    ranges: BTreeMap<Offset, Offset>,
}

impl OffsetMap {
    /// Adds a block, in the order in which blocks were written.
    pub fn add(&mut self, block: Block) {
        if block.upstream != self.upstream {
            *self = Self {
                upstream: block.upstream,
                ..Self::default()
            };
        }
        self.cut_off(block.from);
        let (last, first) = (self.runs.last(), block.runs.first());
        if let (Some(last), Some(first)) = (last, first)
            && first.there < last.next_there()
        {
            // The upstream has lost what it had.
            self.runs.clear();
            self.ranges.clear();
        }
        self.runs.extend(block.runs);
        let joined = self.ranges.iter().next_back();
        let joined = joined.filter(|(_, until)| **until == block.from);
        let from = joined.map_or(block.from, |(from, _)| *from);
        self.ranges.insert(from, block.until);
    }

    fn cut_off(&mut self, at: Offset) {
        self.runs
            .truncate(self.runs.partition_point(|run| run.here < at));
        if let Some(last) = self.runs.last_mut() {
            last.count = last.count.min(at.get() - last.here.get());
        }
        self.ranges.split_off(&at);
        if let Some((_, until)) = self.ranges.iter_mut().next_back() {
            *until = (*until).min(at);
        }
    }

    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    #[must_use]
    pub const fn upstream_tag(&self) -> u32 {
        self.upstream
    }

    /// Returns the offset here behind all that is known.
    #[must_use]
    pub fn end(&self) -> Option<Offset> {
        self.ranges.last_key_value().map(|(_, until)| *until)
    }

    /// Returns where a consumer that is at `here` goes on upstream; `None` if all that is known is
    /// behind it.
    #[must_use]
    pub fn upstream(&self, here: Offset) -> Option<Translated> {
        let at = self.runs.partition_point(|run| run.next_here() <= here);
        let run = self.runs.get(at);
        if let Some(run) = run.filter(|run| run.here <= here) {
            let offset = Offset(run.there.get() + here.get() - run.here.get());
            return Some(Translated {
                offset,
                is_exact: true,
            });
        }
        let before = at.checked_sub(1).and_then(|before| self.runs.get(before));
        let range = self.range(here);
        let is_of_range =
            |run: &&Run| range.is_some_and(|range| range.0 <= run.here && run.here <= range.1);
        if let Some(run) = run.filter(is_of_range) {
            return Some(Translated {
                offset: run.there,
                is_exact: true,
            });
        }
        let is_exact = range.is_some() && before.is_some_and(|run| is_of_range(&run));
        before.map(|run| Translated {
            offset: run.next_there(),
            is_exact,
        })
    }

    /// Returns where a consumer that is at `there` upstream goes on here.
    #[must_use]
    pub fn here(&self, there: Offset) -> Option<Translated> {
        let at = self.runs.partition_point(|run| run.next_there() <= there);
        let run = self.runs.get(at);
        if let Some(run) = run.filter(|run| run.there <= there) {
            let offset = Offset(run.here.get() + there.get() - run.there.get());
            return Some(Translated {
                offset,
                is_exact: true,
            });
        }
        let before = at.checked_sub(1).and_then(|before| self.runs.get(before))?;
        let is_same = |run: &&Run| {
            self.range(before.here)
                .is_some_and(|range| run.here <= range.1)
        };
        match run.filter(is_same) {
            Some(run) => Some(Translated {
                offset: run.here,
                is_exact: true,
            }),
            // Behind the last record that is known.
            None => Some(Translated {
                offset: before.next_here(),
                is_exact: there == before.next_there(),
            }),
        }
    }

    /// Returns the range of offsets that are known around `here`; its end is part of it.
    fn range(&self, here: Offset) -> Option<(Offset, Offset)> {
        let (from, until) = self.ranges.range(..=here).next_back()?;
        (here <= *until).then_some((*from, *until))
    }
}

#[cfg(test)]
mod tests;
