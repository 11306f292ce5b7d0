//! A broker with plugins.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::Connection;
use sedge_tests::{limits, plugin};

/// The example filter.
pub const RANGE: &str = "drop-out-of-range";
/// The guest that does what a record's value tells it.
pub const MISBEHAVE: &str = "test-guests/misbehave";

/// A component, built once.
pub fn component(name: &str) -> PathBuf {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let directory = TempDir::new("plugins-built");
        for name in [RANGE, MISBEHAVE] {
            plugin::build(name, directory.path());
        }
        directory
    });
    let file = name.rsplit('/').next().expect("rsplit gives one");
    built.path().join(format!("{file}.wasm"))
}

/// A broker in a directory of its own.
pub struct Place {
    pub sedge: Sedge,
    // Last, so that the process ends before its directory goes.
    _directory: TempDir,
}

impl Place {
    pub fn start(name: &str, options: Options) -> Self {
        let directory = TempDir::new(name);
        Self {
            sedge: Sedge::start(&directory.join("data"), options),
            _directory: directory,
        }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.sedge.bootstrap())
    }

    pub fn deploy(&self, name: &str, guest: &str) {
        plugin::deploy(&self.sedge.bootstrap(), name, &component(guest));
    }

    /// Waits until `is_so`, and fails with the broker's log.
    pub fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + limits::CONDITION;
        while !is_so(self) {
            assert!(
                Instant::now() < deadline,
                "{what}\n{}",
                self.sedge.process().tail()
            );
            std::thread::sleep(limits::POLL);
        }
    }
}
