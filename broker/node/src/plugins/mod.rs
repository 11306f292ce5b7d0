//! Plugins in the broker: what is deployed, which topic it is bound to, and what follows a failure.
//!
//! `__sedge_plugins` says what is deployed ([`registry`]); `sedge.filter` of a topic says which
//! filters its batches go through ([`bindings`]). Replacing a plugin takes effect between two
//! batches.
//!
//! **Invariant:** a plugin that fails touches the batch that it was called for, and no other
//! partition.
//! **Invariant:** a slow plugin keeps those waiting who produce to its topics and nobody else:
//! [`FILTER_RUNS_MAX`] bounds its threads, [`FILTERS_WAITING_SHARE`] its part of the memory.

mod bindings;
mod filter;
mod registry;
mod wanted;
pub mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::Semaphore;
use log::{info, warn};
use sedge_core::config::OnFilterError;
use sedge_core::log::AppendError;
use sedge_core::metadata::{Image, Topic};
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;
use sedge_storage::{Error, LogStore};

use crate::broker::Broker;
use crate::config::Config;
use crate::limits::{FILTER_RUNS_MAX, FILTER_WAITING_SHARE, FILTERS_WAITING_SHARE};
use crate::metrics::Metrics;
use crate::published::Published;
use bindings::{Bindings, WaitingBytes};
use filter::Filter;
use registry::{Place, Registry};
use wanted::Wanted;

/// The producer is to send again: the filter may be there any moment, and nothing may pass by it.
/// Of Kafka's codes that every client takes so, this is the one that does not make it look for
/// another broker.
fn not_ready(plugin: &str) -> AppendError {
    AppendError::new(
        ErrorCode::NotEnoughReplicas,
        format!("The filter {plugin} is not ready: it is not deployed, or still being compiled."),
    )
}

/// The producer is to send again: too much waits for the filter already.
fn too_slow(plugin: &str, topic: &Topic, bytes_max: usize) -> AppendError {
    AppendError::new(
        ErrorCode::NotEnoughReplicas,
        format!(
            "The filter {plugin} is slower than what is produced to {}: {bytes_max} bytes wait \
             for it already.",
            topic.name
        ),
    )
}

/// What is deployed, what is bound, and what runs.
#[derive(Debug)]
pub struct Plugins {
    registry: Registry,
    wanted: Mutex<Wanted>,
    bindings: Bindings,
    /// One for each filter that may run at once.
    runs: Arc<Semaphore>,
    /// Bytes of batches that wait for any filter.
    waiting: WaitingBytes,
    /// What they may come to, of all filters and of one.
    waiting_bytes_max: usize,
    waiting_bytes_max_each: usize,
    metrics: Arc<Metrics>,
}

impl Plugins {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let requests = config.queued_max_request_bytes;
        Self {
            registry: Registry::new(config),
            wanted: Mutex::default(),
            bindings: Bindings::default(),
            runs: Arc::new(Semaphore::new(FILTER_RUNS_MAX)),
            waiting: WaitingBytes::default(),
            waiting_bytes_max: requests / FILTERS_WAITING_SHARE,
            waiting_bytes_max_each: requests / FILTER_WAITING_SHARE,
            metrics,
        }
    }

    /// Runs a batch through the topic's filters, first to last. `None` where they leave nothing.
    /// A batch waits for its turn without a thread; the filter itself runs where it may block.
    ///
    /// # Errors
    /// INVALID_RECORD where a filter rejects records, POLICY_VIOLATION where one fails and the
    /// topic is fail-closed, NOT_ENOUGH_REPLICAS where one is not ready or too much waits for it.
    pub async fn filter(
        &self,
        metadata: &Published<Image>,
        topic: &Arc<Topic>,
        index: i32,
        client_id: &str,
        batch: Batch,
    ) -> Result<Option<Batch>, AppendError> {
        let mut batch = batch;
        for plugin in topic.config.filters() {
            let binding = self
                .bindings
                .get(metadata, &self.registry, &self.metrics, topic, plugin);
            let bytes = batch.bytes();
            let waiting = (
                binding.waiting.join(bytes, self.waiting_bytes_max_each),
                self.waiting.join(bytes, self.waiting_bytes_max),
            );
            let (Some(_), Some(_)) = &waiting else {
                return Err(too_slow(plugin, topic, self.waiting_bytes_max_each));
            };
            let mut filter = binding.filter.lock_arc().await;
            // Taken last: who waits for one slow filter keeps no other from running.
            let run = self.runs.acquire_arc().await;
            let (of, client_id) = (Arc::clone(topic), client_id.to_owned());
            let filtered = blocking::unblock(move || {
                let _until_it_ran = run;
                pass(&mut filter, &of, index, &client_id, batch)
            });
            match filtered.await? {
                Some(left) => batch = left,
                None => return Ok(None),
            }
        }
        Ok(Some(batch))
    }

    /// Reads on in `__sedge_plugins`. Blocks.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub fn read_on(&self, broker: &Broker) -> Result<(), Error> {
        let partition = watch::partition(broker);
        self.wanted().read_on(&*broker.store, partition)
    }

    /// Whether `__sedge_plugins` has more than was read.
    pub fn is_behind(&self, broker: &Broker) -> bool {
        self.wanted().is_behind(watch::end(broker))
    }

    /// Takes away and makes ready until what is deployed is what `__sedge_plugins` says. Blocks
    /// while it compiles.
    pub fn settle(&self, broker: &Broker) {
        loop {
            let wanted = self.wanted();
            let gone = self.registry.retain(|name| wanted.place(name).is_some());
            let differs = |(name, place): &(&str, Place)| self.registry.place(name) != Some(*place);
            let next = wanted.places().find(differs);
            let next = next.map(|(name, place)| (name.to_owned(), place));
            drop(wanted);
            for name in gone {
                info!(target: "sedge::plugin", "{name} is taken away");
            }
            if let Some((name, place)) = &next {
                self.deploy(&*broker.store, name, *place);
            }
            self.release(broker);
            if next.is_none() {
                return;
            }
        }
    }

    /// Lets go of bindings that are out of date.
    pub fn release(&self, broker: &Broker) {
        self.bindings.release(&broker.metadata, &self.registry);
    }

    fn deploy(&self, store: &dyn LogStore, name: &str, place: Place) {
        let content = match wanted::component(store, name, place) {
            Ok(Some(content)) => content,
            Ok(None) => {
                let why = "its component cannot be read back; deploy it again";
                warn!(target: "sedge::plugin", "{name} is deployed but cannot run: {why}");
                return self.registry.fail(name, place, why);
            }
            Err(error) => {
                warn!(target: "sedge::plugin", "{name} is deployed but cannot run: {error}");
                return self.registry.fail(name, place, &error.to_string());
            }
        };
        match self.registry.load(name, place, &content) {
            Ok(()) => {
                info!(target: "sedge::plugin", "{name} is deployed, {} bytes", content.len());
            }
            Err(error) => {
                warn!(target: "sedge::plugin", "{name} is deployed but cannot run: {error}");
            }
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a batch through one filter. What follows a failure is the topic's. Blocks.
fn pass(
    filter: &mut Filter,
    topic: &Topic,
    index: i32,
    client_id: &str,
    batch: Batch,
) -> Result<Option<Batch>, AppendError> {
    let failed = match filter.run(topic, index, client_id, &batch) {
        Ok(filter::Filtered::AsItCame) => return Ok(Some(batch)),
        Ok(filter::Filtered::Rebuilt(rebuilt)) => return Ok(Some(rebuilt)),
        Ok(filter::Filtered::Emptied) => return Ok(None),
        Err(filter::Failed::Rejected(error)) => return Err(error),
        Err(failed) => failed,
    };
    let plugin = filter.plugin().to_owned();
    match (topic.config.on_filter_error(), failed) {
        (OnFilterError::FailOpen, filter::Failed::Plugin(why)) => {
            warn!(target: "sedge::plugin", "{plugin} on {}: {why}; the batch goes on as it came", topic.name);
        }
        (OnFilterError::FailOpen, _) => {}
        (OnFilterError::FailClosed, filter::Failed::Plugin(why)) => {
            warn!(target: "sedge::plugin", "{plugin} on {}: {why}; the batch is refused", topic.name);
            return Err(AppendError::new(
                ErrorCode::PolicyViolation,
                format!("The filter {plugin} failed: {why}."),
            ));
        }
        (OnFilterError::FailClosed, _) => return Err(not_ready(&plugin)),
        (OnFilterError::Quarantine, filter::Failed::Plugin(why)) => {
            filter.quarantine(topic, &why);
        }
        (OnFilterError::Quarantine, _) => filter.quarantine(topic, "it is not deployed"),
    }
    Ok(Some(batch))
}
