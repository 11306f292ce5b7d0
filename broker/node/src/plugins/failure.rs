//! Failures of a topic's plugins, and what follows for the batch.

use std::time::Instant;

use log::warn;
use sedge_core::config::OnPluginError;
use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_plugin::CallError;
use sedge_protocol::ErrorCode;

use super::tally::Count;
use crate::metrics::PluginMetrics;

/// Reason why a plugin gave no answer about a batch.
#[derive(Debug)]
pub enum Failed {
    /// The plugin, or the batch itself, caused a rejection: the producer is told.
    Rejected(AppendError),
    /// The plugin failed: the topic's policy decides.
    Plugin(String),
    /// No plugin of this name is deployed, or it is still being compiled.
    NotReady,
}

impl Failed {
    /// Counts a failed call.
    pub fn call(error: &CallError, counters: &PluginMetrics) -> Self {
        match error {
            CallError::Deadline | CallError::Starved => counters.deadlines.increment(),
            _ => counters.traps.increment(),
        }
        Self::Plugin(error.to_string())
    }

    /// Returns the rejection of a batch whose records cannot be read.
    pub fn unreadable(error: &dyn std::fmt::Display) -> Self {
        Self::Rejected(AppendError::new(
            ErrorCode::InvalidRecord,
            format!("The records cannot be read: {error}."),
        ))
    }

    /// Applies the topic's policy. If the batch continues as it came, returns whether the plugin is
    /// quarantined: not called again until it is deployed or bound anew. `plugin` is the plugin
    /// with its role, such as "filter range"; `failures` are those that the log does not have yet.
    ///
    /// # Errors
    /// The batch is refused.
    pub fn settle(
        self,
        policy: OnPluginError,
        plugin: &str,
        topic: &Topic,
        failures: &mut Count,
    ) -> Result<bool, AppendError> {
        let name = &topic.name;
        let mut log = |why: &str, what: &str| tell(plugin, topic, why, what, failures);
        let why = match self {
            Self::Rejected(error) => return Err(error),
            Self::Plugin(why) => Some(why),
            Self::NotReady => None,
        };
        match (policy, why) {
            (OnPluginError::FailOpen, Some(why)) => log(&why, "the batch continues without it"),
            (OnPluginError::FailOpen, None) => {}
            (OnPluginError::FailClosed, Some(why)) => {
                log(&why, "the batch is refused");
                return Err(AppendError::new(
                    ErrorCode::PolicyViolation,
                    format!("The {plugin} failed: {why}."),
                ));
            }
            (OnPluginError::FailClosed, None) => return Err(not_ready(plugin)),
            (OnPluginError::Quarantine, why) => {
                let why = why.as_deref().unwrap_or("the plugin is not deployed");
                warn!(target: "sedge::plugin", "the {plugin} failed on topic {name}: {why}; it is \
                                                quarantined until it is deployed or bound again");
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Logs a failure, once a minute.
pub fn tell(plugin: &str, topic: &Topic, why: &str, what: &str, failures: &mut Count) {
    failures.add(1, why);
    if let Some(due) = failures.take(Instant::now()) {
        let (name, times) = (&topic.name, due.some);
        warn!(target: "sedge::plugin", "the {plugin} failed on topic {name}: {why}; {what} \
                                        ({times} since the last such line, once a minute)");
    }
}

/// The producer must send again: the plugin may be ready any moment, and no batch may bypass it.
/// The only retriable code that does not make clients refresh their metadata.
fn not_ready(plugin: &str) -> AppendError {
    AppendError::new(
        ErrorCode::NotEnoughReplicas,
        format!("The {plugin} is not ready: it is not deployed, or is still being compiled."),
    )
}

/// The producer must send again: too many bytes wait for the plugin already.
pub fn too_slow(plugin: &str, topic: &Topic, bytes_max: usize) -> AppendError {
    AppendError::new(
        ErrorCode::NotEnoughReplicas,
        format!(
            "The {plugin} is slower than the producers of topic {}: {bytes_max} bytes already \
             wait for it.",
            topic.name
        ),
    )
}

/// The producer may send smaller batches.
pub fn too_large(what: String) -> AppendError {
    AppendError::new(ErrorCode::MessageTooLarge, what)
}
