//! The engine: one a process, shared by all plugins.

use std::sync::Arc;

use crate::{
    config, error::Error, filter::FilterFactory, limits::Limits, native, seal::Trusted,
    ticker::Ticker,
};

/// Runs plugins. Cheap to clone. Make it when the first plugin is bound: it holds a thread and
/// about 1 MiB.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

pub struct Shared {
    pub engine: wasmtime::Engine,
    pub ticker: Ticker,
}

impl Engine {
    /// # Errors
    /// When wasmtime does not know this machine, or no thread can be started.
    pub fn new() -> Result<Self, Error> {
        let engine = config::engine(None).map_err(|source| Error::Engine { source })?;
        let ticker = Ticker::start(engine.weak()).map_err(|source| Error::Spawn { source })?;
        Ok(Self(Arc::new(Shared { engine, ticker })))
    }

    /// Compiles a component in this process. That leaves some 10 MiB resident: a broker has it done
    /// by a child, through [`CodeCache::load`](crate::CodeCache::load).
    ///
    /// # Errors
    /// When it is no filter, or not valid.
    #[cfg(feature = "jit")]
    pub fn compile(
        &self,
        name: &str,
        bytes: &[u8],
        limits: Limits,
    ) -> Result<FilterFactory, Error> {
        crate::component::inspect_filter(bytes, limits.component_bytes_max)?;
        let component = wasmtime::component::Component::new(&self.0.engine, bytes)
            .map_err(|source| Error::Invalid { source })?;
        FilterFactory::new(Arc::clone(&self.0), name, &component, limits)
    }

    pub(crate) fn load(
        &self,
        name: &str,
        code: &Trusted<'_>,
        limits: Limits,
    ) -> Result<FilterFactory, Error> {
        let component =
            native::load(&self.0.engine, code).map_err(|source| Error::OtherEngine { source })?;
        FilterFactory::new(Arc::clone(&self.0), name, &component, limits)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("ticker", &self.0.ticker)
            .finish_non_exhaustive()
    }
}
