//! Filters: the compiled component, and the instances that batches go through.
//!
//! **Invariant**: an instance that failed is never called again. The next call makes a new one.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::{
    ResourceLimiter, Store, Trap,
    component::{Component, HasSelf, Linker},
};

use crate::{
    bindings::{
        RecordFilter, RecordFilterPre,
        exports::sedge::plugin::filter::{BatchInfo as WireBatchInfo, Needs as WireNeeds, Stage},
        sedge::plugin::log::{self as wire_log, Level},
    },
    engine::Shared,
    error::{BadOutput, CallError, Error},
    limits::{
        CORE_INSTANCES_MAX, LOG_LINES_PER_SECOND_MAX, Limits, MEMORIES_MAX, TABLE_ELEMENTS_MAX,
        TABLES_MAX, TICK,
    },
    outcome::{Outcome, cut_off},
    records::{Needs, RecordBlob},
};

/// A filter that is ready to be instantiated. Cheap to clone; shared between threads.
#[derive(Clone)]
pub struct FilterFactory(Arc<Factory>);

struct Factory {
    shared: Arc<Shared>,
    pre: RecordFilterPre<State>,
    name: String,
    limits: Limits,
}

/// One instance: a plugin with its settings. One batch at a time; make one for each thread and
/// topic.
pub struct FilterInstance {
    factory: FilterFactory,
    config: Vec<(String, String)>,
    needs: Needs,
    live: Option<Live>,
}

struct Live {
    store: Store<State>,
    filter: RecordFilter,
}

/// What is common to a batch's records.
#[derive(Clone, Copy, Debug)]
pub struct BatchInfo<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub stage: FilterStage,
    pub base_timestamp_ms: i64,
    pub client_id: Option<&'a str>,
    pub principal: Option<&'a str>,
}

/// Where on its way a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterStage {
    Produce,
    Fetch,
    MirrorOut,
    MirrorIn,
}

impl FilterFactory {
    pub(crate) fn new(
        shared: Arc<Shared>,
        name: &str,
        component: &Component,
        limits: Limits,
    ) -> Result<Self, Error> {
        check_world(&shared, component)?;
        let invalid = |source| Error::Invalid { source };
        let mut linker = Linker::new(&shared.engine);
        RecordFilter::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state)
            .map_err(invalid)?;
        let pre = linker.instantiate_pre(component).map_err(invalid)?;
        let pre = RecordFilterPre::new(pre).map_err(invalid)?;
        Ok(Self(Arc::new(Factory {
            shared,
            pre,
            name: name.to_owned(),
            limits,
        })))
    }

    /// The plugin's name, as its log lines have it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Starts an instance with these settings (names without the prefix `sedge.plugin.NAME.`).
    ///
    /// # Errors
    /// When the plugin refuses the settings, or fails while it starts.
    pub fn instantiate(&self, config: &[(String, String)]) -> Result<FilterInstance, Error> {
        let mut config = config.to_vec();
        config.sort_unstable();
        let mut live = self.start(&config).map_err(|error| match error {
            CallError::Configuration { reason } => Error::Configuration { reason },
            other => Error::Start(other),
        })?;
        let needs = live
            .call(&self.0, |live| {
                live.filter
                    .sedge_plugin_filter()
                    .call_describe(&mut live.store)
            })
            .map_err(Error::Start)?;
        let needs = Needs {
            key: needs.contains(WireNeeds::KEY),
            value: needs.contains(WireNeeds::VALUE),
            headers: needs.contains(WireNeeds::HEADERS),
        };
        Ok(FilterInstance {
            factory: self.clone(),
            config,
            needs,
            live: Some(live),
        })
    }

    fn start(&self, config: &[(String, String)]) -> Result<Live, CallError> {
        let factory = &*self.0;
        let mut store = Store::new(&factory.shared.engine, State::new(factory));
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_trap();
        store.set_hostcall_fuel(factory.limits.output_bytes_max);
        store.set_epoch_deadline(deadline_ticks(factory.limits.deadline_ms));
        let running = factory.shared.ticker.begin();
        let filter = match factory.pre.instantiate(&mut store) {
            Ok(filter) => filter,
            Err(error) => return Err(store.data().classify(&error)),
        };
        drop(running);
        let mut live = Live { store, filter };
        let answer = live.call(factory, |live| {
            live.filter
                .sedge_plugin_lifecycle()
                .call_configure(&mut live.store, config)
        })?;
        answer.map_err(|mut reason| {
            cut_off(&mut reason);
            CallError::Configuration { reason }
        })?;
        Ok(live)
    }
}

impl FilterInstance {
    /// The fields it reads. [`RecordBlob::start`] wants them.
    #[must_use]
    pub const fn needs(&self) -> Needs {
        self.needs
    }

    #[must_use]
    pub fn factory(&self) -> &FilterFactory {
        &self.factory
    }

    /// Runs the plugin over a batch. Blocks for the plugin's deadline at most.
    ///
    /// # Errors
    /// When the plugin failed. Nothing of its answer is used; the next call starts a new instance.
    pub fn filter(
        &mut self,
        info: &BatchInfo<'_>,
        records: &RecordBlob,
    ) -> Result<Outcome, CallError> {
        if records.count() == 0 {
            return Ok(Outcome::keep_all(0));
        }
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.factory.start(&self.config)?,
        };
        let factory = &*self.factory.0;
        let info = wire_info(info);
        // `live` is put back only after all went well.
        let answer = live.call(factory, |live| {
            let (filter, store) = (live.filter.sedge_plugin_filter(), &mut live.store);
            filter.call_filter_batch(store, &info, records.blob(), records.spans())
        })?;
        let outcome = Outcome::check(answer, records.count(), factory.limits.output_bytes_max)
            .map_err(CallError::BadOutput)?;
        self.live = Some(live);
        Ok(outcome)
    }
}

impl Live {
    fn call<T>(
        &mut self,
        factory: &Factory,
        call: impl FnOnce(&mut Self) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        self.store
            .set_epoch_deadline(deadline_ticks(factory.limits.deadline_ms));
        let _running = factory.shared.ticker.begin();
        call(self).map_err(|error| self.store.data().classify(&error))
    }
}

impl fmt::Debug for FilterFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Factory { name, limits, .. } = &*self.0;
        f.debug_struct("FilterFactory")
            .field("name", name)
            .field("limits", limits)
            .finish()
    }
}

impl fmt::Debug for FilterInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterInstance")
            .field("factory", &self.factory)
            .field("needs", &self.needs)
            .field("live", &self.live.is_some())
            .finish_non_exhaustive()
    }
}

/// The ticks that are surely more than `deadline_ms`: the first may come at once.
fn deadline_ticks(deadline_ms: u32) -> u64 {
    u64::from(deadline_ms).div_ceil(TICK.as_millis() as u64) + 1
}

fn wire_info(info: &BatchInfo<'_>) -> WireBatchInfo {
    WireBatchInfo {
        topic: info.topic.to_owned(),
        partition: info.partition,
        stage: match info.stage {
            FilterStage::Produce => Stage::Produce,
            FilterStage::Fetch => Stage::Fetch,
            FilterStage::MirrorOut => Stage::MirrorOut,
            FilterStage::MirrorIn => Stage::MirrorIn,
        },
        base_timestamp_ms: info.base_timestamp_ms,
        client_id: info.client_id.map(str::to_owned),
        principal: info.principal.map(str::to_owned),
    }
}

/// Says plainly what wasmtime's linker would say in its own words.
fn check_world(shared: &Shared, component: &Component) -> Result<(), Error> {
    let world = component.component_type();
    for (import, _) in world.imports(&shared.engine) {
        if !import.starts_with("sedge:plugin/log@0.1.") {
            return Err(Error::ForbiddenImport {
                import: import.to_owned(),
            });
        }
    }
    for export in ["sedge:plugin/filter@0.1", "sedge:plugin/lifecycle@0.1"] {
        let found = |(name, _): (&str, _)| {
            name.strip_prefix(export)
                .is_some_and(|v| v.starts_with('.'))
        };
        if !world.exports(&shared.engine).any(found) {
            return Err(Error::MissingExport { export });
        }
    }
    Ok(())
}

/// What an instance holds on the broker's side: what it may use, and what it has written in the
/// log.
struct State {
    memory: Memory,
    name: String,
    log_second: Instant,
    log_lines: u32,
}

struct Memory {
    bytes: usize,
    bytes_max: usize,
    refused: bool,
}

impl State {
    fn new(factory: &Factory) -> Self {
        Self {
            memory: Memory {
                bytes: 0,
                bytes_max: factory.limits.memory_bytes_max,
                refused: false,
            },
            name: factory.name.clone(),
            log_second: Instant::now(),
            log_lines: 0,
        }
    }

    fn classify(&self, error: &wasmtime::Error) -> CallError {
        if self.memory.refused {
            return CallError::Memory;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => CallError::Deadline,
            Some(trap) => CallError::Trap {
                what: trap.to_string(),
            },
            None => {
                let what = format!("{error:#}");
                CallError::BadOutput(BadOutput::Malformed { what })
            }
        }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max {
            self.refused = true;
            return Err(wasmtime::Error::msg("memory limit"));
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.refused |= desired > TABLE_ELEMENTS_MAX;
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

impl wire_log::Host for State {
    fn log(&mut self, level: Level, mut message: String) {
        let now = Instant::now();
        if now.duration_since(self.log_second) >= Duration::from_secs(1) {
            let left_out = self.log_lines.saturating_sub(LOG_LINES_PER_SECOND_MAX);
            if left_out > 0 {
                log::warn!(target: "plugin", "{}: {left_out} lines left out", self.name);
            }
            (self.log_second, self.log_lines) = (now, 0);
        }
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > LOG_LINES_PER_SECOND_MAX {
            return;
        }
        cut_off(&mut message);
        // One line, whatever the plugin puts in it.
        let message = message.replace(char::is_control, " ");
        let level = match level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        log::log!(target: "plugin", level, "{}: {message}", self.name);
    }
}
