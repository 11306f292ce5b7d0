//! A producer that sends a batch at fixed intervals, one at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Outcome;
use crate::wire::{self, Batch, Connection, error};

/// Time between two batches.
const INTERVAL: Duration = Duration::from_millis(2);

/// Produces to a partition until `is_over`. Every batch must be accepted.
pub(super) fn produce(bootstrap: &str, topic: &str, is_over: &AtomicBool) -> Outcome {
    let batch = Batch::filled(16, 1 << 10).encode();
    let mut at = Connection::open(bootstrap);
    let mut outcome = Outcome::default();
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let produced = wire::produce(&mut at, topic, 0, &batch);
        assert_eq!(produced.error, error::NONE, "{topic}: {produced:?}");
        outcome.note(sent.elapsed(), batch.len());
        due = (due + INTERVAL).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    outcome
}

/// Produces while `meanwhile` runs.
pub(super) fn beside(bootstrap: &str, topic: &str, meanwhile: impl FnOnce()) -> Outcome {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        let producer = scope.spawn(move || produce(bootstrap, topic, is_over));
        meanwhile();
        is_over.store(true, Ordering::Relaxed);
        producer.join().expect("all batches are accepted")
    })
}
