//! The assignor `range`: of each topic, every subscriber has equally many partitions, and the lower
//! numbers of what it had. Members that begin together have the same numbers of all topics, which
//! joins of topics need.
//!
//! Source: Kafka's `RangeAssignor`.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::{Assignment, Candidate, TopicId, Topics};

pub fn assign(
    members: &[Candidate<'_>],
    topics: &Topics,
    subscribers: &BTreeMap<TopicId, Vec<usize>>,
) -> Vec<Assignment> {
    let mut assigned = vec![Assignment::new(); members.len()];
    for (topic, subscribers) in subscribers {
        let count = topics.get(topic).copied().unwrap_or(0);
        assign_topic(*topic, count, members, subscribers, &mut assigned);
    }
    assigned
}

fn assign_topic(
    topic: TopicId,
    count: i32,
    members: &[Candidate<'_>],
    subscribers: &[usize],
    assigned: &mut [Assignment],
) {
    let partitions = usize::try_from(count).unwrap_or(0);
    let least = partitions / subscribers.len();
    let mut with_one_more = partitions % subscribers.len();
    let mut is_free = vec![true; partitions];
    // Who has more than its share keeps one more, if somebody is to have one more.
    let mut missing = Vec::new();
    for number in subscribers {
        let Some(member) = members.get(*number) else {
            continue;
        };
        let had = member.had.of_topic(topic);
        let had: Vec<i32> = had
            .filter(|partition| (0..count).contains(partition))
            .collect();
        let keeps_more = had.len() > least && with_one_more > 0;
        with_one_more -= usize::from(keeps_more);
        let share = least + usize::from(keeps_more);
        let mut kept = 0;
        for partition in had.into_iter().take(share) {
            let Some(free) = is_free.get_mut(partition as usize).filter(|free| **free) else {
                continue;
            };
            *free = false;
            kept += 1;
            give(assigned, *number, topic, partition);
        }
        missing.push((*number, share - kept, keeps_more));
    }
    let mut free = (0..count).filter(|partition| is_free.get(*partition as usize) == Some(&true));
    for (number, mut missing, has_more) in missing {
        if !has_more && with_one_more > 0 {
            with_one_more -= 1;
            missing += 1;
        }
        for partition in free.by_ref().take(missing) {
            give(assigned, number, topic, partition);
        }
    }
}

fn give(assigned: &mut [Assignment], number: usize, topic: TopicId, partition: i32) {
    if let Some(of) = assigned.get_mut(number) {
        of.insert(topic, partition);
    }
}
