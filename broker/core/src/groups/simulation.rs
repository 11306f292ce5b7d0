//! Simulates members that join, fall silent, crash and come back at random, and checks what must
//! always hold of a group.
//!
//! A failure names its seed: `SEDGE_SEED=… cargo test -p sedge-core groups::simulation`
//! replays it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use sedge_protocol::ErrorCode;

use super::classic::GroupState;
use super::tests::{asker, image};
use super::*;
use crate::machine::Now;

const SEEDS: u64 = 300;
const STEPS: usize = 400;
const CLIENTS: u64 = 6;

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

/// A client's own view of its membership.
#[derive(Clone, Debug, Default)]
struct Client {
    instance_id: Option<String>,
    member_id: String,
    generation: i32,
    leads: Option<Vec<String>>,
    waits_for: Option<Token>,
    is_in: bool,
}

struct World {
    seed: u64,
    dice: Dice,
    coordinator: Coordinator,
    now: Now,
    clients: Vec<Client>,
    open: BTreeSet<Token>,
    tokens: u64,
    log: Vec<CoordinatorRecord>,
    generation: i32,
    /// The leader of each generation.
    leaders: BTreeMap<i32, String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let config = GroupConfig {
            initial_rebalance_delay_ms: [0, 3_000][dice.below(2) as usize],
            max_size: 5,
            ..GroupConfig::default()
        };
        let clients = (0..CLIENTS).map(|number| Client {
            instance_id: (number % 3 == 0).then(|| format!("i{number}")),
            ..Client::default()
        });
        let clients = clients.collect();
        let now = Now {
            wall_ms: 1_800_000_000_000,
            monotonic_ms: 0,
            append_ms: 1_700_000_000_000,
        };
        let coordinator = Coordinator::new(config, now);
        Self {
            seed,
            dice,
            coordinator,
            now,
            clients,
            open: BTreeSet::new(),
            tokens: 0,
            log: Vec::new(),
            generation: 0,
            leaders: BTreeMap::new(),
        }
    }

    fn token(&mut self, number: usize) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.open.insert(token);
        self.clients[number].waits_for = Some(token);
        token
    }

    fn take(&mut self, actions: Actions) {
        for record in actions.persist {
            self.coordinator.apply(self.now, &record);
            self.log.push(record);
        }
        for reply in actions.now.into_iter().chain(actions.then) {
            assert!(
                self.open.remove(&reply.token),
                "{}: {reply:?} twice or unasked",
                self.seed
            );
            let holder = |client: &&mut Client| client.waits_for == Some(reply.token);
            if let Some(client) = self.clients.iter_mut().find(holder) {
                client.waits_for = None;
                match reply.body {
                    ReplyBody::Join(Ok(joined)) => {
                        assert!(
                            joined.members.is_empty() || joined.leader == joined.member_id,
                            "{}: only the leader hears of the others",
                            self.seed
                        );
                        if joined.leader == joined.member_id && !joined.members.is_empty() {
                            let ids = joined.members.iter().map(|member| member.member_id.clone());
                            client.leads = Some(ids.collect());
                        }
                        client.is_in = true;
                        client.generation = joined.generation_id;
                        client.member_id = joined.member_id;
                    }
                    ReplyBody::Join(Err(refused)) => {
                        client.refuse(refused.error, &refused.member_id);
                    }
                    ReplyBody::Sync(Err(error)) => client.refuse(error, ""),
                    ReplyBody::Sync(Ok(synced)) => assert!(
                        !synced.assignment.is_empty(),
                        "{}: everyone the leader knew has an assignment",
                        self.seed
                    ),
                }
            }
        }
    }

    fn step(&mut self) {
        let number = self.dice.below(CLIENTS) as usize;
        match self.dice.below(12) {
            0..=3 => self.join(number),
            4..=6 => self.sync(number),
            7 => self.heartbeat(number),
            8 => self.leave(number),
            9 => self.crash(number),
            _ => {
                let ms = [1, 100, 3_000, 7_000][self.dice.below(4) as usize];
                self.now.monotonic_ms += ms;
                self.now.wall_ms += ms as i64;
                self.now.append_ms += ms as i64;
                let actions = self.coordinator.tick(self.now, &image());
                self.take(actions);
            }
        }
        self.check();
    }

    fn join(&mut self, number: usize) {
        if self.clients[number].waits_for.is_some() && self.dice.below(8) > 0 {
            return;
        }
        let token = self.token(number);
        let client = &self.clients[number];
        let request = JoinRequest {
            group_id: "g".to_string(),
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            client_id: format!("c{number}"),
            client_host: "/::1".to_string(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".to_string(),
            protocols: vec![Protocol {
                name: "range".to_string(),
                metadata: Bytes::new(),
            }],
            requires_known_member_id: self.dice.below(2) == 0,
            supports_skipping_assignment: true,
        };
        let suffix = format!("{}", token.0);
        let actions =
            self.coordinator
                .handle_join(asker(self.now, &image()), request, token, &suffix);
        self.take(actions);
    }

    fn sync(&mut self, number: usize) {
        let client = &self.clients[number];
        if !client.is_in || client.waits_for.is_some() {
            return;
        }
        let assignments = client.leads.iter().flatten();
        let assignments = assignments
            .map(|id| (id.clone(), Bytes::from_static(b"x")))
            .collect();
        let request = SyncRequest {
            group_id: "g".to_string(),
            generation_id: client.generation,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            protocol_type: None,
            protocol_name: None,
            assignments,
        };
        let token = self.token(number);
        let actions = self
            .coordinator
            .handle_sync(self.now, &image(), request, token);
        self.take(actions);
    }

    fn heartbeat(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let request = HeartbeatRequest {
            group_id: "g".to_string(),
            generation_id: client.generation,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
        };
        if let Err(error) = self.coordinator.handle_heartbeat(self.now, &request)
            && error != ErrorCode::RebalanceInProgress
        {
            client.refuse(error, "");
        }
    }

    fn leave(&mut self, number: usize) {
        let client = core::mem::take(&mut self.clients[number]);
        self.clients[number]
            .instance_id
            .clone_from(&client.instance_id);
        let member = LeavingMember {
            member_id: client.member_id,
            group_instance_id: client.instance_id,
        };
        let request = LeaveRequest {
            group_id: "g".to_string(),
            members: vec![member],
        };
        let planned = self.coordinator.handle_leave(self.now, &image(), &request);
        self.take(planned.actions);
    }

    /// Crashes the client: it forgets all but its configured name, and its pending answers are
    /// lost.
    fn crash(&mut self, number: usize) {
        let client = &mut self.clients[number];
        *client = Client {
            instance_id: client.instance_id.clone(),
            ..Client::default()
        };
    }

    fn check(&mut self) {
        let Some(group) = self.coordinator.group("g").and_then(Group::as_classic) else {
            return;
        };
        let seed = self.seed;
        check_group(seed, group);
        assert!(
            group.generation >= self.generation,
            "{seed}: generations grow"
        );
        self.generation = group.generation;
        if group.is(GroupState::Stable)
            && let Some(leader) = &group.leader
        {
            let first = self
                .leaders
                .entry(group.generation)
                .or_insert_with(|| leader.clone());
            let same_instance = first.split('-').next() == leader.split('-').next();
            assert!(
                same_instance,
                "{seed}: one leader a generation, {first} and {leader}"
            );
        }
        let waiting: BTreeSet<Token> = group
            .members
            .values()
            .flat_map(|member| [member.awaiting_join, member.awaiting_sync])
            .flatten()
            .collect();
        assert_eq!(
            waiting, self.open,
            "{seed}: every question is answered or waits"
        );
        let deadline = group.next_deadline().unwrap_or(u64::MAX);
        assert!(
            self.coordinator.next_deadline() <= deadline,
            "{seed}: nothing is slept through"
        );
    }

    /// Silences all clients: in the end all sessions have expired and no request waits.
    fn fall_silent(&mut self) {
        for _ in 0..2_000 {
            let next = self.coordinator.next_deadline();
            self.now.monotonic_ms = next.max(self.now.monotonic_ms + 1);
            self.now.wall_ms += 1;
            self.now.append_ms += 1;
            let actions = self.coordinator.tick(self.now, &image());
            self.take(actions);
            self.check();
            if self.coordinator.schedule.is_empty() {
                break;
            }
        }
        assert!(
            self.open.is_empty(),
            "{}: {:?} wait for ever",
            self.seed,
            self.open
        );
        assert!(
            self.coordinator.schedule.is_empty(),
            "{}: it never ends",
            self.seed
        );
    }

    /// Checks that a restore yields the last settled state.
    fn check_restored(&self) {
        let mut restored = Coordinator::new(GroupConfig::default(), self.now);
        for record in &self.log {
            restored.restore(self.now, record);
        }
        restored.finish_restore(self.now, &image());
        if let Some(group) = restored.group("g").and_then(Group::as_classic) {
            check_group(self.seed, group);
            let last = self.log.iter().rev().find_map(|record| match record {
                CoordinatorRecord::Group {
                    value: Some(metadata),
                    ..
                } => Some(metadata),
                _ => None,
            });
            let CoordinatorRecord::Group { value, .. } = group.record() else {
                panic!("a group's record")
            };
            assert_eq!(value.as_ref(), last, "{}", self.seed);
        }
    }
}

impl Client {
    fn refuse(&mut self, error: ErrorCode, member_id: &str) {
        self.is_in = false;
        self.leads = None;
        match error {
            ErrorCode::MemberIdRequired => self.member_id = member_id.to_string(),
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => self.member_id.clear(),
            _ => {}
        }
    }
}

fn check_group(seed: u64, group: &ClassicGroup) {
    let has_members = !group.members.is_empty();
    if let Some(leader) = &group.leader {
        assert!(
            group.members.contains_key(leader),
            "{seed}: the leader is a member"
        );
    } else {
        assert!(!has_members, "{seed}: members have a leader");
    }
    for (instance_id, member_id) in &group.static_members {
        let member = group.members.get(member_id);
        let instance = member.and_then(|member| member.instance_id.as_ref());
        assert_eq!(
            instance,
            Some(instance_id),
            "{seed}: static members are members"
        );
    }
    assert!(group.members.len() <= 10, "{seed}: bounded");
    match group.state {
        GroupState::Empty => assert!(!has_members, "{seed}: empty is empty"),
        GroupState::PreparingRebalance => {
            assert!(
                group.join_timer.is_some(),
                "{seed}: preparing ends some day"
            );
        }
        GroupState::CompletingRebalance => {
            assert!(has_members && group.protocol_name.is_some(), "{seed}");
            assert!(
                group.sync_timer.is_some(),
                "{seed}: completing ends some day"
            );
        }
        GroupState::Stable => {
            assert!(has_members && group.protocol_name.is_some(), "{seed}");
            for (id, member) in &group.members {
                assert!(
                    !member.assignment.is_empty(),
                    "{seed}: {id} has an assignment"
                );
                assert!(
                    member.awaiting_join.is_none() && member.awaiting_sync.is_none(),
                    "{seed}"
                );
            }
        }
    }
}

#[test]
fn groups_hold_together_whatever_their_members_do() {
    let given = std::env::var("SEDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut generations = 0;
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.check_restored();
        generations += i64::from(world.generation);
        world.fall_silent();
    }
    assert!(generations > 0, "the simulation gets somewhere");
}
