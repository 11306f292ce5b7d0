//! The lane of a partition: the tables of its filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use sedge_plugin::{StateBudget, StateTable};

use super::unsettled::Unsettled;
use crate::metrics::{Metrics, PluginMetrics};
use crate::plugins::bindings::WaitingBytes;

/// The lane of one partition. A batch goes through it alone.
#[derive(Debug, Default)]
pub struct Lane {
    pub tables: Arc<async_lock::Mutex<Tables>>,
    pub unsettled: Arc<Unsettled>,
    /// Bytes of the batches that wait for the lane.
    pub waiting: WaitingBytes,
}

/// The tables of a partition, by plugin.
#[derive(Debug, Default)]
pub struct Tables(pub BTreeMap<String, Table>);

/// The table of a plugin for a partition.
#[derive(Debug)]
pub struct Table {
    /// `None` while the plugin has it.
    content: Option<Box<StateTable>>,
    /// The bytes that the metrics count.
    counted: usize,
    metrics: Arc<PluginMetrics>,
}

impl Tables {
    /// Returns the table of a plugin, which begins empty.
    pub fn of(&mut self, plugin: &str, budget: &Arc<StateBudget>, metrics: &Metrics) -> &mut Table {
        if !self.0.contains_key(plugin) {
            let table = Table {
                content: Some(Box::new(StateTable::new(budget))),
                counted: 0,
                metrics: metrics.plugin(plugin),
            };
            self.0.insert(plugin.to_owned(), table);
        }
        self.0.get_mut(plugin).expect("it was inserted")
    }

    /// Drops the tables that hold nothing.
    pub fn trim(&mut self) {
        self.0.retain(|_, table| !table.is_empty());
    }
}

impl Table {
    /// Returns the place of the content, for a call of the plugin.
    pub const fn content(&mut self) -> &mut Option<Box<StateTable>> {
        &mut self.content
    }

    pub fn get(&self) -> Option<&StateTable> {
        self.content.as_deref()
    }

    pub fn is_empty(&self) -> bool {
        self.get().is_none_or(StateTable::is_empty)
    }

    /// Ends a batch: with its changes, or without them.
    pub fn end(&mut self, is_applied: bool) {
        let Some(table) = self.content.as_deref_mut() else {
            return;
        };
        if is_applied {
            table.commit();
        } else {
            table.undo();
        }
        let state = &self.metrics.state;
        state.refused.add(table.take_refused());
        state.bytes.add(table.bytes() as i64 - self.counted as i64);
        self.counted = table.bytes();
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.metrics.state.bytes.add(-(self.counted as i64));
    }
}
