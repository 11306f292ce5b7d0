//! A plugin of a topic: one deployment with one set of settings, and its instance.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use sedge_core::config::OnPluginError;
use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_plugin::{CallError, Error, Limits, Meter, Needs, Plugin, RecordBlob};
use sedge_protocol::records::RecordView;

use super::counted::Counted;
use super::failure::{Failed, tell};
use super::registry::Deployed;
use super::tally::Count;
use crate::metrics::{Metrics, PluginMetrics};

/// What plugins of a topic do with its batches.
pub trait Role: Debug + Send + 'static {
    /// The role, for people.
    const NAME: &'static str;

    type Instance: Debug + Send;

    /// Returns whether the topic is bound to this plugin.
    fn is_bound(topic: &Topic, plugin: &str) -> bool;

    /// Starts an instance. Blocks at most for the plugin's deadline.
    ///
    /// # Errors
    /// The plugin has another world, refuses the settings, or fails.
    fn instantiate(
        plugin: Plugin,
        settings: &[(String, String)],
        meter: Arc<dyn Meter>,
    ) -> Result<Self::Instance, Error>;

    /// Returns the fields that the instance reads, and its limits.
    fn reads(instance: &Self::Instance) -> (Needs, &Limits);
}

/// A plugin of a topic, with its instance. Handles one batch at a time.
#[derive(Debug)]
pub struct Bound<R: Role> {
    pub plugin: String,
    deployed: Option<Deployed>,
    settings: Vec<(String, String)>,
    instance: Option<Counted<R::Instance>>,
    /// The plugin failed under the policy `quarantine`; it is skipped until it is deployed or bound
    /// anew.
    is_quarantined: bool,
    /// Failures that the log does not have yet.
    failures: Count,
    blob: RecordBlob,
    pub counters: Arc<PluginMetrics>,
    /// Takes the plugin's own metrics of this topic.
    meter: Arc<dyn Meter>,
}

impl<R: Role> Bound<R> {
    pub fn new(
        plugin: &str,
        deployed: Option<Deployed>,
        settings: Vec<(String, String)>,
        metrics: &Metrics,
        topic: &str,
    ) -> Self {
        let counters = metrics.plugin(plugin);
        Self {
            plugin: plugin.to_owned(),
            deployed,
            settings,
            instance: None,
            is_quarantined: false,
            failures: Count::default(),
            blob: RecordBlob::new(),
            meter: counters.own.meter(Some(topic)),
            counters,
        }
    }

    /// Returns whether batches go on without the plugin: it is quarantined or paused.
    pub fn is_skipped(&self) -> bool {
        let deployed = self.deployed.as_ref();
        self.is_quarantined || deployed.is_some_and(Deployed::is_paused)
    }

    /// Creates an instance if there is none, and returns it. Blocks at most for the plugin's
    /// deadline.
    ///
    /// # Errors
    /// The plugin is not deployed, or does not start.
    pub fn make_ready(&mut self) -> Result<&mut R::Instance, Failed> {
        let Some(deployed) = &self.deployed else {
            return Err(Failed::NotReady);
        };
        if self.instance.is_none() {
            let plugin = deployed
                .plugin
                .as_ref()
                .map_err(|why| Failed::Plugin(why.to_string()))?;
            let instance = R::instantiate(plugin.clone(), &self.settings, Arc::clone(&self.meter))
                .map_err(|error| Failed::Plugin(error.to_string()))?;
            self.instance = Some(Counted::new(instance, &self.counters));
        }
        self.instance.as_deref_mut().ok_or(Failed::NotReady)
    }

    /// Copies what the plugin reads of the records, and calls it; `timestamp` gives the one that
    /// the plugin is told. Blocks at most for the plugin's deadline.
    ///
    /// # Errors
    /// There is no instance ([`Self::make_ready`]), or the call failed.
    pub fn call<T>(
        &mut self,
        views: &[RecordView<'_>],
        timestamp: fn(&RecordView<'_>) -> i64,
        call: impl FnOnce(&mut R::Instance, &RecordBlob) -> Result<T, CallError>,
    ) -> Result<T, Failed> {
        let Some(instance) = &mut self.instance else {
            return Err(Failed::NotReady);
        };
        fill(&mut self.blob, R::reads(instance), views, timestamp)?;
        let began = Instant::now();
        let answer = call(instance, &self.blob);
        self.counters.calls.increment();
        self.counters.nanos.add(began.elapsed().as_nanos() as u64);
        answer.map_err(|error| Failed::call(&error, &self.counters))
    }

    fn note_failure(&self) {
        if let Some(deployed) = &self.deployed {
            deployed.trial.note_failure();
        }
    }

    /// Notes a failure whose batch goes to a dead-letter topic.
    pub fn note_dead_letters(&mut self, why: &str, topic: &Topic, to: &str, records: usize) {
        self.note_failure();
        self.counters.quarantined.add(records as u64);
        let plugin = format!("{} {}", R::NAME, self.plugin);
        let what = format!("the batch is in the topic {to}");
        tell(&plugin, topic, why, &what, &mut self.failures);
    }

    /// Applies the topic's policy to a failure. Returns if the batch continues as it came.
    ///
    /// # Errors
    /// The batch is refused.
    pub fn settle(
        &mut self,
        failed: Failed,
        policy: OnPluginError,
        topic: &Topic,
    ) -> Result<(), AppendError> {
        let plugin = format!("{} {}", R::NAME, self.plugin);
        if let Failed::Plugin(_) = &failed {
            self.note_failure();
        }
        if failed.settle(policy, &plugin, topic, &mut self.failures)? {
            self.is_quarantined = true;
            self.instance = None;
            if let Some(deployed) = &self.deployed {
                deployed.trial.note_end();
            }
        }
        Ok(())
    }
}

fn fill(
    blob: &mut RecordBlob,
    (needs, limits): (Needs, &Limits),
    views: &[RecordView<'_>],
    timestamp: fn(&RecordView<'_>) -> i64,
) -> Result<(), Failed> {
    blob.start(needs, limits);
    let mut section = Vec::new();
    for view in views {
        let headers = needs.headers.then(|| {
            section.clear();
            view.headers.write_section(&mut section);
            &section[..]
        });
        blob.push(view.key, view.value, headers, timestamp(view))
            .map_err(|_| {
                Failed::Plugin("the batch is larger than plugin.memory.bytes".to_owned())
            })?;
    }
    Ok(())
}
