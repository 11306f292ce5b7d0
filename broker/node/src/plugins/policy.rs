//! The quota policy: the plugin that is asked about each produce and fetch of a client.
//!
//! There is one instance, because it counts what clients use. It belongs to one deployment and one
//! set of settings, as a filter's; a change of either starts another instance, which has counted
//! nothing.
//!
//! A decision takes about 1 us, and so is made on the thread that serves the client; the plugin
//! host bounds it ([`DECISION_MS_MAX`]). An instance is started off the executor, and requests wait
//! for that.
//!
//! **Invariant:** without a policy, a request costs one atomic load.
//! **Invariant:** if the policy fails or cannot run, the request is served, the configured quotas
//! decide alone, and the request is counted. A policy that keeps failing is asked only now and then
//! (core's [`Breaker`]).
//!
//! [`DECISION_MS_MAX`]: sedge_plugin::limits::DECISION_MS_MAX

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use log::warn;
use sedge_core::config::BrokerDefaults;
use sedge_core::metadata::Image;
use sedge_core::quota::{Breaker, Grant};
use sedge_plugin::{CallError, QuotaInstance, QuotaRequest};

use super::counted::Counted;
use super::registry::{Deployed, Registry};
use super::tally::Count;
use crate::log::published::Published;
use crate::metrics::{Metrics, PluginMetrics};

/// The policy that the broker is bound to, if any.
#[derive(Debug, Default)]
pub struct Bound {
    is_bound: AtomicBool,
    policy: RwLock<Option<Arc<Policy>>>,
}

impl Bound {
    /// Returns the policy that is asked now.
    pub fn get(&self) -> Option<Arc<Policy>> {
        if !self.is_bound.load(Ordering::Relaxed) {
            return None;
        }
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
        policy.clone()
    }

    /// Replaces the policy if its binding, deployment or settings have changed. Requests in
    /// progress finish with the old one.
    pub fn follow(&self, metadata: &Published<Image>, registry: &Registry, metrics: &Arc<Metrics>) {
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        // Loaded under the lock: the last caller has the newest.
        let image = metadata.load();
        let defaults = image.defaults();
        let name = defaults.quota_policy();
        let is_current = match (&*policy, name) {
            (Some(policy), Some(name)) => policy.is_of(name, registry, defaults),
            (None, None) => true,
            _ => false,
        };
        if is_current {
            return;
        }
        *policy = name.map(|name| {
            let settings = defaults.plugin_settings(name);
            let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let deployed = registry.get(name);
            Arc::new(Policy::new(name, deployed, settings.collect(), metrics))
        });
        self.is_bound.store(policy.is_some(), Ordering::Relaxed);
    }

    /// Logs the summary that is due.
    pub fn tell(&self) {
        if let Some(policy) = self.get() {
            policy.tell(Instant::now());
        }
    }
}

/// A quota policy of one deployment with one set of settings.
#[derive(Debug)]
pub struct Policy {
    plugin: String,
    deployed: Option<Deployed>,
    settings: Vec<(String, String)>,
    running: async_lock::Mutex<Running>,
    /// Requests that the policy did not decide about, for the log.
    undecided: Mutex<Count>,
    counters: Arc<PluginMetrics>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Running {
    instance: Option<Counted<QuotaInstance>>,
    breaker: Breaker,
    /// The last failure.
    why: String,
}

impl Policy {
    fn new(
        plugin: &str,
        deployed: Option<Deployed>,
        settings: Vec<(String, String)>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            plugin: plugin.to_owned(),
            deployed,
            settings,
            running: async_lock::Mutex::new(Running {
                instance: None,
                // The clock of requests: a bucket that is full at 0 is full at any later time.
                breaker: Breaker::new(0),
                why: String::new(),
            }),
            undecided: Mutex::default(),
            counters: metrics.plugin(plugin),
            metrics: Arc::clone(metrics),
        }
    }

    fn is_of(&self, name: &str, registry: &Registry, defaults: &BrokerDefaults) -> bool {
        let then = self.settings.iter();
        self.plugin == name
            && self.deployed.as_ref().map(|deployed| deployed.place) == registry.place(name)
            && defaults
                .plugin_settings(name)
                .eq(then.map(|(key, value)| (key.as_str(), value.as_str())))
    }

    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Decides about a request. If the policy cannot, the request is allowed.
    pub async fn decide(&self, request: &QuotaRequest<'_>) -> Grant {
        let counts = &self.metrics.quotas.policy;
        match self.ask(request).await {
            Ok(grant) => {
                let grant = grant.bounded();
                counts.decided(&grant);
                grant
            }
            Err(why) => {
                counts.fallback.increment();
                let mut undecided = lock(&self.undecided);
                undecided.add(1, why);
                drop(undecided);
                self.tell(Instant::now());
                Grant::Allow
            }
        }
    }

    async fn ask(&self, request: &QuotaRequest<'_>) -> Result<Grant, String> {
        let Some(deployed) = &self.deployed else {
            return Err("it is not deployed, or is still being compiled".to_owned());
        };
        if deployed.is_paused() {
            return Err("it is paused".to_owned());
        }
        let mut running = self.running.lock().await;
        let Running {
            instance,
            breaker,
            why,
        } = &mut *running;
        if !breaker.is_closed(request.now_ms) {
            return Err(why.clone());
        }
        let asked = match instance {
            Some(instance) => self.call(instance, request),
            None => match self.start(deployed).await {
                Ok(started) => self.call(instance.insert(started), request),
                Err(error) => Err(error),
            },
        };
        asked.inspect_err(|error| {
            *instance = None;
            breaker.failed();
            deployed.trial.note_failure();
            why.clone_from(error);
        })
    }

    /// Starts an instance off the executor.
    async fn start(&self, deployed: &Deployed) -> Result<Counted<QuotaInstance>, String> {
        let plugin = deployed.plugin.clone().map_err(|why| why.to_string())?;
        let settings = self.settings.clone();
        let meter = self.counters.own.meter(None);
        let start = move || plugin.into_quota()?.instantiate_with(&settings, meter);
        let started = blocking::unblock(start);
        let policy = started.await.map_err(|error| error.to_string())?;
        Ok(Counted::new(policy, &self.counters))
    }

    fn call(
        &self,
        policy: &mut QuotaInstance,
        request: &QuotaRequest<'_>,
    ) -> Result<Grant, String> {
        let counters = &self.counters;
        let began = Instant::now();
        let grant = policy.decide(request);
        counters.calls.increment();
        counters.nanos.add(began.elapsed().as_nanos() as u64);
        match grant {
            Ok(sedge_plugin::Grant::Allow) => Ok(Grant::Allow),
            Ok(sedge_plugin::Grant::Throttle { ms }) => Ok(Grant::Throttle { ms: ms.into() }),
            Ok(sedge_plugin::Grant::Reject { reason: why }) => Ok(Grant::Reject { why }),
            Err(error) => {
                match &error {
                    CallError::Deadline | CallError::Starved => counters.deadlines.increment(),
                    _ => counters.traps.increment(),
                }
                Err(error.to_string())
            }
        }
    }

    fn tell(&self, now: Instant) {
        let due = lock(&self.undecided).take(now);
        if let Some(Count { some, why, .. }) = due {
            let requests = if some == 1 { "request" } else { "requests" };
            warn!(
                target: "sedge::plugin",
                "the quota policy {} did not decide about {some} {requests}, which the configured \
                 quotas decided alone: {why} (logged once a minute)",
                self.plugin
            );
        }
    }
}

fn lock(count: &Mutex<Count>) -> std::sync::MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}
