//! The subscriptions to clients' metrics, compiled, and the clients that push.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::warn;
use sedge_core::config::ClientMetricsConfig;
use sedge_core::metadata::ClientMetrics;
use sedge_core::telemetry::{Pattern, Subscription, Telemetry};

use crate::config::selection::Patterns;

impl Pattern for Patterns {
    fn matches(&self, text: &str) -> bool {
        self.take(text)
    }
}

/// Subscriptions and clients; see the module.
#[derive(Debug, Default)]
pub struct ClientTelemetry {
    state: Mutex<State>,
}

/// The state, as of the newest metadata that a request had.
#[derive(Debug, Default)]
pub struct State {
    telemetry: Telemetry<Patterns>,
    compiled: Option<Arc<ClientMetrics>>,
}

impl ClientTelemetry {
    /// Returns the state, with the subscriptions of this metadata.
    pub fn current(&self, of: &Arc<ClientMetrics>) -> Current<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_compiled = |compiled: &Arc<ClientMetrics>| Arc::ptr_eq(compiled, of);
        if !state.compiled.as_ref().is_some_and(is_compiled) {
            // The same subscriptions again are no change, which clients would be told of.
            if state
                .compiled
                .as_deref()
                .unwrap_or(&ClientMetrics::default())
                != &**of
            {
                let compiled = of.iter().filter_map(|(name, keys)| compile(name, keys));
                state.telemetry.set(compiled.collect());
            }
            state.compiled = Some(Arc::clone(of));
        }
        Current(state)
    }
}

/// The locked state.
#[derive(Debug)]
pub struct Current<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Current<'_> {
    type Target = Telemetry<Patterns>;

    fn deref(&self) -> &Self::Target {
        &self.0.telemetry
    }
}

impl std::ops::DerefMut for Current<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0.telemetry
    }
}

/// Compiles a subscription. The handlers checked it, so that another build must have written one
/// that cannot be used.
fn compile(
    name: &str,
    keys: &std::collections::BTreeMap<String, String>,
) -> Option<Subscription<Patterns>> {
    let compiled = subscription(keys);
    if let Err(why) = &compiled {
        warn!(target: "sedge::telemetry", "the client metrics {name} are ignored: {why}");
    }
    compiled.ok()
}

/// Reads and compiles the keys of a subscription.
///
/// # Errors
/// The reason why the subscription is invalid.
pub fn subscription(
    keys: &std::collections::BTreeMap<String, String>,
) -> Result<Subscription<Patterns>, String> {
    let config = ClientMetricsConfig::read(keys).map_err(|error| error.message)?;
    let matches = config.matches.iter().map(|(attribute, pattern)| {
        let compiled = Patterns::new(&[(*pattern).to_owned()]);
        let compiled = compiled.map_err(|(pattern, why)| format!("{pattern}: {why}"))?;
        Ok((*attribute, compiled))
    });
    Ok(Subscription {
        interval_ms: config.interval_ms,
        matches: matches.collect::<Result<_, String>>()?,
        metrics: config.metrics.into_iter().map(str::to_owned).collect(),
    })
}
