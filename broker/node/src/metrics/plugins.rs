//! Metrics of plugins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sedge_plugin::MemoryPool;

use super::own::{self, OwnMetrics};
use super::{Counter, Exposition, Gauge};

/// Names of plugins come from topic configurations, so they are bounded here too. Those above the
/// bound share one series.
const PLUGINS_MAX: usize = 256;
const OTHERS: &str = "(others)";

/// The counters of one plugin.
#[derive(Debug, Default)]
pub struct PluginMetrics {
    /// Calls of the plugin, one per batch or request.
    pub calls: Counter,
    /// Time spent in those calls.
    pub nanos: Counter,
    /// Records that the plugin kept unchanged.
    pub kept: Counter,
    /// Records that the plugin dropped.
    pub dropped: Counter,
    /// Records that the plugin replaced.
    pub replaced: Counter,
    /// Records that the plugin rejected.
    pub rejected: Counter,
    /// Records that the plugin routed to another topic.
    pub routed: Counter,
    /// Records of batches that the plugin failed on, which are in a dead-letter topic.
    pub quarantined: Counter,
    /// Records that the plugin sent to another partition.
    pub moved: Counter,
    /// Calls that ended in a trap, or returned an invalid answer.
    pub traps: Counter,
    /// Calls stopped at the deadline.
    pub deadlines: Counter,
    /// Existing instances.
    pub instances: Gauge,
    /// What the plugin remembers, if it is a filter with a state.
    pub state: StateMetrics,
    /// The numbers that the plugin gives itself.
    pub own: OwnMetrics,
}

/// The counters of a filter's state.
#[derive(Debug, Default)]
pub struct StateMetrics {
    /// Memory of the state, for all partitions.
    pub bytes: Gauge,
    /// Puts that were refused for lack of room.
    pub refused: Counter,
    /// Bytes of the keys and values that batches changed, each key once a batch.
    pub changed_bytes: Counter,
    /// Bytes of the batches that were written for that.
    pub written_bytes: Counter,
}

#[derive(Debug, Default)]
pub struct Plugins {
    by_name: Mutex<BTreeMap<String, Arc<PluginMetrics>>>,
    /// The memory that all plugins share.
    memory: OnceLock<Arc<MemoryPool>>,
}

impl Plugins {
    pub fn of(&self, name: &str) -> Arc<PluginMetrics> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let full = by_name.len() >= PLUGINS_MAX && !by_name.contains_key(name);
        let name = if full { OTHERS } else { name };
        Arc::clone(by_name.entry(name.to_owned()).or_default())
    }

    pub fn watch_memory(&self, memory: &Arc<MemoryPool>) {
        self.memory.get_or_init(|| Arc::clone(memory));
    }

    pub fn all(&self) -> Vec<(String, Arc<PluginMetrics>)> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name
            .iter()
            .map(|(name, plugin)| (name.clone(), Arc::clone(plugin)))
            .collect()
    }

    pub fn expose(&self, out: &mut Exposition) {
        type Field = fn(&PluginMetrics) -> u64;
        let all = self.all();
        if all.is_empty() {
            return;
        }
        let families: [(&str, &str, Field); 3] = [
            (
                "sedge_plugin_calls_total",
                "Batches or requests that a plugin was called with.",
                |p| p.calls.get(),
            ),
            (
                "sedge_plugin_traps_total",
                "Calls of a plugin that trapped.",
                |p| p.traps.get(),
            ),
            (
                "sedge_plugin_deadlines_total",
                "Calls of a plugin that were stopped at the deadline.",
                |p| p.deadlines.get(),
            ),
        ];
        for (family, help, field) in families {
            out.family(family, "counter", help);
            for (name, plugin) in &all {
                out.sample(family, &[("plugin", name)], field(plugin));
            }
        }
        if let Some(memory) = self.memory.get() {
            let family = "sedge_plugins_memory_bytes";
            let help = "Linear memory of all plugin instances, of plugin.memory.total.bytes.";
            out.family(family, "gauge", help);
            out.sample(family, &[], memory.bytes() as u64);
        }
        expose_state(&all, out);
        let family = "sedge_plugin_instances";
        let help = "Instances of a plugin, one for each topic that uses it, or one for the broker.";
        out.family(family, "gauge", help);
        for (name, plugin) in &all {
            out.sample(family, &[("plugin", name)], plugin.instances.get());
        }
        let family = "sedge_plugin_duration_seconds_total";
        out.family(family, "counter", "Time spent in calls of a plugin.");
        for (name, plugin) in &all {
            out.sample(family, &[("plugin", name)], plugin.nanos.get() as f64 / 1e9);
        }
        let family = "sedge_plugin_records_total";
        out.family(family, "counter", "Records by the plugin's verdict.");
        let verdicts: [(&str, Field); 7] = [
            ("keep", |p| p.kept.get()),
            ("drop", |p| p.dropped.get()),
            ("replace", |p| p.replaced.get()),
            ("reject", |p| p.rejected.get()),
            ("route", |p| p.routed.get()),
            ("quarantine", |p| p.quarantined.get()),
            ("move", |p| p.moved.get()),
        ];
        for (name, plugin) in &all {
            for (verdict, field) in verdicts {
                out.sample(
                    family,
                    &[("plugin", name), ("verdict", verdict)],
                    field(plugin),
                );
            }
        }
        let own = all
            .iter()
            .map(|(name, plugin)| (name.as_str(), &plugin.own));
        own::expose(own, out);
    }
}

fn expose_state(all: &[(String, Arc<PluginMetrics>)], out: &mut Exposition) {
    type Field = fn(&StateMetrics) -> u64;
    let family = "sedge_plugin_state_bytes";
    let help = "Memory of what a filter remembers, of plugin.state.bytes.";
    out.family(family, "gauge", help);
    for (name, plugin) in all {
        out.sample(family, &[("plugin", name)], plugin.state.bytes.get());
    }
    let families: [(&str, &str, Field); 3] = [
        (
            "sedge_plugin_state_refused_total",
            "Puts that were refused because of plugin.state.bytes or plugin.state.partition.bytes.",
            |state| state.refused.get(),
        ),
        (
            "sedge_plugin_state_changed_bytes_total",
            "Bytes of the keys and values that batches changed.",
            |state| state.changed_bytes.get(),
        ),
        (
            "sedge_plugin_state_written_bytes_total",
            "Bytes of batches that were written for changes of the state.",
            |state| state.written_bytes.get(),
        ),
    ];
    for (family, help, field) in families {
        out.family(family, "counter", help);
        for (name, plugin) in all {
            out.sample(family, &[("plugin", name)], field(&plugin.state));
        }
    }
}
