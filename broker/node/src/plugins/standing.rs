//! The state of a topic's filters: whether each of them can run.

use std::fmt;
use std::sync::Arc;

/// The state of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// The filter is deployed, and its machine code is being compiled.
    Compiling,
    /// No plugin is deployed under its name.
    Missing,
    /// The filter is deployed, and cannot run.
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
            Self::Broken(why) => write!(f, "cannot run: {why}"),
        }
    }
}

/// A filter that a topic is bound to and that cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    pub topic: String,
    pub plugin: String,
    pub standing: Standing,
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            plugin,
            standing,
        } = self;
        write!(
            f,
            "the filter {plugin} of topic {topic} is not ready: {standing}"
        )
    }
}
