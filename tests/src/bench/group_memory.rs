//! `bench group-memory`: what many groups at rest cost: resident memory over idle, and the time of
//! a restart until a produce is acknowledged and the offsets are there.

use std::fmt::Write as _;
use std::time::Instant;

use sedge_protocol::kafka::KafkaString;
use sedge_protocol::kafka::generated as messages;

use messages::offset_commit_request::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use messages::offset_commit_response::OffsetCommitResponseData;

use crate::ask;
use crate::bench::memory::settled;
use crate::bench::start::first_produce;
use crate::bench::{Peer, Spread};
use crate::proc;
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection, committed, error};

const TOPIC: &str = "read";
/// Offsets of each group.
const PARTITIONS: i32 = 10;

/// Runs with `groups` and `rounds` restarts of each kind, and returns the text.
pub fn run(groups: usize, rounds: usize) -> String {
    let directory = TempDir::new("bench-group-memory");
    let mut peer = Peer::sedge(directory.path(), "interval");
    let mut text = String::new();
    let mut connection = Connection::open(&peer.bootstrap());
    wire::create_topic(&mut connection, TOPIC, PARTITIONS, &[]);
    wire::wait_leader(&mut connection, TOPIC, 0);
    first_produce(&peer, Instant::now(), Some(1), &mut Spread::default());
    let idle = settled(peer.pid());
    for group in 0..groups {
        commit(&mut connection, group);
    }
    let with_groups = settled(peer.pid());
    let mib = |kib: u64| kib as f64 / 1024.0;
    writeln!(
        text,
        "{groups} groups with {PARTITIONS} offsets each: {:.1} MiB over {:.1} (peak {:.1})",
        mib(with_groups.saturating_sub(idle)),
        mib(idle),
        mib(proc::resident_peak_kib(peer.pid())),
    )
    .expect("a String takes everything");
    for (how, stop) in [
        ("after SIGTERM", Peer::terminate as fn(&mut Peer)),
        ("after kill -9", Peer::kill),
    ] {
        let (mut first, mut offsets) = (Spread::default(), Spread::default());
        let mut resident = Spread::default();
        for _ in 0..rounds {
            stop(&mut peer);
            let began = Instant::now();
            peer.launch();
            first_produce(&peer, began, None, &mut first);
            check(&mut Connection::open(&peer.bootstrap()), groups - 1);
            offsets.add(began.elapsed().as_secs_f64());
            resident.add(mib(settled(peer.pid())));
        }
        let mut connection = Connection::open(&peer.bootstrap());
        for group in 0..groups {
            check(&mut connection, group);
        }
        writeln!(
            text,
            "{how}: first produce {} s, the last group's offset {} s, resident {} MiB",
            first.show(3),
            offsets.show(3),
            resident.show(1)
        )
        .expect("as above");
    }
    text
}

fn name(group: usize) -> String {
    format!("group-{group}")
}

fn commit(connection: &mut Connection, group: usize) {
    let partitions = (0..PARTITIONS)
        .map(|partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(group as i64)
                .with_committed_leader_epoch(-1)
        })
        .collect();
    let topic = OffsetCommitRequestTopic::default()
        .with_name(KafkaString::from_static(TOPIC))
        .with_partitions(partitions);
    let request = OffsetCommitRequestData::default()
        .with_group_id(KafkaString::from(name(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = ask!(connection, OffsetCommit 8, request => OffsetCommitResponseData);
    for partition in answer.topics.iter().flat_map(|of| &of.partitions) {
        assert_eq!(
            partition.error_code,
            error::NONE,
            "commit of {}",
            name(group)
        );
    }
}

fn check(connection: &mut Connection, group: usize) {
    let found = committed(connection, &name(group), TOPIC, PARTITIONS - 1);
    assert_eq!(found, Some(group as i64), "{}", name(group));
}
