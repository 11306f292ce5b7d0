//! The device's limits and use: the cap, and the wear of its flash.

use crate::metrics::Exposition;

/// The device at one moment.
#[derive(Debug, Default, Clone)]
pub struct DiskStatus {
    /// Bytes that the data directory uses, views included.
    pub used_bytes: u64,
    /// The cap; `None` without one.
    pub cap_bytes: Option<u64>,
    /// Segments since the start that reused freed files.
    pub segments_recycled: u64,
    /// Bytes written to the device since the data directory was created.
    pub written_bytes: u64,
    /// Bytes written on the current day.
    pub day_bytes: u64,
    /// `sedge.disk.write.budget.bytes.per.day`.
    pub budget_bytes: Option<u64>,
    /// Years left at the rate so far, by `sedge.disk.endurance.bytes`.
    pub years_left: Option<f64>,
    /// Bytes written for each byte produced, both since the start; `None` before the first produce.
    pub written_per_produced: Option<f64>,
}

impl DiskStatus {
    pub(super) fn expose(&self, out: &mut Exposition) {
        out.gauge(
            "sedge_disk_used_bytes",
            "Bytes of the data directory, with the views.",
            self.used_bytes,
        );
        out.counter(
            "sedge_storage_segments_recycled_total",
            "Segments that reuse the file of a freed one.",
            self.segments_recycled,
        );
        out.counter(
            "sedge_disk_written_bytes_total",
            "Bytes written to the device since the data directory was created.",
            self.written_bytes,
        );
        out.gauge(
            "sedge_disk_written_day_bytes",
            "Bytes written to the device in the current day.",
            self.day_bytes,
        );
        if let Some(bytes) = self.cap_bytes {
            let help = "Most bytes that the data directory may take.";
            out.gauge("sedge_disk_cap_bytes", help, bytes);
        }
        if let Some(bytes) = self.budget_bytes {
            let help = "Most bytes to write to the device in a day.";
            out.gauge("sedge_disk_write_budget_bytes_per_day", help, bytes);
        }
        if let Some(years) = self.years_left {
            let help = "Years until the device's rated endurance is used up, at the rate so far.";
            out.gauge("sedge_disk_years_left", help, years);
        }
        if let Some(ratio) = self.written_per_produced {
            let help = "Bytes written for each byte produced, since the start.";
            out.gauge("sedge_disk_written_per_produced", help, ratio);
        }
    }

    /// Returns a line for the page.
    pub(super) fn wear(&self, bytes: impl Fn(u64) -> String) -> String {
        let day = bytes(self.day_bytes);
        let mut line = format!("{} in total, {day} today", bytes(self.written_bytes));
        if let Some(budget) = self.budget_bytes {
            line = format!("{line} of {}", bytes(budget));
        }
        if let Some(years) = self.years_left {
            line = format!("{line}, {years:.1} years left");
        }
        line
    }
}
