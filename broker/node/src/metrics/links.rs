//! Metrics of mirror links.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Counter, Exposition, Gauge};

/// Links are named by operators. Those above this bound share one series.
const LINKS_MAX: usize = 128;
const _: () = assert!(LINKS_MAX > sedge_core::limits::LINKS_CONFIGURED_MAX);
const OTHERS: &str = "(others)";
/// Topics of a link with series of their own: clients choose the names of topics.
const TOPICS_EXPOSED_MAX: usize = 50;

/// The two delivery guarantees, as shown.
pub const EXACTLY_ONCE: &str = "exactly-once";
pub const AT_LEAST_ONCE: &str = "at-least-once";

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
    /// Another broker has taken over the link's transactional id.
    Fenced {
        /// The error.
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
            Self::Fenced { .. } => "fenced",
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
            Self::Idle { why }
            | Self::BackingOff { why }
            | Self::Blocked { why }
            | Self::Fenced { why } => Some(why),
        }
    }
}

/// The counters of one link.
#[derive(Debug, Default)]
pub struct LinkMetrics {
    state: Mutex<LinkState>,
    progress: Mutex<Progress>,
    budget: Mutex<Option<BudgetFigures>>,
    failure: Mutex<Option<Failure>>,
    /// `exactly-once` or `at-least-once`; empty before the upstream was asked.
    mode: Mutex<&'static str>,
    /// Records that the upstream has acknowledged.
    pub sent_records: Counter,
    /// Bytes that the upstream has acknowledged.
    pub sent_bytes: Counter,
    /// Transactions that were committed upstream.
    pub committed: Counter,
    /// Transactions whose records were sent again.
    pub aborted: Counter,
    /// Records that a pull link has written here.
    pub received_records: Counter,
    /// Bytes of batches that a pull link has written here.
    pub received_bytes: Counter,
    /// Requests sent again.
    pub retries: Counter,
    /// Records that retention deleted before they were sent.
    pub lost_to_retention: Counter,
    /// Records that the upstream had not acknowledged when their topic was deleted.
    pub lost_to_deletion: Counter,
    /// Records that the link's filters left out.
    pub filtered: Counter,
    /// Offsets of consumer groups that the link has committed, here or upstream.
    pub group_offsets: Counter,
    /// Times that all connections were closed because nothing got on.
    pub stalls: Counter,
    /// Records that the cursors were moved past from outside.
    pub skipped: Counter,
    /// Records that were left out because their topic's deadline was over.
    pub late: Counter,
    /// Held partitions, and topics that were not begun for as long.
    pub held: Gauge,
    holds: Mutex<Holds>,
}

/// What is not upstream yet, and how fast it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    pub lag_records: i64,
    pub lag_bytes: i64,
    /// Age of the oldest record that is not upstream, by its append.
    pub lag_ms: i64,
    pub records_per_s: f64,
    /// Zero for a topic, whose bytes are not counted.
    pub bytes_per_s: f64,
    /// `None` if the lag does not shrink.
    pub catches_up_in_s: Option<f64>,
}

/// The figures of a link and its topics, those with the largest lag first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    pub link: Figures,
    pub topics: Vec<(String, Figures)>,
}

/// What a link may still spend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetFigures {
    /// `None` without such a limit.
    pub day_left_bytes: Option<u64>,
    pub month_left_bytes: Option<u64>,
    /// The limit that the link waits for, and for how many milliseconds.
    pub waits_for: Option<(String, u64)>,
}

/// The last failure of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub why: String,
    /// When it failed, by the wall clock.
    pub at_ms: i64,
    /// When the link tries again; `None` if the upstream has answered since.
    pub next_try: Option<Instant>,
}

impl Failure {
    /// Returns the time until the next try.
    pub fn wait(&self) -> Option<Duration> {
        let next_try = self.next_try?;
        Some(next_try.saturating_duration_since(Instant::now()))
    }
}

/// Held partitions and topics of a link, for display.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    /// Held partitions, as `TOPIC-INDEX at OFFSET`, with the reason.
    pub partitions: Vec<(String, String)>,
    /// Topics that were not begun, with the reason.
    pub topics: Vec<(String, String)>,
    /// Topics that are copied and not kept in step, with the reason.
    pub notes: Vec<(String, String)>,
}

impl LinkMetrics {
    /// Sets the link's state.
    pub fn set_state(&self, state: LinkState) {
        *locked(&self.state) = state;
    }

    /// Sets the link's figures.
    pub fn set_progress(&self, progress: Progress) {
        *locked(&self.progress) = progress;
    }

    /// Returns the link's figures.
    pub fn progress(&self) -> Progress {
        locked(&self.progress).clone()
    }

    /// Sets what the link may still spend.
    pub fn set_budget(&self, budget: BudgetFigures) {
        *locked(&self.budget) = Some(budget);
    }

    /// Returns what the link may still spend; `None` if nothing is limited.
    pub fn budget(&self) -> Option<BudgetFigures> {
        locked(&self.budget).clone()
    }

    /// Sets the last failure.
    pub fn failed(&self, failure: Failure) {
        *locked(&self.failure) = Some(failure);
    }

    /// Records that the upstream answers again.
    pub fn retried(&self) {
        if let Some(failure) = locked(&self.failure).as_mut() {
            failure.next_try = None;
        }
    }

    /// Returns the last failure of the upstream.
    pub fn failure(&self) -> Option<Failure> {
        locked(&self.failure).clone()
    }

    /// Sets the link's delivery guarantee.
    pub fn set_mode(&self, mode: &'static str) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Returns the link's delivery guarantee, once it is known.
    pub fn mode(&self) -> Option<&'static str> {
        let mode = *self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        Some(mode).filter(|mode| !mode.is_empty())
    }

    /// Sets what the link holds.
    pub fn set_holds(&self, holds: Holds) {
        *locked(&self.holds) = holds;
    }

    /// Returns what the link holds.
    pub fn holds(&self) -> Holds {
        locked(&self.holds).clone()
    }

    /// Returns the link's state.
    pub fn state(&self) -> LinkState {
        locked(&self.state).clone()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub struct Links {
    by_name: Mutex<BTreeMap<String, Arc<LinkMetrics>>>,
}

impl Links {
    pub fn of(&self, name: &str) -> Arc<LinkMetrics> {
        let mut by_name = locked(&self.by_name);
        let full = by_name.len() >= LINKS_MAX && !by_name.contains_key(name);
        let name = if full { OTHERS } else { name };
        Arc::clone(by_name.entry(name.to_owned()).or_default())
    }

    pub fn forget(&self, name: &str) {
        let mut by_name = locked(&self.by_name);
        by_name.remove(name);
    }

    pub fn all(&self) -> Vec<(String, Arc<LinkMetrics>)> {
        let by_name = locked(&self.by_name);
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
        let families: [(&str, &str, &str, Field); 23] = [
            (
                "sedge_mirror_link_up",
                "gauge",
                "1 while the upstream answers.",
                |link| f64::from(u8::from(link.state().is_up())),
            ),
            (
                "sedge_mirror_exactly_once",
                "gauge",
                "1 if the link sends in transactions, 0 if at least once.",
                |link| f64::from(u8::from(link.mode() == Some(EXACTLY_ONCE))),
            ),
            (
                "sedge_mirror_transactions_committed_total",
                "counter",
                "Transactions that were committed upstream.",
                |link| link.committed.get() as f64,
            ),
            (
                "sedge_mirror_transactions_aborted_total",
                "counter",
                "Transactions that were aborted, and whose records were sent again.",
                |link| link.aborted.get() as f64,
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
                "Records that are not on the other side yet.",
                |link| locked(&link.progress).link.lag_records as f64,
            ),
            (
                "sedge_mirror_lag_bytes",
                "gauge",
                "Bytes that the upstream has not acknowledged yet.",
                |link| locked(&link.progress).link.lag_bytes as f64,
            ),
            (
                "sedge_mirror_lag_seconds",
                "gauge",
                "Age of the oldest record that the upstream has not acknowledged yet.",
                |link| locked(&link.progress).link.lag_ms as f64 / 1e3,
            ),
            (
                "sedge_mirror_records_per_second",
                "gauge",
                "Records that the upstream acknowledged in a second, averaged.",
                |link| locked(&link.progress).link.records_per_s,
            ),
            (
                "sedge_mirror_bytes_per_second",
                "gauge",
                "Bytes that the upstream acknowledged in a second, averaged.",
                |link| locked(&link.progress).link.bytes_per_s,
            ),
            (
                "sedge_mirror_catch_up_seconds",
                "gauge",
                "Seconds until nothing lags, at the present pace; +Inf if the lag does not shrink.",
                |link| {
                    let left = locked(&link.progress).link.catches_up_in_s;
                    left.unwrap_or(f64::INFINITY)
                },
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
                "sedge_mirror_records_received_total",
                "counter",
                "Records that a pull link has written here.",
                |link| link.received_records.get() as f64,
            ),
            (
                "sedge_mirror_bytes_received_total",
                "counter",
                "Bytes of batches that a pull link has written here.",
                |link| link.received_bytes.get() as f64,
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
                "sedge_mirror_group_offsets_total",
                "counter",
                "Offsets of consumer groups that the link has committed, here or upstream.",
                |link| link.group_offsets.get() as f64,
            ),
            (
                "sedge_mirror_stalls_total",
                "counter",
                "Times that a link closed all connections because nothing was acknowledged.",
                |link| link.stalls.get() as f64,
            ),
            (
                "sedge_mirror_records_skipped_total",
                "counter",
                "Records that were skipped when a cursor was moved by hand.",
                |link| link.skipped.get() as f64,
            ),
            (
                "sedge_mirror_records_late_total",
                "counter",
                "Records that were left out because their topic's deadline was over.",
                |link| link.late.get() as f64,
            ),
        ];
        for (family, kind, help, field) in families {
            out.family(family, kind, help);
            for (name, link) in &all {
                match field(link) {
                    f64::INFINITY => out.sample(family, &[("link", name)], "+Inf"),
                    value => out.sample(family, &[("link", name)], value),
                }
            }
        }
        expose_budgets(out, &all);
        expose_topics(out, &all);
    }
}

/// Writes what is left of the budgets that have a limit.
fn expose_budgets(out: &mut Exposition, links: &[(String, Arc<LinkMetrics>)]) {
    let family = "sedge_mirror_budget_left_bytes";
    let budgets: Vec<_> = links
        .iter()
        .filter_map(|(name, link)| Some((name, link.budget()?)))
        .collect();
    if budgets.is_empty() {
        return;
    }
    out.family(
        family,
        "gauge",
        "Bytes that the link may still send in the period.",
    );
    for (name, budget) in budgets {
        let periods = [
            ("day", budget.day_left_bytes),
            ("month", budget.month_left_bytes),
        ];
        for (period, left) in periods {
            if let Some(left) = left {
                out.sample(family, &[("link", name), ("period", period)], left as f64);
            }
        }
    }
}

/// Writes the figures of topics: those with the largest lag, and the sum of the others.
fn expose_topics(out: &mut Exposition, links: &[(String, Arc<LinkMetrics>)]) {
    type Field = fn(&Figures) -> f64;
    let families: [(&str, &str, Field); 3] = [
        (
            "sedge_mirror_topic_lag_records",
            "Records of the topic that the upstream has not acknowledged yet.",
            |topic| topic.lag_records as f64,
        ),
        (
            "sedge_mirror_topic_lag_bytes",
            "Bytes of the topic that the upstream has not acknowledged yet.",
            |topic| topic.lag_bytes as f64,
        ),
        (
            "sedge_mirror_topic_lag_seconds",
            "Age of the topic's oldest record that the upstream has not acknowledged yet.",
            |topic| topic.lag_ms as f64 / 1e3,
        ),
    ];
    let bounded = |topics: Vec<(String, Figures)>| {
        let mut topics = topics;
        let others = topics.split_off(topics.len().min(TOPICS_EXPOSED_MAX));
        if !others.is_empty() {
            let mut sum = Figures::default();
            for (_, other) in others {
                sum.lag_records += other.lag_records;
                sum.lag_bytes += other.lag_bytes;
                sum.lag_ms = sum.lag_ms.max(other.lag_ms);
            }
            topics.push((OTHERS.to_owned(), sum));
        }
        topics
    };
    let links: Vec<_> = links
        .iter()
        .map(|(name, link)| (name, bounded(link.progress().topics)))
        .collect();
    for (family, help, field) in families {
        out.family(family, "gauge", help);
        for (name, topics) in &links {
            for (topic, figures) in topics {
                let labels = [("link", name.as_str()), ("topic", topic.as_str())];
                out.sample(family, &labels, field(figures));
            }
        }
    }
}
