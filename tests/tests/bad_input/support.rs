//! A broker that is checked after each attack: does it still serve?

use sedge_tests::broker::Broker;
use sedge_tests::proc;
use sedge_tests::wire::{self, Batch, Connection, error};

/// Resident memory that an attack may add, in KiB: read buffers and the allocator's slack.
const GROWTH_KIB_MAX: u64 = 32 << 10;

pub struct Target {
    pub broker: Broker,
    resident_kib: u64,
}

impl Target {
    pub fn start(name: &str) -> Self {
        let mut broker = Broker::start(name, &[]);
        let mut connection = Connection::open(&broker.bootstrap());
        wire::create_topic(&mut connection, "t", 1, &[]);
        wire::wait_leader(&mut connection, "t", 0);
        let resident_kib = proc::resident_kib(broker.pid());
        Self {
            broker,
            resident_kib,
        }
    }

    /// Takes the current memory as the baseline.
    pub fn settle(&mut self) {
        self.resident_kib = proc::resident_kib(self.broker.pid());
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.broker.bootstrap())
    }

    /// Produces and fetches over a new connection, and checks the broker's memory.
    pub fn assert_serves(&mut self, after: &str) {
        let mut connection = self.connect();
        let offset = produce_one(&mut connection);
        let fetched = wire::fetch(&mut connection, "t", 0, offset);
        assert_eq!(fetched.error, error::NONE, "a fetch after {after}");
        assert!(
            !fetched.records.is_empty(),
            "the record comes back after {after}"
        );
        if self.broker.is_kafka() {
            return;
        }
        let resident_kib = proc::resident_kib(self.broker.pid());
        assert!(
            resident_kib < self.resident_kib + GROWTH_KIB_MAX,
            "{after} took {} KiB: {resident_kib} KiB resident, {} before\n{}",
            resident_kib - self.resident_kib,
            self.resident_kib,
            self.broker.tail()
        );
        let log = self.broker.tail();
        assert!(!log.contains("panicked"), "a panic after {after}\n{log}");
    }
}

fn produce_one(connection: &mut Connection) -> i64 {
    let produced = wire::produce(connection, "t", 0, &Batch::filled(1, 100).encode());
    assert_eq!(
        produced.error,
        error::NONE,
        "a plain produce: {:?}",
        produced.message
    );
    produced.base_offset
}
