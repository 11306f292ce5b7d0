//! Followers: tasks that wait until some partitions grow, such as links and the watch of plugins.
//!
//! A follower has a number, and each partition a bit for each number. So the writer finds a
//! partition's followers by one load, without a lock, and a follower of many partitions needs only
//! one listener.
//!
//! **Invariant:** a follower that listens and then reads a high watermark sees what was published
//! before, or is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use event_listener::{Event, EventListener};

/// Followers of one log with a number of their own: one for each link, one for plugins. Further
/// ones share numbers, and are then also woken for each other's partitions.
const NUMBERS: usize = u64::BITS as usize;

/// All followers of a log.
#[derive(Debug)]
pub struct Followers {
    grown: [Event; NUMBERS],
    count: AtomicUsize,
}

impl Default for Followers {
    fn default() -> Self {
        Self {
            grown: [const { Event::new() }; NUMBERS],
            count: AtomicUsize::new(0),
        }
    }
}

impl Followers {
    /// Wakes the followers of a partition. Call it after publishing the high watermark.
    pub fn wake(&self, partition: &FollowedBy) {
        let mut followers = partition.followers();
        while followers != 0 {
            let number = followers.trailing_zeros() as usize;
            self.grown[number].notify(usize::MAX);
            followers &= followers - 1;
        }
    }
}

/// The followers of one partition.
#[derive(Debug, Default)]
pub struct FollowedBy(AtomicU64);

impl FollowedBy {
    fn add(&self, number: usize) {
        self.0.fetch_or(1 << number, Ordering::Relaxed);
        // Pairs with the fence below: either the bit is seen there, or the published value is seen
        // here.
        fence(Ordering::SeqCst);
    }

    fn followers(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed)
    }
}

/// One task's interest in partitions.
#[derive(Debug)]
pub struct Follower {
    followers: Arc<Followers>,
    number: usize,
}

impl Follower {
    pub(super) fn new(followers: Arc<Followers>) -> Self {
        let number = followers.count.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        Self { followers, number }
    }

    /// Follows a partition from now on, until the partition is dropped.
    pub(super) fn follow(&self, partition: &FollowedBy) {
        partition.add(self.number);
    }

    /// Returns a listener for growth or dropping of a followed partition. Listen first, then look.
    pub fn listen(&self) -> EventListener {
        self.followers.grown[self.number].listen()
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn a_follower_is_woken_by_its_own_partitions_alone() {
        let all = Arc::new(Followers::default());
        let followers: Vec<Follower> = (0..3).map(|_| Follower::new(Arc::clone(&all))).collect();
        let (first, second, nobodys) = <(FollowedBy, FollowedBy, FollowedBy)>::default();
        followers[0].follow(&first);
        followers[1].follow(&first);
        followers[1].follow(&second);
        let check = |grown: &FollowedBy, expected: [bool; 3]| {
            let listeners: Vec<EventListener> = followers.iter().map(Follower::listen).collect();
            all.wake(grown);
            let woken = listeners
                .into_iter()
                .map(|grown| block_on(poll_once(grown)));
            let woken: Vec<bool> = woken.map(|woken| woken.is_some()).collect();
            assert_eq!(woken, expected, "{grown:?}");
        };
        check(&first, [true, true, false]);
        check(&second, [false, true, false]);
        check(&nobodys, [false, false, false]);
    }

    #[test]
    fn more_followers_than_numbers_hear_all_the_same() {
        let all = Arc::new(Followers::default());
        let partition = FollowedBy::default();
        for _ in 0..2 * NUMBERS {
            let follower = Follower::new(Arc::clone(&all));
            follower.follow(&partition);
            let grown = follower.listen();
            all.wake(&partition);
            block_on(grown);
        }
    }
}
