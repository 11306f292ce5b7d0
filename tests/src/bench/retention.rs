//! `bench retention`: measures the time from the expiry of records until their space is free, in
//! blocks of the file system.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::bench::{Load, Peer, Spread};
use crate::limits;
use crate::proc::allocated_bytes;
use crate::temp_dir::TempDir;

const BYTES: u64 = 512 << 20;
/// Longer than the writing takes on a busy machine.
const RETENTION: Duration = Duration::from_secs(20);
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Rounds, each of which begins at another moment between two checks.
const ROUNDS: u32 = 4;
const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes that may be left: the active segment and spare files, with a little for indexes.
const LEFT_BYTES: u64 = 3 * SEGMENT_BYTES + SEGMENT_BYTES / 2;

pub fn run(with_kafka: bool) -> String {
    let check_ms = CHECK_INTERVAL.as_millis().to_string();
    let check = ("log.retention.check.interval.ms", &*check_ms);
    let mut text = format!(
        "seconds until {} MiB are free after their newest record may be deleted ({}={check_ms})\n",
        BYTES >> 20,
        check.0,
    );
    let directory = TempDir::new("bench-retention");
    let small = [("sedge.profile", "small"), check];
    let sedge = measure(Peer::sedge_set(directory.path(), "interval", &small));
    writeln!(text, "sedge {}", sedge.show(2)).expect("a String takes everything");
    if with_kafka {
        let segment_bytes = SEGMENT_BYTES.to_string();
        let small = [("log.segment.bytes", &*segment_bytes), check];
        let kafka = measure(Peer::kafka_set(directory.path(), &small));
        let ratio = sedge.median() / kafka.median();
        writeln!(
            text,
            "kafka {} (log.segment.delete.delay.ms=500 instead of 60000)\nsedge/kafka {ratio:.2}",
            kafka.show(2)
        )
        .expect("as above");
    }
    text
}

fn measure(mut peer: Peer) -> Spread {
    let mut late = Spread::default();
    for round in 0..ROUNDS {
        let load = Load {
            bootstrap: peer.bootstrap(),
            topic: format!("retained-{round}"),
            partitions: 4,
            in_flight: 5,
            batch_bytes: 64 << 10,
            record_bytes: 1 << 10,
            tls: None,
        };
        load.create(&[("retention.ms", &RETENTION.as_millis().to_string())]);
        std::thread::sleep(CHECK_INTERVAL * round / ROUNDS);
        let began = Instant::now();
        load.produce(Duration::MAX, BYTES);
        // Apache Kafka uses the records' timestamps, which are from the beginning of the load.
        let newest = match peer {
            Peer::Kafka(_) => began,
            Peer::Sedge(_) => Instant::now(),
        };
        assert!(newest.elapsed() < RETENTION, "some went already");
        let may_go = newest + RETENTION;
        while allocated_bytes(&peer.segments()) > LEFT_BYTES {
            assert!(may_go.elapsed() < limits::CONDITION, "nothing is freed");
            std::thread::sleep(limits::POLL);
        }
        late.add(may_go.elapsed().as_secs_f64());
        load.delete();
    }
    peer.terminate();
    late
}
