//! Plugins: a component of one of the worlds.
//!
//! A world consists of a variant here and of [`World`], a file beside `filter.rs` with its typed
//! calls, and a `bindgen!` in `bindings.rs` that takes its imports from the filter's (its
//! `with`), so that one `State` serves all of them. The parts that plugins of any world share
//! (memory, deadline, log, restart after a failure) are in `host.rs` and `factory.rs`;
//! `component.rs` tells the worlds apart by a component's exports. Callers match on [`Plugin`], so
//! they do not compile before they handle a new variant.

use wasmtime::component::Component;

use crate::{
    component::world_of, engine::Engine, error::Error, filter::FilterFactory, host::Host,
    limits::Limits, partitioner::PartitionerFactory, quota::QuotaFactory, seal::Trusted,
    world::World,
};

/// A component that is ready to be instantiated, by its world.
#[derive(Clone, Debug)]
pub enum Plugin {
    Filter(FilterFactory),
    Partitioner(PartitionerFactory),
    Quota(QuotaFactory),
}

impl Plugin {
    /// Compiles a component in this process. That leaves some 10 MiB resident: a broker uses a
    /// child process, through [`CodeCache::load`](crate::CodeCache::load).
    ///
    /// # Errors
    /// The component is not a valid plugin.
    #[cfg(feature = "jit")]
    pub fn compile(
        engine: &Engine,
        name: &str,
        bytes: &[u8],
        limits: Limits,
    ) -> Result<Self, Error> {
        crate::component::inspect(bytes, limits.component_bytes_max)?;
        let component = engine.compile(bytes)?;
        Self::new(Host::new(engine, name, limits), &component)
    }

    pub(crate) fn load(
        engine: &Engine,
        name: &str,
        code: &Trusted<'_>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let component = engine.load(code)?;
        Self::new(Host::new(engine, name, limits), &component)
    }

    #[must_use]
    pub const fn world(&self) -> World {
        match self {
            Self::Filter(_) => World::RecordFilter,
            Self::Partitioner(_) => World::KeyPartitioner,
            Self::Quota(_) => World::QuotaPolicy,
        }
    }

    /// Returns the plugin as a filter.
    ///
    /// # Errors
    /// [`Error::OtherWorld`]
    pub fn into_filter(self) -> Result<FilterFactory, Error> {
        match self {
            Self::Filter(filter) => Ok(filter),
            other => Err(other.is_no(World::RecordFilter)),
        }
    }

    /// Returns the plugin as a partitioner.
    ///
    /// # Errors
    /// [`Error::OtherWorld`]
    pub fn into_partitioner(self) -> Result<PartitionerFactory, Error> {
        match self {
            Self::Partitioner(partitioner) => Ok(partitioner),
            other => Err(other.is_no(World::KeyPartitioner)),
        }
    }

    /// Returns the plugin as a quota policy.
    ///
    /// # Errors
    /// [`Error::OtherWorld`]
    pub fn into_quota(self) -> Result<QuotaFactory, Error> {
        match self {
            Self::Quota(quota) => Ok(quota),
            other => Err(other.is_no(World::QuotaPolicy)),
        }
    }

    /// Checks that the plugin is of a world.
    ///
    /// # Errors
    /// [`Error::OtherWorld`]
    pub fn check_is(&self, world: World) -> Result<(), Error> {
        if self.world() == world {
            Ok(())
        } else {
            Err(self.is_no(world))
        }
    }

    const fn is_no(&self, wanted: World) -> Error {
        let is = self.world();
        Error::OtherWorld { is, wanted }
    }

    /// Checks the world again, because machine code may come from another machine, and so that a
    /// refusal is worded plainly and not by wasmtime's linker.
    fn new(host: Host, component: &Component) -> Result<Self, Error> {
        let engine = host.engine().wasmtime();
        let kind = component.component_type();
        let imports = kind.imports(engine).map(|(name, _)| name);
        let exports = kind.exports(engine).map(|(name, _)| name);
        match world_of(imports, exports)? {
            World::RecordFilter => FilterFactory::new(host, component).map(Self::Filter),
            World::KeyPartitioner => {
                PartitionerFactory::new(host, component).map(Self::Partitioner)
            }
            World::QuotaPolicy => QuotaFactory::new(host, component).map(Self::Quota),
        }
    }
}
