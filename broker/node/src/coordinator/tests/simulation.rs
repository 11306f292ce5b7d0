//! Simulates members and consumers at random, on a disk that is slow, refuses and crashes at
//! random, and checks the answers that they got.
//!
//! A failure names its seed: `SEDGE_SEED=… cargo test -p sedge --lib coordinator::tests` replays
//! it.
//!
//! - Nothing is answered before it is durable, and nothing that was answered is lost: a start on
//!   the current disk has at least the offset that was acknowledged last, and none that was not
//!   sent.
//! - The generation of an assignment that a member was given is on the disk, unless the disk
//!   refused it before: writing such a group is retried, and until then memory is ahead.
//! - A member of the generation on the disk survives a crash; a member of any other generation has
//!   to rejoin.
//! - Every request is answered, unless the process ends before.
//! - In the end no offset of a deleted topic is left.

use std::collections::BTreeMap;

use sedge_core::groups::{
    HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, Protocol, ReplyBody, SyncRequest,
};
use sedge_protocol::Bytes;
use sedge_protocol::coordinator::{CoordinatorRecord, GroupValue};
use sedge_storage::{Commit, View, ViewReader as _, ViewUpdate};

use super::*;
use crate::coordinator::OFFSETS_TOPIC;
use crate::metadata::log as metadata_log;

const SEEDS: u64 = 60;
const STEPS: usize = 400;
const CLIENTS: usize = 4;
const TOPICS: [&str; 2] = ["t", "u"];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A member of the group `g`, with its own view of its membership.
#[derive(Default)]
struct Client {
    member_id: String,
    generation: i32,
    leads: Vec<String>,
    is_in: bool,
    /// The pending request; a SyncGroup with its generation.
    waits_for: Option<(Receiver<ReplyBody>, Option<i32>)>,
}

/// An unanswered OffsetCommit.
struct Commits {
    of: Key,
    offset: i64,
    written: Receiver<Result<(), ErrorCode>>,
}

/// A group, and a topic.
type Key = (String, &'static str);

/// The offset that was last sent, and the one that was last acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    sent: i64,
    acknowledged: Option<i64>,
}

struct World<'a> {
    seed: u64,
    dice: Dice,
    disk: &'a Disk,
    node: Node<'a>,
    clients: Vec<Client>,
    commits: Vec<Commits>,
    told: BTreeMap<Key, Told>,
    /// The newest generation of which a member has its assignment, and which the disk did not
    /// refuse.
    generation: i32,
    /// The newest generation that a member has joined…
    joined: i32,
    /// …and its value when the disk last refused something: the group may be ahead of its record.
    ahead: i32,
    /// An earlier state of the view.
    view: Vec<(Vec<u8>, Vec<u8>)>,
    /// Counts of events.
    crashes: u64,
    acknowledged: u64,
    assigned: u64,
    refused: u64,
}

impl<'a> World<'a> {
    fn new(seed: u64, disk: &'a Disk) -> Self {
        for topic in TOPICS {
            disk.create_topic(topic);
        }
        Self {
            seed,
            dice: Dice(seed),
            disk,
            node: Node::start(disk),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            commits: Vec::new(),
            told: BTreeMap::new(),
            generation: 0,
            joined: 0,
            ahead: 0,
            view: Vec::new(),
            crashes: 0,
            acknowledged: 0,
            assigned: 0,
            refused: 0,
        }
    }

    fn step(&mut self) {
        let client = self.dice.below(CLIENTS as u64) as usize;
        match self.dice.below(40) {
            0..=5 => self.join(client),
            6..=11 => self.sync(client),
            12..=13 => self.heartbeat(client),
            14 => self.leave(client),
            15..=20 => self.commit(client),
            21..=24 => self.wait(),
            25..=32 => drop(self.disk.serve(Verdict::Write)),
            33 if self.disk.serve(Verdict::Refuse) => self.ahead = self.joined,
            34..=36 => drop(self.node.tick()),
            37 => self.view = self.current_view(),
            38 if self.dice.below(3) == 0 => self.create_again(),
            39 if self.dice.below(3) == 0 => self.crash(),
            _ => {}
        }
        self.node.run();
        self.hear();
    }

    fn wait(&mut self) {
        let ms = [1, 200, 3_000, 7_000][self.dice.below(4) as usize];
        self.disk.wait(ms);
        self.node.tick();
    }

    fn join(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.waits_for.is_some() {
            return;
        }
        let request = JoinRequest {
            group_id: "g".to_owned(),
            member_id: client.member_id.clone(),
            group_instance_id: None,
            client_id: format!("c{number}"),
            client_host: "/::1".to_owned(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: Bytes::new(),
            }],
            requires_known_member_id: false,
            supports_skipping_assignment: true,
        };
        let suffix = self.dice.below(u64::MAX).to_string();
        let joined =
            self.node
                .groups
                .join(self.disk.now(), &self.disk.log.metadata, request, &suffix);
        client.waits_for = Some((joined, None));
    }

    fn sync(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if !client.is_in || client.waits_for.is_some() {
            return;
        }
        let assignments = client.leads.iter();
        let assignments = assignments.map(|id| (id.clone(), Bytes::from_static(b"x")));
        let request = SyncRequest {
            group_id: "g".to_owned(),
            generation_id: client.generation,
            member_id: client.member_id.clone(),
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.collect(),
        };
        let synced = self
            .node
            .groups
            .sync(self.disk.now(), &self.disk.log.metadata, request);
        client.waits_for = Some((synced, Some(client.generation)));
    }

    fn heartbeat(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let request = client.heartbeat();
        let now = self.disk.now();
        let beat = self
            .node
            .groups
            .with(|machine| machine.handle_heartbeat(now, &request));
        if let Err(error) = beat
            && error != ErrorCode::RebalanceInProgress
        {
            client.refuse(error);
        }
    }

    fn leave(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.waits_for.is_some() {
            return;
        }
        let member = LeavingMember {
            member_id: std::mem::take(&mut client.member_id),
            group_instance_id: None,
        };
        *client = Client::default();
        let request = LeaveRequest {
            group_id: "g".to_owned(),
            members: vec![member],
        };
        let now = self.disk.now();
        let _ = self
            .node
            .groups
            .leave(now, &self.disk.log.metadata, &request);
    }

    /// Commits as a member, or outside group management.
    fn commit(&mut self, number: usize) {
        let client = &self.clients[number];
        let committer = match self.dice.below(3) {
            0 if client.is_in => Committer {
                generation_id: client.generation,
                member_id: client.member_id.clone(),
                ..outsider("g")
            },
            number => outsider(&format!("o{number}")),
        };
        let topic = TOPICS[self.dice.below(2) as usize];
        let of = (committer.group_id.clone(), topic);
        let sent = self.told.get(&of).map_or(0, |told| told.sent) + 1;
        let (disk, groups) = (self.disk, &self.node.groups);
        if let Some(written) = disk.commit(groups, &committer, (topic, 0), sent) {
            self.told.entry(of.clone()).or_default().sent = sent;
            self.commits.push(Commits {
                of,
                offset: sent,
                written,
            });
        }
    }

    /// Deletes the topic, and creates another one of its name.
    fn create_again(&mut self) {
        let topic = TOPICS[self.dice.below(2) as usize];
        self.disk.delete_topic(topic);
        self.disk.create_topic(topic);
        self.told.retain(|(_, of), _| *of != topic);
        self.commits.retain(|commit| commit.of.1 != topic);
    }

    /// Lets clients receive their answers.
    fn hear(&mut self) {
        let seed = self.seed;
        let mut heard = false;
        let mut commits = std::mem::take(&mut self.commits);
        commits.retain(|commit| match commit.written.try_recv() {
            Ok(Ok(())) => {
                let told = self.told.get_mut(&commit.of).expect("it was sent");
                told.acknowledged = told.acknowledged.max(Some(commit.offset));
                self.acknowledged += 1;
                heard = true;
                false
            }
            Ok(Err(_)) => {
                self.refused += 1;
                false
            }
            Err(error) => {
                assert!(error.is_empty(), "{seed}: a commit is never answered");
                true
            }
        });
        self.commits = commits;
        for client in &mut self.clients {
            let Some((answer, generation)) = client.waits_for.take() else {
                continue;
            };
            match answer.try_recv() {
                Ok(ReplyBody::Join(Ok(joined))) => {
                    client.is_in = true;
                    client.generation = joined.generation_id;
                    self.joined = self.joined.max(joined.generation_id);
                    client.member_id = joined.member_id;
                    let members = joined.members.into_iter();
                    client.leads = members.map(|member| member.member_id).collect();
                }
                Ok(ReplyBody::Join(Err(refused))) => client.refuse(refused.error),
                Ok(ReplyBody::Sync(Ok(_))) => {
                    let generation = generation.expect("it has synced");
                    if generation > self.ahead {
                        self.generation = self.generation.max(generation);
                    }
                    self.assigned += 1;
                    heard = true;
                }
                Ok(ReplyBody::Sync(Err(error))) => client.refuse(error),
                Err(error) => {
                    assert!(error.is_empty(), "{seed}: a member is never answered");
                    client.waits_for = Some((answer, generation));
                }
            }
        }
        if heard {
            self.check(&self.disk.coordinators().groups);
        }
    }

    /// Checks the state after a start on the current disk.
    fn check(&self, groups: &Groups) {
        let seed = self.seed;
        for ((group, topic), told) in &self.told {
            let committed = self.disk.committed(groups, group, topic, 0);
            assert!(
                committed >= told.acknowledged && committed.is_none_or(|of| of <= told.sent),
                "{seed}: {group} has {committed:?} of {topic}, and was told {told:?}"
            );
        }
        let written = self.written_group();
        let generation = written.as_ref().map_or(0, |group| group.generation);
        assert!(
            generation >= self.generation,
            "{seed}: generation {} was assigned, {generation} is written",
            self.generation
        );
        let members = written.into_iter().flat_map(|group| group.members);
        let ids: Vec<String> = members.map(|member| member.id).collect();
        for client in &self.clients {
            let is_member = client.generation == generation && ids.contains(&client.member_id);
            let (now, request) = (self.disk.now(), client.heartbeat());
            let beat = groups.with(|machine| machine.handle_heartbeat(now, &request));
            assert_eq!(
                beat.is_ok(),
                is_member,
                "{seed}: {beat:?} for {} of generation {}",
                client.member_id,
                client.generation
            );
        }
    }

    /// Returns the group `g` from its newest record.
    fn written_group(&self) -> Option<GroupValue> {
        let image = self.disk.log.metadata.load();
        let mut newest = None;
        for id in image.topic(OFFSETS_TOPIC)?.partitions() {
            let each = |_: Offset, key: Option<&[u8]>, value: Option<&[u8]>| {
                let record = CoordinatorRecord::decode(key.unwrap_or_default(), value).unwrap();
                if let CoordinatorRecord::Group { group, value } = record
                    && group == "g"
                {
                    newest = value;
                }
                Ok::<(), sedge_storage::Error>(())
            };
            metadata_log::for_each_record(&*self.disk.store, id, Offset::ZERO, each).unwrap();
        }
        newest
    }

    fn current_view(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| entries.push((key.to_vec(), value.to_vec()));
        let store = &self.disk.store;
        store.view_scan(View::Offsets, &[], &mut each).unwrap();
        entries
    }

    /// Reverts the view to its earlier state.
    fn forget_view(&self) {
        let update = |key: Vec<u8>, value| ViewUpdate {
            view: View::Offsets,
            key,
            value,
        };
        let newer = self.current_view().into_iter();
        let mut updates: Vec<ViewUpdate> = newer.map(|(key, _)| update(key, None)).collect();
        let older = self.view.iter().cloned();
        updates.extend(older.map(|(key, value)| update(key, Some(value))));
        let commit = Commit {
            updates,
            ..Commit::default()
        };
        self.disk.store.append(commit).unwrap();
    }

    /// Ends the process, with the disk and the writer's queue as they are. Clients return with
    /// their knowledge.
    fn crash(&mut self) {
        self.crashes += 1;
        (self.ahead, self.joined) = (0, 0);
        let verdicts = [Verdict::WriteUnheard, Verdict::Refuse];
        while self.disk.serve(verdicts[self.dice.below(2) as usize]) {}
        if self.dice.below(2) == 0 {
            self.forget_view();
        }
        self.view = self.current_view();
        self.node = Node::start(self.disk);
        self.commits.clear();
        for client in &mut self.clients {
            client.waits_for = None;
        }
        self.check(&self.node.groups);
        self.check(&self.disk.coordinators().groups);
    }

    /// Lets the disk accept everything, and time pass.
    fn end(&mut self) {
        for _ in 0..20 {
            self.node.settle();
            self.hear();
            self.disk.wait(7_000);
            self.node.tick();
        }
        self.node.settle();
        self.hear();
        let seed = self.seed;
        let waiting = self.clients.iter().filter(|of| of.waits_for.is_some());
        assert_eq!(
            waiting.count() + self.commits.len(),
            0,
            "{seed}: some wait for ever"
        );
        let image = self.disk.log.metadata.load();
        for groups in [&self.node.groups, &self.disk.coordinators().groups] {
            groups.with(|machine| {
                for group in machine.offsets().group_ids() {
                    for (topic, _, value) in machine.offsets().of_group(group) {
                        let id = image.topic(topic).map(|topic| topic.id);
                        assert_eq!(value.topic_id, id, "{seed}: {group} has of {topic}");
                    }
                }
            });
        }
    }
}

impl Client {
    fn heartbeat(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: "g".to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
        }
    }

    fn refuse(&mut self, error: ErrorCode) {
        self.is_in = false;
        self.leads.clear();
        if error == ErrorCode::UnknownMemberId {
            self.member_id.clear();
        }
    }
}

#[test]
fn nothing_that_was_answered_is_lost() {
    let given = std::env::var("SEDGE_SEED").ok();
    let given = given.and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let is_one = given.is_some();
    let (mut crashes, mut acknowledged, mut assigned, mut refused) = (0, 0, 0, 0);
    for seed in seeds {
        let disk = Disk::new(MemoryStore::new());
        let mut world = World::new(seed, &disk);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
        crashes += world.crashes;
        acknowledged += world.acknowledged;
        assigned += world.assigned;
        refused += world.refused;
    }
    println!(
        "{crashes} crashes, {acknowledged} commits, {assigned} assignments, {refused} refusals"
    );
    assert!(
        is_one
            || [crashes, acknowledged, assigned, refused]
                .iter()
                .all(|count| *count > SEEDS),
        "the simulation gets somewhere"
    );
}
