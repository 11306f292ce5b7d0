//! Filters: the compiled component, the instances that process batches, and their typed calls.

use std::{fmt, net::IpAddr, sync::Arc};

use wasmtime::component::Component;

use crate::{
    bindings::filter::{
        RecordFilter,
        exports::sedge::plugin::filter::{
            BatchInfo as WireBatchInfo, Client, Needs as WireNeeds, Origin as WireOrigin, Stage,
        },
    },
    error::{CallError, Error},
    factory::{Factory, Settings, factory},
    host::{Host, Instance, Setup, Usage},
    limits::Limits,
    meter::{Meter, Unmetered},
    outcome::Outcome,
    records::{Needs, RecordBlob},
    state::StateTable,
};

/// A filter that is ready to be instantiated. Cheap to clone; shared between threads.
#[derive(Clone)]
pub struct FilterFactory(Arc<Factory<RecordFilter>>);

/// One instance: a plugin with its settings. Handles one batch at a time; create one for each
/// thread and topic.
pub struct FilterInstance {
    factory: FilterFactory,
    needs: Needs,
    needs_origin: bool,
    instance: Instance<RecordFilter>,
}

/// Facts shared by a batch's records.
#[derive(Clone, Copy, Debug)]
pub struct BatchInfo<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub stage: FilterStage,
    pub base_timestamp_ms: i64,
    /// Only told to a plugin that needs it.
    pub origin: Option<Origin<'a>>,
}

/// The other end of a batch's way. `wit/plugin.wit` says what each field is.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    Client {
        principal: Option<&'a str>,
        client_id: Option<&'a str>,
        peer: IpAddr,
        listener: &'a str,
    },
    Link(&'a str),
}

/// The point on a batch's way at which the filter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterStage {
    Produce,
    Fetch,
    MirrorOut,
    MirrorIn,
}

factory!(FilterFactory);

impl FilterFactory {
    /// Returns whether the plugin imports `state`.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.0.has_state()
    }

    /// Starts an instance with these settings (names without the prefix `sedge.plugin.NAME.`).
    ///
    /// # Errors
    /// The plugin refuses the settings, or fails while it starts.
    pub fn instantiate(&self, config: &Settings) -> Result<FilterInstance, Error> {
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
    ) -> Result<FilterInstance, Error> {
        let (instance, needs) = self.0.instantiate(config, meter, |live| {
            live.call(|filter, store| filter.sedge_plugin_filter().call_describe(store))
        })?;
        Ok(FilterInstance {
            factory: self.clone(),
            needs: Needs {
                key: needs.contains(WireNeeds::KEY),
                value: needs.contains(WireNeeds::VALUE),
                headers: needs.contains(WireNeeds::HEADERS),
            },
            needs_origin: needs.contains(WireNeeds::ORIGIN),
            instance,
        })
    }
}

impl FilterInstance {
    /// Returns the fields that the plugin reads, for [`RecordBlob::start`].
    #[must_use]
    pub const fn needs(&self) -> Needs {
        self.needs
    }

    #[must_use]
    pub fn factory(&self) -> &FilterFactory {
        &self.factory
    }

    /// Returns what the instance used, unless the last call failed and ended it.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.instance.usage()
    }

    /// Runs the plugin over a batch. Blocks at most for the plugin's deadline. A plugin that uses a
    /// state fails.
    ///
    /// # Errors
    /// The plugin failed. Its answer is discarded; the next call starts a new instance.
    pub fn filter(
        &mut self,
        info: &BatchInfo<'_>,
        records: &RecordBlob,
    ) -> Result<Outcome, CallError> {
        self.filter_with(info, records, &mut None)
    }

    /// Like [`Self::filter`]. The plugin reads and changes `table`, which is there again after the
    /// call; the caller ends the batch of the table.
    ///
    /// # Errors
    /// The plugin failed, after it may have changed the table.
    pub fn filter_with(
        &mut self,
        info: &BatchInfo<'_>,
        records: &RecordBlob,
        table: &mut Option<Box<StateTable>>,
    ) -> Result<Outcome, CallError> {
        if records.count() == 0 {
            return Ok(Outcome::keep_all(0));
        }
        let origin = info.origin.filter(|_| self.needs_origin);
        let info = wire_info(info, origin);
        let output_bytes_max = self.factory.limits().output_bytes_max;
        let start = |setup: &Setup| self.factory.0.start(setup);
        self.instance.run(start, |live| {
            live.lend(table.take());
            let answer = live.call(|filter, store| {
                let filter = filter.sedge_plugin_filter();
                filter.call_filter_batch(store, &info, records.blob(), records.spans())
            });
            *table = live.lend(None);
            Outcome::check(answer?, records.count(), output_bytes_max).map_err(CallError::BadOutput)
        })
    }
}

impl fmt::Debug for FilterInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterInstance")
            .field("factory", &self.factory)
            .field("needs", &self.needs)
            .field("needs_origin", &self.needs_origin)
            .field("live", &self.instance.is_live())
            .finish_non_exhaustive()
    }
}

fn wire_info(info: &BatchInfo<'_>, origin: Option<Origin<'_>>) -> WireBatchInfo {
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
        origin: origin.map(wire_origin),
    }
}

fn wire_origin(origin: Origin<'_>) -> WireOrigin {
    match origin {
        Origin::Client {
            principal,
            client_id,
            peer,
            listener,
        } => WireOrigin::Client(Client {
            principal: principal.map(str::to_owned),
            client_id: client_id.map(str::to_owned),
            peer: peer.to_string(),
            listener: listener.to_owned(),
        }),
        Origin::Link(name) => WireOrigin::Link(name.to_owned()),
    }
}
