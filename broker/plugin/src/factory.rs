//! What plugins of all worlds have alike: a component that is linked and ready to be instantiated,
//! and the start of an instance with its settings.

use std::{
    convert::identity,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wasmtime::{
    Store,
    component::{Component, HasSelf, InstancePre, Linker},
};

use crate::{
    bindings::{
        filter::{RecordFilter, RecordFilterPre},
        partitioner::{KeyPartitioner, KeyPartitionerPre},
        quota::{QuotaPolicy, QuotaPolicyPre},
    },
    call_time::{Past, Stopped},
    component::has_state,
    error::{CallError, Error},
    host::{Host, Instance, Live, Setup, State},
    meter::Meter,
    state_link,
};

/// A plugin's settings: names (without `sedge.plugin.NAME.`) and values.
pub type Settings = [(String, String)];

/// The types that `bindings.rs` has for a world.
pub trait Bindings: Sized {
    type Pre;

    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()>;

    fn prepare(linked: InstancePre<State>) -> wasmtime::Result<Self::Pre>;

    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self>;

    fn configure(
        &self,
        store: &mut Store<State>,
        config: &Settings,
    ) -> wasmtime::Result<Result<(), String>>;
}

macro_rules! bindings {
    ($($world:ident, $pre:ident, $settings:path $(, and $more:path)?;)+) => {$(
        impl Bindings for $world {
            type Pre = $pre<State>;

            fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
                $($more(linker)?;)?
                Self::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut State| state)
            }

            fn prepare(linked: InstancePre<State>) -> wasmtime::Result<Self::Pre> {
                $pre::new(linked)
            }

            fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self> {
                pre.instantiate(store)
            }

            fn configure(
                &self,
                store: &mut Store<State>,
                config: &Settings,
            ) -> wasmtime::Result<Result<(), String>> {
                let config = $settings(config);
                self.sedge_plugin_lifecycle().call_configure(store, &*config)
            }
        }
    )+};
}

bindings! {
    RecordFilter, RecordFilterPre, identity, and state_link::link;
    KeyPartitioner, KeyPartitionerPre, identity;
    QuotaPolicy, QuotaPolicyPre, borrowed;
}

fn borrowed(config: &Settings) -> Vec<(&str, &str)> {
    let config = config.iter();
    config
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// A component of a world that is ready to be instantiated. Shared between threads.
pub struct Factory<B: Bindings> {
    host: Arc<Host>,
    pre: B::Pre,
    has_state: bool,
    /// That of the starts.
    past: Mutex<Past>,
}

impl<B: Bindings> Factory<B> {
    pub fn new(host: Host, component: &Component) -> Result<Self, Error> {
        let mut linker = Linker::new(host.engine().wasmtime());
        B::link(&mut linker).map_err(Error::invalid)?;
        let linked = linker.instantiate_pre(component).map_err(Error::invalid)?;
        let pre = B::prepare(linked).map_err(Error::invalid)?;
        let kind = component.component_type();
        let imports = kind.imports(host.engine().wasmtime());
        let has_state = has_state(imports.map(|(name, _)| name));
        let host = Arc::new(host);
        Ok(Self {
            host,
            pre,
            has_state,
            past: Mutex::new(Past::GOOD),
        })
    }

    pub const fn has_state(&self) -> bool {
        self.has_state
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Starts an instance with these settings, and asks it once with `describe`.
    pub fn instantiate<T>(
        &self,
        config: &Settings,
        meter: Arc<dyn Meter>,
        describe: impl FnOnce(&mut Live<B>) -> Result<T, CallError>,
    ) -> Result<(Instance<B>, T), Error> {
        let mut config = config.to_vec();
        config.sort_unstable();
        let setup = Setup { config, meter };
        let mut live = self.start(&setup).map_err(|error| match error {
            CallError::Configuration { reason } => Error::Configuration { reason },
            other => Error::Start(other),
        })?;
        let described = describe(&mut live).map_err(Error::Start)?;
        Ok((Instance::new(setup, live), described))
    }

    pub fn start(&self, setup: &Setup) -> Result<Live<B>, CallError> {
        let past = *self.past();
        let started = Live::start(
            &self.host,
            &setup.meter,
            past,
            |store| B::instantiate(&self.pre, store),
            |bindings, store| bindings.configure(store, &setup.config),
        );
        self.past().note(match started {
            Err(CallError::Deadline) => Some(Stopped::Computing),
            Err(CallError::Starved) => Some(Stopped::Starved),
            _ => None,
        });
        started
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a world's public factory what all of them have.
macro_rules! factory {
    ($factory:ident) => {
        impl $factory {
            pub(crate) fn new(host: Host, component: &Component) -> Result<Self, Error> {
                Factory::new(host, component).map(|factory| Self(Arc::new(factory)))
            }

            /// Returns the plugin's name, as in its log lines.
            #[must_use]
            pub fn name(&self) -> &str {
                self.0.host().name()
            }

            #[must_use]
            pub fn limits(&self) -> &Limits {
                self.0.host().limits()
            }
        }

        impl fmt::Debug for $factory {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($factory))
                    .field("name", &self.name())
                    .field("limits", &self.limits())
                    .finish()
            }
        }
    };
}

pub(crate) use factory;
