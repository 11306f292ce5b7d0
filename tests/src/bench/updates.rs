//! The load of the compaction benchmarks: updates of a few keys, in random order.

use crate::wire::{self, Batch, Connection, error, key};

pub const KEYS: u64 = 10_000;
pub const RECORDS: u64 = 1_000_000;
pub const VALUE_BYTES: usize = 100;
/// Records that a producer with `linger.ms` of about 5 puts into one batch.
pub const BATCH_RECORDS: u64 = 100;

/// Requests in flight, Java's default.
const IN_FLIGHT: usize = 5;

/// Updates that are encoded once and can be written to any topic.
#[derive(Debug)]
pub struct Updates {
    batches: Vec<Vec<u8>>,
}

impl Updates {
    /// Creates the updates in random order, so that each key's last one is somewhere near the end.
    pub fn make() -> Self {
        let mut state = 1_u64;
        let mut record = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = format!("{:08}", (state >> 33) % KEYS).into_bytes();
            let mut value = state.to_be_bytes().to_vec();
            value.resize(VALUE_BYTES, b'.');
            (key, Some(value))
        };
        let mut batch = || {
            let records: Vec<_> = (0..BATCH_RECORDS).map(|_| record()).collect();
            Batch::keyed(&records).encode()
        };
        let batches = (0..RECORDS / BATCH_RECORDS).map(|_| batch()).collect();
        Self { batches }
    }

    pub fn bytes(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }

    /// Writes all updates to partition 0.
    pub fn produce(&self, to: &mut Connection, topic: &str) {
        let mut in_flight = 0;
        for batch in &self.batches {
            if in_flight == IN_FLIGHT {
                check(to);
                in_flight -= 1;
            }
            let body = wire::produce_request(topic, 0, -1, batch);
            to.send(key::PRODUCE, wire::PRODUCE_VERSION, &body);
            in_flight += 1;
        }
        for _ in 0..in_flight {
            check(to);
        }
    }
}

fn check(connection: &mut Connection) {
    let produced = wire::produced(&connection.reply().frame()[4..]);
    assert_eq!(produced.error, error::NONE, "{:?}", produced.message);
}
