//! `bench scale`: creating, describing, writing, restarting and deleting with many partitions, what
//! they take of memory and files, and what the doctor takes to look at it all. Before each restart
//! a record is written to each partition.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::bench::Spread;
use crate::limits;
use crate::proc;
use crate::scale::{self, TOPIC_PARTITIONS};
use crate::sedge::{Options, Sedge};
use crate::temp_dir::TempDir;
use crate::tools;
use crate::wire::{self, Batch, Connection, error};

/// What all partitions hold together when the restarts are measured, unless told otherwise.
pub const DATA_MB: usize = 500;
/// Written to each partition first.
const RECORD_BYTES: usize = 100;
const DELETED_PARTITIONS: i32 = 10_000;

type Stop = fn(&mut Sedge);

/// Over `partitions` with `data_mb` MB, in topics of a thousand; each kind of restart `rounds`
/// times.
pub fn run(partitions: i32, data_mb: usize, rounds: usize) -> String {
    let directory = TempDir::new("bench-scale");
    let mut sedge = Sedge::start(&directory.join("data"), Options::default());
    let mut text = format!(
        "{partitions} partitions in topics of {TOPIC_PARTITIONS}, durability sync, \
         {data_mb} MB, {rounds} restarts each\n"
    );
    let pid = sedge.process().pid();
    let empty = proc::resident_kib(pid);
    let mut connection = Connection::open(&sedge.bootstrap());
    let mut line = |what: &str, value: String| {
        writeln!(text, "{what:<44} {value}").expect("a String takes everything");
    };

    let began = Instant::now();
    scale::create(&mut connection, partitions);
    line("create, s", format!("{:.2}", began.elapsed().as_secs_f64()));
    let began = Instant::now();
    let (described, bytes) = scale::describe(&mut connection);
    assert_eq!(described, partitions as usize);
    line(
        "describe all by Metadata, s (MB)",
        format!(
            "{:.2} ({:.1})",
            began.elapsed().as_secs_f64(),
            bytes as f64 / 1e6
        ),
    );
    let began = Instant::now();
    write_to_all(&mut connection, partitions, RECORD_BYTES);
    line(
        "a record to each, s",
        format!("{:.2}", began.elapsed().as_secs_f64()),
    );
    let written = proc::resident_kib(pid);
    line(
        "resident, MiB (empty at first)",
        format!("{:.1} ({:.1})", mib(written), mib(empty)),
    );
    let each = (written.saturating_sub(empty) * 1024) as f64 / f64::from(partitions);
    line("bytes of memory a written partition", format!("{each:.0}"));
    line("open files", proc::open_files(pid).to_string());

    let began = Instant::now();
    let bytes = data_mb * 1_000_000 / partitions as usize;
    write_to_all(&mut connection, partitions, bytes);
    line(
        "the rest of the data, s",
        format!("{:.2}", began.elapsed().as_secs_f64()),
    );
    line(
        "resident, MiB",
        format!("{:.1}", mib(proc::resident_kib(pid))),
    );
    drop(connection);

    let stops: [(&str, Stop); 3] = [
        ("SIGTERM", terminate),
        ("kill -9", Sedge::kill),
        ("kill -9, the views lost", lose_views),
    ];
    for (how, stop) in stops {
        let (mut spread, mut memory) = (Spread::default(), Spread::default());
        for _ in 0..rounds {
            // What a start has to catch up with.
            write_to_all(
                &mut Connection::open(&sedge.bootstrap()),
                partitions,
                RECORD_BYTES,
            );
            stop(&mut sedge);
            let began = Instant::now();
            sedge.launch();
            first_produce(&sedge, began);
            spread.add(began.elapsed().as_secs_f64());
            memory.add(mib(proc::resident_kib(sedge.process().pid())));
        }
        line(&format!("restart after {how}, s"), spread.show(3));
        line(&format!("resident after {how}, MiB"), memory.show(1));
        let idle = memory.median() - mib(empty);
        let idle = idle * f64::from(1 << 20) / f64::from(partitions);
        line("bytes of memory an idle partition", format!("{idle:.0}"));
    }

    let mut connection = Connection::open(&sedge.bootstrap());
    wire::create_topic(&mut connection, "deleted", DELETED_PARTITIONS, &[]);
    scale::produce_to_all(&mut connection, "deleted", DELETED_PARTITIONS, RECORD_BYTES);
    let began = Instant::now();
    wire::delete_topic(&mut connection, "deleted");
    line(
        &format!("delete a topic of {DELETED_PARTITIONS}, s"),
        format!("{:.2}", began.elapsed().as_secs_f64()),
    );
    let began = Instant::now();
    wire::wait_leader(&mut connection, &scale::name(0), 0);
    line(
        "the next produce, s",
        format!("{:.2}", began.elapsed().as_secs_f64()),
    );
    drop(connection);
    sedge.terminate();
    let (seconds, peak) = doctor(sedge.data());
    line(
        "the doctor, s (MiB of memory at most)",
        format!("{seconds:.2} ({:.1})", mib(peak)),
    );
    text
}

/// How long it takes, and its memory at most in KiB.
fn doctor(data: &Path) -> (f64, u64) {
    let began = Instant::now();
    let mut command = Command::new(tools::sedge());
    command.arg("doctor").arg("--data").arg(data);
    let mut child = command
        .stdout(Stdio::null())
        .spawn()
        .expect("sedge can be started");
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            assert!(status.success(), "the doctor: {status}");
            return (began.elapsed().as_secs_f64(), peak);
        }
        peak = peak.max(proc::resident_peak_kib(child.id()));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn write_to_all(to: &mut Connection, partitions: i32, bytes: usize) {
    for topic in 0..partitions / TOPIC_PARTITIONS {
        scale::produce_to_all(to, &scale::name(topic), TOPIC_PARTITIONS, bytes);
    }
}

fn terminate(sedge: &mut Sedge) {
    sedge.terminate();
}

fn lose_views(sedge: &mut Sedge) {
    sedge.kill();
    std::fs::remove_dir_all(sedge.data().join("views")).expect("the views are there to be deleted");
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Connects as soon as the port is there, and produces one record.
fn first_produce(sedge: &Sedge, began: Instant) {
    let address = sedge.bootstrap();
    while TcpStream::connect(&address).is_err() {
        assert!(
            began.elapsed() < limits::SEDGE_READY,
            "nothing listens on {address}"
        );
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut connection = Connection::open(&address);
    let batch = Batch::filled(1, RECORD_BYTES).encode();
    let produced = wire::produce(&mut connection, &scale::name(0), 0, &batch);
    assert_eq!(produced.error, error::NONE, "{produced:?}");
}
