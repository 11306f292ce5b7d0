//! Tests both assignors: balance, stickiness, and that each partition has one member.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use sedge_protocol::kafka::KafkaUuid;

use super::*;

fn topic(number: u64) -> TopicId {
    KafkaUuid::from_parts(7, number).into()
}

fn topics(counts: &[i32]) -> Topics {
    let counts = counts.iter().enumerate();
    counts
        .map(|(number, count)| (topic(number as u64), *count))
        .collect()
}

/// Assigns to members that subscribe to these topics and had these assignments.
fn assign(
    assignor: Assignor,
    subscriptions: &[Vec<u64>],
    had: &[Assignment],
    topics: &Topics,
) -> Vec<Assignment> {
    let nothing = Assignment::new();
    let members: Vec<Candidate<'_>> = subscriptions
        .iter()
        .enumerate()
        .map(|(number, of)| Candidate {
            topics: of.iter().map(|number| topic(*number)).collect(),
            had: had.get(number).unwrap_or(&nothing),
        })
        .collect();
    let assigned = assignor.assign(&members, topics);
    check(subscriptions, &assigned, topics);
    assigned
}

/// Checks that each partition with a subscriber is assigned to one of them.
fn check(subscriptions: &[Vec<u64>], assigned: &[Assignment], topics: &Topics) {
    let mut seen = BTreeSet::new();
    for (of, assigned) in subscriptions.iter().zip(assigned) {
        for (id, partition) in assigned.iter() {
            assert!(
                of.iter().any(|number| topic(*number) == id),
                "not subscribed"
            );
            assert!((0..topics[&id]).contains(&partition), "no such partition");
            assert!(seen.insert((id, partition)), "assigned twice");
        }
    }
    let wanted: BTreeSet<u64> = subscriptions.iter().flatten().copied().collect();
    let wanted = wanted.into_iter().map(topic);
    let all: i32 = wanted.filter_map(|id| topics.get(&id)).sum();
    assert_eq!(seen.len() as i32, all, "all are assigned");
}

fn counts(assigned: &[Assignment]) -> Vec<usize> {
    assigned.iter().map(Assignment::len).collect()
}

fn moved(before: &[Assignment], after: &[Assignment]) -> usize {
    let pairs = before.iter().zip(after);
    pairs
        .map(|(before, after)| {
            let gone = before.iter().filter(|(id, of)| !after.contains(*id, *of));
            gone.count()
        })
        .sum()
}

#[test]
fn uniform_balances_over_all_topics_and_range_over_each() {
    let topics = topics(&[3, 3]);
    let both = vec![vec![0, 1]; 2];
    let uniform = assign(Assignor::Uniform, &both, &[], &topics);
    assert_eq!(counts(&uniform), [3, 3]);
    let range = assign(Assignor::Range, &both, &[], &topics);
    assert_eq!(counts(&range), [4, 2]);
    for assigned in &range {
        let of = |id| assigned.of_topic(topic(id)).collect::<Vec<_>>();
        assert_eq!(of(0), of(1), "the same partitions of all topics");
    }
}

#[test]
fn a_member_that_joins_takes_only_what_balances() {
    for assignor in Assignor::ALL {
        let topics = topics(&[12]);
        let two = assign(assignor, &vec![vec![0]; 2], &[], &topics);
        let three = assign(assignor, &vec![vec![0]; 3], &two, &topics);
        assert_eq!(counts(&three), [4, 4, 4]);
        assert_eq!(moved(&two, &three), 4, "{assignor:?}");
        let again = assign(assignor, &vec![vec![0]; 3], &three, &topics);
        assert_eq!(again, three, "nothing changes");
        let left = assign(assignor, &vec![vec![0]; 2], &three[..2], &topics);
        assert_eq!(moved(&three[..2], &left), 0, "who stays keeps all");
    }
}

#[test]
fn growing_and_deleted_topics_move_nothing_else() {
    for assignor in Assignor::ALL {
        let both = vec![vec![0, 1]; 2];
        let before = assign(assignor, &both, &[], &topics(&[4, 4]));
        let grown = assign(assignor, &both, &before, &topics(&[8, 4]));
        assert_eq!(moved(&before, &grown), 0, "{assignor:?}");
        assert_eq!(counts(&grown), [6, 6]);
        assign(assignor, &both, &grown, &topics(&[8]));
    }
}

#[test]
fn more_members_than_partitions_leave_some_without() {
    for assignor in Assignor::ALL {
        let assigned = assign(assignor, &vec![vec![0]; 5], &[], &topics(&[2]));
        assert_eq!(
            counts(&assigned)
                .iter()
                .filter(|count| **count == 0)
                .count(),
            3
        );
        let nobody: [Vec<u64>; 0] = [];
        assert!(assign(assignor, &nobody, &[], &topics(&[2])).is_empty());
        assert_eq!(
            counts(&assign(assignor, &[vec![9]], &[], &topics(&[2]))),
            [0]
        );
    }
}

#[test]
fn uniform_makes_up_for_topics_with_one_subscriber() {
    let subscriptions = [vec![0], vec![0, 1]];
    let assigned = assign(Assignor::Uniform, &subscriptions, &[], &topics(&[4, 2]));
    assert_eq!(counts(&assigned), [3, 3]);
}

#[test]
fn members_with_the_same_topics_differ_by_one_at_most_whatever_they_had() {
    let mut seed = 1_u64;
    let mut dice = move |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % sides
    };
    for _ in 0..500 {
        let number = 1 + dice(6) as usize;
        let counts_of: Vec<i32> = (0..=dice(4)).map(|_| dice(9) as i32).collect();
        let known = topics(&counts_of);
        let all: Vec<u64> = (0..counts_of.len() as u64).collect();
        let mut had = vec![Assignment::new(); number];
        for (id, count) in &known {
            for partition in 0..*count {
                let member = dice(number as u64 + 1) as usize;
                if let Some(of) = had.get_mut(member) {
                    of.insert(*id, partition);
                }
            }
        }
        let same = vec![all.clone(); number];
        for assignor in Assignor::ALL {
            let assigned = assign(assignor, &same, &had, &known);
            assert_eq!(assign(assignor, &same, &assigned, &known), assigned);
            if assignor == Assignor::Uniform {
                let counts = counts(&assigned);
                let (most, fewest) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
                assert!(most - fewest <= 1, "{counts:?}");
            }
        }
        let some: Vec<Vec<u64>> = (0..number)
            .map(|_| all.iter().copied().filter(|_| dice(2) == 0).collect())
            .collect();
        for assignor in Assignor::ALL {
            let assigned = assign(assignor, &some, &had, &known);
            assert_eq!(assign(assignor, &some, &assigned, &known), assigned);
        }
    }
}
