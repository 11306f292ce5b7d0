//! Summaries that a binding logs: the first event at once, then once a minute the counts since.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};

/// How often a binding repeats a summary.
pub const TELL_EVERY: Duration = Duration::from_mins(1);

/// Counts of one binding.
#[derive(Debug)]
pub struct Tally {
    topic: String,
    /// The plugin with its role, such as "filter range".
    plugin: String,
    dropped: Mutex<Count>,
    rejected: Mutex<Count>,
    refused: Mutex<Count>,
}

/// Counts since the last log line.
#[derive(Debug, Default)]
pub struct Count {
    told: Option<Instant>,
    pub some: u64,
    of: u64,
    pub why: String,
}

impl Count {
    /// Adds events; the last reason counts.
    pub fn add(&mut self, some: u64, why: impl Into<String>) {
        self.some += some;
        self.why = why.into();
    }

    /// Returns the counts that are due for logging, and resets them.
    pub fn take(&mut self, now: Instant) -> Option<Self> {
        let is_due = |told| now.duration_since(told) >= TELL_EVERY;
        if self.some == 0 || !self.told.is_none_or(is_due) {
            return None;
        }
        let told = Some(now);
        Some(std::mem::replace(
            self,
            Self {
                told,
                ..Self::default()
            },
        ))
    }
}

impl Tally {
    pub fn new(topic: &str, plugin: String) -> Self {
        Self {
            topic: topic.to_owned(),
            plugin,
            dropped: Mutex::default(),
            rejected: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Counts records of a batch, and those of them that the filter dropped.
    pub fn dropped(&self, dropped: usize, records: usize) {
        let mut count = lock(&self.dropped);
        count.some += dropped as u64;
        count.of += records as u64;
        self.tell_dropped(count, Instant::now());
    }

    /// Counts rejected records that nobody can be told about.
    pub fn rejected(&self, rejected: usize, why: &str) {
        if rejected == 0 {
            return;
        }
        let mut count = lock(&self.rejected);
        count.add(rejected as u64, why);
        self.tell_rejected(count, Instant::now());
    }

    /// Counts a batch that was refused and should be sent, or asked for, again.
    pub fn refused(&self, why: &str) {
        let mut count = lock(&self.refused);
        count.add(1, why);
        self.tell_refused(count, Instant::now());
    }

    /// Logs what is due.
    pub fn tell(&self, now: Instant) {
        self.tell_dropped(lock(&self.dropped), now);
        self.tell_rejected(lock(&self.rejected), now);
        self.tell_refused(lock(&self.refused), now);
    }

    fn tell_dropped(&self, mut count: MutexGuard<'_, Count>, now: Instant) {
        let due = count.take(now);
        drop(count);
        if let Some(Count { some, of, .. }) = due {
            info!(
                target: "sedge::plugin",
                "{}: the {} dropped {some} of {of} records (logged once a minute)",
                self.topic, self.plugin
            );
        }
    }

    fn tell_rejected(&self, mut count: MutexGuard<'_, Count>, now: Instant) {
        let due = count.take(now);
        drop(count);
        if let Some(Count { some, why, .. }) = due {
            let records = if some == 1 { "record" } else { "records" };
            warn!(
                target: "sedge::plugin",
                "{}: the {} rejected {some} {records}: {why} (logged once a minute)",
                self.topic, self.plugin
            );
        }
    }

    fn tell_refused(&self, mut count: MutexGuard<'_, Count>, now: Instant) {
        let due = count.take(now);
        drop(count);
        if let Some(Count { some, why, .. }) = due {
            let batches = if some == 1 { "batch" } else { "batches" };
            warn!(
                target: "sedge::plugin",
                "{}: {some} {batches} refused, for the client to retry: {why} (logged once a \
                 minute)",
                self.topic
            );
        }
    }
}

fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together_a_minute_later() {
        let mut count = Count::default();
        let began = Instant::now();
        let mut told = |some: u64, seconds: u64| {
            count.some += some;
            let due = count.take(began + Duration::from_secs(seconds));
            due.map(|due| due.some)
        };
        assert_eq!(told(0, 0), None);
        assert_eq!(told(3, 1), Some(3));
        assert_eq!(told(4, 2), None);
        assert_eq!(told(5, 60), None);
        assert_eq!(told(0, 61), Some(9), "a minute after the first");
        assert_eq!(told(0, 200), None, "nothing since");
        assert_eq!(told(1, 201), Some(1));
    }
}
