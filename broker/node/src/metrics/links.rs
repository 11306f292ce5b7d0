//! What mirror links do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Counter, Exposition, Gauge};

/// Links come from the configuration. Those above the bound share one line.
const LINKS_MAX: usize = 64;
const OTHERS: &str = "(others)";

/// What a link is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LinkState {
    /// It looks for its upstream.
    #[default]
    Connecting,
    /// It copies, or has nothing to copy.
    Running,
    /// The upstream failed, and the link waits before it tries again.
    BackingOff {
        /// What failed.
        why: String,
    },
    /// It cannot go on before somebody puts something right.
    Blocked {
        /// What.
        why: String,
    },
}

impl LinkState {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Running => "running",
            Self::BackingOff { .. } => "backing-off",
            Self::Blocked { .. } => "blocked",
        }
    }

    /// What is in its way.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Connecting | Self::Running => None,
            Self::BackingOff { why } | Self::Blocked { why } => Some(why),
        }
    }
}

/// The counters of one link.
#[derive(Debug, Default)]
pub struct LinkMetrics {
    state: Mutex<LinkState>,
    /// Records that are here and not yet upstream.
    pub lag_records: Gauge,
    /// Bytes that are here and not yet upstream.
    pub lag_bytes: Gauge,
    /// Age of the oldest record that is not yet upstream, in milliseconds.
    pub lag_ms: Gauge,
    /// Records that the upstream has acknowledged.
    pub sent_records: Counter,
    /// Bytes that the upstream has acknowledged.
    pub sent_bytes: Counter,
    /// Requests sent again.
    pub retries: Counter,
    /// Records that retention took before they were sent.
    pub lost_to_retention: Counter,
    /// Records of topics that were deleted before they were acknowledged.
    pub lost_to_deletion: Counter,
    /// Records that the cursors were moved over from outside.
    pub skipped: Counter,
    /// Partitions that do not get on, and topics that were not begun for as long.
    pub held: Gauge,
    holds: Mutex<Holds>,
}

/// What does not get on, as far as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    /// Partitions, as `TOPIC-INDEX at OFFSET`, and why.
    pub partitions: Vec<(String, String)>,
    /// Topics that were not begun, and why.
    pub topics: Vec<(String, String)>,
}

impl LinkMetrics {
    /// Says what the link is doing now.
    pub fn set_state(&self, state: LinkState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Says what does not get on.
    pub fn set_holds(&self, holds: Holds) {
        *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = holds;
    }

    /// What does not get on.
    pub fn holds(&self) -> Holds {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.clone()
    }

    /// What the link is doing.
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
        let families: [(&str, &str, &str, Field); 11] = [
            (
                "sedge_mirror_link_up",
                "gauge",
                "1 while the upstream answers.",
                |link| f64::from(u8::from(link.state() == LinkState::Running)),
            ),
            (
                "sedge_mirror_held_partitions",
                "gauge",
                "Partitions that do not get on, and topics not begun.",
                |link| link.held.get() as f64,
            ),
            (
                "sedge_mirror_lag_records",
                "gauge",
                "Records not yet upstream.",
                |link| link.lag_records.get() as f64,
            ),
            (
                "sedge_mirror_lag_bytes",
                "gauge",
                "Bytes not yet upstream.",
                |link| link.lag_bytes.get() as f64,
            ),
            (
                "sedge_mirror_lag_seconds",
                "gauge",
                "Age of the oldest of them.",
                |link| link.lag_ms.get() as f64 / 1e3,
            ),
            (
                "sedge_mirror_records_sent_total",
                "counter",
                "Records acknowledged.",
                |link| link.sent_records.get() as f64,
            ),
            (
                "sedge_mirror_bytes_sent_total",
                "counter",
                "Bytes acknowledged.",
                |link| link.sent_bytes.get() as f64,
            ),
            (
                "sedge_mirror_retries_total",
                "counter",
                "Requests sent again.",
                |link| link.retries.get() as f64,
            ),
            (
                "sedge_mirror_records_lost_to_retention_total",
                "counter",
                "Records that retention took before they were sent.",
                |link| link.lost_to_retention.get() as f64,
            ),
            (
                "sedge_mirror_records_lost_to_deletion_total",
                "counter",
                "Records of topics that were deleted before they were acknowledged.",
                |link| link.lost_to_deletion.get() as f64,
            ),
            (
                "sedge_mirror_records_skipped_total",
                "counter",
                "Records that a cursor was moved over from outside.",
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
