//! `bench groups`: many consumer groups that commit offsets at the same time over a few
//! connections, compared with Apache Kafka in one run.
//!
//! The groups have no members, so a commit is all that their coordinator does. Each round measures
//! every broker in turn.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::bench::{Outcome, Peer, Spread};
use crate::temp_dir::TempDir;
use crate::wire::{self, Commit, Connection, commit_error, committed, error};

/// How many, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub groups: usize,
    pub connections: usize,
    /// Commits in flight on each connection, of different groups.
    pub in_flight: usize,
    pub rounds: usize,
    pub seconds: u64,
    pub with_kafka: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            groups: 1_000,
            connections: 8,
            in_flight: 5,
            rounds: 5,
            seconds: 5,
            with_kafka: true,
        }
    }
}

const TOPIC: &str = "read";
const PARTITIONS: i32 = 10;
/// Commits before measuring: a JVM compiles code that has run often.
const WARM: Duration = Duration::from_secs(10);
const PERCENTS: [f64; 4] = [50.0, 99.0, 99.9, 100.0];

/// A broker with its groups, and the figures of its rounds.
struct Measured {
    name: String,
    peer: Peer,
    /// For each connection its groups: name, and the newest offset that was sent.
    groups: Vec<Vec<(String, i64)>>,
    rate: Spread,
    latencies: [Spread; PERCENTS.len()],
}

/// Runs the plan and returns its table.
pub fn run(plan: &Plan, progress: &dyn Fn(&str)) -> String {
    assert!(
        plan.groups >= plan.connections * plan.in_flight,
        "each commit in flight needs a group of its own"
    );
    let directory = TempDir::new("bench-groups");
    let mut measured: Vec<Measured> = peers(&directory, plan.with_kafka)
        .into_iter()
        .map(|(name, peer)| Measured::new(name, peer, plan))
        .collect();
    for broker in &mut measured {
        broker.commit(plan, WARM);
    }
    for round in 1..=plan.rounds {
        for broker in &mut measured {
            let mut outcome = broker.commit(plan, Duration::from_secs(plan.seconds));
            let rate = outcome.requests as f64 / outcome.took.as_secs_f64();
            broker.rate.add(rate);
            for (spread, percent) in broker.latencies.iter_mut().zip(PERCENTS) {
                spread.add(outcome.latency_ms(percent));
            }
            progress(&format!(
                "round {round}, {}: {rate:.0} commits/s",
                broker.name
            ));
        }
    }
    let mut table = format!(
        "{} groups, {} connections with {} commits in flight | commits/s | p50 | p99 | p99.9 | \
         max, ms\n",
        plan.groups, plan.connections, plan.in_flight
    );
    for broker in &mut measured {
        broker.check();
        write!(table, "{} | {}", broker.name, broker.rate.show(0)).expect("a String takes all");
        for spread in &broker.latencies {
            write!(table, " | {}", spread.show(2)).expect("as above");
        }
        table.push('\n');
        broker.peer.terminate();
    }
    table
}

/// Starts the brokers: sedge with either durability, since Apache Kafka does not flush commits.
fn peers(directory: &TempDir, with_kafka: bool) -> Vec<(String, Peer)> {
    let mut peers = Vec::new();
    for durability in ["interval", "sync"] {
        let peer = Peer::sedge(&directory.join(durability), durability);
        peers.push((format!("{}, {durability}", peer.name()), peer));
    }
    if with_kafka {
        let peer = Peer::kafka(directory.path());
        peers.push((peer.name().to_owned(), peer));
    }
    peers
}

impl Measured {
    fn new(name: String, peer: Peer, plan: &Plan) -> Self {
        let mut connection = Connection::open(&peer.bootstrap());
        wire::create_topic(&mut connection, TOPIC, PARTITIONS, &[]);
        wire::wait_leader(&mut connection, TOPIC, 0);
        let mut groups = vec![Vec::new(); plan.connections];
        for number in 0..plan.groups {
            let group = format!("group-{number}");
            Commit::of(&group, TOPIC, 0).wait(&mut connection);
            groups[number % plan.connections].push((group, 0));
        }
        Self {
            name,
            peer,
            groups,
            rate: Spread::default(),
            latencies: Default::default(),
        }
    }

    /// Commits on all connections for `time`.
    fn commit(&mut self, plan: &Plan, time: Duration) -> Outcome {
        let bootstrap = self.peer.bootstrap();
        let mut total = Outcome::default();
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .groups
                .iter_mut()
                .map(|groups| {
                    let connection = Connection::open(&bootstrap);
                    scope.spawn(move || commit_on(connection, groups, plan.in_flight, time))
                })
                .collect();
            for thread in threads {
                total.merge(thread.join().expect("each commit is acknowledged"));
            }
        });
        total
    }

    /// Checks that each group has the offset that was acknowledged last.
    fn check(&self) {
        let mut connection = Connection::open(&self.peer.bootstrap());
        for (group, offset) in self.groups.iter().flatten() {
            let found = committed(&mut connection, group, TOPIC, 0);
            assert_eq!(found, Some(*offset), "{}: {group}", self.name);
        }
    }
}

/// Commits the groups' next offsets, one group after the other, with `in_flight` unanswered.
fn commit_on(
    mut connection: Connection,
    groups: &mut [(String, i64)],
    in_flight: usize,
    time: Duration,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut sent: VecDeque<Instant> = VecDeque::new();
    let mut next = 0;
    let began = Instant::now();
    loop {
        while sent.len() < in_flight && began.elapsed() < time {
            let (group, offset) = &mut groups[next];
            *offset += 1;
            let commit = Commit::of(group, TOPIC, *offset);
            sent.push_back(Instant::now());
            commit.send(&mut connection);
            next = (next + 1) % groups.len();
        }
        let Some(at) = sent.pop_front() else {
            outcome.took = began.elapsed();
            return outcome;
        };
        let reply = connection.reply().frame();
        assert_eq!(commit_error(&reply[4..]), error::NONE);
        outcome.note(at.elapsed(), 0);
    }
}
