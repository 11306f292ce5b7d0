//! Plugins in the broker: what is deployed, which topic it is bound to, and what follows a failure.
//!
//! `__sedge_plugins` says what is deployed ([`registry`]); `sedge.filter` of a topic says which
//! filters its batches go through ([`filter`]). Replacing a plugin takes effect between two
//! batches.
//!
//! **Invariant:** a plugin that fails touches the batch that it was called for, and no other
//! partition.

mod filter;
mod registry;
pub mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use log::{info, warn};
use sedge_core::config::OnFilterError;
use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_protocol::ErrorCode;
use sedge_protocol::batch::Batch;

pub use registry::Registry;

use crate::metrics::Metrics;
use filter::Filter;

/// The producer is to send again: the filter may be there any moment, and nothing may pass by it.
/// Of Kafka's codes that every client takes so, this is the one that does not make it look for
/// another broker.
fn not_ready(plugin: &str) -> AppendError {
    AppendError::new(
        ErrorCode::NotEnoughReplicas,
        format!("The filter {plugin} is not ready: it is not deployed, or still being compiled."),
    )
}

/// One filter of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Binding {
    topic: [u8; 16],
    plugin: String,
}

/// What is bound, and runs.
#[derive(Debug)]
pub struct Plugins {
    pub registry: Registry,
    filters: Mutex<HashMap<Binding, Arc<Mutex<Filter>>>>,
    metrics: Arc<Metrics>,
}

impl Plugins {
    pub fn new(registry: Registry, metrics: Arc<Metrics>) -> Self {
        Self {
            registry,
            filters: Mutex::default(),
            metrics,
        }
    }

    /// Runs a batch through the topic's filters, first to last. `None` where they leave nothing.
    /// Blocks.
    ///
    /// # Errors
    /// INVALID_RECORD where a filter rejects records, POLICY_VIOLATION where one fails and the
    /// topic is fail-closed.
    pub fn filter(
        &self,
        topic: &Topic,
        index: i32,
        client_id: &str,
        batch: Batch,
    ) -> Result<Option<Batch>, AppendError> {
        let mut batch = batch;
        for plugin in topic.config.filters() {
            let slot = self.slot(topic, plugin);
            let mut filter = slot.lock().unwrap_or_else(PoisonError::into_inner);
            let filtered = filter.run(
                &self.registry,
                &self.metrics,
                topic,
                index,
                client_id,
                &batch,
            );
            match filtered {
                Ok(filter::Filtered::AsItCame) => {}
                Ok(filter::Filtered::Rebuilt(rebuilt)) => batch = rebuilt,
                Ok(filter::Filtered::Emptied) => return Ok(None),
                Err(filter::Failed::Rejected(error)) => return Err(error),
                Err(filter::Failed::NotReady) => match topic.config.on_filter_error() {
                    OnFilterError::FailOpen => {}
                    OnFilterError::FailClosed => return Err(not_ready(plugin)),
                    OnFilterError::Quarantine => filter.quarantine(topic, "it is not deployed"),
                },
                Err(filter::Failed::Plugin(why)) => match topic.config.on_filter_error() {
                    OnFilterError::FailOpen => {
                        warn!(target: "sedge::plugin", "{plugin} on {}: {why}; the batch goes on as it came", topic.name);
                    }
                    OnFilterError::FailClosed => {
                        warn!(target: "sedge::plugin", "{plugin} on {}: {why}; the batch is refused", topic.name);
                        return Err(AppendError::new(
                            ErrorCode::PolicyViolation,
                            format!("The filter {plugin} failed: {why}."),
                        ));
                    }
                    OnFilterError::Quarantine => filter.quarantine(topic, &why),
                },
            }
        }
        Ok(Some(batch))
    }

    fn slot(&self, topic: &Topic, plugin: &str) -> Arc<Mutex<Filter>> {
        let binding = Binding {
            topic: topic.id.to_bytes(),
            plugin: plugin.to_owned(),
        };
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            filters
                .entry(binding)
                .or_insert_with(|| Arc::new(Mutex::new(Filter::new(plugin)))),
        )
    }

    /// A topic was deleted: its instances go.
    pub fn forget(&self, topic: [u8; 16]) {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|binding, _| binding.topic != topic);
    }

    /// Takes what `__sedge_plugins` says of one name from here on. Blocks while it compiles.
    pub fn deploy(&self, name: &str, content: Option<&[u8]>) {
        let Some(content) = content else {
            self.registry.remove(name);
            return info!(target: "sedge::plugin", "{name} is taken away");
        };
        match self.registry.load(name, content) {
            Ok(()) => {
                info!(target: "sedge::plugin", "{name} is deployed, {} bytes", content.len());
            }
            Err(error) => {
                warn!(target: "sedge::plugin", "{name} is deployed but cannot run: {error}");
            }
        }
    }
}
