//! The state of the plugins that something is bound to: whether each of them can run.

use std::fmt;
use std::sync::Arc;

/// The state of a bound plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// The plugin is deployed, and its machine code is being compiled.
    Compiling,
    /// No plugin is deployed under its name.
    Missing,
    /// An operator has paused the plugin: all goes on as if nothing was bound to it.
    Paused,
    /// The plugin is deployed, and cannot run.
    Broken(Arc<str>),
}

impl Standing {
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Compiling => f.write_str("being compiled"),
            Self::Missing => f.write_str("not deployed"),
            Self::Paused => f.write_str("paused"),
            Self::Broken(why) => write!(f, "cannot run: {why}"),
        }
    }
}

/// What is bound to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binder {
    /// A topic, to a filter.
    Filtered(String),
    /// A topic, to a partitioner.
    Partitioned(String),
    /// The broker, to a quota policy.
    Broker,
}

/// A plugin that something is bound to and that cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    pub binder: Binder,
    pub plugin: String,
    pub standing: Standing,
}

impl Unready {
    /// Describes the binding, such as "the filter range of topic readings".
    pub fn binding(&self) -> String {
        let plugin = &self.plugin;
        match &self.binder {
            Binder::Filtered(topic) => format!("the filter {plugin} of topic {topic}"),
            Binder::Partitioned(topic) => format!("the partitioner {plugin} of topic {topic}"),
            Binder::Broker => format!("the quota policy {plugin}"),
        }
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not ready: {}", self.binding(), self.standing)
    }
}
