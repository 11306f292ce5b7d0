//! `bench rebalance`: what a rebalance of many members costs their coordinator, in the classic
//! protocol and in the consumer protocol (KIP-848), compared with Apache Kafka in one run.
//!
//! The members are connections of one thread that answer at once, so the time of a rebalance is the
//! coordinator's and the network's. Classic: all members join again, and the leader assigns.
//! Consumer: a member joins, and all heartbeat in turn until each has what it should have.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use sedge_protocol::Bytes;
use sedge_protocol::kafka::generated as messages;
use sedge_protocol::kafka::{KafkaString, KafkaUuid};

use messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequestData, TopicPartitions,
};
use messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponseData;
use messages::join_group_request::{JoinGroupRequestData, JoinGroupRequestProtocol};
use messages::join_group_response::{JoinGroupResponseData, JoinGroupResponseMember};
use messages::sync_group_request::{SyncGroupRequestAssignment, SyncGroupRequestData};
use messages::sync_group_response::SyncGroupResponseData;

use crate::bench::{Peer, Spread};
use crate::temp_dir::TempDir;
use crate::wire::{self, Connection, Coordinated, error};
use crate::{ask, limits, proc, receive, tell};

const TOPIC: &str = "shared";
const GROUP: &str = "of-many";
/// What an assignor of a client may write for each member.
const ASSIGNMENT: &[u8] = &[7; 60];
const SUBSCRIPTION: &[u8] = &[3; 60];
const TIMEOUT_MS: i32 = 60_000;

/// Runs `rounds` rebalances of `members` and returns the table.
pub fn run(members: usize, rounds: usize, with_kafka: bool) -> String {
    let directory = TempDir::new("bench-rebalance");
    let mut table = format!("a rebalance of {members} members | ms | CPU ms of the broker\n");
    let mut peers = vec![Peer::sedge(directory.path(), "interval")];
    if with_kafka {
        // Without a wait for further members: what is measured is the work.
        let at_once = [("group.initial.rebalance.delay.ms", "0")];
        peers.push(Peer::kafka_set(directory.path(), &at_once));
    }
    for peer in &mut peers {
        let bootstrap = peer.bootstrap();
        let mut connection = Connection::open(&bootstrap);
        wire::create_topic(&mut connection, TOPIC, 3 * members as i32, &[]);
        for partition in 0..3 * members as i32 {
            wire::wait_leader(&mut connection, TOPIC, partition);
        }
        let pid = peer.pid();
        let name = peer.name();

        let mut classic = Classic::open(&bootstrap, members);
        let (mut took, mut cpu) = (Spread::default(), Spread::default());
        for _ in 0..=rounds {
            measure(pid, &mut took, &mut cpu, || classic.rebalance());
        }
        row(&mut table, &format!("{name}, classic"), &took, &cpu);

        let mut group = Group::open(&bootstrap, members);
        let (mut took, mut cpu) = (Spread::default(), Spread::default());
        for _ in 0..=rounds {
            group.settle();
            group.enter();
            measure(pid, &mut took, &mut cpu, || group.settle());
            group.leave();
        }
        row(&mut table, &format!("{name}, consumer"), &took, &cpu);
    }
    for peer in &mut peers {
        peer.terminate();
    }
    table
}

fn measure(pid: u32, took: &mut Spread, cpu: &mut Spread, rebalance: impl FnOnce()) {
    let before = proc::cpu(pid);
    let began = Instant::now();
    rebalance();
    took.add(began.elapsed().as_secs_f64() * 1e3);
    cpu.add(proc::cpu(pid).saturating_sub(before).as_secs_f64() * 1e3);
}

fn row(table: &mut String, name: &str, took: &Spread, cpu: &Spread) {
    writeln!(table, "{name} | {} | {}", took.show(1), cpu.show(0)).expect("a String takes all");
}

/// A member of the classic group.
struct Member {
    connection: Connection,
    id: KafkaString,
}

/// The members of the classic group.
struct Classic {
    members: Vec<Member>,
}

impl Classic {
    fn open(bootstrap: &str, members: usize) -> Self {
        let open = |_| {
            let mut connection = Connection::open(bootstrap);
            let id = first_join(&mut connection);
            Member { connection, id }
        };
        Self {
            members: (0..members).map(open).collect(),
        }
    }

    /// All join, the leader assigns, all have their assignments.
    fn rebalance(&mut self) {
        for member in &mut self.members {
            tell!(&mut member.connection, JoinGroup 7, join(&member.id));
        }
        let joined: Vec<JoinGroupResponseData> = self
            .members
            .iter_mut()
            .map(|member| receive!(&mut member.connection, JoinGroup 7 => JoinGroupResponseData))
            .collect();
        for (member, joined) in self.members.iter_mut().zip(&joined) {
            assert_eq!(joined.error_code, error::NONE, "JoinGroup");
            let assignments = joined.members.iter().map(assignment).collect();
            let request = SyncGroupRequestData::default()
                .with_group_id(KafkaString::from_static(GROUP))
                .with_generation_id(joined.generation_id)
                .with_member_id(member.id.clone())
                .with_protocol_type(joined.protocol_type.clone())
                .with_protocol_name(joined.protocol_name.clone())
                .with_assignments(assignments);
            tell!(&mut member.connection, SyncGroup 5, request);
        }
        for member in &mut self.members {
            let synced = receive!(&mut member.connection, SyncGroup 5 => SyncGroupResponseData);
            assert_eq!(synced.error_code, error::NONE, "SyncGroup");
            assert_eq!(synced.assignment, ASSIGNMENT);
        }
    }
}

/// Asks for a member id, as soon as the group has a coordinator.
fn first_join(connection: &mut Connection) -> KafkaString {
    Coordinated::Group(GROUP).wait(connection, |connection| {
        let none = KafkaString::default();
        let answer = ask!(connection, JoinGroup 7, join(&none) => JoinGroupResponseData);
        match answer.error_code {
            error::MEMBER_ID_REQUIRED => Ok(answer.member_id),
            code => Err(code),
        }
    })
}

fn join(member: &KafkaString) -> JoinGroupRequestData {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(KafkaString::from_static("range"))
        .with_metadata(Bytes::from_static(SUBSCRIPTION));
    JoinGroupRequestData::default()
        .with_group_id(KafkaString::from_static(GROUP))
        .with_session_timeout_ms(TIMEOUT_MS)
        .with_rebalance_timeout_ms(TIMEOUT_MS)
        .with_member_id(member.clone())
        .with_protocol_type(KafkaString::from_static("consumer"))
        .with_protocols(vec![protocol])
}

fn assignment(member: &JoinGroupResponseMember) -> SyncGroupRequestAssignment {
    SyncGroupRequestAssignment::default()
        .with_member_id(member.member_id.clone())
        .with_assignment(Bytes::from_static(ASSIGNMENT))
}

/// A member of the group of the consumer protocol.
struct Consumer {
    connection: Connection,
    id: KafkaString,
    epoch: i32,
    owned: BTreeSet<i32>,
    topic_id: KafkaUuid,
    /// It has something to tell: that it joins, or what it owns now.
    is_changed: bool,
}

/// The members of the group of the consumer protocol.
struct Group {
    bootstrap: String,
    members: Vec<Consumer>,
    partitions: usize,
    entered: usize,
}

const CONSUMER_GROUP: &str = "of-many-consumers";

impl Group {
    fn open(bootstrap: &str, members: usize) -> Self {
        let mut group = Self {
            bootstrap: bootstrap.to_owned(),
            members: Vec::new(),
            partitions: 3 * members,
            entered: 0,
        };
        // The last member is the one that comes and goes.
        for _ in 1..members {
            group.enter();
        }
        group
    }

    /// Adds a member, which has not told anything yet.
    fn enter(&mut self) {
        self.entered += 1;
        self.members.push(Consumer {
            connection: Connection::open(&self.bootstrap),
            id: KafkaString::from(format!("member-{:05}", self.entered)),
            epoch: 0,
            owned: BTreeSet::new(),
            topic_id: KafkaUuid::ZERO,
            is_changed: true,
        });
    }

    /// Lets the last member leave.
    fn leave(&mut self) {
        const LEAVES: i32 = -1;
        let mut member = self.members.pop().expect("a member entered");
        member.epoch = LEAVES;
        member.tell();
        member.hear();
    }

    /// Heartbeats of all members, until all are in one epoch and own all partitions.
    fn settle(&mut self) {
        let deadline = Instant::now() + limits::CONDITION;
        loop {
            for member in &mut self.members {
                member.tell();
            }
            for member in &mut self.members {
                member.hear();
            }
            let owned: usize = self.members.iter().map(|member| member.owned.len()).sum();
            let epoch = self.members[0].epoch;
            let is_one = self.members.iter().all(|member| member.epoch == epoch);
            let is_told = self.members.iter().all(|member| !member.is_changed);
            // A share differs from another by one partition at most.
            let shares = self.members.iter().map(|member| member.owned.len());
            let is_even = shares.clone().max() <= shares.min().map(|least| least + 1);
            if is_one && is_told && is_even && owned == self.partitions {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the group does not settle: {owned} of {} partitions owned",
                self.partitions
            );
        }
    }
}

impl Consumer {
    fn tell(&mut self) {
        let mut request = ConsumerGroupHeartbeatRequestData::default()
            .with_group_id(KafkaString::from_static(CONSUMER_GROUP))
            .with_member_id(self.id.clone())
            .with_member_epoch(self.epoch)
            .with_rebalance_timeout_ms(-1);
        if self.epoch == 0 {
            request = request
                .with_rebalance_timeout_ms(TIMEOUT_MS)
                .with_subscribed_topic_names(Some(vec![KafkaString::from_static(TOPIC)]));
        }
        if self.is_changed && self.epoch >= 0 {
            let owned = TopicPartitions::default()
                .with_topic_id(self.topic_id)
                .with_partitions(self.owned.iter().copied().collect());
            let owned = if self.owned.is_empty() {
                vec![]
            } else {
                vec![owned]
            };
            request = request.with_topic_partitions(Some(owned));
        }
        tell!(&mut self.connection, ConsumerGroupHeartbeat 1, request);
    }

    fn hear(&mut self) {
        let heard = receive!(
            &mut self.connection,
            ConsumerGroupHeartbeat 1 => ConsumerGroupHeartbeatResponseData
        );
        match heard.error_code {
            error::NONE => {}
            error::COORDINATOR_LOADING
            | error::COORDINATOR_NOT_AVAILABLE
            | error::NOT_COORDINATOR => return,
            code => panic!(
                "heartbeat of {}: error {code}, {:?}",
                self.id, heard.error_message
            ),
        }
        self.is_changed = false;
        self.epoch = heard.member_epoch;
        let Some(assignment) = heard.assignment else {
            return;
        };
        let owned = assignment.topic_partitions.iter().flat_map(|of| {
            self.topic_id = of.topic_id;
            of.partitions.iter().copied()
        });
        let owned: BTreeSet<i32> = owned.collect();
        self.is_changed = owned != self.owned;
        self.owned = owned;
    }
}
