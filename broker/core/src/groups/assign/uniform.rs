//! The assignor `uniform`: members keep what they have, partitions that nobody has go to the
//! subscriber with the fewest, and then partitions go from members with many to members with few
//! until the counts of a topic's subscribers differ by one at most.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use super::{Assignment, Candidate, TopicId, Topics};

/// How often all topics are balanced. One round is enough if all members subscribe to the same
/// topics; a chain of members with overlapping topics needs some more. Bounds the time.
const ROUNDS_MAX: usize = 32;

pub fn assign(
    members: &[Candidate<'_>],
    topics: &Topics,
    subscribers: &BTreeMap<TopicId, Vec<usize>>,
) -> Vec<Assignment> {
    let mut state = State {
        owners: BTreeMap::new(),
        loads: vec![0; members.len()],
    };
    state.keep(members, topics, subscribers);
    // Topics with few subscribers first, since the others can make up for the difference.
    let mut order: Vec<(usize, TopicId)> = subscribers
        .iter()
        .map(|(topic, of)| (of.len(), *topic))
        .collect();
    order.sort_unstable();
    for (_, topic) in &order {
        let count = topics.get(topic).copied().unwrap_or(0);
        state.fill(*topic, count, of_topic(subscribers, *topic));
    }
    for _ in 0..ROUNDS_MAX {
        let mut has_moved = false;
        for (_, topic) in &order {
            has_moved |= state.balance(*topic, of_topic(subscribers, *topic));
        }
        if !has_moved {
            break;
        }
    }
    state.assignments(members.len())
}

fn of_topic(subscribers: &BTreeMap<TopicId, Vec<usize>>, topic: TopicId) -> &[usize] {
    subscribers.get(&topic).map_or(&[], Vec::as_slice)
}

struct State {
    /// The member of each partition that is assigned.
    owners: BTreeMap<TopicId, BTreeMap<i32, usize>>,
    /// The number of partitions of each member.
    loads: Vec<usize>,
}

impl State {
    fn keep(
        &mut self,
        members: &[Candidate<'_>],
        topics: &Topics,
        subscribers: &BTreeMap<TopicId, Vec<usize>>,
    ) {
        for (number, member) in members.iter().enumerate() {
            for (topic, partition) in member.had.iter() {
                let count = topics.get(&topic).copied().unwrap_or(0);
                let is_subscribed = of_topic(subscribers, topic).binary_search(&number).is_ok();
                if !is_subscribed || !(0..count).contains(&partition) {
                    continue;
                }
                let owners = self.owners.entry(topic).or_default();
                // Two members never have the same partition, but a foreign log may say so.
                owners.entry(partition).or_insert_with(|| {
                    add(&mut self.loads, number, 1);
                    number
                });
            }
        }
    }

    /// Gives each free partition to the subscriber with the fewest partitions.
    fn fill(&mut self, topic: TopicId, count: i32, subscribers: &[usize]) {
        let owners = self.owners.entry(topic).or_default();
        if owners.len() == usize::try_from(count).unwrap_or(0) {
            return;
        }
        let loads = &mut self.loads;
        let mut by_load: BTreeSet<(usize, usize)> = subscribers
            .iter()
            .map(|number| (load(loads, *number), *number))
            .collect();
        for partition in 0..count {
            if owners.contains_key(&partition) {
                continue;
            }
            let Some((load, number)) = by_load.pop_first() else {
                return;
            };
            owners.insert(partition, number);
            add(loads, number, 1);
            by_load.insert((load + 1, number));
        }
    }

    /// Moves partitions of the topic from the subscriber with the most to the one with the fewest
    /// partitions, as long as these differ by more than one. Returns whether any was moved.
    fn balance(&mut self, topic: TopicId, subscribers: &[usize]) -> bool {
        let Some(owners) = self.owners.get_mut(&topic) else {
            return false;
        };
        let loads = &mut self.loads;
        let mut by_load: BTreeSet<(usize, usize)> = subscribers
            .iter()
            .map(|number| (load(loads, *number), *number))
            .collect();
        let mut held: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        for (partition, number) in owners.iter() {
            held.entry(*number).or_default().push(*partition);
        }
        let mut holders: BTreeSet<(usize, usize)> = held
            .keys()
            .map(|number| (load(loads, *number), *number))
            .collect();
        let mut has_moved = false;
        while let (Some(&(most, from)), Some(&(fewest, to))) = (holders.last(), by_load.first())
            && most > fewest + 1
        {
            // The highest number moves, so that the lower ones stay together.
            let Some(partition) = held.get_mut(&from).and_then(Vec::pop) else {
                break;
            };
            owners.insert(partition, to);
            has_moved = true;
            add(loads, to, 1);
            take(loads, from);
            by_load.remove(&(most, from));
            by_load.remove(&(fewest, to));
            holders.remove(&(most, from));
            holders.remove(&(fewest, to));
            by_load.insert((most - 1, from));
            by_load.insert((fewest + 1, to));
            held.entry(to).or_default().push(partition);
            holders.insert((fewest + 1, to));
            if held.get(&from).is_some_and(|left| !left.is_empty()) {
                holders.insert((most - 1, from));
            }
        }
        has_moved
    }

    fn assignments(self, members: usize) -> Vec<Assignment> {
        let mut assigned = vec![Assignment::new(); members];
        for (topic, owners) in self.owners {
            for (partition, number) in owners {
                if let Some(of) = assigned.get_mut(number) {
                    of.insert(topic, partition);
                }
            }
        }
        assigned
    }
}

fn load(loads: &[usize], number: usize) -> usize {
    loads.get(number).copied().unwrap_or(0)
}

fn add(loads: &mut [usize], number: usize, count: usize) {
    if let Some(load) = loads.get_mut(number) {
        *load += count;
    }
}

fn take(loads: &mut [usize], number: usize) {
    if let Some(load) = loads.get_mut(number) {
        *load -= 1;
    }
}
