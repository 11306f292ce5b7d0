//! Counters of deletions by retention and the disk cap.

use sedge_core::disk_cap::{Class, Dropped};

use super::{Counter, Exposition};

/// Records and bytes that were deleted for one reason.
#[derive(Debug, Default)]
struct Gone {
    records: Counter,
    bytes: Counter,
}

/// Counters of deletions.
#[derive(Debug, Default)]
pub struct RetentionMetrics {
    limits: Gone,
    low: Gone,
    copied: Gone,
    unmarked: Gone,
    high: Gone,
}

impl Gone {
    fn add(&self, records: i64, bytes: u64) {
        self.records.add(u64::try_from(records).unwrap_or(0));
        self.bytes.add(bytes);
    }
}

impl RetentionMetrics {
    /// Counts a deletion by a topic's own limits.
    pub fn limits(&self, records: i64, bytes: u64) {
        self.limits.add(records, bytes);
    }

    /// Counts a deletion for the disk cap.
    pub fn cap(&self, of: &Dropped) {
        let gone = match of.class {
            Class::Low => &self.low,
            Class::Copied => &self.copied,
            Class::Unmarked => &self.unmarked,
            Class::High => &self.high,
        };
        gone.add(of.next_offset.get() - of.first_offset.get(), of.bytes);
    }

    pub fn expose(&self, out: &mut Exposition) {
        let all = [
            ("limits", &self.limits),
            ("cap-low", &self.low),
            ("cap-copied", &self.copied),
            ("cap-normal", &self.unmarked),
            ("cap-high", &self.high),
        ];
        let records = "sedge_retention_records_total";
        out.family(
            records,
            "counter",
            "Records deleted, by reason: the limits of topics or the disk cap.",
        );
        for (reason, gone) in all {
            out.sample(records, &[("reason", reason)], gone.records.get());
        }
        let bytes = "sedge_retention_bytes_total";
        out.family(bytes, "counter", "Bytes of deleted batches, by reason.");
        for (reason, gone) in all {
            out.sample(bytes, &[("reason", reason)], gone.bytes.get());
        }
    }
}
