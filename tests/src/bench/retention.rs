//! `bench retention`: how long after records may go their space is there.

use std::time::{Duration, Instant};

use crate::bench::{Load, Peer, Spread};
use crate::temp_dir::TempDir;
use crate::{http, limits};

const BYTES: u64 = 512 << 20;
const RETENTION: Duration = Duration::from_secs(8);
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// The active segment, and files that wait to be used again.
const SEGMENTS_LEFT: f64 = 3.0;
const SEGMENT_BYTES: f64 = 16.0 * 1024.0 * 1024.0;

pub fn run() -> String {
    let mut late = Spread::default();
    let directory = TempDir::new("bench-retention");
    let millis = |of: Duration| of.as_millis().to_string();
    let settings = [
        ("sedge.profile", "small"),
        ("log.retention.check.interval.ms", &*millis(CHECK_INTERVAL)),
    ];
    let mut peer = Peer::sedge_set(&directory.join("data"), "interval", &settings);
    for round in 0..ROUNDS {
        let load = Load {
            bootstrap: peer.bootstrap(),
            topic: format!("retained-{round}"),
            partitions: 4,
            in_flight: 5,
            batch_bytes: 64 << 10,
            record_bytes: 1 << 10,
        };
        load.create(&[("retention.ms", &millis(RETENTION))]);
        load.produce(Duration::MAX, BYTES);
        let may_go = Instant::now() + RETENTION;
        let bytes = |name| http::metric(peer.console(), name);
        while bytes("sedge_storage_disk_bytes") > SEGMENTS_LEFT * SEGMENT_BYTES {
            assert!(may_go.elapsed() < limits::CONDITION, "nothing is freed");
            std::thread::sleep(limits::POLL);
        }
        late.add(may_go.elapsed().as_secs_f64());
        load.delete();
    }
    peer.terminate();
    format!(
        "the space of {} MiB is back {} s after the newest of them may go \
         (log.retention.check.interval.ms={})",
        BYTES >> 20,
        late.show(2),
        CHECK_INTERVAL.as_millis()
    )
}
