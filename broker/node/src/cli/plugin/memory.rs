//! The state of a filter that runs without a broker: kept as long as the command runs.

use std::sync::Arc;

use sedge_plugin::{StateBudget, StateTable};
use sedge_protocol::batch::Batch;
use sedge_protocol::kafka::KafkaUuid;
use sedge_protocol::state_records::{Owner, batches_of};

/// Memory that the state may take: the defaults of `plugin.state.partition.bytes` and, for the one
/// partition that there is, of `plugin.state.bytes`.
const BYTES_MAX: usize = 1 << 20;

/// The state, and what a broker would have written for it.
pub struct Memory {
    pub table: Option<Box<StateTable>>,
    used: Use,
}

/// What a state takes.
#[derive(Clone, Copy, Default)]
pub struct Use {
    pub keys: usize,
    /// Memory, as the limits count it.
    pub bytes: usize,
    /// Bytes of the keys and values that batches changed, each key once a batch.
    pub changed_bytes: usize,
    /// Bytes of the batches that a broker would have written.
    pub written_bytes: usize,
}

impl Memory {
    pub fn new() -> Self {
        let budget = Arc::new(StateBudget::new(BYTES_MAX, BYTES_MAX));
        Self {
            table: Some(Box::new(StateTable::new(&budget))),
            used: Use::default(),
        }
    }

    /// Ends a batch as a broker does: with its changes if the batch is written.
    pub fn end(&mut self, is_written: bool) {
        let Some(table) = &mut self.table else {
            return;
        };
        if !is_written {
            return table.undo();
        }
        let owner = Owner {
            topic: KafkaUuid::ZERO,
            partition: 0,
            plugin: "plugin",
        };
        let changed = table.changes();
        let changed = changed.map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len));
        self.used.changed_bytes += changed.sum::<usize>();
        let batches = batches_of(&owner, table.changes(), 0).unwrap_or_default();
        self.used.written_bytes += batches.iter().map(Batch::bytes).sum::<usize>();
        table.commit();
    }

    /// Returns what the state takes now, and what was written so far.
    pub fn used(&self) -> Use {
        let table = self.table.as_deref();
        Use {
            keys: table.map_or(0, StateTable::len),
            bytes: table.map_or(0, StateTable::bytes),
            ..self.used
        }
    }
}

impl Use {
    /// Returns the bytes that are written for each that is changed.
    pub fn amplification(&self) -> f64 {
        self.written_bytes as f64 / self.changed_bytes.max(1) as f64
    }
}
