//! Key partitioners: the compiled component, the instances that choose partitions, and their typed
//! calls.

use std::{fmt, sync::Arc};

use wasmtime::component::Component;

use crate::{
    bindings::partitioner::{
        KeyPartitioner, exports::sedge::plugin::partitioner::Needs as WireNeeds,
    },
    error::{BadOutput, CallError, Error},
    factory::{Factory, Settings, factory},
    host::{Host, Instance, Setup, Usage},
    limits::Limits,
    meter::Unmetered,
    records::{Needs, RecordBlob},
};

/// A partitioner that is ready to be instantiated. Cheap to clone; shared between threads.
#[derive(Clone)]
pub struct PartitionerFactory(Arc<Factory<KeyPartitioner>>);

/// One instance: a plugin with its settings. Handles one batch at a time.
pub struct PartitionerInstance {
    factory: PartitionerFactory,
    needs: Needs,
    instance: Instance<KeyPartitioner>,
}

factory!(PartitionerFactory);

impl PartitionerFactory {
    /// Starts an instance with these settings (names without the prefix `sedge.plugin.NAME.`).
    ///
    /// # Errors
    /// The plugin refuses the settings, or fails while it starts.
    pub fn instantiate(&self, config: &Settings) -> Result<PartitionerInstance, Error> {
        let (instance, needs) = self.0.instantiate(config, Arc::new(Unmetered), |live| {
            live.call(|plugin, store| plugin.sedge_plugin_partitioner().call_describe(store))
        })?;
        Ok(PartitionerInstance {
            factory: self.clone(),
            needs: Needs {
                key: needs.contains(WireNeeds::KEY),
                value: needs.contains(WireNeeds::VALUE),
                headers: needs.contains(WireNeeds::HEADERS),
            },
            instance,
        })
    }
}

impl PartitionerInstance {
    /// Returns the fields that the plugin reads, for [`RecordBlob::start`].
    #[must_use]
    pub const fn needs(&self) -> Needs {
        self.needs
    }

    #[must_use]
    pub const fn factory(&self) -> &PartitionerFactory {
        &self.factory
    }

    /// Returns what the instance used, unless the last call failed and ended it.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.instance.usage()
    }

    /// Chooses a partition for each record, below `partitions`. Blocks at most for the plugin's
    /// deadline.
    ///
    /// # Errors
    /// The plugin failed. Its answer is discarded; the next call starts a new instance.
    pub fn partition(
        &mut self,
        topic: &str,
        partitions: u32,
        records: &RecordBlob,
    ) -> Result<Vec<u32>, CallError> {
        if records.count() == 0 {
            return Ok(Vec::new());
        }
        let start = |setup: &Setup| self.factory.0.start(setup);
        self.instance.run(start, |live| {
            let (blob, spans) = (records.blob(), records.spans());
            let chosen = live.call(|plugin, store| {
                let plugin = plugin.sedge_plugin_partitioner();
                plugin.call_partition_batch(store, topic, partitions, blob, spans)
            })?;
            check(&chosen, partitions, records.count()).map_err(CallError::BadOutput)?;
            Ok(chosen)
        })
    }
}

fn check(chosen: &[u32], partitions: u32, records: usize) -> Result<(), BadOutput> {
    if chosen.len() != records {
        return Err(BadOutput::PartitionCount {
            got: chosen.len(),
            records,
        });
    }
    match chosen.iter().find(|chosen| **chosen >= partitions) {
        Some(chosen) => Err(BadOutput::PartitionOutside {
            chosen: *chosen,
            partitions,
        }),
        None => Ok(()),
    }
}

impl fmt::Debug for PartitionerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionerInstance")
            .field("factory", &self.factory)
            .field("needs", &self.needs)
            .field("live", &self.instance.is_live())
            .finish_non_exhaustive()
    }
}
