//! The open connections, at most `max.connections`.
//!
//! When all places are taken, a new connection displaces the longest silent one, as Kafka closes
//! the least recently used: one that has never sent anything before one that has. So idle strangers
//! cannot lock other clients out. A connection that moved a byte a moment ago stays, and the new
//! one is refused.
//!
//! **Invariant:** no more than `max.connections` are open: a new one waits until the one that it
//! displaces is closed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_io::Timer;
use event_listener::Event;
use futures_lite::future;

use super::activity::Activity;
use crate::limits::{CLOSING_WAIT, CONNECTION_STAYS_FOR};

/// The open connections; see the module.
#[derive(Debug)]
pub struct OpenConnections {
    max: usize,
    table: Mutex<Table>,
    /// Notified when a connection was closed.
    left: Event,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Arc<Open>>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    remote: SocketAddr,
    activity: Arc<Activity>,
    is_closing: AtomicBool,
    close: Event,
}

/// A connection's place among the open ones, held until it is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<OpenConnections>,
    number: u64,
    open: Arc<Open>,
}

/// A connection that was closed for another one.
#[derive(Debug)]
pub struct Closed {
    pub remote: SocketAddr,
    pub silent_for: Duration,
}

impl OpenConnections {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            table: Mutex::default(),
            left: Event::new(),
        })
    }

    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    pub fn max(&self) -> usize {
        self.max
    }

    /// Takes a place for a new connection; `None` if all are taken by active ones. Calls `closed`
    /// with a connection that is displaced.
    pub async fn admit(
        self: &Arc<Self>,
        remote: SocketAddr,
        closed: impl Fn(&Closed),
    ) -> Option<Place> {
        let deadline = Instant::now() + CLOSING_WAIT;
        // The connection that is displaced.
        let mut chosen = None;
        loop {
            let left = self.left.listen();
            if let Some(place) = self.take(remote) {
                return Some(place);
            }
            if chosen.is_none() {
                chosen = Some(self.close_silent().inspect(&closed)?);
            }
            let over = async {
                Timer::at(deadline).await;
                false
            };
            let is_left = async {
                left.await;
                true
            };
            if !future::or(is_left, over).await {
                return None;
            }
        }
    }

    /// Closes the longest silent connection, unless it was active a moment ago.
    pub fn close_silent(&self) -> Option<Closed> {
        let table = self.lock();
        let may_go = |open: &&Arc<Open>| {
            !open.is_closing() && open.activity.silent_for() >= CONNECTION_STAYS_FOR
        };
        let silent = table.open.values().filter(may_go);
        let longest = silent.min_by_key(|open| open.activity.last_use())?;
        longest.is_closing.store(true, Ordering::Release);
        longest.close.notify(usize::MAX);
        Some(Closed {
            remote: longest.remote,
            silent_for: longest.activity.silent_for(),
        })
    }

    fn take(self: &Arc<Self>, remote: SocketAddr) -> Option<Place> {
        let mut table = self.lock();
        if table.open.len() >= self.max {
            return None;
        }
        let number = table.next;
        table.next += 1;
        let open = Arc::new(Open {
            remote,
            activity: Arc::default(),
            is_closing: AtomicBool::new(false),
            close: Event::new(),
        });
        table.open.insert(number, Arc::clone(&open));
        drop(table);
        Some(Place {
            connections: Arc::clone(self),
            number,
            open,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }
}

impl Place {
    pub fn activity(&self) -> &Arc<Activity> {
        &self.open.activity
    }

    /// Returns when the connection must give its place to another.
    pub async fn wanted(&self) {
        while !self.open.is_closing() {
            let close = self.open.close.listen();
            if !self.open.is_closing() {
                close.await;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
        self.connections.left.notify(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(connections: &Arc<OpenConnections>, port: u16) -> (Option<Place>, Vec<u16>) {
        let closed = Mutex::new(Vec::new());
        let note = |of: &Closed| closed.lock().unwrap().push(of.remote.port());
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        let place = future::block_on(connections.admit(remote, note));
        (place, closed.into_inner().unwrap())
    }

    /// Leaves when displaced, as the task of a connection does.
    fn leave_when_wanted(place: Place) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || future::block_on(place.wanted()))
    }

    fn wait_until_it_may_go(place: &Place) {
        while place.activity().silent_for() < CONNECTION_STAYS_FOR {
            std::thread::sleep(CONNECTION_STAYS_FOR / 10);
        }
    }

    #[test]
    fn the_longest_silent_one_gives_its_place_to_a_new_one() {
        let connections = OpenConnections::new(2);
        let (first, _) = admit(&connections, 1);
        let (second, closed) = admit(&connections, 2);
        assert_eq!((connections.count(), closed), (2, vec![]));
        // Both were opened a moment ago.
        assert!(matches!(admit(&connections, 3), (None, closed) if closed.is_empty()));
        let (first, second) = (first.unwrap(), second.unwrap());
        wait_until_it_may_go(&second);
        first.activity().note_heard();
        wait_until_it_may_go(&first);
        // The first is silent for as long, but has sent something.
        let leaving = leave_when_wanted(second);
        let (third, closed) = admit(&connections, 3);
        assert_eq!((third.is_some(), closed), (true, vec![2]));
        leaving.join().unwrap();
        assert_eq!(connections.count(), 2);
        let leaving = leave_when_wanted(first);
        let (fourth, closed) = admit(&connections, 4);
        assert_eq!((fourth.is_some(), closed), (true, vec![1]));
        leaving.join().unwrap();
    }

    #[test]
    fn one_that_does_not_leave_is_not_waited_for_for_ever() {
        let connections = OpenConnections::new(1);
        let (first, _) = admit(&connections, 1);
        let first = first.unwrap();
        wait_until_it_may_go(&first);
        assert!(matches!(admit(&connections, 2), (None, closed) if closed == [1]));
        assert!(matches!(admit(&connections, 2), (None, closed) if closed.is_empty()));
        drop(first);
        assert!(matches!(admit(&connections, 2), (Some(_), _)));
        assert_eq!(connections.count(), 0);
    }
}
