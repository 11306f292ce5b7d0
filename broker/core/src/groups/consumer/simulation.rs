//! Simulates consumer groups: members that come, fall silent, crash and come back, answers that are
//! lost, records that cannot be written, restarts of the coordinator, and topics that come, grow
//! and go.
//!
//! A failure names its seed: `SEDGE_SEED=… cargo test -p sedge-core groups::consumer::simulation`
//! replays it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;

use super::messages::{ConsumerBeat, ConsumerHeartbeat, Refused};
use super::tests::{Bench, GROUP, content, restored};
use crate::groups::assign::{Assignment, TopicId};
use crate::groups::group::Group;
use crate::groups::limits::SAVE_RETRY_MS;
use crate::groups::{Coordinator, GroupConfig, Planned};
use crate::metadata::Command;

const SEEDS: u64 = 100;
const STEPS: usize = 400;
const CLIENTS: usize = 6;
const SESSION_MS: u64 = 45_000;

/// A client's own view of its membership.
#[derive(Clone, Debug, Default)]
struct Client {
    instance_id: Option<String>,
    member_id: String,
    /// 0 until it has joined.
    epoch: i32,
    /// What it reads from.
    owned: Assignment,
    /// What it was told to have.
    wanted: Assignment,
    topics: Vec<String>,
    regex: String,
    assignor: Option<String>,
    /// The next request says everything: it joins, changes its subscription, or had no answer.
    says_all: bool,
    /// What it last said that it has.
    said: Option<Assignment>,
    is_silent: bool,
}

struct World {
    seed: u64,
    dice: u64,
    bench: Bench,
    clients: Vec<Client>,
    ids: u64,
    /// The largest epoch that a member was told.
    epoch: i32,
}

fn config() -> GroupConfig {
    GroupConfig {
        consumer_max_size: 5,
        ..GroupConfig::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let clients = (0..CLIENTS).map(|number| Client {
            instance_id: (number % 3 == 0).then(|| format!("i{number}")),
            is_silent: true,
            ..Client::default()
        });
        let mut world = Self {
            seed,
            dice: seed,
            bench: Bench::new(config()),
            clients: clients.collect(),
            ids: 0,
            epoch: 0,
        };
        world.bench.create("a", 4);
        world.bench.create("b", 2);
        world
    }

    /// SplitMix64.
    fn below(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn step(&mut self) {
        let number = self.below(CLIENTS as u64) as usize;
        match self.below(24) {
            0..=11 => self.beat(number),
            12..=14 => self.work(number),
            15 => self.come(number),
            16 => self.leave(number),
            17 => self.crash(number),
            18 => self.resubscribe(number),
            19 => self.change_topics(),
            20 => self.restart(),
            21 => self.pass(40_000),
            _ => self.pass(1_000),
        }
        self.check();
    }

    /// Starts a client that does not run.
    fn come(&mut self, number: usize) {
        if !self.clients[number].is_silent {
            return;
        }
        self.ids += 1;
        let member_id = format!("m{}", self.ids);
        let instance_id = self.clients[number].instance_id.clone();
        self.clients[number] = Client {
            instance_id,
            member_id,
            says_all: true,
            ..Client::default()
        };
        self.choose(number);
    }

    fn choose(&mut self, number: usize) {
        let some = [
            vec!["a"],
            vec!["b"],
            vec!["a", "b"],
            vec!["a", "b", "c"],
            vec![],
        ];
        let topics = &some[self.below(5) as usize];
        let regex = ["", "", "[ac]", "b.*"][self.below(4) as usize];
        let assignor = [None, Some("range"), Some("uniform")][self.below(3) as usize];
        let client = &mut self.clients[number];
        client.topics = topics.iter().map(ToString::to_string).collect();
        client.regex = regex.to_string();
        client.assignor = assignor.map(ToString::to_string);
        client.says_all = true;
    }

    fn resubscribe(&mut self, number: usize) {
        if !self.clients[number].is_silent {
            self.choose(number);
        }
    }

    /// Lets a client do what it was told: it gives back first, and takes later.
    fn work(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let (owned, wanted) = (&client.owned, &client.wanted);
        let kept: Assignment = owned
            .iter()
            .filter(|(id, of)| wanted.contains(*id, *of))
            .collect();
        client.owned = if kept == *owned { wanted.clone() } else { kept };
    }

    fn crash(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.is_silent = true;
        client.owned = Assignment::new();
        client.wanted = Assignment::new();
    }

    fn leave(&mut self, number: usize) {
        let client = &self.clients[number];
        if client.is_silent || client.epoch == 0 {
            return;
        }
        let is_static = client.instance_id.is_some();
        let request = ConsumerHeartbeat {
            member_epoch: if is_static { -2 } else { -1 },
            ..self.request(number, false)
        };
        self.crash(number);
        let planned = self.bench.ask(&request);
        let _ = self.outcome(planned);
    }

    fn request(&self, number: usize, says_all: bool) -> ConsumerHeartbeat {
        let client = &self.clients[number];
        let has_changed = client.said.as_ref() != Some(&client.owned);
        ConsumerHeartbeat {
            group_id: GROUP.to_string(),
            member_id: client.member_id.clone(),
            member_epoch: client.epoch,
            instance_id: client.instance_id.clone(),
            client_id: format!("c{number}"),
            rebalance_timeout_ms: says_all.then_some(30_000),
            topics: says_all.then(|| client.topics.clone()),
            regex: says_all.then(|| client.regex.clone()),
            assignor: client.assignor.clone().filter(|_| says_all),
            owned: (says_all || has_changed).then(|| client.owned.clone()),
            requires_member_id: true,
            ..ConsumerHeartbeat::default()
        }
    }

    fn beat(&mut self, number: usize) {
        if self.clients[number].is_silent {
            return;
        }
        let request = self.request(number, self.clients[number].says_all);
        let planned = self.bench.ask(&request);
        match self.outcome(planned) {
            None => self.clients[number].says_all = true,
            Some(reply) => self.hear(number, &request, reply),
        }
    }

    /// Writes a step's records, or not, and returns the answer unless it is lost.
    fn outcome(
        &mut self,
        planned: Planned<Result<ConsumerBeat, Refused>>,
    ) -> Option<Result<ConsumerBeat, Refused>> {
        let records = planned.actions.persist;
        match self.below(20) {
            0 => {
                self.bench
                    .coordinator
                    .handle_save_failed(self.bench.now, &records);
                None
            }
            1 => {
                // The process ends before it has written.
                self.restart();
                None
            }
            2 => {
                self.bench.log.extend(records);
                None
            }
            _ => {
                self.bench.log.extend(records);
                Some(planned.reply)
            }
        }
    }

    fn restart(&mut self) {
        self.bench.coordinator = self.restored();
    }

    fn restored(&self) -> Coordinator {
        restored(
            self.bench.now,
            &self.bench.log,
            &self.bench.metadata,
            config(),
        )
    }

    fn change_topics(&mut self) {
        let name = ["a", "b", "c"][self.below(3) as usize];
        let topic = self.bench.metadata.image().topic(name);
        let topic = topic.map(|topic| (topic.id, topic.partition_count()));
        match topic {
            None => self.bench.create(name, 3),
            Some(_) if self.below(3) == 0 => self.bench.delete(name),
            Some((_, count)) if count < 8 => self.bench.command(Command::CreatePartitions {
                name: name.to_string(),
                total: count + 1,
                assigned: None,
                validate_only: false,
            }),
            Some(_) => {}
        }
    }

    fn pass(&mut self, ms: u64) {
        let now = &mut self.bench.now;
        now.monotonic_ms += ms;
        now.wall_ms += ms as i64;
        now.append_ms += ms as i64;
        let bench = &mut self.bench;
        let actions = bench.coordinator.tick(bench.now, bench.metadata.image());
        bench.log.extend(actions.persist);
    }

    fn check(&self) {
        let seed = self.seed;
        let group = self.bench.coordinator.groups.get(GROUP);
        let Some(Group::Consumer(group)) = group.map(|entry| &entry.group) else {
            return;
        };
        assert!(
            group.owners_max() <= 1,
            "{seed}: a partition belongs to two members"
        );
        assert!(group.members.len() <= 5, "{seed}: bounded");
        for (instance_id, member_id) in &group.static_members {
            let member = &group.members[member_id];
            assert_eq!(member.instance_id.as_ref(), Some(instance_id), "{seed}");
        }
        for member_id in group.target.keys() {
            assert!(
                group.members.contains_key(member_id),
                "{seed}: no targets of others"
            );
        }
        let deadline = group.next_deadline().unwrap_or(u64::MAX);
        let next = self.bench.coordinator.next_deadline();
        assert!(next <= deadline, "{seed}: nothing is slept through");
        let mut readers: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| !client.is_silent) {
            let member = group.members.get(&client.member_id);
            if client.epoch == 0 || member.is_none() {
                // It has not joined, or will hear that it was removed.
                continue;
            }
            for partition in client.owned.iter() {
                let other = readers.insert(partition, &client.member_id);
                assert!(
                    other.is_none(),
                    "{seed}: {other:?} and {} both read {partition:?}",
                    client.member_id
                );
            }
        }
    }

    /// Lets all clients live without faults. Soon, each has what it is to have.
    fn settle(&mut self) {
        for number in 0..CLIENTS {
            self.come(number);
        }
        for _ in 0..60 {
            for number in 0..CLIENTS {
                if self.clients[number].is_silent {
                    continue;
                }
                let request = self.request(number, self.clients[number].says_all);
                let planned = self.bench.ask(&request);
                self.bench.log.extend(planned.actions.persist);
                self.hear(number, &request, planned.reply);
                self.work(number);
                self.work(number);
                self.check();
            }
            self.pass(1_000);
        }
        let described = self.bench.coordinator.describe_consumer(GROUP).unwrap();
        assert_eq!(described.state, "Stable", "{}: {described:#?}", self.seed);
        let mut read: BTreeSet<(TopicId, i32)> = BTreeSet::new();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for client in self.clients.iter().filter(|client| !client.is_silent) {
            read.extend(client.owned.iter());
            wanted.extend(client.topics.iter().cloned());
            if client.regex == "[ac]" {
                wanted.extend(["a".to_string(), "c".to_string()]);
            } else if client.regex == "b.*" {
                wanted.insert("b".to_string());
            }
        }
        let image = self.bench.metadata.image();
        let topics = wanted.iter().filter_map(|name| image.topic(name));
        let all: BTreeSet<(TopicId, i32)> = topics
            .flat_map(|topic| (0..topic.partition_count()).map(|of| (topic.id.into(), of)))
            .collect();
        assert_eq!(read, all, "{}: all partitions are read", self.seed);
    }

    fn hear(
        &mut self,
        number: usize,
        request: &ConsumerHeartbeat,
        reply: Result<ConsumerBeat, Refused>,
    ) {
        let client = &mut self.clients[number];
        match reply {
            Ok(beat) => {
                assert!(
                    client.epoch <= beat.member_epoch,
                    "{}: epochs grow",
                    self.seed
                );
                client.epoch = beat.member_epoch;
                client.says_all = false;
                client.said = request.owned.clone().or(client.said.take());
                client.wanted = beat.assignment.unwrap_or(client.wanted.clone());
                self.epoch = self.epoch.max(beat.member_epoch);
            }
            Err(refused) => match refused.code {
                ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                    client.epoch = 0;
                    client.owned = Assignment::new();
                    client.wanted = Assignment::new();
                    client.says_all = true;
                }
                ErrorCode::UnreleasedInstanceId => {}
                ErrorCode::GroupMaxSizeReached
                | ErrorCode::GroupIdNotFound
                | ErrorCode::FencedInstanceId => self.crash(number),
                other => panic!("{}: {other:?}: {}", self.seed, refused.message),
            },
        }
    }
}

#[test]
fn no_partition_has_two_members_and_groups_converge() {
    let given = std::env::var("SEDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut epochs = 0;
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.pass(SAVE_RETRY_MS);
        assert_eq!(
            content(&world.restored()),
            content(&world.bench.coordinator),
            "{seed}: the records are those of the group"
        );
        world.settle();
        assert_eq!(
            content(&world.restored()),
            content(&world.bench.coordinator),
            "{seed}"
        );
        epochs += i64::from(world.epoch);
        world.pass(SESSION_MS);
        world.pass(SESSION_MS);
        let described = world.bench.coordinator.describe_consumer(GROUP);
        assert!(
            described.is_ok_and(|group| group.state == "Empty"),
            "{seed}: all are gone"
        );
    }
    assert!(epochs > 0, "the simulation gets somewhere");
}
