//! Instances of plugins, which are counted as long as they exist.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::metrics::PluginMetrics;

/// An instance, counted in `sedge_plugin_instances`.
#[derive(Debug)]
pub struct Counted<I> {
    instance: I,
    counters: Arc<PluginMetrics>,
}

impl<I> Counted<I> {
    pub fn new(instance: I, counters: &Arc<PluginMetrics>) -> Self {
        counters.instances.add(1);
        let counters = Arc::clone(counters);
        Self { instance, counters }
    }
}

impl<I> Drop for Counted<I> {
    fn drop(&mut self) {
        self.counters.instances.add(-1);
    }
}

impl<I> Deref for Counted<I> {
    type Target = I;

    fn deref(&self) -> &I {
        &self.instance
    }
}

impl<I> DerefMut for Counted<I> {
    fn deref_mut(&mut self) -> &mut I {
        &mut self.instance
    }
}
