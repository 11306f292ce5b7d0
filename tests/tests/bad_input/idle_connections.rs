//! Tests clients that open connections and send nothing, more than the process may have
//! descriptors.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sedge_tests::broker::is_skipped_on_kafka;
use sedge_tests::sedge::{Options, Sedge};
use sedge_tests::temp_dir::TempDir;
use sedge_tests::wire::{self, Batch, Connection, Reply, error};
use sedge_tests::{http, limits, proc, report};

const STRANGERS: usize = 5_000;
const OPEN_FILES: u64 = 1_024;
/// Large enough that a few of them fill a segment.
const BATCH_BYTES: usize = 300 << 10;

#[test]
fn idle_strangers_neither_end_the_process_nor_lock_clients_out() {
    if is_skipped_on_kafka() {
        return;
    }
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .expect("a soft limit can be raised");
    let enough = STRANGERS as u64 + 500;
    assert!(
        maximum.is_none_or(|maximum| maximum >= enough),
        "this test needs {enough} descriptors (`ulimit -n`): {current:?} of {maximum:?}"
    );
    let directory = TempDir::new("strangers");
    // Segments are begun constantly: each needs a descriptor.
    let options = Options::default()
        .set("sedge.segment.bytes", &(1 << 20).to_string())
        .open_files(OPEN_FILES);
    let mut sedge = Sedge::start(&directory.join("data"), options);
    let told = "max.connections is";
    sedge
        .process()
        .wait_for("its limit", limits::CONDITION, |output| {
            output
                .stderr
                .iter()
                .any(|line| line.contains(told))
                .then_some(())
        });
    let mut before = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut before, "t", 1, &[]);

    let strangers = Strangers::start(&sedge.bootstrap());
    let batch = Batch::filled(1, BATCH_BYTES).encode();
    let mut slowest = Duration::ZERO;
    let mut written = 0;
    // An existing connection, and one that reconnects each time; while the others come, and
    // afterwards.
    while !strangers.are_all_there() || written < 20 {
        for old in [true, false] {
            let began = Instant::now();
            let produced = if old {
                wire::produce(&mut before, "t", 0, &batch)
            } else {
                wire::produce(&mut patient(&sedge.bootstrap()), "t", 0, &batch)
            };
            assert_eq!(produced.error, error::NONE, "{produced:?}");
            assert_eq!(produced.base_offset, written);
            written += 1;
            slowest = slowest.max(began.elapsed());
        }
        sedge.assert_alive();
    }
    let open = proc::open_files(sedge.process().pid());
    assert!(open < OPEN_FILES as usize, "{open} are open");
    let segments = http::metric(sedge.console(), "sedge_storage_segments");
    assert!(segments > 3.0, "{segments}");
    let displaced = http::metric(sedge.console(), "sedge_kafka_connections_displaced_total");
    assert!(displaced > 3_000.0, "{displaced} gave their place");
    for offset in 0..written {
        let fetched = wire::fetch(&mut before, "t", 0, offset);
        assert_eq!(fetched.error, error::NONE, "a fetch at {offset}");
    }
    let lines = sedge.process().output().stderr.len();
    assert!(lines < 500, "{lines} lines in the log");
    report::line(format_args!(
        "{STRANGERS} strangers: {written} produces, the slowest took {} ms",
        slowest.as_millis()
    ));
    drop(strangers);
}

/// Opens a connection, retrying as clients do if it is refused.
fn patient(address: &str) -> Connection {
    let began = Instant::now();
    loop {
        let mut connection = Connection::open(address);
        connection.send(wire::key::API_VERSIONS, 0, &[]);
        if let Reply::Frame(_) = connection.reply() {
            return connection;
        }
        assert!(
            began.elapsed() < limits::CONDITION,
            "clients are locked out"
        );
        std::thread::sleep(limits::POLL);
    }
}

/// Connections opened by a thread of their own, held open until they are dropped.
struct Strangers(std::thread::JoinHandle<Vec<TcpStream>>);

impl Strangers {
    fn start(address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("an address of loopback");
        Self(std::thread::spawn(move || {
            let connect = |_| TcpStream::connect_timeout(&address, limits::REPLY).ok();
            (0..STRANGERS).filter_map(connect).collect()
        }))
    }

    fn are_all_there(&self) -> bool {
        self.0.is_finished()
    }
}
