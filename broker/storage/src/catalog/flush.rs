//! Flushes: writes pending changes to the base, and tracks which of them are durable.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{Catalog, State};
use crate::error::Error;
use crate::ids::Sequence;
use crate::limits;
use crate::views::layers::Layer;
use crate::views::tables::{LogKey, LogValue, ViewsVersion};

#[derive(Debug, Default)]
pub(super) struct FlushProgress {
    calls_waited: u32,
    failing: bool,
    failed_at: Option<Instant>,
    flushes: u64,
    bytes: u64,
}

impl Catalog {
    /// Returns (entries, bytes, failing, flushes, bytes flushed).
    pub fn flush_figures(&self) -> (u64, u64, bool, u64, u64) {
        let (entries, bytes) = {
            let state = self.read();
            (state.layers.entries() as u64, state.layers.bytes() as u64)
        };
        let progress = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        (
            entries,
            bytes,
            progress.failing,
            progress.flushes,
            progress.bytes,
        )
    }

    /// Syncs the log up to the layers, then writes the layers to the base.
    pub fn flush(
        &self,
        forced: bool,
        sync_log: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut progress = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if !forced && !self.is_flush_due(&mut progress) {
            return Ok(());
        }
        // A second round is needed if an earlier flush failed and left its layer.
        for _ in 0..2 {
            let (layer, newer) = self.write().next_layer(self.version);
            let Some(layer) = layer else { break };
            sync_log()?;
            let changes = layer.changes();
            let bytes: usize = changes
                .iter()
                .map(|of| of.key.len() + of.value.as_ref().map_or(0, Vec::len))
                .sum();
            if let Err(error) = self.base.write(changes) {
                if !progress.failing {
                    log::warn!("the views cannot be flushed, appends continue: {error}");
                }
                progress.failing = true;
                progress.failed_at = Some(Instant::now());
                return Err(error);
            }
            if progress.failing {
                log::info!("the views are flushed again");
            }
            progress.failing = false;
            progress.calls_waited = 0;
            progress.flushes += 1;
            progress.bytes += bytes as u64;
            drop(layer);
            self.write().layer_flushed();
            if !newer {
                break;
            }
        }
        Ok(())
    }

    /// Makes the flushed changes durable.
    pub fn keep_flushed(&self) -> Result<(), Error> {
        let flushed = self.read().flushed;
        self.base.sync()?;
        self.write().kept = flushed;
        Ok(())
    }

    /// Returns whether a flush failed so recently that an append should not try another one.
    pub fn is_flush_hopeless(&self) -> bool {
        let progress = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        progress.failing
            && progress
                .failed_at
                .is_some_and(|at| at.elapsed() < limits::FLUSH_RETRY)
    }

    fn is_flush_due(&self, progress: &mut FlushProgress) -> bool {
        let state = self.read();
        if state.layers.entries() == 0 {
            return false;
        }
        progress.calls_waited += 1;
        progress.failing
            || progress.calls_waited >= limits::FLUSH_CALLS
            || state.log_bytes_unflushed >= limits::FLUSH_LOG_BYTES
            || state.layers.bytes() >= limits::FLUSH_PENDING_BYTES
    }
}

impl State {
    /// Returns the layer to flush, and whether there is a newer one behind it.
    fn next_layer(&mut self, version: ViewsVersion) -> (Option<Arc<Layer>>, bool) {
        if let Some(layer) = &self.layers.flushing {
            return (Some(layer.clone()), true);
        }
        if self.layers.pending.is_empty() {
            return (None, false);
        }
        if !self.rebuilding && self.applied.sequence > Sequence(0) {
            self.layers
                .put(LogKey::APPLIED, LogValue::Applied(version, self.applied));
        }
        let layer = Arc::new(std::mem::take(&mut self.layers.pending));
        self.layers.flushing = Some(layer.clone());
        self.log_bytes_unflushed = 0;
        (Some(layer), false)
    }

    fn layer_flushed(&mut self) {
        let layer = self.layers.flushing.take();
        let applied = layer.and_then(|layer| layer.log.get(&LogKey::APPLIED).copied().flatten());
        if let Some(LogValue::Applied(_, applied)) = applied {
            self.flushed = applied;
        }
        self.flush_round = self.flush_round.wrapping_add(1);
        self.let_tails_go();
    }
}
