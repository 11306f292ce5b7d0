//! The engine: one per process, shared by plugins of all worlds.

use std::{fmt, sync::Arc};

use wasmtime::component::Component;

use crate::{
    call_time::{Past, Priority},
    config,
    error::Error,
    journal::Journal,
    native,
    pool::MemoryPool,
    sched::Behind,
    seal::Trusted,
    ticker::{Running, Ticker},
};

/// Runs plugins. Cheap to clone. Create it when the first plugin is bound: it holds a thread and
/// about 1 MiB.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    engine: wasmtime::Engine,
    ticker: Ticker,
    is_metered: bool,
    /// Whether a thread may run behind all others for a while.
    may_be_behind: bool,
    memory: Arc<MemoryPool>,
    journal: Arc<Journal>,
}

impl Engine {
    /// Creates an engine whose plugins have as much memory together as they want.
    ///
    /// # Errors
    /// wasmtime does not support this machine, or no thread can be started.
    pub fn new() -> Result<Self, Error> {
        Self::with(&Arc::new(MemoryPool::new(usize::MAX)), &Arc::default())
    }

    /// Creates an engine whose plugins take their memory from a pool, and whose log lines are also
    /// added to a journal.
    ///
    /// # Errors
    /// wasmtime does not support this machine, or no thread can be started.
    pub fn with(memory: &Arc<MemoryPool>, journal: &Arc<Journal>) -> Result<Self, Error> {
        let (memory, journal) = (Arc::clone(memory), Arc::clone(journal));
        Self::of(config::engine(None), false, memory, journal)
    }

    /// Creates an engine whose plugins count the instructions that they execute
    /// ([`Usage::instructions`](crate::Usage)), and are slower. For the authors of plugins.
    ///
    /// # Errors
    /// wasmtime does not support this machine, or no thread can be started.
    #[cfg(feature = "jit")]
    pub fn metered() -> Result<Self, Error> {
        let memory = Arc::new(MemoryPool::new(usize::MAX));
        Self::of(config::metered_engine(), true, memory, Arc::default())
    }

    fn of(
        engine: wasmtime::Result<wasmtime::Engine>,
        is_metered: bool,
        memory: Arc<MemoryPool>,
        journal: Arc<Journal>,
    ) -> Result<Self, Error> {
        let engine = engine.map_err(Error::engine)?;
        let ticker = Ticker::start(engine.weak()).map_err(|source| Error::Spawn { source })?;
        Ok(Self(Arc::new(Shared {
            engine,
            ticker,
            is_metered,
            may_be_behind: Behind::is_allowed(),
            memory,
            journal,
        })))
    }

    pub(crate) fn is_metered(&self) -> bool {
        self.0.is_metered
    }

    /// Returns whether the thread that watches deadlines is asleep, because no plugin was called
    /// for a while. The next call wakes it.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.0.ticker.is_asleep()
    }

    /// Returns the priority of a plugin's next call.
    pub(crate) fn priority(&self, past: Past) -> Priority {
        if past.is_bad() && self.0.may_be_behind {
            Priority::Behind
        } else {
            Priority::Same
        }
    }

    pub(crate) fn memory(&self) -> &Arc<MemoryPool> {
        &self.0.memory
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.engine
    }

    /// Begins a call, whose deadline applies until the value is dropped.
    pub(crate) fn begin(&self) -> Running<'_> {
        self.0.ticker.begin()
    }

    #[cfg(feature = "jit")]
    pub(crate) fn compile(&self, component: &[u8]) -> Result<Component, Error> {
        Component::new(&self.0.engine, component).map_err(Error::invalid)
    }

    pub(crate) fn load(&self, code: &Trusted<'_>) -> Result<Component, Error> {
        native::load(&self.0.engine, code).map_err(Error::other_engine)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("ticker", &self.0.ticker)
            .finish_non_exhaustive()
    }
}
