//! `bench start`: measures the time from the start of the process to the first acknowledged
//! produce.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bench::{Peer, Spread};
use crate::limits;
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection};

/// Runs each kind of start `rounds` times over a topic of `partitions`.
pub fn run(rounds: usize, partitions: i32, with_kafka: bool) -> String {
    let mut text = format!("start to the first acknowledged produce, {partitions} partitions, s\n");
    let directory = TempDir::new("bench-start");
    let mut fresh = Spread::default();
    for round in 0..rounds {
        let at = directory.join(&format!("fresh-{round}"));
        let began = Instant::now();
        let peer = Peer::sedge(&at, "sync");
        first_produce(&peer, began, Some(1), &mut fresh);
    }
    writeln!(text, "sedge fresh: {}", fresh.show(3)).expect("a String takes everything");
    let mut peers = vec![Peer::sedge(directory.path(), "sync")];
    if with_kafka {
        peers.push(Peer::kafka(directory.path()));
    }
    for peer in &mut peers {
        let mut ignored = Spread::default();
        first_produce(peer, Instant::now(), Some(partitions), &mut ignored);
        for (how, stop) in [
            ("after SIGTERM", Peer::terminate as fn(&mut Peer)),
            ("after kill -9", Peer::kill),
        ] {
            let mut spread = Spread::default();
            for _ in 0..rounds {
                stop(peer);
                let began = Instant::now();
                peer.launch();
                first_produce(peer, began, None, &mut spread);
            }
            writeln!(text, "{} {how}: {}", peer.name(), spread.show(3))
                .expect("a String takes everything");
        }
    }
    text
}

/// Connects as soon as the port accepts and produces one record; adds the seconds since `began`.
pub(super) fn first_produce(peer: &Peer, began: Instant, create: Option<i32>, spread: &mut Spread) {
    let address = peer.bootstrap();
    while TcpStream::connect(&address).is_err() {
        assert!(
            began.elapsed() < limits::KAFKA_READY,
            "nothing listens on {address}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut connection = Connection::open(&address);
    if let Some(partitions) = create {
        wire::create_topic(&mut connection, "started", partitions, &[]);
    }
    wire::wait_leader(&mut connection, "started", 0);
    spread.add(began.elapsed().as_secs_f64());
}
