//! Layers: view changes that are not yet in the base, and reads across layers and base.
//!
//! There are two layers: `pending` takes changes; `flushing` is being written to the base and stays
//! until it is there, even across failures. Newest first: pending, flushing, base.
//!
//! **Invariant:** a layer is dropped only after the base has its changes, so a reader that looks at
//! the layers first and at the base afterwards misses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::tables::{LogKey, LogValue};
use super::{Base, Change, Space, caller_key};
use crate::api::ViewUpdate;
use crate::error::Error;
use crate::limits;

/// Changes; for each key, the last one.
#[derive(Debug, Default)]
pub struct Layer {
    pub log: BTreeMap<LogKey, Option<LogValue>>,
    /// The caller's changes, by key in the base's form.
    pub caller: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    caller_bytes: usize,
}

/// Both layers.
#[derive(Debug, Default)]
pub struct Layers {
    pub pending: Layer,
    pub flushing: Option<Arc<Layer>>,
}

/// Removed keys, and the first one that is not removed.
type Kept = (BTreeSet<LogKey>, Option<(LogKey, LogValue)>);

impl Layer {
    pub fn bytes(&self) -> usize {
        self.log.len() * limits::PENDING_ENTRY_BYTES + self.caller_bytes
    }

    pub fn entries(&self) -> usize {
        self.log.len() + self.caller.len()
    }

    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.caller.is_empty()
    }

    fn put_caller(&mut self, update: ViewUpdate) {
        let key = caller_key(update.view, &update.key);
        let cost = |key: usize, value: &Option<Vec<u8>>| {
            key + value.as_ref().map_or(0, Vec::len) + limits::PENDING_ENTRY_BYTES
        };
        let key_bytes = key.len();
        self.caller_bytes += cost(key_bytes, &update.value);
        if let Some(old) = self.caller.insert(key, update.value) {
            self.caller_bytes -= cost(key_bytes, &old);
        }
    }

    /// Returns the changes in the form that the base takes.
    pub fn changes(&self) -> Vec<Change> {
        let log = self.log.iter().map(|(key, value)| Change {
            space: Space::Log,
            key: key.encode().to_vec(),
            value: value.as_ref().map(LogValue::encode),
        });
        let caller = self.caller.iter().map(|(key, value)| Change {
            space: Space::Caller,
            key: key.clone(),
            value: value.clone(),
        });
        log.chain(caller).collect()
    }
}

impl Layers {
    pub fn put(&mut self, key: LogKey, value: LogValue) {
        self.pending.log.insert(key, Some(value));
    }

    pub fn remove(&mut self, key: LogKey) {
        self.pending.log.insert(key, None);
    }

    pub fn put_caller(&mut self, update: ViewUpdate) {
        self.pending.put_caller(update);
    }

    pub fn bytes(&self) -> usize {
        self.pending.bytes() + self.flushing.as_ref().map_or(0, |layer| layer.bytes())
    }

    pub fn entries(&self) -> usize {
        self.pending.entries() + self.flushing.as_ref().map_or(0, |layer| layer.entries())
    }

    /// Returns `None` if the layers do not have the key, `Some(None)` if it is removed.
    #[expect(clippy::option_option, reason = "known at all, and known to be there")]
    fn get(&self, key: LogKey) -> Option<Option<LogValue>> {
        let flushing = self.flushing.as_ref();
        self.pending
            .log
            .get(&key)
            .or_else(|| flushing.and_then(|layer| layer.log.get(&key)))
            .copied()
    }

    #[expect(clippy::option_option, reason = "known at all, and known to be there")]
    fn get_caller(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let flushing = self.flushing.as_ref();
        self.pending
            .caller
            .get(key)
            .or_else(|| flushing.and_then(|layer| layer.caller.get(key)))
            .cloned()
    }

    /// Returns the largest key in the range, removed ones included.
    fn last(&self, low: LogKey, high: LogKey) -> Option<(LogKey, Option<LogValue>)> {
        let of = |layer: &Layer| layer.log.range(low..=high).next_back().map(|(key, _)| *key);
        let key = of(&self.pending).max(self.flushing.as_ref().and_then(|layer| of(layer)))?;
        Some((key, self.get(key)?))
    }

    fn first(&self, low: LogKey, high: LogKey) -> Option<(LogKey, Option<LogValue>)> {
        let of = |layer: &Layer| layer.log.range(low..=high).next().map(|(key, _)| *key);
        let flushing = self.flushing.as_ref().and_then(|layer| of(layer));
        let key = of(&self.pending).into_iter().chain(flushing).min()?;
        Some((key, self.get(key)?))
    }

    /// Returns the last key that is not removed, and the removed ones behind it.
    fn last_kept(&self, low: LogKey, mut high: LogKey) -> Kept {
        let mut removed = BTreeSet::new();
        while low <= high
            && let Some((key, value)) = self.last(low, high)
        {
            if let Some(value) = value {
                return (removed, Some((key, value)));
            }
            removed.insert(key);
            let Some(before) = key.before() else { break };
            high = before;
        }
        (removed, None)
    }

    /// Returns the first key that is not removed, and the removed ones before it.
    fn first_kept(&self, mut low: LogKey, high: LogKey) -> Kept {
        let mut removed = BTreeSet::new();
        while low <= high
            && let Some((key, value)) = self.first(low, high)
        {
            if let Some(value) = value {
                return (removed, Some((key, value)));
            }
            removed.insert(key);
            low.offset = key.offset + 1;
        }
        (removed, None)
    }

    fn range(&self, low: LogKey, high: LogKey) -> BTreeMap<LogKey, Option<LogValue>> {
        let flushing = self
            .flushing
            .iter()
            .flat_map(|layer| layer.log.range(low..=high));
        let pending = self.pending.log.range(low..=high);
        flushing
            .chain(pending)
            .map(|(key, value)| (*key, *value))
            .collect()
    }

    fn caller_prefix(&self, prefix: &[u8]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let from = || (Bound::Included(prefix), Bound::Unbounded);
        let flushing = self
            .flushing
            .iter()
            .flat_map(|layer| layer.caller.range::<[u8], _>(from()));
        let pending = self.pending.caller.range::<[u8], _>(from());
        let of_prefix = |of: &(&Vec<u8>, &Option<Vec<u8>>)| of.0.starts_with(prefix);
        flushing
            .take_while(of_prefix)
            .chain(pending.take_while(of_prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// Access to layers: through a lock that is taken for each look-up, or one that is held already.
pub trait HasLayers {
    fn with_layers<T>(&self, look: impl FnOnce(&Layers) -> T) -> T;
}

impl HasLayers for &Layers {
    fn with_layers<T>(&self, look: impl FnOnce(&Layers) -> T) -> T {
        look(self)
    }
}

/// Reads across layers and base.
#[derive(Debug)]
pub struct Merged<'a, L> {
    pub layers: L,
    pub base: &'a dyn Base,
}

impl<L: HasLayers> Merged<'_, L> {
    pub fn get(&self, key: LogKey) -> Result<Option<LogValue>, Error> {
        if let Some(found) = self.layers.with_layers(|layers| layers.get(key)) {
            return Ok(found);
        }
        let found = self.base.get(Space::Log, &key.encode())?;
        found.map(|value| decode(key, &value)).transpose()
    }

    /// Returns the largest key in `low..=high`, which must be of one table.
    pub fn last(&self, low: LogKey, mut high: LogKey) -> Result<Option<(LogKey, LogValue)>, Error> {
        let (removed, layered) = self
            .layers
            .with_layers(|layers| layers.last_kept(low, high));
        let low = layered.map_or(low, |(key, _)| key);
        while low <= high {
            let based = self.base.last(Space::Log, &low.encode(), &high.encode())?;
            let Some((key, value)) = based else { break };
            let (key, value) = decode_pair(&key, &value)?;
            if key == low && layered.is_some() {
                break;
            }
            if !removed.contains(&key) {
                return Ok(Some((key, value)));
            }
            let Some(before) = key.before() else { break };
            high = before;
        }
        Ok(layered)
    }

    /// Returns the smallest key in `low..=high`, which may differ only in the offset.
    pub fn first(&self, low: LogKey, high: LogKey) -> Result<Option<(LogKey, LogValue)>, Error> {
        let (removed, layered) = self
            .layers
            .with_layers(|layers| layers.first_kept(low, high));
        let high = layered.map_or(high, |(key, _)| key);
        let mut based = None;
        self.base.scan(
            Space::Log,
            &low.encode(),
            Some(&high.encode()),
            &mut |key, value| {
                let pair = decode_pair(key, value);
                if pair.as_ref().is_ok_and(|(key, _)| removed.contains(key)) {
                    return true;
                }
                based = Some(pair);
                false
            },
        )?;
        match based.transpose()? {
            Some((key, value)) if layered.is_none_or(|(of, _)| key < of) => Ok(Some((key, value))),
            _ => Ok(layered),
        }
    }

    /// Calls `each` with all keys in `low..=high`, in order, until it returns false.
    pub fn scan(
        &self,
        low: LogKey,
        high: LogKey,
        each: &mut dyn FnMut(LogKey, LogValue) -> bool,
    ) -> Result<(), Error> {
        let mut layered = self
            .layers
            .with_layers(|layers| layers.range(low, high))
            .into_iter()
            .peekable();
        let mut going = true;
        let mut failed = None;
        self.base.scan(
            Space::Log,
            &low.encode(),
            Some(&high.encode()),
            &mut |key, value| {
                let (key, value) = match decode_pair(key, value) {
                    Ok(pair) => pair,
                    Err(error) => {
                        failed = Some(error);
                        return false;
                    }
                };
                while let Some((before, value)) = layered.next_if(|(of, _)| *of < key) {
                    going = going && value.is_none_or(|value| each(before, value));
                }
                let value = match layered.next_if(|(of, _)| *of == key) {
                    Some((_, value)) => value,
                    None => Some(value),
                };
                going = going && value.is_none_or(|value| each(key, value));
                going
            },
        )?;
        if let Some(error) = failed {
            return Err(error);
        }
        for (key, value) in layered {
            going = going && value.is_none_or(|value| each(key, value));
        }
        Ok(())
    }

    pub fn get_caller(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.layers.with_layers(|layers| layers.get_caller(key)) {
            Some(found) => Ok(found),
            None => self.base.get(Space::Caller, key),
        }
    }

    /// Calls `each` with the caller's keys, in the base's form, from `from` on, until it returns
    /// false.
    pub fn scan_caller(
        &self,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let from = from.max(prefix);
        let layered = self
            .layers
            .with_layers(|layers| layers.caller_prefix(prefix));
        let mut layered = layered
            .into_iter()
            .skip_while(|(key, _)| &key[..] < from)
            .peekable();
        let mut goes_on = true;
        self.base
            .scan(Space::Caller, from, None, &mut |key, value| {
                if !key.starts_with(prefix) {
                    return false;
                }
                while goes_on
                    && let Some((before, value)) = layered.next_if(|(of, _)| &of[..] < key)
                {
                    goes_on = value.is_none_or(|value| each(&before, &value));
                }
                goes_on = goes_on
                    && match layered.next_if(|(of, _)| of == key) {
                        Some((_, Some(value))) => each(key, &value),
                        Some((_, None)) => true,
                        None => each(key, value),
                    };
                goes_on
            })?;
        for (key, value) in layered {
            goes_on = goes_on && value.is_none_or(|value| each(&key, &value));
            if !goes_on {
                break;
            }
        }
        Ok(())
    }
}

fn decode(key: LogKey, value: &[u8]) -> Result<LogValue, Error> {
    LogValue::decode(key, value).ok_or(Error::ViewEntry { view: "log" })
}

fn decode_pair(key: &[u8], value: &[u8]) -> Result<(LogKey, LogValue), Error> {
    let key = LogKey::decode(key).ok_or(Error::ViewEntry { view: "log" })?;
    Ok((key, decode(key, value)?))
}
