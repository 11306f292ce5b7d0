//! A broker with plugins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use sedge_tests::process::Process;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Connection, Decoder, Encoder, key};
use sedge_tests::{limits, plugin, tools};

/// The example filter.
pub const RANGE: &str = "drop-out-of-range";
/// The example with a state.
pub const DEADBAND: &str = "deadband";
/// The guest whose behaviour a record's value selects.
pub const MISBEHAVE: &str = "test-guests/misbehave";

/// The guest with a state, of which a record's value says how it changes.
pub const REMEMBER: &str = "test-guests/remember";

/// The guest whose records say where they go.
pub const REROUTE: &str = "test-guests/reroute";

/// The example partitioner.
pub const GEOHASH: &str = "geohash-partitioner";
/// The partitioner whose setting says which rule it breaks.
pub const MISPLACE: &str = "test-guests/misplace";
/// The example quota policy.
pub const TENANTS: &str = "tenant-quota";
/// The quota policy whose decision the client id selects.
pub const JUDGE: &str = "test-guests/judge";

/// Returns a component, which is built once.
pub fn component(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<TempDir> = OnceLock::new();
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let directory = DIRECTORY.get_or_init(|| TempDir::new("plugins-built"));
    let mut built = BUILT.lock().expect("builds do not panic");
    let build = || plugin::build(name, directory.path());
    built.entry(name.to_owned()).or_insert_with(build).clone()
}

/// A broker in its own directory.
pub struct Place {
    pub sedge: Sedge,
    // Last, so that the process ends before its directory is removed.
    _directory: TempDir,
}

impl Place {
    /// Kills the broker, starts it again, and waits until the filter of `topic` takes records.
    pub fn kill_and_start(&mut self, topic: &str) -> Connection {
        self.sedge.kill();
        self.sedge.start_again();
        let mut connection = self.connect();
        plugin::wait_taken(&mut connection, topic, b"drop");
        connection
    }

    /// Produces by kcat lines of the form `key=value`. It chooses partitions as Java's producer
    /// does.
    pub fn kcat_produces(&self, topic: &str, options: &[&str], lines: &str) {
        let mut kcat = Command::new("kcat");
        kcat.args(["-P", "-b", &self.sedge.bootstrap(), "-t", topic, "-K", "="]);
        kcat.args(options);
        let done = Process::run("kcat", &mut kcat, lines.as_bytes(), limits::COMMAND);
        tools::must(done, "kcat produces");
    }

    /// Returns a line for each record that kcat reads of a topic, in kcat's format.
    pub fn kcat_reads(&self, topic: &str, format: &str) -> Vec<String> {
        let mut kcat = Command::new("kcat");
        kcat.args(["-C", "-q", "-e", "-b", &self.sedge.bootstrap(), "-t", topic]);
        kcat.args(["-f", &format!("{format}\n")]);
        let done = Process::run("kcat", &mut kcat, b"", limits::COMMAND);
        let said = tools::must(done, "kcat reads").stdout;
        said.lines().map(str::to_owned).collect()
    }

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

    /// Waits until `is_so`; on a timeout, fails with the broker's log.
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

/// Operations of IncrementalAlterConfigs.
pub const SET: i8 = 0;
pub const APPEND: i8 = 2;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const ALTER_CONFIGS: i16 = 33;
const TIMEOUT_MS: i32 = 30_000;

/// Returns error and message of an answer that names one resource.
fn answered(reply: &[u8]) -> (i16, String) {
    let mut d = Decoder(reply);
    d.i32();
    d.i32();
    (d.i16(), d.string().unwrap_or_default())
}

/// Sends IncrementalAlterConfigs v0 of one key of a topic.
pub fn alter(
    at: &mut Connection,
    topic: &str,
    op: i8,
    (name, value): (&str, &str),
    validate_only: bool,
) -> (i16, String) {
    let body = Encoder::default().i32(1).i8(TOPIC).string(topic).i32(1);
    let body = body.string(name).i8(op).string(value);
    let body = body.i8(i8::from(validate_only)).0;
    answered(&at.ask(key::INCREMENTAL_ALTER_CONFIGS, 0, &body))
}

/// Sets a configuration of all brokers.
pub fn alter_broker(
    at: &mut Connection,
    (name, value): (&str, &str),
    validate_only: bool,
) -> (i16, String) {
    let body = Encoder::default().i32(1).i8(BROKER).string("").i32(1);
    let body = body.string(name).i8(SET).string(value);
    let body = body.i8(i8::from(validate_only)).0;
    answered(&at.ask(key::INCREMENTAL_ALTER_CONFIGS, 0, &body))
}

/// Sends AlterConfigs v0 of a topic, which resets the other keys.
pub fn replace(at: &mut Connection, topic: &str, (name, value): (&str, &str)) -> (i16, String) {
    let body = Encoder::default().i32(1).i8(TOPIC).string(topic).i32(1);
    let body = body.string(name).string(value).i8(0).0;
    answered(&at.ask(ALTER_CONFIGS, 0, &body))
}

/// Sends CreateTopics v4 that is only validated.
pub fn validate(at: &mut Connection, topic: &str, (name, value): (&str, &str)) -> (i16, String) {
    let body = Encoder::default().i32(1).string(topic).i32(1).i16(1).i32(0);
    let body = body.i32(1).string(name).string(value);
    let body = body.i32(TIMEOUT_MS).i8(1).0;
    let reply = at.ask(key::CREATE_TOPICS, 4, &body);
    let mut d = Decoder(&reply);
    d.i32();
    d.i32();
    d.string();
    (d.i16(), d.string().unwrap_or_default())
}

/// Produces a batch. Returns the error, and the records that the answer names.
pub fn produce(at: &mut Connection, topic: &str, batch: &[u8]) -> (i16, Vec<(i32, String)>) {
    let body = wire::produce_request(topic, 0, -1, batch);
    refused(&at.ask(key::PRODUCE, wire::PRODUCE_VERSION, &body))
}

/// Returns the error of a produce answer for one partition, and the records that it names.
pub fn refused(reply: &[u8]) -> (i16, Vec<(i32, String)>) {
    let mut d = Decoder(reply);
    d.i32();
    d.string();
    d.i32();
    d.i32();
    let error = d.i16();
    d.take(24);
    let named = (0..d.i32()).map(|_| (d.i32(), d.string().unwrap_or_default()));
    (error, named.collect())
}

/// Returns a command's output, and whether it succeeded.
pub fn command(place: &Place, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(tools::sedge());
    command.args(arguments);
    command.args(["--bootstrap-server", &place.sedge.bootstrap()]);
    let finished = Process::run("sedge", &mut command, b"", limits::COMMAND);
    let said = format!("{}{}", finished.stdout, finished.stderr);
    (finished.status.success(), said)
}
