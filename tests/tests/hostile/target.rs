//! The broker that is attacked, and what it holds.

use std::time::{Duration, Instant};

use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::tls::{Certificates, Client, Sessions};
use sedge_tests::wire::{self, Connection, error};
use sedge_tests::{http, limits, ports, proc, soak};

/// Connections at once. Some attacks open more.
pub const PLACES: usize = 300;
/// Threads and descriptors that may differ: of reads that run at the moment, and of segments.
const SLACK: f64 = 24.0;
/// Memory that may: buffers that the allocator keeps, and records in views.
const SLACK_BYTES: f64 = (48 << 20) as f64;

/// How to reach the broker.
pub struct Field {
    pub plain: String,
    pub ssl: String,
    pub client: Client,
    pub certificates: Certificates,
    /// How many times as many as in the quick form.
    pub scale: usize,
}

pub struct Target {
    pub sedge: Sedge,
    pub field: Field,
    _directory: TempDir,
}

/// What the broker holds for clients, by name.
#[derive(Clone, Debug)]
pub struct Held([(&'static str, f64, f64); 6]);

impl Target {
    pub fn start() -> Self {
        let directory = TempDir::new("hostile");
        let certificates = Certificates::make(&directory.join("security"));
        let ssl = format!("127.0.0.1:{}", ports::free());
        let mut options = Options::default()
            .listener(format!("SSL://{ssl}"))
            .set("sedge.profile", "small")
            .set("durability", "interval")
            .set("max.connections", &PLACES.to_string());
        options.settings.extend(certificates.settings());
        let sedge = Sedge::start(&directory.join("data"), options);
        let mut connection = Connection::open(&sedge.bootstrap());
        for topic in ["plain", "secured", "attacked"] {
            wire::create_topic(&mut connection, topic, 1, &[]);
        }
        Self {
            field: Field {
                plain: sedge.bootstrap(),
                ssl,
                client: Client::new(&certificates, None, Sessions::Fresh),
                certificates,
                scale: if soak::is_long() { 5 } else { 1 },
            },
            sedge,
            _directory: directory,
        }
    }

    /// Reads what the broker holds now, and how much more of it is no leak.
    pub fn held(&mut self) -> Held {
        let console = self.sedge.console().to_owned();
        let metric = |name: &str| http::metric(&console, name);
        let connections = metric("sedge_kafka_connections");
        let requests = metric("sedge_kafka_request_memory_bytes");
        let answers = metric("sedge_kafka_answer_memory_bytes");
        let pid = self.sedge.process().pid();
        Held([
            ("connections", connections, 0.0),
            // Of the good clients' requests, which are small.
            ("bytes of requests", requests, 8_192.0),
            ("bytes of answers", answers, 8_192.0),
            ("descriptors", proc::open_files(pid) as f64, SLACK),
            ("threads", proc::threads(pid) as f64, SLACK),
            (
                "bytes resident",
                (proc::resident_kib(pid) << 10) as f64,
                SLACK_BYTES,
            ),
        ])
    }

    pub fn wait_until_held_is_at_most(&mut self, before: &Held, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let now = self.held();
            let leaks = before.0.iter().zip(&now.0);
            let leaks: Vec<_> = leaks
                .filter(|((_, before, slack), (_, now, _))| *now > before + slack)
                .map(|((name, before, _), (_, now, _))| format!("{now} {name}, before {before}"))
                .collect();
            if leaks.is_empty() {
                return;
            }
            let is_late = Instant::now() >= deadline;
            assert!(!is_late, "{leaks:?}\n{}", self.sedge.process().tail());
            std::thread::sleep(limits::POLL);
        }
    }

    /// Each record that was acknowledged is there, in its order.
    pub fn assert_written(&self, written: &[(&'static str, i64)]) {
        let mut connection = Connection::open(&self.field.plain);
        for (topic, count) in written {
            let mut next = 0;
            while next < *count {
                let fetched = wire::fetch(&mut connection, topic, 0, next);
                assert_eq!(fetched.error, error::NONE, "{topic} at {next}");
                for record in wire::records(&fetched.records) {
                    if record.offset >= next {
                        assert_eq!(record.offset, next);
                        assert_eq!(record.value, next.to_be_bytes(), "{topic} at {next}");
                        next += 1;
                    }
                }
            }
        }
    }
}
