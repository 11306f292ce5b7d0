//! The open connections, at most `max.connections`, with lower limits for one listener or one
//! address if the configuration sets them.
//!
//! When all places are taken, a new connection displaces another, as Kafka closes the least
//! recently used. *Strangers* are displaced first: connections whose client has not authenticated,
//! or, on a listener without authentication, has sent no request yet. If there is none, the
//! connection that has been silent for longest is displaced. A connection that moved a byte a
//! moment ago is not displaced, and the new one is refused. Strangers have this protection only in
//! one place of [`STRANGERS_SHARE`], so that in a flood strangers displace each other and no client
//! that is served. An address at its limit gets no place.
//!
//! **Invariant:** no more than `max.connections` are open: a new one waits until the one that it
//! displaces is closed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_io::Timer;
use event_listener::Event;
use futures_lite::future;

use super::activity::Activity;
use crate::config::{AddressLimits, ListenerConfig};
use crate::limits::{CLOSING_WAIT, CONNECTION_STAYS_FOR, STRANGERS_SHARE};

/// The open connections; see the module.
#[derive(Debug)]
pub struct OpenConnections {
    table: Mutex<Table>,
    /// Notified when a connection was closed.
    left: Event,
}

#[derive(Debug)]
struct Table {
    max: usize,
    of_address: AddressLimits,
    open: HashMap<u64, Arc<Open>>,
    /// The strangers among `open`, oldest first, and some that are no longer strangers.
    strangers: BTreeMap<u64, Arc<Open>>,
    by_address: HashMap<IpAddr, usize>,
    by_listener: HashMap<String, usize>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    remote: SocketAddr,
    listener: Arc<ListenerConfig>,
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

/// The limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Full {
    Broker { max: usize },
    Listener { name: String, max: usize },
    Address { address: IpAddr, max: usize },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker { max } => write!(f, "max.connections={max} are open"),
            Self::Listener { name, max } => write!(
                f,
                "listener.name.{}.max.connections={max} are open",
                name.to_lowercase()
            ),
            Self::Address { address, max } => write!(
                f,
                "{address} has {max} connections, as many as max.connections.per.ip or its override \
                 allows"
            ),
        }
    }
}

impl OpenConnections {
    pub fn new(max: usize, of_address: AddressLimits) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table {
                max,
                of_address,
                open: HashMap::new(),
                strangers: BTreeMap::new(),
                by_address: HashMap::new(),
                by_listener: HashMap::new(),
                next: 0,
            }),
            left: Event::new(),
        })
    }

    /// Replaces the limits. Connections above them stay until they are displaced.
    pub fn set_limits(&self, max: usize, of_address: AddressLimits) {
        let mut table = self.lock();
        (table.max, table.of_address) = (max, of_address);
    }

    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Takes a place for a new connection. Calls `closed` with a connection that is displaced.
    ///
    /// # Errors
    /// A limit is reached: active connections have all places, or this address has all of its own.
    pub async fn admit(
        self: &Arc<Self>,
        remote: SocketAddr,
        listener: &Arc<ListenerConfig>,
        closed: impl Fn(&Closed, &Full),
    ) -> Result<Place, Full> {
        let deadline = Instant::now() + CLOSING_WAIT;
        let mut is_displacing = false;
        loop {
            let left = self.left.listen();
            let full = match self.take(remote, listener) {
                Ok(place) => return Ok(place),
                Err(full) => full,
            };
            if !is_displacing {
                let Some(displaced) = self.displace(&full) else {
                    return Err(full);
                };
                closed(&displaced, &full);
                is_displacing = true;
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
                return Err(full);
            }
        }
    }

    /// Closes the connection that would be displaced by a new one.
    pub fn close_silent(&self) -> Option<Closed> {
        let max = self.lock().max;
        self.displace(&Full::Broker { max })
    }

    fn displace(&self, full: &Full) -> Option<Closed> {
        let (max, listener) = match full {
            Full::Broker { max } => (*max, None),
            Full::Listener { name, max } => (*max, Some(name)),
            Full::Address { .. } => return None,
        };
        let may_go = |open: &&Arc<Open>| {
            !open.is_closing() && listener.is_none_or(|name| open.listener.name == *name)
        };
        let is_silent = |open: &&Arc<Open>| open.activity.silent_for() >= CONNECTION_STAYS_FOR;
        let mut table = self.lock();
        table.strangers.retain(|_, open| !open.activity.is_known());
        let strangers = || table.strangers.values().filter(may_go);
        let goes = if strangers().count() > max.div_ceil(STRANGERS_SHARE) {
            strangers().next()
        } else {
            let silent = |open: &&Arc<Open>| open.activity.last_use();
            let stranger = strangers().filter(is_silent).min_by_key(silent);
            stranger.or_else(|| {
                let all = table.open.values().filter(may_go);
                all.filter(is_silent).min_by_key(silent)
            })
        }?;
        goes.is_closing.store(true, Ordering::Release);
        goes.close.notify(usize::MAX);
        Some(Closed {
            remote: goes.remote,
            silent_for: goes.activity.silent_for(),
        })
    }

    fn take(
        self: &Arc<Self>,
        remote: SocketAddr,
        listener: &Arc<ListenerConfig>,
    ) -> Result<Place, Full> {
        let address = remote.ip().to_canonical();
        let mut table = self.lock();
        if let Some(full) = table.full(address, listener) {
            return Err(full);
        }
        let number = table.next;
        table.next += 1;
        let open = Arc::new(Open {
            remote,
            listener: Arc::clone(listener),
            activity: Arc::default(),
            is_closing: AtomicBool::new(false),
            close: Event::new(),
        });
        table.open.insert(number, Arc::clone(&open));
        table.strangers.insert(number, Arc::clone(&open));
        *table.by_address.entry(address).or_default() += 1;
        *table.by_listener.entry(listener.name.clone()).or_default() += 1;
        drop(table);
        Ok(Place {
            connections: Arc::clone(self),
            number,
            open,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn full(&self, address: IpAddr, listener: &ListenerConfig) -> Option<Full> {
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        let max = self.of_address.of(address);
        if of_address >= max {
            return Some(Full::Address { address, max });
        }
        let of_listener = self.by_listener.get(&listener.name).copied().unwrap_or(0);
        if let Some(max) = listener.max_connections.filter(|max| of_listener >= *max) {
            let name = listener.name.clone();
            return Some(Full::Listener { name, max });
        }
        let max = self.max;
        (self.open.len() >= max).then_some(Full::Broker { max })
    }

    fn remove(&mut self, number: u64) {
        let Some(open) = self.open.remove(&number) else {
            return;
        };
        self.strangers.remove(&number);
        release(&mut self.by_address, &open.remote.ip().to_canonical());
        release(&mut self.by_listener, &open.listener.name);
    }
}

/// Decrements a counter, and removes it at zero.
fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
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
        self.connections.lock().remove(self.number);
        // On each listener, one new connection may wait for its place.
        self.connections.left.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use sedge_core::security_protocol::SecurityProtocol;

    use super::*;
    use crate::config::HostPort;

    fn connections(max: usize) -> Arc<OpenConnections> {
        OpenConnections::new(max, AddressLimits::new(usize::MAX, BTreeMap::new()))
    }

    fn listener(name: &str, max_connections: Option<usize>) -> Arc<ListenerConfig> {
        Arc::new(ListenerConfig {
            name: name.to_owned(),
            protocol: SecurityProtocol::Plaintext,
            tls: None,
            sasl: None,
            address: HostPort::parse("127.0.0.1:0").unwrap(),
            advertised: None,
            max_connections,
        })
    }

    type Admitted = (Result<Place, Full>, Vec<u16>);

    fn admit_by(
        listener: &Arc<ListenerConfig>,
        connections: &Arc<OpenConnections>,
        remote: SocketAddr,
    ) -> Admitted {
        let closed = Mutex::new(Vec::new());
        let note = |of: &Closed, _: &Full| closed.lock().unwrap().push(of.remote.port());
        let place = future::block_on(connections.admit(remote, listener, note));
        (place, closed.into_inner().unwrap())
    }

    fn admit(connections: &Arc<OpenConnections>, port: u16) -> Admitted {
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        admit_by(&listener("PLAINTEXT", None), connections, remote)
    }

    fn known(connections: &Arc<OpenConnections>, port: u16) -> Place {
        let place = admit(connections, port).0.unwrap();
        place.activity().note_known();
        place
    }

    /// Leaves when displaced, as the task of a connection does.
    fn leave_when_wanted(place: Place) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || future::block_on(place.wanted()))
    }

    fn wait_until_silent(place: &Place) {
        while place.activity().silent_for() < CONNECTION_STAYS_FOR {
            std::thread::sleep(CONNECTION_STAYS_FOR / 10);
        }
    }

    #[test]
    fn the_longest_silent_one_gives_its_place_to_a_new_one() {
        let connections = connections(8);
        let mut places: Vec<_> = (1..=7).map(|port| known(&connections, port)).collect();
        let (stranger, closed) = admit(&connections, 8);
        let stranger = stranger.unwrap();
        assert_eq!((connections.count(), closed), (8, vec![]));
        // All connections were opened a moment ago.
        let max = 8;
        let (full, closed) = admit(&connections, 9);
        assert_eq!((full.unwrap_err(), closed), (Full::Broker { max }, vec![]));
        wait_until_silent(&stranger);
        places[0].activity().note();
        stranger.activity().note();
        wait_until_silent(&stranger);
        // The second connection is silent for longer than the stranger, but was served.
        let leaving = leave_when_wanted(stranger);
        let (ninth, closed) = admit(&connections, 9);
        assert_eq!(closed, [8]);
        leaving.join().unwrap();
        let ninth = ninth.unwrap();
        ninth.activity().note_known();
        let leaving = leave_when_wanted(places.remove(1));
        let (tenth, closed) = admit(&connections, 10);
        assert_eq!((tenth.is_ok(), closed), (true, vec![2]));
        leaving.join().unwrap();
    }

    /// No stranger is silent, and all served connections are.
    #[test]
    fn strangers_displace_each_other_and_not_those_that_are_served() {
        let connections = connections(40);
        let mut served: Vec<_> = (1..=30).map(|port| known(&connections, port)).collect();
        served.iter().for_each(wait_until_silent);
        let stranger = |port| admit(&connections, port).0.unwrap();
        let mut strangers: Vec<Place> = (101..=110).map(stranger).collect();
        // The strangers take a quarter of the places, and one more.
        let mut leaving = vec![leave_when_wanted(served.remove(0))];
        for (port, expected) in std::iter::zip(111..=130, std::iter::once(1).chain(101..)) {
            if expected > 100 {
                leaving.push(leave_when_wanted(strangers.remove(0)));
            }
            for place in &strangers {
                place.activity().note();
            }
            let (place, closed) = admit(&connections, port);
            assert_eq!(closed, [expected]);
            strangers.push(place.unwrap());
        }
        for leaving in leaving {
            leaving.join().unwrap();
        }
        assert_eq!((connections.count(), strangers.len()), (40, 11));
    }

    #[test]
    fn one_that_does_not_leave_is_not_waited_for_for_ever() {
        let connections = connections(1);
        let first = known(&connections, 1);
        wait_until_silent(&first);
        assert!(matches!(admit(&connections, 2), (Err(_), closed) if closed == [1]));
        assert!(matches!(admit(&connections, 2), (Err(_), closed) if closed.is_empty()));
        drop(first);
        assert!(matches!(admit(&connections, 2), (Ok(_), _)));
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn a_listener_has_a_limit_of_its_own_and_displaces_only_its_own() {
        let connections = connections(10);
        let (lan, wan) = (listener("LAN", None), listener("WAN", Some(2)));
        let remote = |port| SocketAddr::from(([192, 0, 2, 7], port));
        let other = admit_by(&lan, &connections, remote(1)).0.unwrap();
        let [first, second] =
            [2, 3].map(|port| admit_by(&wan, &connections, remote(port)).0.unwrap());
        for place in [&other, &first, &second] {
            place.activity().note_known();
            wait_until_silent(place);
        }
        let leaving = leave_when_wanted(first);
        let (third, closed) = admit_by(&wan, &connections, remote(4));
        assert_eq!((third.is_ok(), closed), (true, vec![2]));
        leaving.join().unwrap();
        // The remaining connections moved a byte a moment ago.
        third.as_ref().unwrap().activity().note_known();
        second.activity().note();
        let (full, closed) = admit_by(&wan, &connections, remote(5));
        let name = "WAN".to_owned();
        let full = full.unwrap_err();
        assert!(
            full.to_string()
                .starts_with("listener.name.wan.max.connections=2 are")
        );
        assert_eq!((full, closed), (Full::Listener { name, max: 2 }, vec![]));
        assert!(admit_by(&lan, &connections, remote(6)).0.is_ok());
        assert_eq!(connections.lock().by_listener["WAN"], 2);
    }

    #[test]
    fn an_address_has_a_limit_and_gets_its_places_back() {
        let overrides = BTreeMap::from([("192.0.2.9".parse().unwrap(), 1)]);
        let connections = OpenConnections::new(10, AddressLimits::new(2, overrides));
        let lan = listener("LAN", None);
        let check = |host: &str, expected: Result<(), usize>| {
            let remote = SocketAddr::new(host.parse().unwrap(), 1);
            let place = admit_by(&lan, &connections, remote).0;
            let address = remote.ip().to_canonical();
            let full = expected.err().map(|max| Full::Address { address, max });
            assert_eq!(place.as_ref().err(), full.as_ref(), "{host}");
            place
        };
        let _first = check("192.0.2.7", Ok(()));
        let second = check("::ffff:192.0.2.7", Ok(()));
        drop(check("192.0.2.7", Err(2)));
        drop(check("::ffff:192.0.2.7", Err(2)));
        let _other = check("192.0.2.8", Ok(()));
        let _overridden = check("192.0.2.9", Ok(()));
        drop(check("192.0.2.9", Err(1)));
        drop(second);
        drop(check("192.0.2.7", Ok(())));
        assert_eq!(connections.lock().by_address.len(), 3);
    }

    #[test]
    fn limits_change_while_connections_are_open() {
        let connections = connections(2);
        let limits = |of_each| AddressLimits::new(of_each, BTreeMap::new());
        let first = admit(&connections, 1).0.unwrap();
        connections.set_limits(1, limits(usize::MAX));
        let refused = admit(&connections, 2).0.unwrap_err();
        assert_eq!(refused, Full::Broker { max: 1 });
        connections.set_limits(5, limits(1));
        let refused = admit(&connections, 2).0.unwrap_err();
        assert!(matches!(refused, Full::Address { max: 1, .. }), "{refused}");
        connections.set_limits(5, limits(2));
        let second = admit(&connections, 2).0.unwrap();
        assert_eq!(connections.count(), 2);
        drop((first, second));
    }
}
