//! All quotas, and which of them is in force for a client.

use alloc::collections::BTreeMap;

use super::entity::{Entity, Key, Name};
use super::limits::QUOTA_ENTITY_BYTES;

/// The quotas of one entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits([Option<f64>; Key::ALL.len()]);

impl Limits {
    #[must_use]
    pub fn get(&self, key: Key) -> Option<f64> {
        *self.0.get(key as usize)?
    }

    /// Returns the quotas that are set, by their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, f64)> {
        let all = Key::ALL.into_iter();
        all.filter_map(|key| Some((key, self.get(key)?)))
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

type ByName = BTreeMap<Name, Limits>;

/// All quotas, in an index by the names of their entities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    users: ByName,
    clients: ByName,
    user_clients: BTreeMap<Name, ByName>,
    ips: ByName,
    /// The number of entities that set each key.
    set: [usize; Key::ALL.len()],
    entities: usize,
    bytes: usize,
}

/// The clients that share the quota in force for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All clients of the user.
    User,
    /// All clients with the client id, of any user.
    Client,
    /// The clients of the user with the client id.
    UserClient,
}

impl Quotas {
    /// Returns the number of entities with quotas.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entities
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entities == 0
    }

    /// Returns the memory of all quotas, as [`QUOTAS_BYTES_MAX`](super::limits::QUOTAS_BYTES_MAX)
    /// counts it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the memory that one more entity needs.
    #[must_use]
    pub fn bytes_of(entity: &Entity) -> usize {
        QUOTA_ENTITY_BYTES + entity.bytes()
    }

    /// Returns whether any entity has a quota of this key.
    #[must_use]
    pub fn has(&self, key: Key) -> bool {
        self.set.get(key as usize).is_some_and(|count| *count > 0)
    }

    #[must_use]
    pub fn limits(&self, entity: &Entity) -> Option<&Limits> {
        match entity {
            Entity::User(user) => self.users.get(user),
            Entity::Client(client) => self.clients.get(client),
            Entity::UserClient(user, client) => self.user_clients.get(user)?.get(client),
            Entity::Ip(ip) => self.ips.get(ip),
        }
    }

    /// Returns all entities with their quotas, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Entity, &Limits)> {
        let one = |entity: fn(Name) -> Entity| {
            move |(name, limits): (&Name, _)| (entity(name.clone()), limits)
        };
        let users = self.users.iter().map(one(Entity::User));
        let both = self.user_clients.iter().flat_map(|(user, clients)| {
            clients.iter().map(move |(client, limits)| {
                (Entity::UserClient(user.clone(), client.clone()), limits)
            })
        });
        let clients = self.clients.iter().map(one(Entity::Client));
        let ips = self.ips.iter().map(one(Entity::Ip));
        users.chain(both).chain(clients).chain(ips)
    }

    /// Sets a quota; `None` removes it.
    pub fn set(&mut self, entity: &Entity, key: Key, value: Option<f64>) {
        let clone = Name::clone;
        let (names, name) = match entity {
            Entity::User(user) => (&mut self.users, user),
            Entity::Client(client) => (&mut self.clients, client),
            Entity::UserClient(user, client) => {
                (self.user_clients.entry(clone(user)).or_default(), client)
            }
            Entity::Ip(ip) => (&mut self.ips, ip),
        };
        let is_new = !names.contains_key(name);
        let limits = names.entry(clone(name)).or_default();
        let (Some(place), Some(set)) = (
            limits.0.get_mut(key as usize),
            self.set.get_mut(key as usize),
        ) else {
            return;
        };
        let before = core::mem::replace(place, value);
        *set = *set - usize::from(before.is_some()) + usize::from(value.is_some());
        let is_empty = limits.is_empty();
        if is_empty {
            names.remove(name);
        }
        if let Entity::UserClient(user, _) = entity
            && self.user_clients.get(user).is_some_and(BTreeMap::is_empty)
        {
            self.user_clients.remove(user);
        }
        let bytes = Self::bytes_of(entity);
        match (is_new, is_empty) {
            (true, false) => (self.entities, self.bytes) = (self.entities + 1, self.bytes + bytes),
            (false, true) => (self.entities, self.bytes) = (self.entities - 1, self.bytes - bytes),
            _ => {}
        }
    }

    /// Returns the quota that is in force for a client: the first that is set in Kafka's order of
    /// entities, from a client of a user to the default of all clients. A client without a client
    /// id has the defaults.
    #[must_use]
    pub fn resolve(&self, key: Key, user: &str, client: &str) -> Option<(Scope, f64)> {
        if !self.has(key) {
            return None;
        }
        let find = |names: &ByName, name: &str| names.get(name).and_then(|limits| limits.get(key));
        for user in [user, Name::DEFAULT] {
            if let Some(clients) = self.user_clients.get(user) {
                let own = find(clients, client).or_else(|| find(clients, Name::DEFAULT));
                if let Some(rate) = own {
                    return Some((Scope::UserClient, rate));
                }
            }
            if let Some(rate) = find(&self.users, user) {
                return Some((Scope::User, rate));
            }
        }
        let of_client = find(&self.clients, client);
        let rate = of_client.or_else(|| find(&self.clients, Name::DEFAULT))?;
        Some((Scope::Client, rate))
    }

    /// Returns how many connections an address, in its canonical form, may open in a second.
    #[must_use]
    pub fn connection_rate(&self, ip: &str) -> Option<f64> {
        let key = Key::ConnectionCreationRate;
        if !self.has(key) {
            return None;
        }
        let find = |name: &str| self.ips.get(name).and_then(|limits| limits.get(key));
        find(ip).or_else(|| find(Name::DEFAULT))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    const KEY: Key = Key::ProducerByteRate;

    fn name(name: &str) -> Name {
        Name::new(Some(name).filter(|name| !name.is_empty()))
    }

    fn user_client(user: &str, client: &str) -> Entity {
        Entity::UserClient(name(user), name(client))
    }

    /// The order of Kafka's documentation ("Quotas", "Client Groups and Quotas"): each entity's
    /// quota is its place in the order.
    fn in_order() -> [(Entity, Scope); 8] {
        [
            (user_client("u", "c"), Scope::UserClient),
            (user_client("u", ""), Scope::UserClient),
            (Entity::User(name("u")), Scope::User),
            (user_client("", "c"), Scope::UserClient),
            (user_client("", ""), Scope::UserClient),
            (Entity::User(name("")), Scope::User),
            (Entity::Client(name("c")), Scope::Client),
            (Entity::Client(name("")), Scope::Client),
        ]
    }

    #[test]
    fn the_first_entity_in_kafka_s_order_decides() {
        for present in 0..1_u32 << 8 {
            let mut quotas = Quotas::default();
            let is_present = |place: &usize| present & (1 << place) != 0;
            let entities = in_order();
            for place in (0..8).filter(is_present) {
                quotas.set(&entities[place].0, KEY, Some(place as f64));
            }
            let first = (0..8).find(is_present);
            let expected = first.map(|place| (entities[place].1, place as f64));
            assert_eq!(quotas.resolve(KEY, "u", "c"), expected, "{present:b}");
            // Quotas of other keys do not matter.
            quotas.set(&user_client("u", "c"), Key::ConsumerByteRate, Some(9.0));
            assert_eq!(quotas.resolve(KEY, "u", "c"), expected, "{present:b}");
            let of_default = (0..8).find(|place| is_present(place) && [4, 5, 7].contains(place));
            let of_other = quotas.resolve(KEY, "v", "d").map(|(_, rate)| rate as usize);
            assert_eq!(of_other, of_default, "{present:b}");
            assert_eq!(quotas.resolve(KEY, "v", ""), quotas.resolve(KEY, "v", "d"));
        }
    }

    #[test]
    fn an_address_has_its_own_rate_or_the_default() {
        let mut quotas = Quotas::default();
        let key = Key::ConnectionCreationRate;
        assert_eq!(quotas.connection_rate("10.0.0.1"), None);
        quotas.set(&Entity::Ip(name("10.0.0.1")), key, Some(3.0));
        assert_eq!(quotas.connection_rate("10.0.0.1"), Some(3.0));
        assert_eq!(quotas.connection_rate("10.0.0.2"), None);
        quotas.set(&Entity::Ip(name("")), key, Some(7.0));
        assert_eq!(quotas.connection_rate("10.0.0.2"), Some(7.0));
        assert_eq!(quotas.connection_rate("10.0.0.1"), Some(3.0));
    }

    /// Returns a generator of numbers below a bound, from the seed.
    pub(crate) fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        }
    }

    /// Returns one of a few entities, so that a sequence changes the same ones again.
    pub(crate) fn random_entity(next: &mut dyn FnMut(u64) -> u64) -> Entity {
        let mut one = |of: &[&str]| name(of[next(of.len() as u64) as usize]);
        let (user, client) = (one(&["", "u", "v"]), one(&["", "c", "d"]));
        let ip = one(&["", "::1", "10.0.0.1"]);
        match next(4) {
            0 => Entity::User(user),
            1 => Entity::Client(client),
            2 => Entity::UserClient(user, client),
            _ => Entity::Ip(ip),
        }
    }

    #[test]
    fn the_index_has_what_a_list_of_the_quotas_has() {
        let mut next = random(7);
        let mut quotas = Quotas::default();
        let mut list: BTreeMap<(Entity, Key), f64> = BTreeMap::new();
        for _ in 0..3_000 {
            let entity = random_entity(&mut next);
            let key = Key::ALL[next(5) as usize];
            let value = (next(3) > 0).then(|| 1.0 + next(100) as f64);
            quotas.set(&entity, key, value);
            match value {
                Some(value) => list.insert((entity, key), value),
                None => list.remove(&(entity, key)),
            };
            let mut all: Vec<_> = Vec::new();
            for (entity, limits) in quotas.iter() {
                assert_eq!(quotas.limits(&entity), Some(limits));
                all.extend(
                    limits
                        .iter()
                        .map(|(key, value)| ((entity.clone(), key), value)),
                );
            }
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            let expected: Vec<_> = list.clone().into_iter().collect();
            assert_eq!(all, expected);
            let entities: Vec<String> = quotas.iter().map(|(of, _)| format!("{of:?}")).collect();
            assert_eq!(quotas.len(), entities.len());
            let bytes = quotas.iter().map(|(entity, _)| Quotas::bytes_of(&entity));
            assert_eq!(quotas.bytes(), bytes.sum::<usize>());
            for key in Key::ALL {
                let is_set = list.keys().any(|(_, of)| *of == key);
                assert_eq!(quotas.has(key), is_set);
            }
        }
    }
}
