//! What a component is: a plugin of one of the worlds.
//!
//! A world is a variant here and of [`World`], a file beside `filter.rs` with its typed calls, and
//! a `bindgen!` in `bindings.rs` that takes `log` from the filter's (its `with`), so that one
//! `State` serves all of them. What plugins of any world share (memory, deadline, log, being made
//! anew after a failure) is in `host.rs` already, and `component.rs` tells the worlds apart by what
//! a component exports. Key partitioners and quota policies go there: what calls them matches on
//! [`Plugin`], and does not compile before it says what it does with another variant.

use wasmtime::component::Component;

use crate::{
    component::World, engine::Engine, error::Error, filter::FilterFactory, host::Host,
    limits::Limits, seal::Trusted,
};

/// A component that is ready to be instantiated, by its world.
#[derive(Clone, Debug)]
pub enum Plugin {
    Filter(FilterFactory),
}

impl Plugin {
    /// Compiles a component in this process. That leaves some 10 MiB resident: a broker has it done
    /// by a child, through [`CodeCache::load`](crate::CodeCache::load).
    ///
    /// # Errors
    /// When it is no plugin, or not valid.
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

    /// Looks at the world once more, since machine code may come from elsewhere, and so that a
    /// refusal is in plain words and not in those of wasmtime's linker.
    fn new(host: Host, component: &Component) -> Result<Self, Error> {
        let engine = host.engine().wasmtime();
        let kind = component.component_type();
        let imports = kind.imports(engine).map(|(name, _)| name);
        let exports = kind.exports(engine).map(|(name, _)| name);
        match World::of(imports, exports)? {
            World::RecordFilter => FilterFactory::new(host, component).map(Self::Filter),
        }
    }
}
