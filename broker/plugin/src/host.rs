//! Parts shared by plugins of all worlds: their limits, their log, starting and calling them.
//!
//! **Invariant**: an instance that failed is never called again. The next call creates a new one
//! ([`Instance::run`]).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::{ResourceLimiter, Store, Trap};

use crate::{
    bindings::filter::sedge::plugin::{
        log::{self as wire_log, Level},
        metrics as wire_metrics,
    },
    call_time::{CallTime, Past, Priority, Stopped},
    engine::Engine,
    error::{BadOutput, CallError},
    limits::{
        CORE_INSTANCES_MAX, LOG_LINES_PER_SECOND_MAX, Limits, MEMORIES_MAX, TABLE_ELEMENTS_MAX,
        TABLES_MAX,
    },
    meter::{self, Meter},
    outcome::cut_off,
    pool::MemoryPool,
    state::{NoBatch, StateTable},
};

/// A plugin's name and limits, and the engine that runs it.
#[derive(Debug)]
pub struct Host {
    engine: Engine,
    name: String,
    limits: Limits,
}

/// Resources that an instance used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Instructions of the last call, as wasmtime's fuel counts them; `None` unless the engine is
    /// metered.
    pub instructions: Option<u64>,
    /// Linear memory of the instance, all of its memories together. Memory never shrinks.
    pub memory_bytes: usize,
}

/// Fuel of one call, which the call's deadline keeps it from using up.
const FUEL: u64 = u64::MAX;

/// A running plugin. `B` is the type that `bindings.rs` has for its world.
pub struct Live<B> {
    host: Arc<Host>,
    store: Store<State>,
    bindings: B,
    past: Past,
}

/// A plugin with its settings. A call starts it if it is not running.
pub struct Instance<B> {
    setup: Setup,
    live: Option<Live<B>>,
    past: Past,
}

/// What an instance is started with.
pub struct Setup {
    /// Sorted by name.
    pub config: Vec<(String, String)>,
    pub meter: Arc<dyn Meter>,
}

impl Host {
    pub fn new(engine: &Engine, name: &str, limits: Limits) -> Self {
        Self {
            engine: engine.clone(),
            name: name.to_owned(),
            limits,
        }
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl<B> Live<B> {
    /// Starts a plugin: `instantiate` creates it, `configure` passes it its settings. `past` is
    /// that of the plugin's starts.
    pub fn start(
        host: &Arc<Host>,
        meter: &Arc<dyn Meter>,
        past: Past,
        instantiate: impl FnOnce(&mut Store<State>) -> wasmtime::Result<B>,
        configure: impl FnOnce(&B, &mut Store<State>) -> wasmtime::Result<Result<(), String>>,
    ) -> Result<Self, CallError> {
        let mut store = Store::new(host.engine.wasmtime(), State::new(host, meter));
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().time.judge()));
        store.set_hostcall_fuel(host.limits.output_bytes_max);
        let priority = host.engine.priority(past);
        let deadline_ms = host.limits.deadline_ms;
        let (bindings, _) = timed(host, &mut store, deadline_ms, priority, instantiate);
        let mut live = Self {
            host: Arc::clone(host),
            bindings: bindings?,
            store,
            past: Past::GOOD,
        };
        let configured = live.call_within(deadline_ms, priority, configure)?;
        configured.map_err(|mut reason| {
            cut_off(&mut reason);
            CallError::Configuration { reason }
        })?;
        Ok(live)
    }

    /// Calls the plugin once. Blocks at most for its deadline. If one of the calls before computed
    /// beyond its deadline, the calling thread runs behind all others until this one ends.
    pub fn call<T>(
        &mut self,
        call: impl FnOnce(&B, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let priority = self.host.engine.priority(self.past);
        self.call_within(self.host.limits.deadline_ms, priority, call)
    }

    /// Calls the plugin once. Blocks at most for this time.
    pub fn call_within<T>(
        &mut self,
        deadline_ms: u32,
        priority: Priority,
        call: impl FnOnce(&B, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let bindings = &self.bindings;
        let call = |store: &mut Store<State>| call(bindings, store);
        let (answer, stopped) = timed(&self.host, &mut self.store, deadline_ms, priority, call);
        self.past.note(stopped);
        answer
    }

    /// Gives the plugin its state for the next call, or takes it back.
    pub fn lend(&mut self, table: Option<Box<StateTable>>) -> Option<Box<StateTable>> {
        std::mem::replace(&mut self.store.data_mut().table, table)
    }

    fn usage(&self) -> Usage {
        // Fails on an engine that is not metered.
        let left = self.store.get_fuel().ok();
        Usage {
            instructions: left.map(|left| FUEL - left),
            memory_bytes: self.store.data().memory.bytes,
        }
    }
}

impl<B> Instance<B> {
    pub const fn new(setup: Setup, live: Live<B>) -> Self {
        let live = Some(live);
        Self {
            setup,
            live,
            past: Past::GOOD,
        }
    }

    pub const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Returns what the plugin used, if it is running.
    pub fn usage(&self) -> Option<Usage> {
        self.live.as_ref().map(Live::usage)
    }

    /// Calls the plugin with `call`, after `start` if it is not running. After an error of either,
    /// it is not running.
    pub fn run<T>(
        &mut self,
        start: impl FnOnce(&Setup) -> Result<Live<B>, CallError>,
        call: impl FnOnce(&mut Live<B>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => start(&self.setup)?,
        };
        live.past = self.past;
        let answer = call(&mut live);
        self.past = live.past;
        let answer = answer?;
        // Stored only if everything went well.
        self.live = Some(live);
        Ok(answer)
    }
}

/// Does what a plugin is called for, within its time. Returns also why that was stopped, if it was.
fn timed<T>(
    host: &Host,
    store: &mut Store<State>,
    deadline_ms: u32,
    priority: Priority,
    call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<T>,
) -> (Result<T, CallError>, Option<Stopped>) {
    refuel(host, store);
    store.set_epoch_deadline(1);
    store.data_mut().time = CallTime::begin(deadline_ms, priority);
    let running = host.engine.begin();
    let answer = call(store);
    drop(running);
    store.data_mut().time.end();
    let answer = answer.map_err(|error| store.data().classify(&error));
    (answer, store.data().time.stopped())
}

fn refuel(host: &Host, store: &mut Store<State>) {
    if host.engine.is_metered() {
        store.set_fuel(FUEL).expect("a metered engine has fuel");
    }
}

/// An instance's state on the broker's side: its limits, its metrics, and the log lines it has
/// written.
pub struct State {
    host: Arc<Host>,
    meter: Arc<dyn Meter>,
    has_refused_metric: bool,
    /// The state for the batch, while a filter that has one is called.
    pub table: Option<Box<StateTable>>,
    memory: Memory,
    time: CallTime,
    log_second: Instant,
    log_lines: u32,
}

struct Memory {
    bytes: usize,
    bytes_max: usize,
    refused: bool,
    /// The memory of all plugins, and whether it had too little.
    pool: Arc<MemoryPool>,
    pool_refused: bool,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

impl State {
    fn new(host: &Arc<Host>, meter: &Arc<dyn Meter>) -> Self {
        Self {
            host: Arc::clone(host),
            meter: Arc::clone(meter),
            has_refused_metric: false,
            table: None,
            memory: Memory {
                bytes: 0,
                bytes_max: host.limits.memory_bytes_max,
                refused: false,
                pool: Arc::clone(host.engine.memory()),
                pool_refused: false,
            },
            time: CallTime::default(),
            log_second: Instant::now(),
            log_lines: 0,
        }
    }

    fn classify(&self, error: &wasmtime::Error) -> CallError {
        if self.memory.refused {
            return CallError::Memory;
        }
        if self.memory.pool_refused {
            return CallError::MemoryOfAll;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => match self.time.stopped() {
                Some(Stopped::Starved) => CallError::Starved,
                _ => CallError::Deadline,
            },
            Some(trap) => CallError::Trap {
                what: trap.to_string(),
            },
            None if error.is::<NoBatch>() => CallError::Trap {
                what: NoBatch.to_string(),
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
        if !self.pool.take(bytes - self.bytes) {
            self.pool_refused = true;
            return Err(wasmtime::Error::msg("memory limit of all plugins"));
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
                self.write(log::Level::Warn, &format!("{left_out} lines are left out"));
            }
            (self.log_second, self.log_lines) = (now, 0);
        }
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > LOG_LINES_PER_SECOND_MAX {
            return;
        }
        cut_off(&mut message);
        // Keeps the message on one line.
        let message = message.replace(char::is_control, " ");
        let level = match level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        self.write(level, &message);
    }
}

impl State {
    fn write(&self, level: log::Level, line: &str) {
        let name = &self.host.name;
        log::log!(target: "plugin", level, "{name}: {line}");
        self.host.engine.journal().add(name, level, line);
    }

    fn measure(
        &mut self,
        name: &str,
        measure: impl FnOnce(&dyn Meter) -> Result<(), meter::TooManyMetrics>,
    ) {
        let why = if !meter::is_name(name) {
            "the name is not allowed".to_owned()
        } else if let Err(refused) = measure(&*self.meter) {
            refused.to_string()
        } else {
            return;
        };
        if !std::mem::replace(&mut self.has_refused_metric, true) {
            let mut name: String = name.escape_debug().collect();
            cut_off(&mut name);
            log::warn!(target: "plugin", "{}: the metric {name} is left out: {why}", self.host.name);
        }
    }
}

impl wire_metrics::Host for State {
    fn add(&mut self, name: String, amount: u64) {
        self.measure(&name, |meter| meter.add(&name, amount));
    }

    fn set(&mut self, name: String, value: f64) {
        self.measure(&name, |meter| meter.set(&name, value));
    }
}
