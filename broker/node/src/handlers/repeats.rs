//! Requests that name one thing twice. Kafka judges the request as a whole: it does nothing with
//! what is named twice.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The items that a request names once, and all mentions of the others, in their order.
pub struct Named<T> {
    pub once: Vec<T>,
    pub repeated: Vec<T>,
}

/// Splits `items` by how often their keys occur.
pub fn part<T, K: Hash + Eq>(items: Vec<T>, key: impl Fn(&T) -> K) -> Named<T> {
    let mut times_named: HashMap<K, usize> = HashMap::with_capacity(items.len());
    for item in &items {
        *times_named.entry(key(item)).or_default() += 1;
    }
    let (once, repeated) = items
        .into_iter()
        .partition(|item| times_named.get(&key(item)) == Some(&1));
    Named { once, repeated }
}

/// Returns the first mention of each item, for responses that list a repeated item once.
pub fn first_mentions<T, K: Hash + Eq>(mut items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(key(item)));
    items
}

/// Returns the keys that occur more than once.
pub fn repeated<K: Clone + Hash + Eq>(keys: impl Iterator<Item = K>) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.filter(|key| !seen.insert(key.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_twice_is_not_also_named_once() {
        let named = part(vec!["a", "b", "a", "c", "b", "a"], |name| *name);
        assert_eq!(named.once, ["c"]);
        assert_eq!(named.repeated, ["a", "b", "a", "b", "a"]);
        assert_eq!(
            repeated(["a", "b", "a", "c", "b", "a"].into_iter()),
            HashSet::from(["a", "b"])
        );
        assert_eq!(first_mentions(named.repeated, |name| *name), ["a", "b"]);
    }
}
