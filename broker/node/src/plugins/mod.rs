//! Plugins in the broker: deployments, bindings to topics and to the broker, and the handling of
//! failures.
//!
//! `__sedge_plugins` defines the deployed plugins ([`registry`]); `sedge.filter` of a topic names
//! the filters that its batches go through ([`bindings`]), `sedge.quota.policy` of the broker the
//! plugin that is asked about requests ([`policy`]), and `sedge.plugin.NAME.*` are their settings.
//! Replacing a plugin takes effect between two batches or requests.
//!
//! A batch is decompressed, filtered, and rebuilt with the same codec and producer; it keeps its
//! last sequence. If the filter fails, `sedge.filter.on.error` decides what happens to the batch.
//! What the filters leave, the topic's `sedge.partitioner` splits ([`partitioner`]). The filters of
//! `sedge.filter.fetch` run when consumers read ([`fetched`]).
//!
//! A binding needs a deployed plugin of its world. If the plugin is deleted later, or does not
//! compile, the log and `/readyz` (which stays ok) say so; for a filter, `sedge_topic_filter_ready`
//! and `sedge.filter.state` of DescribeConfigs as well.
//!
//! **Invariant:** a plugin that fails affects only the batch that it was called for, and no other
//! partition.
//! **Invariant:** a slow plugin delays only producers to its topics: [`FILTER_RUNS_MAX`] bounds its
//! threads, [`FILTERS_WAITING_SHARE`] its part of the memory.

mod bindings;
mod bound;
mod changes;
mod counted;
mod dead_letters;
mod failure;
mod fetched;
mod filter;
mod mirrored;
mod origin;
mod partitioner;
mod policy;
mod registry;
mod routes;
pub mod signatures;
mod standing;
mod state;
mod tally;
mod trial;
mod versions;
mod wanted;
pub mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::{MutexGuardArc, Semaphore, SemaphoreGuardArc};
use log::{info, warn};
use sedge_core::log::AppendError;
use sedge_core::metadata::{Image, PLUGINS_TOPIC, Topic};
use sedge_core::partitioner::MURMUR2;
use sedge_plugin::World;
use sedge_protocol::batch::Batch;
use sedge_storage::{Error, LogStore};

use crate::config::{Config, PublicKey};
use crate::limits::{
    FILTER_RUNS_MAX, FILTER_WAITING_SHARE, FILTERS_WAITING_SHARE, UNREADY_NAMED_MAX,
};
use crate::log::Log;
use crate::log::published::Published;
use crate::metrics::Metrics;
use crate::writer::{Elsewhere, Writer};
use bindings::{Binding, Bindings, WaitingBytes};
use bound::{Bound, Role};
use failure::too_slow;
pub use fetched::Reading;
use fetched::{Fetch, STATE_ON_FETCH};
use filter::{Diverted, Filter, Left, Passed, Produce};
pub use mirrored::LinkFilters;
pub use origin::Origin;
use partitioner::Partitioner;
pub use partitioner::Routed;
pub use policy::Policy;
use registry::{Deployed, Place, Registry};
pub use standing::{Binder, Standing, Unready};
use state::States;
pub use state::{Entering, Held, Verdict};
pub use tally::TELL_EVERY;
pub use trial::Since;
use trial::Trial;
use wanted::Wanted;

/// A plugin, and the permit to run it.
type Turn<R> = (MutexGuardArc<Bound<R>>, SemaphoreGuardArc);

/// Prefix of the read-only keys in which DescribeConfigs of the broker shows the last lines that a
/// plugin logged, if a request names the key.
pub const LOG_KEY_PREFIX: &str = "sedge.log.plugin.";

/// What a topic's filters leave of a batch.
#[derive(Debug)]
pub struct Filtered {
    /// `None` if no record is left.
    pub batch: Option<Batch>,
    /// What the filters routed to other topics.
    pub elsewhere: Vec<Elsewhere>,
}

/// The read-only key in which DescribeConfigs shows the state of a topic's filters.
pub const FILTER_STATE_KEY: &str = "sedge.filter.state";

/// Deployed plugins, their bindings, and the filters that run.
#[derive(Debug)]
pub struct Plugins {
    registry: Registry,
    wanted: Mutex<Wanted>,
    filters: Bindings<Filter<Produce>>,
    fetch_filters: Bindings<Filter<Fetch>>,
    partitioners: Bindings<Partitioner>,
    policy: policy::Bound,
    states: States,
    /// One permit for each filter that may run at once.
    runs: Arc<Semaphore>,
    /// Bytes of batches that wait for any filter.
    waiting: WaitingBytes,
    /// Limits on these bytes: for all filters, and for one.
    waiting_bytes_max: usize,
    waiting_bytes_max_each: usize,
    /// Failures of a new version after which the one before is deployed again; 0: never.
    rollback_failures: u64,
    /// See [`signatures`].
    trusted_keys: Vec<PublicKey>,
    /// The bound plugins that were not ready at the last log line about them.
    told: Mutex<Vec<Unready>>,
    metrics: Arc<Metrics>,
}

impl Plugins {
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let requests = config.queued_max_request_bytes;
        let registry = Registry::new(config);
        metrics.watch_plugin_memory(&registry.memory);
        Self {
            registry,
            wanted: Mutex::default(),
            filters: Bindings::default(),
            fetch_filters: Bindings::default(),
            partitioners: Bindings::default(),
            policy: policy::Bound::default(),
            states: States::new(&config.plugin, Arc::clone(&metrics)),
            runs: Arc::new(Semaphore::new(FILTER_RUNS_MAX)),
            waiting: WaitingBytes::default(),
            waiting_bytes_max: requests / FILTERS_WAITING_SHARE,
            waiting_bytes_max_each: requests / FILTER_WAITING_SHARE,
            rollback_failures: config.plugin.rollback_failures,
            trusted_keys: config.plugin.trusted_keys.clone(),
            told: Mutex::default(),
            metrics,
        }
    }

    /// Waits until a batch is the next of its partition, if a filter of the topic has a state, and
    /// tells whether the partition has it already. Returns `None` without such a filter.
    ///
    /// # Errors
    /// As for [`States::enter`].
    pub async fn enter(
        &self,
        log: &Arc<Log>,
        writer: &Writer,
        batch: &Entering<'_>,
    ) -> Result<Option<(Held, Verdict)>, AppendError> {
        let mut filters = batch.topic.config.filters().iter();
        if !filters.any(|plugin| self.registry.has_state(plugin)) {
            return Ok(None);
        }
        let waiting = (
            &self.waiting,
            self.waiting_bytes_max,
            self.waiting_bytes_max_each,
        );
        let entered = self.states.enter((log, writer), waiting, batch).await;
        entered.map(Some)
    }

    /// Removes the state of topics and plugins that are gone.
    pub async fn sweep(&self, log: &Log, writer: &Writer) {
        let is_deployed = |plugin: &str| self.wanted().place(plugin).is_some();
        self.states.sweep(log, writer, is_deployed).await;
    }

    /// Runs a batch through the topic's filters, first to last. `held` has the state for filters
    /// that have one, and is `None` after an error. A batch waits for its turn without a thread;
    /// the filter itself runs on a thread that may block.
    ///
    /// # Errors
    /// INVALID_RECORD if a filter rejects records, POLICY_VIOLATION if one fails and the topic is
    /// fail-closed, NOT_ENOUGH_REPLICAS if one is not ready or too many bytes wait for it.
    pub async fn filter(
        &self,
        (log, writer): (&Log, &Writer),
        (topic, index): (&Arc<Topic>, i32),
        origin: &Origin,
        batch: Batch,
        held: &mut Option<Held>,
    ) -> Result<Filtered, AppendError> {
        let mut batch = batch;
        let mut elsewhere = Vec::new();
        let mut numbers = None;
        for plugin in topic.config.filters() {
            let (of, origin) = (Arc::clone(topic), origin.clone());
            let records = batch.header.record_count().max(0) as usize;
            let mut state = held.take();
            let work = move |filter: &mut Bound<Filter<Produce>>, batch| {
                let passed = filter.pass(&of, index, &origin, batch, state.as_mut());
                (passed, state)
            };
            let (binding, (filtered, state)) = self
                .run(&self.filters, &log.metadata, (topic, plugin), batch, work)
                .await?;
            *held = state.filter(|_| filtered.is_ok());
            let filtered = match filtered {
                Ok(Passed { left, diverted }) => {
                    let count = |diverted: &Diverted| diverted.batch.header.record_count() as usize;
                    let gone = records.saturating_sub(diverted.iter().map(count).sum());
                    let from = (&**plugin, &**topic, index);
                    let routed = self.divert((log, writer), from, diverted).await;
                    routed.map(|routed| (left, gone, routed))
                }
                Err(error) => Err(error),
            };
            match filtered {
                Ok((left, gone, routed)) => {
                    elsewhere.extend(routed);
                    let (rebuilt, kept) = match left {
                        Left::AsItCame(same) => (Some(same), None),
                        Left::Rebuilt(rebuilt) => (Some(rebuilt.batch), Some(rebuilt.kept)),
                        Left::Emptied => (None, Some(Vec::new())),
                    };
                    let kept_count = kept.as_ref().map_or(records, Vec::len);
                    binding
                        .tally
                        .dropped(gone.saturating_sub(kept_count), records);
                    let Some(rebuilt) = rebuilt else {
                        let batch = None;
                        return Ok(Filtered { batch, elsewhere });
                    };
                    batch = rebuilt;
                    if let Some(kept) = kept {
                        numbers = Some(numbered(numbers.as_deref(), kept));
                    }
                }
                Err(mut error) => {
                    // The producer knows the batch as it was before any filter.
                    for record in &mut error.record_errors {
                        record.index = number(numbers.as_deref(), record.index);
                    }
                    return Err(binding.refused(error));
                }
            }
        }
        let batch = Some(batch);
        Ok(Filtered { batch, elsewhere })
    }

    /// Splits a batch by the choices of the topic's partitioner. A batch waits for its turn as in
    /// [`Self::filter`].
    ///
    /// # Errors
    /// POLICY_VIOLATION if the partitioner fails and the topic is fail-closed, NOT_ENOUGH_REPLICAS
    /// if it is not ready or too many bytes wait for it, MESSAGE_TOO_LARGE if the batch would
    /// become too many or too large ones.
    pub async fn partition(
        &self,
        metadata: &Published<Image>,
        topic: &Arc<Topic>,
        index: i32,
        batch: Batch,
    ) -> Result<Routed, AppendError> {
        match topic.config.partitioner() {
            Some(plugin) => self.split(metadata, (topic, plugin), index, batch).await,
            None => Ok(batch.into()),
        }
    }

    /// Splits a batch by the choices of a partitioner, as [`Self::partition`] does.
    async fn split(
        &self,
        metadata: &Published<Image>,
        (topic, plugin): (&Arc<Topic>, &str),
        index: i32,
        batch: Batch,
    ) -> Result<Routed, AppendError> {
        let of = Arc::clone(topic);
        let work =
            move |partitioner: &mut Bound<Partitioner>, batch| partitioner.route(&of, index, batch);
        let (binding, routed) = self
            .run(&self.partitioners, metadata, (topic, plugin), batch, work)
            .await?;
        routed.map_err(|error| binding.refused(error))
    }

    /// Does the work on a batch with a plugin of its topic, off the executor, when it is the
    /// batch's turn.
    async fn run<R: Role, T: Send + 'static>(
        &self,
        bindings: &Bindings<R>,
        metadata: &Published<Image>,
        (topic, plugin): (&Arc<Topic>, &str),
        batch: Batch,
        work: impl FnOnce(&mut Bound<R>, Batch) -> T + Send + 'static,
    ) -> Result<(Arc<Binding<R>>, T), AppendError> {
        let binding = bindings.get(metadata, &self.registry, &self.metrics, topic, plugin);
        let bytes = batch.bytes();
        let waiting = (
            binding.waiting.join(bytes, self.waiting_bytes_max_each),
            self.waiting.join(bytes, self.waiting_bytes_max),
        );
        let (Some(_), Some(_)) = &waiting else {
            let plugin = format!("{} {plugin}", R::NAME);
            let error = too_slow(&plugin, topic, self.waiting_bytes_max_each);
            return Err(binding.refused(error));
        };
        let (mut bound, run) = self.turn(&binding).await;
        let done = blocking::unblock(move || {
            let _until_it_ran = run;
            work(&mut bound, batch)
        });
        let done = done.await;
        drop(waiting);
        Ok((binding, done))
    }

    /// Waits for a plugin, and for the permit to run it.
    async fn turn<R: Role>(&self, binding: &Binding<R>) -> Turn<R> {
        let bound = binding.bound.lock_arc().await;
        // Acquired last: batches that wait for one slow plugin keep no other from running.
        let run = self.runs.acquire_arc().await;
        (bound, run)
    }

    /// Returns the quota policy that is asked about requests, if the broker is bound to one.
    pub fn quota_policy(&self) -> Option<Arc<Policy>> {
        self.policy.get()
    }

    /// Returns whether a plugin can run in a world.
    pub fn standing(&self, plugin: &str, world: World) -> Standing {
        let deployed = self.registry.get(plugin);
        let is_paused = deployed.as_ref().is_some_and(Deployed::is_paused);
        match deployed.map(|deployed| deployed.plugin) {
            Some(Ok(plugin)) => match plugin.check_is(world) {
                Ok(()) if is_paused => Standing::Paused,
                Ok(()) => Standing::Ready,
                Err(error) => Standing::Broken(error.to_string().into()),
            },
            Some(Err(why)) => Standing::Broken(why),
            None if self.wanted().place(plugin).is_some() => Standing::Compiling,
            None => Standing::Missing,
        }
    }

    /// Returns the bound plugins that cannot run.
    pub fn unready(&self, image: &Image) -> Vec<Unready> {
        let unready = |plugin: &str, world: World, binder: &dyn Fn() -> Binder| {
            let standing = self.standing(plugin, world);
            (!standing.is_ready()).then(|| Unready {
                binder: binder(),
                plugin: plugin.to_owned(),
                standing,
            })
        };
        let policy = image.defaults().quota_policy();
        let policy =
            policy.and_then(|plugin| unready(plugin, World::QuotaPolicy, &|| Binder::Broker));
        let of_topic = |topic: &Arc<Topic>| {
            let filters = topic.config.all_filters().filter_map(|plugin| {
                let binder = || Binder::Filtered(topic.name.clone());
                unready(plugin, World::RecordFilter, &binder)
            });
            let plugin = topic.config.partitioner().filter(|name| *name != MURMUR2);
            let partitioner = plugin.and_then(|plugin| {
                let binder = || Binder::Partitioned(topic.name.clone());
                unready(plugin, World::KeyPartitioner, &binder)
            });
            filters.chain(partitioner).collect::<Vec<_>>()
        };
        let topics = image.topics().flat_map(of_topic);
        policy.into_iter().chain(topics).collect()
    }

    /// Checks that plugins of a world may be bound; one that is deployed and not compiled yet may
    /// be. Blocks.
    ///
    /// # Errors
    /// The reason why the first of them may not be bound.
    pub fn check_bound<'a>(
        &self,
        log: &Log,
        world: World,
        plugins: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), String> {
        self.read_on(log)
            .map_err(|error| format!("{PLUGINS_TOPIC} cannot be read: {error}"))?;
        plugins
            .into_iter()
            .try_for_each(|plugin| match self.standing(plugin, world) {
                Standing::Ready | Standing::Paused => Ok(()),
                Standing::Compiling => self.check_world(log, plugin, world),
                Standing::Missing => Err(format!(
                    "no plugin named {plugin} is deployed; deploy one first, with \
                     `sedge plugin deploy {plugin} FILE`"
                )),
                Standing::Broken(why) => Err(format!(
                    "the plugin {plugin} is deployed but cannot run: {why}"
                )),
            })
    }

    /// Checks that none of the plugins has a state: there is none to write when a consumer reads.
    /// One that is not compiled yet is refused when a consumer reads.
    ///
    /// # Errors
    /// The reason why the first of them may not be bound.
    pub fn check_stateless<'a>(
        &self,
        plugins: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), String> {
        let mut plugins = plugins.into_iter();
        let found = plugins.find(|plugin| self.registry.has_state(plugin));
        found.map_or(Ok(()), |plugin| {
            Err(format!(
                "the plugin {plugin} cannot run when consumers read: {STATE_ON_FETCH}"
            ))
        })
    }

    /// Checks the world of a plugin that is not compiled yet.
    fn check_world(&self, log: &Log, plugin: &str, world: World) -> Result<(), String> {
        let place = self.wanted().place(plugin);
        let Some(place) = place else {
            return Ok(());
        };
        let content = wanted::component(&*log.store, plugin, place)
            .map_err(|error| format!("{PLUGINS_TOPIC} cannot be read: {error}"))?;
        // What cannot be inspected is reported when it does not compile.
        match content.map(|content| self.registry.inspect(&content)) {
            Some(Ok(is)) if is != world => {
                Err(sedge_plugin::Error::OtherWorld { is, wanted: world }.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Returns the last lines that a plugin logged, as [`sedge_plugin::Journal::lines`] does;
    /// `None` if no such plugin is deployed.
    pub fn logged(&self, plugin: &str) -> Option<String> {
        self.registry.place(plugin)?;
        Some(self.registry.journal.lines(plugin))
    }

    /// Describes the state of each filter of a topic, for an operator; `None` without filters.
    pub fn described(&self, topic: &Topic) -> Option<String> {
        let filters = topic.config.all_filters();
        let described: Vec<_> = filters
            .map(|plugin| format!("{plugin}: {}", self.standing(plugin, World::RecordFilter)))
            .collect();
        (!described.is_empty()).then(|| described.join(", "))
    }

    /// Logs due summaries: dropped records, refused batches, requests without a decision.
    pub fn tell(&self) {
        self.filters.tell();
        self.fetch_filters.tell();
        self.partitioners.tell();
        self.policy.tell();
    }

    /// Reads the new records of `__sedge_plugins`. Blocks.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub fn read_on(&self, log: &Log) -> Result<(), Error> {
        let partition = watch::partition(log);
        self.wanted().read_on(&*log.store, partition)
    }

    /// Returns whether `__sedge_plugins` has records that were not read yet.
    pub fn is_behind(&self, log: &Log) -> bool {
        self.wanted().is_behind(watch::end(log))
    }

    /// Removes and loads plugins until they match `__sedge_plugins`. Blocks while it compiles.
    pub fn settle(&self, log: &Log, since: Since) {
        loop {
            let wanted = self.wanted();
            let gone = self.registry.retain(|name| wanted.place(name).is_some());
            let differs = |(name, place): &(&str, Place)| self.registry.place(name) != Some(*place);
            for (name, _) in wanted.places() {
                let is_paused = wanted.is_paused(name);
                if self.registry.pause(name, is_paused) {
                    let now = if is_paused { "paused" } else { "called again" };
                    info!(target: "sedge::plugin", "the plugin {name} is {now}");
                }
            }
            let next = wanted.places().find(differs);
            let next = next.map(|(name, place)| (name.to_owned(), place));
            drop(wanted);
            for name in gone {
                info!(target: "sedge::plugin", "the plugin {name} is no longer deployed");
            }
            if let Some((name, place)) = &next {
                self.deploy(&*log.store, name, *place, since);
            }
            self.release(log);
            if next.is_none() {
                return self.tell_unready(&log.metadata.load());
            }
        }
    }

    /// Logs the bound plugins that became unready, or ready again, since the last such line.
    fn tell_unready(&self, image: &Image) {
        let now = self.unready(image);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = |unready: &&Unready| !told.contains(unready);
        for unready in now.iter().filter(news).take(UNREADY_NAMED_MAX) {
            warn!(target: "sedge::plugin", "{unready}");
        }
        let again = |before: &&Unready| {
            let same = |unready: &Unready| {
                unready.binder == before.binder && unready.plugin == before.plugin
            };
            !now.iter().any(same)
        };
        for before in told.iter().filter(again).take(UNREADY_NAMED_MAX) {
            let binding = before.binding();
            info!(target: "sedge::plugin", "{binding} is ready, or no longer bound");
        }
        *told = now;
    }

    /// Drops outdated bindings, and follows that of the broker.
    pub fn release(&self, log: &Log) {
        self.filters.release(&log.metadata, &self.registry);
        self.fetch_filters.release(&log.metadata, &self.registry);
        self.partitioners.release(&log.metadata, &self.registry);
        self.policy
            .follow(&log.metadata, &self.registry, &self.metrics);
        // The newest image: one from before may lack a topic that has an instance already.
        let has_topic = |topic: &str| log.metadata.load().topic(topic).is_some();
        self.metrics.retain_own(|plugin, topic| {
            self.registry.place(plugin).is_some() && topic.is_none_or(has_topic)
        });
    }

    fn deploy(&self, store: &dyn LogStore, name: &str, place: Place, since: Since) {
        let record = match wanted::record(store, name, place) {
            Ok(Some(record)) => record,
            Ok(None) => {
                let why = "its component cannot be read from the log; deploy it again";
                warn!(target: "sedge::plugin", "the plugin {name} is deployed but cannot run: \
                                                {why}");
                return self.registry.fail(name, place, why);
            }
            Err(error) => {
                warn!(target: "sedge::plugin", "the plugin {name} is deployed but cannot run: \
                                                {error}");
                return self.registry.fail(name, place, &error.to_string());
            }
        };
        let (keys, signature) = (&self.trusted_keys, record.signature.as_deref());
        if let Err(why) = signatures::check(keys, name, &record.content, signature) {
            warn!(target: "sedge::plugin", "the plugin {name} is deployed but cannot run: {why}");
            return self.registry.fail(name, place, &why);
        }
        let is_new = since == Since::Now && !record.is_rollback;
        let trial = is_new.then(Trial::begin).unwrap_or_default();
        let content = &record.content;
        match self.registry.load(name, place, content, trial) {
            Ok(()) => {
                info!(target: "sedge::plugin", "the plugin {name} is deployed, {} \
                                                bytes", content.len());
            }
            Err(error) => {
                warn!(target: "sedge::plugin", "the plugin {name} is deployed but cannot run: \
                                                {error}");
            }
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the original indexes of a batch's records; `kept` are those before the last filter.
fn numbered(before: Option<&[i32]>, kept: Vec<i32>) -> Vec<i32> {
    let first = |index: i32| number(before, index);
    kept.into_iter().map(first).collect()
}

/// Returns the index that a record had before any filter.
fn number(before: Option<&[i32]>, index: i32) -> i32 {
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    before.map_or(index, |before| before.get(at).copied().unwrap_or(index))
}
