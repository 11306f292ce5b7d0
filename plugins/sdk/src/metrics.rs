//! Counters and gauges in the broker's `/metrics`, for filters and quota policies.
//!
//! The name of a metric is 1 to 64 lower-case letters, digits and underscores, begins with a letter
//! and does not end in `_total`. The broker leaves out a metric with another name, and the 65th of
//! a topic, and logs that.

use crate::bindings::sedge::plugin::metrics;

/// Adds to the counter `sedge_plugin_own_NAME_total`.
pub fn add(name: &str, amount: u64) {
    metrics::add(name, amount);
}

/// Sets the gauge `sedge_plugin_own_NAME`. A value that is not finite removes it.
pub fn set(name: &str, value: f64) {
    metrics::set(name, value);
}
