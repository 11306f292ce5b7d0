//! Metrics of mirror links.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Counter, Exposition, Gauge};

/// Links are named by operators. Those above this bound share one series.
const LINKS_MAX: usize = 128;
const _: () = assert!(LINKS_MAX > sedge_core::limits::GROUPS_CONFIGURED_MAX);
const OTHERS: &str = "(others)";

/// The state of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LinkState {
    /// The link connects to its upstream.
    #[default]
    Connecting,
    /// The link copies, or has nothing to copy.
    Running,
    /// The link connects to its upstream, but selects no topic.
    Idle {
        /// What to change.
        why: String,
    },
    /// The link was paused.
    Paused,
    /// The upstream failed, and the link waits before it tries again.
    BackingOff {
        /// The error.
        why: String,
    },
    /// The link cannot continue until an operator fixes something.
    Blocked {
        /// The reason.
        why: String,
    },
}

impl LinkState {
    /// Returns the state as one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Running => "running",
            Self::Idle { .. } => "idle",
            Self::Paused => "paused",
            Self::BackingOff { .. } => "backing-off",
            Self::Blocked { .. } => "blocked",
        }
    }

    /// Returns whether the upstream answers.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Running | Self::Idle { .. })
    }

    /// Returns the reason why the link does not run.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Connecting | Self::Running | Self::Paused => None,
            Self::Idle { why } | Self::BackingOff { why } | Self::Blocked { why } => Some(why),
        }
    }
}

/// The counters of one link.
#[derive(Debug, Default)]
pub struct LinkMetrics {
    state: Mutex<LinkState>,
    /// Local records that are not upstream yet.
    pub lag_records: Gauge,
    /// Local bytes that are not upstream yet.
    pub lag_bytes: Gauge,
    /// Age of the oldest record that is not upstream yet, in milliseconds.
    pub lag_ms: Gauge,
    /// Records that the upstream has acknowledged.
    pub sent_records: Counter,
    /// Bytes that the upstream has acknowledged.
    pub sent_bytes: Counter,
    /// Requests sent again.
    pub retries: Counter,
    /// Records that retention deleted before they were sent.
    pub lost_to_retention: Counter,
    /// Records that the upstream had not acknowledged when their topic was deleted.
    pub lost_to_deletion: Counter,
    /// Records that the link's filters left out.
    pub filtered: Counter,
    /// Records that the cursors were moved past from outside.
    pub skipped: Counter,
    /// Held partitions, and topics that were not begun for as long.
    pub held: Gauge,
    holds: Mutex<Holds>,
}

/// Held partitions and topics of a link, for display.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    /// Held partitions, as `TOPIC-INDEX at OFFSET`, with the reason.
    pub partitions: Vec<(String, String)>,
    /// Topics that were not begun, with the reason.
    pub topics: Vec<(String, String)>,
}

impl LinkMetrics {
    /// Sets the link's state.
    pub fn set_state(&self, state: LinkState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Sets what the link holds.
    pub fn set_holds(&self, holds: Holds) {
        *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = holds;
    }

    /// Returns what the link holds.
    pub fn holds(&self) -> Holds {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.clone()
    }

    /// Returns the link's state.
    pub fn state(&self) -> LinkState {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[derive(Debug, Default)]
pub struct Links {
    by_name: Mutex<BTreeMap<String, Arc<LinkMetrics>>>,
}

impl Links {
    pub fn of(&self, name: &str) -> Arc<LinkMetrics> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let full = by_name.len() >= LINKS_MAX && !by_name.contains_key(name);
        let name = if full { OTHERS } else { name };
        Arc::clone(by_name.entry(name.to_owned()).or_default())
    }

    pub fn forget(&self, name: &str) {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.remove(name);
    }

    pub fn all(&self) -> Vec<(String, Arc<LinkMetrics>)> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name
            .iter()
            .map(|(name, link)| (name.clone(), Arc::clone(link)))
            .collect()
    }

    pub fn expose(&self, out: &mut Exposition) {
        type Field = fn(&LinkMetrics) -> f64;
        let all = self.all();
        if all.is_empty() {
            return;
        }
        let families: [(&str, &str, &str, Field); 12] = [
            (
                "sedge_mirror_link_up",
                "gauge",
                "1 while the upstream answers.",
                |link| f64::from(u8::from(link.state().is_up())),
            ),
            (
                "sedge_mirror_held_partitions",
                "gauge",
                "Partitions that are held, and topics that cannot be started.",
                |link| link.held.get() as f64,
            ),
            (
                "sedge_mirror_lag_records",
                "gauge",
                "Records that the upstream has not acknowledged yet.",
                |link| link.lag_records.get() as f64,
            ),
            (
                "sedge_mirror_lag_bytes",
                "gauge",
                "Bytes that the upstream has not acknowledged yet.",
                |link| link.lag_bytes.get() as f64,
            ),
            (
                "sedge_mirror_lag_seconds",
                "gauge",
                "Age of the oldest record that the upstream has not acknowledged yet.",
                |link| link.lag_ms.get() as f64 / 1e3,
            ),
            (
                "sedge_mirror_records_sent_total",
                "counter",
                "Records that the upstream acknowledged.",
                |link| link.sent_records.get() as f64,
            ),
            (
                "sedge_mirror_bytes_sent_total",
                "counter",
                "Bytes that the upstream acknowledged.",
                |link| link.sent_bytes.get() as f64,
            ),
            (
                "sedge_mirror_retries_total",
                "counter",
                "Requests that were retried.",
                |link| link.retries.get() as f64,
            ),
            (
                "sedge_mirror_records_lost_to_retention_total",
                "counter",
                "Records that retention deleted before they were sent.",
                |link| link.lost_to_retention.get() as f64,
            ),
            (
                "sedge_mirror_records_lost_to_deletion_total",
                "counter",
                "Records that the upstream had not acknowledged when their topic was deleted.",
                |link| link.lost_to_deletion.get() as f64,
            ),
            (
                "sedge_mirror_records_filtered_total",
                "counter",
                "Records that the link's filters left out, each time that they were read.",
                |link| link.filtered.get() as f64,
            ),
            (
                "sedge_mirror_records_skipped_total",
                "counter",
                "Records that were skipped when a cursor was moved by hand.",
                |link| link.skipped.get() as f64,
            ),
        ];
        for (family, kind, help, field) in families {
            out.family(family, kind, help);
            for (name, link) in &all {
                out.sample(family, &[("link", name)], field(link));
            }
        }
    }
}
