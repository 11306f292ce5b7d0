//! Simulates groups whose members come and go with either protocol, so that the group changes its
//! own all the time, with restarts of the coordinator.
//!
//! A failure names its seed: `SEDGE_SEED=… cargo test -p sedge-core groups::migration::simulation`
//! replays it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sedge_protocol::ErrorCode;

use super::tests::{Classic, Groups, config, join};
use crate::groups::assign::{Assignment, TopicId};
use crate::groups::consumer::tests::GROUP;
use crate::groups::embedded;
use crate::groups::group::Group;
use crate::groups::{ConsumerHeartbeat, ReplyBody, Token};

const SEEDS: u64 = 100;
const STEPS: usize = 400;
const CLIENTS: usize = 4;
const PARTITIONS: usize = 4;

#[derive(Debug, Default)]
enum Client {
    #[default]
    Gone,
    Classic(Old),
    Consumer(New),
}

/// A member of the classic protocol. It gives back all that it has before it joins.
#[derive(Debug, Default)]
struct Old {
    member: Classic,
    waits: Option<Token>,
    /// The members, if it is to assign.
    leads: Vec<String>,
    is_to_sync: bool,
    is_in: bool,
}

/// A member of the consumer protocol.
#[derive(Debug, Default)]
struct New {
    member_id: String,
    epoch: i32,
    owned: Assignment,
    wanted: Assignment,
    says_all: bool,
}

struct World {
    seed: u64,
    dice: u64,
    groups: Groups,
    clients: Vec<Client>,
    ids: u64,
    /// How often the group was of each kind.
    kinds: BTreeMap<&'static str, usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            dice: seed,
            groups: Groups::new(config()),
            clients: (0..CLIENTS).map(|_| Client::Gone).collect(),
            ids: 0,
            kinds: BTreeMap::new(),
        }
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
        match self.below(40) {
            0..=1 => self.come(number),
            2 => self.leave(number),
            3 => self.clients[number] = Client::Gone,
            4 => self.restart(),
            5..=9 => self.pass(1_000),
            10 => self.pass(9_000),
            _ => self.live(number),
        }
        self.check();
    }

    fn come(&mut self, number: usize) {
        if !matches!(self.clients[number], Client::Gone) {
            return;
        }
        self.ids += 1;
        self.clients[number] = if self.below(2) == 0 {
            Client::Classic(Old::default())
        } else {
            Client::Consumer(New {
                member_id: format!("m{}", self.ids),
                says_all: true,
                ..New::default()
            })
        };
    }

    fn leave(&mut self, number: usize) {
        match core::mem::take(&mut self.clients[number]) {
            Client::Classic(old) => {
                let _ = self.groups.leave(&old.member);
            }
            Client::Consumer(new) if new.epoch > 0 => {
                let request = ConsumerHeartbeat {
                    member_epoch: -1,
                    ..request(&new)
                };
                let _ = self.groups.beat(&request);
            }
            Client::Gone | Client::Consumer(_) => {}
        }
    }

    /// Restarts the coordinator: requests that wait are not answered.
    fn restart(&mut self) {
        self.groups.restart();
        for client in &mut self.clients {
            if let Client::Classic(old) = client
                && old.waits.take().is_some()
            {
                old.is_in = false;
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let bench = &mut self.groups.bench;
        bench.now.monotonic_ms += ms;
        bench.now.wall_ms += ms as i64;
        bench.now.append_ms += ms as i64;
        let actions = bench.coordinator.tick(bench.now, bench.metadata.image());
        self.groups.take(actions);
    }

    fn live(&mut self, number: usize) {
        match &mut self.clients[number] {
            Client::Gone => {}
            Client::Classic(old) => live_classic(&mut self.groups, old),
            Client::Consumer(new) => live_consumer(&mut self.groups, new, self.seed),
        }
    }

    fn check(&mut self) {
        let seed = self.seed;
        let group = self.groups.bench.coordinator.groups.get(GROUP);
        let Some(group) = group.map(|entry| &entry.group) else {
            return;
        };
        *self.kinds.entry(group.listing().group_type).or_default() += 1;
        let is_member = |id: &str| match group {
            Group::Classic(group) => group.members.contains_key(id),
            Group::Consumer(group) => group.members.contains_key(id),
        };
        if let Group::Consumer(group) = group {
            assert!(
                group.owners_max() <= 1,
                "{seed}: a partition belongs to two members"
            );
        }
        let mut readers: BTreeSet<(TopicId, i32)> = BTreeSet::new();
        for client in &self.clients {
            let (id, owned) = match client {
                Client::Gone => continue,
                Client::Classic(old) => (&old.member.member_id, &old.member.owned),
                Client::Consumer(new) => (&new.member_id, &new.owned),
            };
            if is_member(id) {
                for partition in owned.iter() {
                    assert!(
                        readers.insert(partition),
                        "{seed}: {partition:?} is read twice"
                    );
                }
            }
        }
    }

    /// Lets all clients live without faults. Soon, all partitions are read.
    fn settle(&mut self) {
        for number in 0..CLIENTS {
            self.come(number);
        }
        for _ in 0..150 {
            for number in 0..CLIENTS {
                self.live(number);
                self.check();
            }
            self.pass(1_000);
        }
        let read = self.clients.iter().map(|client| match client {
            Client::Gone => 0,
            Client::Classic(old) => old.member.owned.len(),
            Client::Consumer(new) => new.owned.len(),
        });
        let read: usize = read.sum();
        assert_eq!(read, PARTITIONS, "{}: {:#?}", self.seed, self.clients);
    }
}

fn live_classic(groups: &mut Groups, old: &mut Old) {
    if let Some(token) = old.waits {
        match groups.replies.remove(&token) {
            None => {}
            Some(ReplyBody::Join(Ok(joined))) => {
                old.waits = None;
                old.member.member_id = joined.member_id;
                old.member.generation = joined.generation_id;
                let members = joined.members.into_iter().map(|member| member.member_id);
                old.leads = members.collect();
                old.is_to_sync = true;
                old.is_in = true;
            }
            Some(ReplyBody::Join(Err(refused))) => {
                old.waits = None;
                if refused.error != ErrorCode::RebalanceInProgress {
                    old.member = Classic::default();
                }
            }
            Some(other) => panic!("{other:?}"),
        }
        return;
    }
    if !old.is_in {
        old.member.owned = Assignment::new();
        old.waits = Some(groups.ask_join(&old.member));
        return;
    }
    let said = if old.is_to_sync {
        old.is_to_sync = false;
        let bench = &groups.bench;
        let id = bench.id("t");
        let count = old.leads.len().max(1);
        let assignments = old.leads.iter().enumerate().map(|(number, member_id)| {
            let mine = (0..PARTITIONS).filter(|partition| partition % count == number);
            let mine: Assignment = mine.map(|partition| (id, partition as i32)).collect();
            let bytes = embedded::assignment(1, &mine, bench.metadata.image());
            (member_id.clone(), bytes)
        });
        let assignments = assignments.collect();
        let Some(said) = groups.ask_sync(&mut old.member, assignments) else {
            // It waits for the leader, and asks again.
            old.is_to_sync = true;
            return;
        };
        said
    } else {
        groups.heartbeat(&old.member)
    };
    match said {
        Ok(()) => {}
        Err(ErrorCode::RebalanceInProgress) => old.is_in = false,
        Err(_) => {
            let is_known = said == Err(ErrorCode::IllegalGeneration);
            let member_id = core::mem::take(&mut old.member.member_id);
            old.member = Classic::default();
            if is_known {
                old.member.member_id = member_id;
            }
            old.is_in = false;
        }
    }
}

fn request(new: &New) -> ConsumerHeartbeat {
    let all = join();
    ConsumerHeartbeat {
        member_id: new.member_id.clone(),
        member_epoch: new.epoch,
        owned: Some(new.owned.clone()),
        topics: all.topics.clone().filter(|_| new.says_all),
        rebalance_timeout_ms: all.rebalance_timeout_ms.filter(|_| new.says_all),
        ..all
    }
}

fn live_consumer(groups: &mut Groups, new: &mut New, seed: u64) {
    let (owned, wanted) = (&new.owned, &new.wanted);
    let kept = owned.iter().filter(|(id, of)| wanted.contains(*id, *of));
    let kept: Assignment = kept.collect();
    new.owned = if kept == new.owned {
        new.wanted.clone()
    } else {
        kept
    };
    match groups.beat(&request(new)) {
        Ok(beat) => {
            new.epoch = beat.member_epoch;
            new.says_all = false;
            new.wanted = beat.assignment.unwrap_or(core::mem::take(&mut new.wanted));
        }
        Err(
            ErrorCode::UnknownMemberId
            | ErrorCode::FencedMemberEpoch
            // The group is a classic one by now.
            | ErrorCode::GroupIdNotFound,
        ) => {
            new.epoch = 0;
            new.owned = Assignment::new();
            new.wanted = Assignment::new();
            new.says_all = true;
        }
        Err(other) => panic!("{seed}: {other:?}"),
    }
}

#[test]
fn members_of_both_protocols_share_the_partitions() {
    let given = std::env::var("SEDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        for (kind, count) in world.kinds {
            *kinds.entry(kind).or_default() += count;
        }
    }
    assert_eq!(kinds.len(), 2, "the groups change: {kinds:?}");
}
