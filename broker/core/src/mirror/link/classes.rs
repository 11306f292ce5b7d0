//! The classes of partitions, and the budget that they share.
//!
//! A higher class is read first. A class that the budget does not let send is not read, and its
//! partitions join no transaction. One that was opened for it is committed with what it has.

use sedge_protocol::ids::PartitionId;

use super::Link;
use crate::mirror::budget::{Class, Closed, Meter, Priority};

impl Link {
    /// Limits what the link sends, and lets it leave out what is late. Call this before partitions
    /// are opened.
    pub fn use_budget(&mut self, meter: Meter) {
        self.meter = Some(meter);
    }

    /// Sets the class of a partition.
    pub fn classify(&mut self, partition: PartitionId, class: Class) {
        self.has_classes |= class.priority != Priority::Normal;
        if let Some(stream) = self.streams.get_mut(&partition) {
            stream.class = class;
        }
    }

    /// Sets the wall clock, by which days and hours are told.
    pub fn handle_clock(&mut self, now_ms: u64, wall_ms: i64) {
        if let Some(meter) = &mut self.meter {
            meter.handle_clock(now_ms, wall_ms);
        }
    }

    /// Returns what counts the bytes that are sent, if they are limited.
    #[must_use]
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_ref()
    }

    /// Returns the limit that keeps a class from sending.
    pub fn closed(&mut self, class: Priority, now_ms: u64) -> Option<Closed> {
        self.meter.as_mut()?.closed(class, now_ms)
    }

    pub(super) fn priority(&self, partition: PartitionId) -> Priority {
        let stream = self.streams.get(&partition);
        stream.map_or_else(Priority::default, |stream| stream.class.priority)
    }

    pub(super) fn is_open(&self, partition: PartitionId) -> bool {
        let stream = self.streams.get(&partition);
        stream.is_none_or(|stream| stream.class.is_in(self.open))
    }

    /// Looks which classes may send.
    pub(super) fn look_at_budget(&mut self, now_ms: u64) {
        let is_full = self.has_classes && self.bytes_in_flight >= self.window.bytes();
        self.open = Priority::ALL.map(|class| class == Priority::High || !is_full);
        let Some(meter) = &mut self.meter else {
            return;
        };
        let mut wait_ms: [Option<u64>; Priority::ALL.len()] = [None; _];
        for (wait_ms, class) in wait_ms.iter_mut().zip(Priority::ALL) {
            *wait_ms = meter.closed(class, now_ms).map(|closed| closed.wait_ms);
        }
        for (open, wait_ms) in self.open.iter_mut().zip(wait_ms) {
            *open &= wait_ms.is_none();
        }
        let waits = self.ready.iter().filter_map(|id| {
            let stream = self.streams.get(id).filter(|it| it.wants_read())?;
            *wait_ms.get(stream.class.priority as usize)?
        });
        let first = waits.min();
        self.opens_at_ms = first.map(|wait_ms| now_ms.saturating_add(wait_ms));
    }

    pub(super) fn count_late(&mut self, late: i64) {
        let late = late.unsigned_abs();
        match &mut self.transactions {
            Some(transactions) => transactions.late += late,
            None => self.counts.late += late,
        }
    }
}
