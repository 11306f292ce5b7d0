//! Quota policies: the compiled component, its instance, and the typed call.

use std::{fmt, sync::Arc};

use wasmtime::component::Component;

use crate::{
    bindings::quota::{
        QuotaPolicy,
        exports::sedge::plugin::quota::{Grant as WireGrant, Operation, Request as WireRequest},
    },
    call_time::Priority,
    error::{CallError, Error},
    factory::{Factory, Settings, factory},
    host::{Host, Instance, Setup, Usage},
    limits::{DECISION_MS_MAX, Limits},
    meter::{Meter, Unmetered},
    outcome::cut_off,
};

/// A quota policy that is ready to be instantiated. Cheap to clone; shared between threads.
#[derive(Clone)]
pub struct QuotaFactory(Arc<Factory<QuotaPolicy>>);

/// One instance: a plugin with its settings. Decides about one request at a time.
pub struct QuotaInstance {
    factory: QuotaFactory,
    instance: Instance<QuotaPolicy>,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaOperation {
    Produce,
    Fetch,
}

/// A request that a policy decides about. `wit/plugin.wit` says what each field is.
#[derive(Clone, Copy, Debug)]
pub struct QuotaRequest<'a> {
    pub operation: QuotaOperation,
    pub principal: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub peer: &'a str,
    pub listener: &'a str,
    pub topics: &'a [&'a str],
    pub bytes: u64,
    pub records: u64,
    pub now_ms: u64,
}

/// The decision of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    Allow,
    Throttle { ms: u32 },
    Reject { reason: String },
}

factory!(QuotaFactory);

impl QuotaFactory {
    /// Starts an instance with these settings (names without the prefix `sedge.plugin.NAME.`).
    ///
    /// # Errors
    /// The plugin refuses the settings, or fails while it starts.
    pub fn instantiate(&self, config: &Settings) -> Result<QuotaInstance, Error> {
        self.instantiate_with(config, Arc::new(Unmetered))
    }

    /// Like [`Self::instantiate`]; `meter` takes the plugin's metrics.
    ///
    /// # Errors
    /// The plugin refuses the settings, or fails while it starts.
    pub fn instantiate_with(
        &self,
        config: &Settings,
        meter: Arc<dyn Meter>,
    ) -> Result<QuotaInstance, Error> {
        let (instance, ()) = self.0.instantiate(config, meter, |_| Ok(()))?;
        Ok(QuotaInstance {
            factory: self.clone(),
            instance,
        })
    }
}

impl QuotaInstance {
    #[must_use]
    pub const fn factory(&self) -> &QuotaFactory {
        &self.factory
    }

    /// Returns what the instance used, unless the last call failed and ended it.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.instance.usage()
    }

    /// Decides about a request. Blocks at most for [`DECISION_MS_MAX`], or for the plugin's
    /// deadline if that is shorter.
    ///
    /// # Errors
    /// The plugin failed. The next call starts a new instance, which has forgotten all that the
    /// plugin counted.
    pub fn decide(&mut self, request: &QuotaRequest<'_>) -> Result<Grant, CallError> {
        let request = wire_request(*request);
        let deadline_ms = self.factory.limits().deadline_ms.min(DECISION_MS_MAX);
        let start = |setup: &Setup| self.factory.0.start(setup);
        self.instance.run(start, |live| {
            let grant = live.call_within(deadline_ms, Priority::Same, |plugin, store| {
                plugin.sedge_plugin_quota().call_decide(store, request)
            })?;
            Ok(match grant {
                WireGrant::Allow => Grant::Allow,
                WireGrant::ThrottleMs(ms) => Grant::Throttle { ms },
                WireGrant::Reject(mut reason) => {
                    cut_off(&mut reason);
                    Grant::Reject { reason }
                }
            })
        })
    }
}

const fn wire_request(request: QuotaRequest<'_>) -> WireRequest<'_> {
    WireRequest {
        operation: match request.operation {
            QuotaOperation::Produce => Operation::Produce,
            QuotaOperation::Fetch => Operation::Fetch,
        },
        principal: request.principal,
        client_id: request.client_id,
        peer: request.peer,
        listener: request.listener,
        topics: request.topics,
        bytes: request.bytes,
        records: request.records,
        now_ms: request.now_ms,
    }
}

impl fmt::Debug for QuotaInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaInstance")
            .field("factory", &self.factory)
            .field("live", &self.instance.is_live())
            .finish_non_exhaustive()
    }
}
