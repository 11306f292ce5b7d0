//! `bench scale`: creates, describes, writes, restarts and deletes many partitions, and measures
//! their memory and files, and the doctor's time and memory. Before each restart a record is
//! written to each partition.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Peer, Spread};
use crate::limits;
use crate::proc;
use crate::scale::{self, TOPIC_PARTITIONS};
use crate::temp_dir::TempDir;
use crate::tools;
use crate::wire::{self, Connection};

/// Default size of all partitions together for the restarts, in MB.
pub const DATA_MB: usize = 500;
/// Bytes that are first written to each partition.
const RECORD_BYTES: usize = 100;
const DELETED_PARTITIONS: i32 = 10_000;

/// Rounds with Apache Kafka, whose restarts take minutes each.
const KAFKA_ROUNDS: usize = 2;

type Stop = fn(&mut Peer);

/// The number of partitions, and the number of rounds.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub partitions: i32,
    pub data_mb: usize,
    /// Rounds of each kind of restart.
    pub rounds: usize,
    pub with_kafka: bool,
}

/// Runs the benchmark, in topics of a thousand partitions. Reports each line as soon as it is
/// measured.
pub fn run(plan: Plan, say: &dyn Fn(&str)) {
    let directory = TempDir::new("bench-scale");
    say(&format!(
        "{} partitions in topics of {TOPIC_PARTITIONS}, {} MB; sedge durability sync, Kafka's \
         default",
        plan.partitions, plan.data_mb
    ));
    let mut sedge = Peer::sedge(directory.path(), "sync");
    let ours = measure(&mut sedge, plan, say);
    sedge.terminate();
    let (seconds, peak) = doctor(&directory.join("sedge"));
    say(&format!(
        "sedge the doctor, s (MiB of memory at most) {seconds:.2} ({:.1})",
        mib(peak)
    ));
    if plan.with_kafka {
        let mut kafka = Peer::kafka(directory.path());
        let plan = Plan {
            rounds: plan.rounds.min(KAFKA_ROUNDS),
            ..plan
        };
        let theirs = measure(&mut kafka, plan, say);
        kafka.kill();
        for ((what, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            say(&format!("sedge/kafka {what:<44} {:.3}", ours / theirs));
        }
    }
}

/// Figures by which the brokers are compared.
type Figures = Vec<(String, f64)>;

fn measure(peer: &mut Peer, plan: Plan, say: &dyn Fn(&str)) -> Figures {
    let Plan {
        partitions, rounds, ..
    } = plan;
    let mut figures = Figures::new();
    let name = peer.name();
    let line = |what: &str, value: String| {
        say(&format!("{name:<5} {what:<50} {value}"));
    };
    let pid = peer.pid();
    let empty = proc::resident_kib(pid);
    let mut connection = patient(peer);
    let began = Instant::now();
    scale::create(&mut connection, partitions);
    line("create, s", format!("{:.2}", began.elapsed().as_secs_f64()));
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
    figures.push(("resident, created and written".into(), mib(written)));
    let each = (written.saturating_sub(empty) * 1024) as f64 / f64::from(partitions);
    line("bytes of memory a written partition", format!("{each:.0}"));
    let files = proc::open_files(pid);
    line("open files", files.to_string());
    figures.push(("open files".into(), files as f64));

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
    let bytes = plan.data_mb * 1_000_000 / partitions as usize;
    write_to_all(&mut connection, partitions, bytes);
    line(
        "the rest of the data, s",
        format!("{:.2}", began.elapsed().as_secs_f64()),
    );
    let resident = mib(proc::resident_kib(pid));
    line("resident, MiB", format!("{resident:.1}"));
    figures.push(("resident with the data".into(), resident));
    drop(connection);

    let mut stops: Vec<(&str, Stop)> = vec![("SIGTERM", Peer::terminate), ("kill -9", Peer::kill)];
    if let Peer::Sedge(_) = peer {
        stops.push(("kill -9, the views lost", lose_views));
    }
    for (how, stop) in stops {
        let (mut spread, mut memory) = (Spread::default(), Spread::default());
        for _ in 0..rounds {
            // Records that a start has to catch up with.
            write_to_all(&mut patient(peer), partitions, RECORD_BYTES);
            stop(peer);
            let began = Instant::now();
            peer.launch();
            first_produce(peer, began);
            spread.add(began.elapsed().as_secs_f64());
            memory.add(mib(proc::resident_kib(peer.pid())));
        }
        line(
            &format!("restart after {how}, s ({rounds} times)"),
            spread.show(3),
        );
        line(&format!("resident after {how}, MiB"), memory.show(1));
        let idle = memory.median() - mib(empty);
        let idle = idle * f64::from(1 << 20) / f64::from(partitions);
        line("bytes of memory an idle partition", format!("{idle:.0}"));
        figures.push((format!("restart after {how}"), spread.median()));
    }

    // Apache Kafka refuses to create so many partitions in one request.
    if let Peer::Kafka(_) = peer {
        return figures;
    }
    let mut connection = patient(peer);
    wire::create_topic(&mut connection, "deleted", DELETED_PARTITIONS, &[]);
    scale::produce_to_all(&mut connection, "deleted", DELETED_PARTITIONS, RECORD_BYTES);
    let began = Instant::now();
    wire::delete_topic(&mut connection, "deleted");
    let took = began.elapsed().as_secs_f64();
    line(
        &format!("delete a topic of {DELETED_PARTITIONS}, s"),
        format!("{took:.2}"),
    );
    let began = Instant::now();
    wire::wait_leader(&mut connection, &scale::name(0), 0);
    line(
        "the next produce, s",
        format!("{:.2}", began.elapsed().as_secs_f64()),
    );
    figures
}

/// Returns a patient connection: Apache Kafka is slow with so many partitions.
fn patient(peer: &Peer) -> Connection {
    Connection::patient(&peer.bootstrap(), limits::MANY_PARTITIONS)
}

/// Returns the doctor's time in seconds, and its peak memory in KiB.
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
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn write_to_all(to: &mut Connection, partitions: i32, bytes: usize) {
    for topic in 0..partitions / TOPIC_PARTITIONS {
        scale::produce_to_all(to, &scale::name(topic), TOPIC_PARTITIONS, bytes);
    }
}

fn lose_views(peer: &mut Peer) {
    peer.kill();
    let Peer::Sedge(sedge) = peer else { return };
    std::fs::remove_dir_all(sedge.data().join("views")).expect("the views are there to be deleted");
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Connects as soon as the port accepts, and produces one record.
fn first_produce(peer: &Peer, began: Instant) {
    let address = peer.bootstrap();
    while TcpStream::connect(&address).is_err() {
        assert!(
            began.elapsed() < limits::MANY_PARTITIONS,
            "nothing listens on {address}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    wire::wait_leader(&mut patient(peer), &scale::name(0), 0);
}
