//! Counters of the cleaner.

use super::{Counter, Exposition, Gauge};

/// Counters of the cleaner.
#[derive(Debug, Default)]
pub struct CleanerMetrics {
    /// Compactions of partitions.
    pub compactions: Counter,
    /// Records that compaction removed.
    pub records_removed: Counter,
    /// Batches that a compaction left as they are, because their records cannot be read.
    pub unreadable_batches: Counter,
    /// Sparse segments whose live data was moved elsewhere.
    pub segments_emptied: Counter,
    /// Bytes of batches read for compacting and for emptying segments.
    pub read_bytes: Counter,
    /// Bytes of batches written again.
    pub written_bytes: Counter,
    /// Dirty ratio of the dirtiest partition, in percent, at the last check.
    pub dirtiest_percent: Gauge,
    /// Partitions and segments that failed and are skipped until the next start.
    pub set_aside: Gauge,
    /// 1 while the day's write budget is spent and cleaning is postponed.
    pub waits_for_budget: Gauge,
}

impl CleanerMetrics {
    pub fn expose(&self, out: &mut Exposition) {
        for (name, help, counter) in [
            (
                "sedge_cleaner_compactions_total",
                "Compactions of partitions.",
                &self.compactions,
            ),
            (
                "sedge_cleaner_records_removed_total",
                "Records that compaction removed.",
                &self.records_removed,
            ),
            (
                "sedge_cleaner_unreadable_batches_total",
                "Batches that compaction kept unchanged because their records cannot be read.",
                &self.unreadable_batches,
            ),
            (
                "sedge_cleaner_segments_emptied_total",
                "Sparse segments whose live batches were copied to another segment.",
                &self.segments_emptied,
            ),
            (
                "sedge_cleaner_read_bytes_total",
                "Bytes of batches that the cleaner read.",
                &self.read_bytes,
            ),
            (
                "sedge_cleaner_written_bytes_total",
                "Bytes of batches that the cleaner wrote.",
                &self.written_bytes,
            ),
        ] {
            out.counter(name, help, counter.get());
        }
        out.gauge(
            "sedge_cleaner_dirty_percent_max",
            "Dirty ratio of the dirtiest partition, in percent.",
            self.dirtiest_percent.get(),
        );
        out.gauge(
            "sedge_cleaner_set_aside",
            "Partitions and segments that could not be cleaned, and are left alone until the next \
             start.",
            self.set_aside.get(),
        );
        out.gauge(
            "sedge_cleaner_waits_for_budget",
            "1 while the day's write budget is spent and only overdue compactions run.",
            self.waits_for_budget.get(),
        );
    }
}
