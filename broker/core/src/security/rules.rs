//! The index of all access rules. A check costs a few lookups, regardless of the number of rules.
//!
//! For each resource type, the index has the literal names, the wildcard, and the prefixes. Each of
//! these patterns maps principals to hosts, and hosts to two sets of operations: allowed and
//! denied. Prefixes that match a name are found with one lookup for each prefix length in use.
//!
//! **Invariant:** the index gives the same results as the plain list of rules (`tests.rs`).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::net::IpAddr;

use sedge_protocol::kafka::KafkaUuid;

use super::acl::{AclBinding, EACH_USER, Host, PatternType, Permission, WILDCARD};
use super::table::Table;
use super::{Operation, Resource};

/// All access rules, with their ids and the index.
#[derive(Clone, Debug, Default)]
pub struct Acls {
    by_id: BTreeMap<[u8; 16], Arc<AclBinding>>,
    ids: BTreeMap<Arc<AclBinding>, KafkaUuid>,
    types: [OfType; Resource::EACH.len()],
    bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct OfType {
    literal: Table<Arc<Pattern>>,
    any: Option<Arc<Pattern>>,
    prefixed: Table<Arc<Pattern>>,
    /// Number of prefixes of each length in bytes.
    lengths: BTreeMap<usize, usize>,
}

/// The rules with one pattern.
#[derive(Clone, Debug, Default)]
struct Pattern {
    count: usize,
    principals: Table<Hosts>,
}

#[derive(Clone, Debug, Default)]
struct Hosts {
    any: Sets,
    addresses: BTreeMap<IpAddr, Sets>,
}

/// Bit sets of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    pub allowed: u16,
    pub denied: u16,
}

impl Sets {
    fn add(&mut self, other: Self) {
        self.allowed |= other.allowed;
        self.denied |= other.denied;
    }

    fn set_mut(&mut self, permission: Permission) -> &mut u16 {
        match permission {
            Permission::Allow => &mut self.allowed,
            Permission::Deny => &mut self.denied,
        }
    }
}

/// The combined result of the rules of one or more patterns, for a principal on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub sets: Sets,
    /// Whether the resource has any rule, for any principal.
    pub any: bool,
}

impl Found {
    fn look(&mut self, pattern: &Pattern, principal: &str, host: IpAddr) {
        self.any = true;
        self.sets.add(pattern.sets(principal, host));
    }
}

impl Pattern {
    fn sets(&self, principal: &str, host: IpAddr) -> Sets {
        let mut sets = Sets::default();
        for principal in [principal, EACH_USER] {
            if let Some(hosts) = self.principals.get(principal.as_bytes()) {
                sets.add(hosts.any);
                if let Some(of_host) = hosts.addresses.get(&host) {
                    sets.add(*of_host);
                }
            }
        }
        sets
    }

    fn add(&mut self, rule: &AclBinding) {
        self.count += 1;
        let hosts = self.principals.get_or_default(&rule.principal);
        let sets = match &rule.host {
            Host::Any => &mut hosts.any,
            Host::Address(address) => hosts.addresses.entry(*address).or_default(),
            Host::Name(_) => return,
        };
        *sets.set_mut(rule.permission) |= rule.operation.bit();
    }

    /// Removes a rule. Returns whether the pattern still has rules.
    fn remove(&mut self, rule: &AclBinding) -> bool {
        self.count -= 1;
        if let Some(hosts) = self.principals.get_mut(&rule.principal) {
            match &rule.host {
                Host::Any => *hosts.any.set_mut(rule.permission) &= !rule.operation.bit(),
                Host::Address(address) => {
                    if let Some(sets) = hosts.addresses.get_mut(address) {
                        *sets.set_mut(rule.permission) &= !rule.operation.bit();
                        if *sets == Sets::default() {
                            hosts.addresses.remove(address);
                        }
                    }
                }
                Host::Name(_) => {}
            }
            if hosts.any == Sets::default() && hosts.addresses.is_empty() {
                self.principals.remove(&rule.principal);
            }
        }
        self.count > 0
    }
}

impl OfType {
    fn find(&self, name: &str, principal: &str, host: IpAddr) -> Found {
        let mut found = Found::default();
        let literal = self.literal.get(name.as_bytes());
        let patterns = literal.into_iter().chain(&self.any);
        for pattern in patterns.chain(self.prefixes_of(name)) {
            found.look(pattern, principal, host);
        }
        found
    }

    /// Returns the patterns whose prefixes `name` begins with.
    fn prefixes_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<Pattern>> {
        let lengths = self.lengths.range(..=name.len());
        lengths.filter_map(|(length, _)| self.prefixed.get(name.as_bytes().get(..*length)?))
    }

    fn add(&mut self, rule: &AclBinding) {
        let pattern = match rule.pattern {
            PatternType::Literal if &*rule.name == WILDCARD => self.any.get_or_insert_default(),
            PatternType::Literal => self.literal.get_or_default(&rule.name),
            PatternType::Prefixed => {
                let pattern = self.prefixed.get_or_default(&rule.name);
                if pattern.count == 0 {
                    *self.lengths.entry(rule.name.len()).or_default() += 1;
                }
                pattern
            }
        };
        Arc::make_mut(pattern).add(rule);
    }

    fn remove(&mut self, rule: &AclBinding) {
        let pattern = match rule.pattern {
            PatternType::Literal if &*rule.name == WILDCARD => self.any.as_mut(),
            PatternType::Literal => self.literal.get_mut(&rule.name),
            PatternType::Prefixed => self.prefixed.get_mut(&rule.name),
        };
        let Some(pattern) = pattern else {
            return;
        };
        if Arc::make_mut(pattern).remove(rule) {
            return;
        }
        match rule.pattern {
            PatternType::Literal if &*rule.name == WILDCARD => self.any = None,
            PatternType::Literal => {
                self.literal.remove(&rule.name);
            }
            PatternType::Prefixed => {
                self.prefixed.remove(&rule.name);
                let length = rule.name.len();
                if let Some(count) = self.lengths.get_mut(&length) {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&length);
                    }
                }
            }
        }
    }

    fn patterns(&self) -> impl Iterator<Item = (PatternType, &str, &Pattern)> {
        let any = self.any.iter();
        let any = any.map(|pattern| (PatternType::Literal, WILDCARD, &**pattern));
        let literal = self.literal.iter();
        let literal = literal.map(|(name, pattern)| (PatternType::Literal, &**name, &**pattern));
        let prefixed = self.prefixed.iter();
        let prefixed = prefixed.map(|(name, pattern)| (PatternType::Prefixed, &**name, &**pattern));
        any.chain(literal).chain(prefixed)
    }
}

impl Acls {
    /// Adds a rule under its id. A rule that exists already keeps its id.
    pub fn add(&mut self, id: KafkaUuid, rule: AclBinding) {
        if self.ids.contains_key(&rule) || self.by_id.contains_key(&id.to_bytes()) {
            return;
        }
        let rule = Arc::new(rule);
        self.bytes += rule.bytes();
        self.types[rule.resource.index()].add(&rule);
        self.by_id.insert(id.to_bytes(), Arc::clone(&rule));
        self.ids.insert(rule, id);
    }

    /// Removes the rule with this id, if it exists.
    pub fn remove(&mut self, id: KafkaUuid) {
        let Some(rule) = self.by_id.remove(&id.to_bytes()) else {
            return;
        };
        self.ids.remove(&rule);
        self.bytes -= rule.bytes();
        self.types[rule.resource.index()].remove(&rule);
    }

    #[must_use]
    pub fn contains(&self, rule: &AclBinding) -> bool {
        self.ids.contains_key(rule)
    }

    #[must_use]
    pub fn has_id(&self, id: KafkaUuid) -> bool {
        self.by_id.contains_key(&id.to_bytes())
    }

    /// Iterates over all rules and their ids. Rules with the same pattern are adjacent.
    pub fn iter(&self) -> impl Iterator<Item = (KafkaUuid, &Arc<AclBinding>)> {
        self.ids.iter().map(|(rule, id)| (*id, rule))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the memory of all rules in bytes, as counted against
    /// [`super::limits::ACLS_BYTES_MAX`].
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn find(
        &self,
        resource: Resource,
        name: &str,
        principal: &str,
        host: IpAddr,
    ) -> Found {
        self.types[resource.index()].find(name, principal, host)
    }

    /// Returns whether a name is possible for which a rule allows the operation and no rule denies
    /// it (`Authorizer.authorizeByResourceType`). A resource with this name need not exist.
    pub(super) fn allows_on_any(
        &self,
        resource: Resource,
        operation: Operation,
        principal: &str,
        host: IpAddr,
    ) -> bool {
        let of_type = &self.types[resource.index()];
        let has = |set: u16| set & (operation.bit() | Operation::All.bit()) != 0;
        let is_denied = |pattern: &Pattern| has(pattern.sets(principal, host).denied);
        if of_type.any.as_deref().is_some_and(is_denied) {
            return false;
        }
        of_type.patterns().any(|(kind, name, pattern)| {
            let sets = pattern.sets(principal, host);
            let is_everything = kind == PatternType::Literal && name == WILDCARD;
            has(sets.allowed)
                && (is_everything
                    || !(has(sets.denied)
                        || of_type.prefixes_of(name).any(|prefix| is_denied(prefix))))
        })
    }
}
