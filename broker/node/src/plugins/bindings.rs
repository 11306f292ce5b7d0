//! Bindings: for each plugin of a topic its instance, and the batches that wait for it.
//!
//! A binding belongs to one deployment and one set of settings. If either changes, the next batch
//! gets a new binding, and batches in progress finish in the old one.
//!
//! **Invariant:** every binding in the table matches the newest metadata and the newest deployment,
//! so no instance outlives its topic, its plugin or its settings.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sedge_core::log::AppendError;
use sedge_core::metadata::{Image, Topic};
use sedge_protocol::ErrorCode;
use sedge_protocol::kafka::KafkaUuid;

use super::bound::{Bound, Role};
use super::registry::{Place, Registry};
use super::tally::Tally;
use crate::log::published::Published;
use crate::metrics::Metrics;

/// One plugin of one topic.
#[derive(Debug)]
pub struct Binding<R: Role> {
    plugin: String,
    deployed: Option<Place>,
    settings: Vec<(String, String)>,
    /// Locked by the batch that runs. Waiting for the lock needs no thread.
    pub bound: Arc<async_lock::Mutex<Bound<R>>>,
    /// Bytes of the batches that wait or run.
    pub waiting: WaitingBytes,
    pub tally: Tally,
}

/// All bindings of one role in use.
#[derive(Debug)]
pub struct Bindings<R: Role>(Mutex<HashMap<Key, Arc<Binding<R>>>>);

impl<R: Role> Default for Bindings<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    topic: KafkaUuid,
    plugin: String,
}

impl<R: Role> Bindings<R> {
    /// Returns the binding of a topic and one of its plugins.
    pub fn get(
        &self,
        metadata: &Published<Image>,
        registry: &Registry,
        metrics: &Metrics,
        topic: &Topic,
        plugin: &str,
    ) -> Arc<Binding<R>> {
        let key = Key {
            topic: topic.id,
            plugin: plugin.to_owned(),
        };
        let mut bindings = self.lock();
        if let Some(binding) = bindings.get(&key)
            && binding.is_current(registry, topic)
        {
            return Arc::clone(binding);
        }
        let binding = Arc::new(Binding::new(registry, metrics, topic, plugin));
        // A batch that came before a change of the metadata must not restore a binding that the
        // change removed: the batch gets a binding of its own.
        let image = metadata.load();
        let newest = image.topic_by_id(topic.id);
        if newest.is_some_and(|newest| binding.is_of(registry, newest)) {
            bindings.insert(key, Arc::clone(&binding));
        }
        binding
    }

    /// Drops bindings that were unbound or replaced.
    pub fn release(&self, metadata: &Published<Image>, registry: &Registry) {
        let mut bindings = self.lock();
        let image = metadata.load();
        bindings.retain(|key, binding| {
            let topic = image.topic_by_id(key.topic);
            topic.is_some_and(|topic| binding.is_of(registry, topic))
        });
    }

    /// Logs the summaries that are due.
    pub fn tell(&self) {
        let bindings: Vec<_> = self.lock().values().cloned().collect();
        let now = Instant::now();
        for binding in bindings {
            binding.tally.tell(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Binding<R>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Role> Binding<R> {
    /// Counts a batch that the producer should send again, for the log. Errors of the producer
    /// itself are only reported to the producer.
    pub fn refused(&self, error: AppendError) -> AppendError {
        if error.code == ErrorCode::NotEnoughReplicas {
            self.tally
                .refused(error.message.as_deref().unwrap_or_default());
        }
        error
    }

    fn new(registry: &Registry, metrics: &Metrics, topic: &Topic, plugin: &str) -> Self {
        let settings = settings(topic, plugin);
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self::of(registry, metrics, &topic.name, plugin, settings.collect())
    }

    /// Creates the binding of a plugin to a topic or a link.
    pub fn of(
        registry: &Registry,
        metrics: &Metrics,
        owner: &str,
        plugin: &str,
        settings: Vec<(String, String)>,
    ) -> Self {
        let deployed = registry.get(plugin);
        Self {
            plugin: plugin.to_owned(),
            deployed: deployed.as_ref().map(|deployed| deployed.place),
            bound: Arc::new(async_lock::Mutex::new(Bound::new(
                plugin,
                deployed,
                settings.clone(),
                metrics,
                owner,
            ))),
            settings,
            waiting: WaitingBytes::default(),
            tally: Tally::new(owner, format!("{} {plugin}", R::NAME)),
        }
    }

    /// Returns whether the topic has this plugin, with this deployment and these settings.
    fn is_of(&self, registry: &Registry, topic: &Topic) -> bool {
        R::is_bound(topic, &self.plugin) && self.is_current(registry, topic)
    }

    fn is_current(&self, registry: &Registry, topic: &Topic) -> bool {
        let now = settings(topic, &self.plugin);
        let then = self.settings.iter();
        self.is_deployed(registry)
            && now.eq(then.map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// Returns whether the plugin's deployment is still that of the binding.
    pub fn is_deployed(&self, registry: &Registry) -> bool {
        self.deployed == registry.place(&self.plugin)
    }
}

fn settings<'a>(
    topic: &'a Topic,
    plugin: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
    topic.config.plugin_settings(plugin)
}

/// Counts bytes of waiting batches, up to a limit.
#[derive(Debug, Default)]
pub struct WaitingBytes(AtomicUsize);

/// The bytes of one batch, released on drop.
#[derive(Debug)]
pub struct Waiting<'a> {
    of: &'a WaitingBytes,
    bytes: usize,
}

impl WaitingBytes {
    /// Adds a batch, unless the total would exceed `bytes_max`. The first batch is accepted
    /// whatever its size.
    pub fn join(&self, bytes: usize, bytes_max: usize) -> Option<Waiting<'_>> {
        // Created before the check, so that dropping it releases the bytes.
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Waiting { of: self, bytes };
        (before == 0 || before.saturating_add(bytes) <= bytes_max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_bytes_are_bounded_and_the_first_always_waits() {
        let waiting = WaitingBytes::default();
        let large = waiting.join(1000, 100);
        assert!(large.is_some());
        assert!(waiting.join(1, 100).is_none());
        drop(large);
        let held: Vec<_> = (0..200).map_while(|_| waiting.join(10, 100)).collect();
        assert_eq!(held.len(), 10);
        drop(held);
        assert!(waiting.join(10, 100).is_some());
    }
}
